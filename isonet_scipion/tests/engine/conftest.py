"""What the engine's tests share."""

import os
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import settings

from isonet_scipion.engine import cli
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.star import read_star, write_star
from isonet_scipion.engine.physics.wedge import TiltRange, measured

settings.register_profile("busy", deadline=None)  # a busy machine is no failure
settings.load_profile("busy")
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # tests leave nothing in the user's own folders
# as the engine has it: here a test or a fixture may be the first to import TensorFlow, which then computes slowly
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
SHARED = Path(__file__).parents[4] / "shared"
SHAPE = (32, 48, 52)  # of `make_tomogram`


def shared_folder(name):
    """A folder that users do not have: the test is skipped where it is missing."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture(autouse=True)
def single_precision():
    """Networks that a test builds itself: a stage before it may have chosen another format for this processor."""
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")


@pytest.fixture
def reference():
    """Folder of the released program's outputs."""
    return shared_folder("reference")


@pytest.fixture(scope="session")
def released():
    """Arrays of reference/README.md: parts of the released program's outputs."""
    with np.load(Path(__file__).parent / "reference" / "released.npz") as stored:
        return {name: stored[name].astype(np.float32) if name != "mask" else stored[name] for name in stored}


@pytest.fixture
def real_data():
    """Folder of real tomograms."""
    return shared_folder("data")


@pytest.fixture
def eager(request):
    """TensorFlow without traced graphs, which take longer to make than a tiny training's steps.

    A test whose subject is what a graph computes is marked `traced`.
    """
    import tensorflow as tf

    tf.config.run_functions_eagerly(request.node.get_closest_marker("traced") is None)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def blank(request, monkeypatch):
    """Figures that are made, but not drawn, which takes half of a prediction: pictures of them are empty.

    A test that looks at what a picture shows is marked `drawn`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if request.node.get_closest_marker("drawn") is None:
        monkeypatch.setattr(FigureCanvasAgg, "draw", FigureCanvasAgg.get_renderer)


@pytest.fixture
def untrained(monkeypatch):
    """Trainings that do all but their steps, for tests of what a run keeps, tells and goes on with."""
    from isonet_scipion.engine.learning import epoch

    monkeypatch.setattr(epoch, "_fitted", lambda *_: epoch.Losses(0.5, 0.5))


@pytest.fixture
def run(tmp_path, monkeypatch, capfd, eager, blank):
    """Run an isonet-engine command in an empty folder: returns its exit status and standard error."""
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments):
        capfd.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        return status, capfd.readouterr().err

    return run_command


def make_tomogram(path, shape=SHAPE, seed=0, voxel_size=12.0):
    """Write a tomogram of cubes in noise, without its missing wedge and with an origin; returns its voxels."""
    rng = np.random.default_rng(seed)
    data = rng.normal(100, 3, shape).astype(np.float32)
    for _ in range(20):
        corner = [int(rng.integers(0, n - 6)) for n in shape]
        data[tuple(slice(c, c + 6) for c in corner)] -= 20
    spectrum = np.fft.fftn(data)
    kz, kx = np.fft.fftfreq(shape[0])[:, None, None], np.fft.fftfreq(shape[2])
    data = np.fft.ifftn(spectrum * measured(kz, kx, TiltRange())).real.astype(np.float32)
    write_volume(path, data, voxel_size)
    with mrcfile.open(path, "r+") as mrc:
        mrc.header.origin = (-10.0, 20.0, 30.0)
    return data


def set_cells(table, index, **cells):
    """Type into a row of a table."""
    star = read_star(table)
    for label, value in cells.items():
        star.set(star.rows[index], label, value)
    write_star(table, star)


@pytest.fixture
def project(run, tmp_path):
    """A folder with one tomogram and its table."""
    make_tomogram(tmp_path / "tomoset" / "TS.1_bin4.mrc")
    assert run("prepare_star", "tomoset", "--pixel_size", 12, "--defocus=20000", "--number_subtomos", 6)[0] == 0
    return tmp_path
