"""What the fault tests share."""

import atexit
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.star import Star, write_star
from isonet_scipion.engine.network.model_file import save_model
from isonet_scipion.engine.network.unet import build_unet
from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.environment import LAUNCHER
from isonet_scipion.tests.engine.conftest import blank, eager, run, untrained  # noqa: F401  (fixtures)
from isonet_scipion.tests.protocols import warm

SHAPE = (24, 32, 36)
VOXEL_SIZE = 10.0
TINY = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)


def voxels(shape=SHAPE, seed=0):
    """Grey values with some structure."""
    rng = np.random.default_rng(seed)
    data = rng.normal(100, 5, shape).astype(np.float32)
    data[shape[0] // 3 : -shape[0] // 3, shape[1] // 3 : -shape[1] // 3] -= 20
    return data


def write_table(path, tomograms, **columns):
    """Write a table of tomograms by hand; each of `columns` is one value for all rows."""
    labels = ["rlnIndex", "rlnMicrographName", "rlnPixelSize", "rlnNumberSubtomo", *columns]
    rows = [
        " ".join(map(str, (index, f"'{tomogram}'", VOXEL_SIZE, 3, *columns.values())))
        for index, tomogram in enumerate(tomograms, 1)
    ]
    path.write_text("\n".join(["data_", "loop_", *(f"_{label}" for label in labels), *rows, ""]))


def contents(folder):
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Bytes of a model of ours with a very small network."""
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    save_model(path, build_unet(TINY), ModelMetadata(TINY))
    return path.read_bytes()


@pytest.fixture
def project(run, tmp_path, tiny_model):  # noqa: F811
    """The working folder, with one good tomogram, its table and a model."""
    write_volume(tmp_path / "good.mrc", voxels(), VOXEL_SIZE)
    write_table(tmp_path / "good.star", ["good.mrc"])
    (tmp_path / "tiny.keras").write_bytes(tiny_model)
    return tmp_path


def table(path, rows):
    """Write a table of tomograms; each row's values overwrite the defaults."""
    star = Star([])
    for index, values in enumerate(rows, 1):
        row = {}
        star.rows.append(row)
        usual = {"rlnIndex": index, "rlnMicrographName": f"t{index}.mrc", "rlnPixelSize": VOXEL_SIZE}
        for label, value in {**usual, "rlnDefocus": 20000.0, "rlnNumberSubtomo": 3, **values}.items():
            star.set(row, label, value)
    write_star(path, star)


def make_project(folder, count=2, shape=SHAPE):
    """Tomograms t1.mrc, t2.mrc and their table, subtomograms and theirs, and an untrained model."""
    for number in range(1, count + 1):
        write_volume(folder / f"t{number}.mrc", voxels(shape, number), VOXEL_SIZE)
    table(folder / "t.star", [{} for _ in range(count)])
    subtomos = Star([])
    for number in range(4):
        write_volume(folder / "cubes" / f"s{number}.mrc", voxels((16, 16, 16), number), VOXEL_SIZE)
        row = {}
        subtomos.rows.append(row)
        for label, value in (("rlnImageName", f"cubes/s{number}.mrc"), ("rlnCubeSize", 8), ("rlnPixelSize", 10.0)):
            subtomos.set(row, label, value)
    write_star(folder / "s.star", subtomos)
    save_model(folder / "m.keras", build_unet(TINY), ModelMetadata(TINY))


@pytest.fixture
def scene(tmp_path, run):  # noqa: F811
    """The working folder, with `make_project`'s files."""
    make_project(tmp_path)
    return tmp_path


THREADS = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "2"}


@functools.lru_cache
def warm_engine():
    """The socket of a process that has imported what the engine needs, once it is ready."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    warm.start(folder / "warm", warm.ENGINE, **THREADS, KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")
    path = str(folder / "warm" / "socket")
    WarmEngine(path, folder, "--version").communicate(timeout=120)
    return path


class WarmEngine:
    """An engine's process, forked from a warm one, in the words of subprocess.Popen.

    It makes no graphs and draws nothing.
    """

    def __init__(self, path, folder, *arguments):
        """Start a command in a folder."""
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  it is read at the end
        words, environment = [LAUNCHER, *map(str, arguments)], {**os.environ, **THREADS}
        with open(os.devnull, "r+b") as null:
            streams = [null.fileno(), null.fileno(), self._log.fileno()]
            self._script = warm.Script(path, words, str(folder), environment, streams)
        self.pid, self.returncode = self._script.pid, None

    def send_signal(self, number):
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def communicate(self, timeout):
        self.returncode = self._script.wait(timeout)
        assert self.returncode is not None, f"nothing after {timeout} s"
        self._log.seek(0)
        return None, self._log.read()


def engine(folder, *arguments, **options):
    """Start an isonet-engine command in a folder as a process group of its own."""
    return _started(folder, ["-m", "isonet_scipion.engine", *map(str, arguments)], **options)


def python(folder, code, *arguments, **options):
    """Start Python code in a folder as a process group of its own."""
    return _started(folder, ["-c", code, *arguments], **options)


def _started(folder, arguments, **options):
    environment = {**os.environ, **THREADS}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    # tests that run in the background or under nohup ignore these, and what they start would too
    heeded = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=environment, start_new_session=True, **{**pipes, **options}
        )
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)


def the_error(log):
    """The one line that tells an error; fails where there is none, or a traceback."""
    errors = [line for line in log.splitlines() if line.startswith("isonet-engine: error: ")]
    assert len(errors) == 1 and "Traceback" not in log, log
    return errors[0].removeprefix("isonet-engine: error: ")
