"""Kills at seeded random moments: nothing half-written, the repeated command succeeds with equal results.

`ISONET_KILLS=20 pytest .../test_signals.py` makes 20 kills of each kind in each stage; without it there are two.
"""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress

import numpy as np
import psutil
import pytest

from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.io.volume import read_float
from isonet_scipion.engine.network.model_file import load_model
from isonet_scipion.engine.process.signals import Terminated, ending_on_signals
from isonet_scipion.tests.faults.conftest import SHAPE, WarmEngine, engine, make_project, python, warm_engine

KILLS = int(os.environ.get("ISONET_KILLS", "1"))
SECONDS_TO_END = 30.0
LARGER = (32, 96, 96)
NETWORK = (
    "--filter_base=2", "--unet_depth=1", "--convs_per_depth=2", "--batch_size=2", "--preprocessing_ncpus=1", "--seed=3",
)  # fmt: skip
STAGES = {
    "deconv": ("t.star", "--chunk_size=16", "--ncpu=1"),
    "make_mask": ("t.star",),
    "extract": ("t.star", "--cube_size=8", "--crop_size=16", "--seed=1"),
    "resize": ("t.star", "--apix=7"),
    "predict": ("t.star", "m.keras", "--cube_size=20", "--crop_size=40"),
    "refine": ("s.star", "--iterations=3", "--epochs=2", "--steps_per_epoch=3", *NETWORK),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """For each stage: its project before, its results after an undisturbed run, and how many seconds that took."""
    made = {}

    def get(stage):
        if stage not in made:
            start = tmp_path_factory.mktemp("start")
            make_project(start, *((2, SHAPE) if stage == "predict" else (4, LARGER)))  # it takes longest
            done = tmp_path_factory.mktemp("done") / stage
            shutil.copytree(start, done)
            ready = warm_engine()  # so that what is killed is at work, not at its imports
            started = time.monotonic()
            process = WarmEngine(ready, done, stage, *STAGES[stage])
            log = process.communicate(timeout=300)[1]
            assert process.returncode == 0, log
            made[stage] = start, done, time.monotonic() - started
        return made[stage]

    return get


def require_whole(folder):
    """Every file under its final name can be read to its end."""
    for path in folder.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue  # what lies in a temporary folder has not got its final name yet
        if path.suffix == ".mrc":
            read_float(open_volume(path))
        elif path.suffix == ".keras":
            load_model(path)
        elif path.suffix == ".star":
            star = read_star(path)
            for row in star.rows:
                for label in ("rlnDeconvTomoName", "rlnMaskName", "rlnCorrectedTomoName", "rlnImageName"):
                    name = star.text(row, label)
                    assert name is None or (folder / name).is_file(), f"{path}: {name}"
        elif path.suffix == ".png":
            assert path.read_bytes()[-8:-4] == b"IEND", path


def require_equal(folder, expected):
    """The same files as an undisturbed run, volumes, weights and tables with the same content."""
    names = [sorted(str(path.relative_to(root)) for path in root.rglob("*")) for root in (folder, expected)]
    assert names[0] == names[1]
    for name in names[0]:
        ours, theirs = folder / name, expected / name
        if ours.suffix == ".mrc":
            np.testing.assert_allclose(open_volume(ours).data, open_volume(theirs).data, atol=1e-4, err_msg=name)
        elif ours.suffix == ".keras":
            for a, b in zip(load_model(ours)[0].get_weights(), load_model(theirs)[0].get_weights()):
                np.testing.assert_allclose(a, b, atol=1e-5, err_msg=name)
        elif ours.suffix == ".star":
            one, other = (read_star(path).rows for path in (ours, theirs))
            for row in one + other:
                row.pop("isonetCorrectedFrom", None)  # it tells the files' times
            assert one == other, name


@pytest.mark.timeout(480 + 120 * KILLS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["KILL", "TERM"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_is_repeated_with_equal_results(undisturbed, tmp_path, stage, number):
    start, done, seconds = undisturbed(stage)
    rng = np.random.default_rng([number, list(STAGES).index(stage), KILLS])
    killed = 0
    for attempt in range(KILLS):
        folder = tmp_path / str(attempt)
        shutil.copytree(start, folder)
        process = WarmEngine(warm_engine(), folder, stage, *STAGES[stage])
        time.sleep(seconds * rng.uniform(0.1, 0.98))
        children = []
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        sent = time.monotonic()
        log = process.communicate(timeout=60)[1]
        killed += process.returncode != 0
        if number == signal.SIGTERM:
            assert time.monotonic() - sent < SECONDS_TO_END
            assert process.returncode in (0, 143, -signal.SIGTERM), log
            assert "Traceback" not in log, log
            if process.returncode == 143:  # clean-up included
                assert [path.name for path in folder.rglob(".*")] == []
        else:
            assert process.returncode in (0, -signal.SIGKILL), log
        assert psutil.wait_procs(children, timeout=SECONDS_TO_END)[1] == []
        require_whole(folder)
        again = WarmEngine(warm_engine(), folder, stage, *STAGES[stage])
        log = again.communicate(timeout=300)[1]
        assert again.returncode == 0, log
        assert [path.name for path in folder.rglob(".*")] == []
        require_equal(folder, done)
        shutil.rmtree(folder)
    print(f"{stage}: {KILLS} signals {number}, {killed} of them before the end")


MAKING = """
import os, signal, sys
from isonet_scipion.engine import cli
from isonet_scipion.engine.io import files
number, mkdir = int(sys.argv[1]), os.mkdir
def mkdir_and_signal(path, *arguments):
    mkdir(path, *arguments)
    if ".partial" in str(path):  # it is there, but nobody knows yet whose it is
        os.kill(os.getpid(), number)
os.mkdir = mkdir_and_signal
sys.exit(cli.main(["prepare_star", ".", "--output_star=new.star"]))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_while_a_temporary_file_is_made_leaves_none(scene, number, status):
    before = set(scene.rglob("*"))
    process = python(scene, MAKING, str(int(number)))
    log = process.communicate(timeout=60)[1]
    assert process.returncode == status, log
    assert set(scene.rglob("*")) == before


def test_a_signal_is_told_even_if_compiled_code_puts_an_error_in_its_place():
    with pytest.raises(Terminated), ending_on_signals(lambda: None):  # noqa: PT012  what happens inside is the test
        try:
            signal.raise_signal(signal.SIGTERM)
        except Terminated:
            raise TypeError("Failed to convert elements to Tensor") from None


def test_ctrl_c_ends_a_training_with_130(scene):
    process = engine(scene, "refine", "s.star", "--iterations=50", *NETWORK)
    until = time.monotonic() + 120
    while not (scene / "results" / "losses.csv").exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    log = process.communicate(timeout=60)[1]
    assert time.monotonic() - sent < SECONDS_TO_END
    assert process.returncode == 130, log
    assert log.rstrip().endswith("isonet-engine: error: interrupted; what was finished is kept"), log
    assert [path.name for path in scene.rglob(".*")] == []


BUSY = """
import ctypes, threading
from isonet_scipion.engine.process import signals
from isonet_scipion.engine.io.files import alone, discard_temporaries, replacing
signals.GRACE = 0.5
with signals.ending_on_signals(discard_temporaries), alone("out"), replacing("file.txt") as temporary:
    mutex, lock = ctypes.create_string_buffer(64), ctypes.CDLL(None).pthread_mutex_lock
    lock(mutex)
    threading.Timer(0.5, print, ["begun"], {"flush": True}).start()  # when the lock is waited for
    lock(mutex)  # by who has it, and no signal ends that
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_step_that_python_can_not_interrupt_is_ended_too(tmp_path, number, status):
    process = python(tmp_path, BUSY, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "begun\n"
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock", ".partial"]
    process.send_signal(number)
    _, log = process.communicate(timeout=60)
    assert process.returncode == status, log
    assert "what was finished is kept" in log
    assert list(tmp_path.iterdir()) == []
