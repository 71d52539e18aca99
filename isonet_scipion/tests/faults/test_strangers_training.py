"""Trainings that go on from what a stranger may have made, and what is left beside them."""

import io
import json
import shutil
import zipfile

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.losses import read_losses
from isonet_scipion.engine.learning.state import read_state
from isonet_scipion.tests.faults.conftest import contents, the_error

pytestmark = pytest.mark.usefixtures("untrained")
SMALL = (
    "--filter_base=2", "--unet_depth=1", "--convs_per_depth=2", "--epochs=1", "--steps_per_epoch=1", "--batch_size=2",
    "--seed=3",
)  # fmt: skip
RECORD = {"iteration": 1, "epoch": 1, "loss": 0.5, "val_loss": 0.5, "noise_level": 0.0, "seconds": 1.0}
PROGRESS = {"iteration": 1, "epoch": 1, "batch_size": 2, "history": [RECORD]}
CHANGES = {
    "no progress": None,
    "iteration text": {"iteration": "2"},
    "iteration far": {"iteration": 10**9},
    "iteration 0": {"iteration": 0},
    "epoch negative": {"epoch": -3},
    "epoch float": {"epoch": 1.5},
    "batch 0": {"batch_size": 0},
    "batch text": {"batch_size": "x"},
    "history text": {"history": "abc"},
    "history null": {"history": None},
    "history numbers": {"history": [1, 2]},
    "history empty": {"history": []},
    "loss text": {"history": [{**RECORD, "loss": "x"}]},
    "loss missing": {"history": [{"iteration": 1}]},
    "loss nan": {"history": [{**RECORD, "loss": float("nan")}]},
    "more": {"other": 1},
}


def state_of(epochs, **changes):
    return {"progress": {**PROGRESS, **changes}, "run": {"epochs": epochs}}


@pytest.mark.parametrize("name", CHANGES)
def test_a_state_whose_numbers_do_not_fit_is_one_line(name):
    stored = {} if CHANGES[name] is None else state_of(2, **CHANGES[name])
    with pytest.raises(EngineError, match=r"s\.keras: it is not the state of a training"):
        read_state(stored, "s.keras")


def test_a_state_that_fits_is_read():
    state = read_state(state_of(2), "s.keras")
    assert (state.iteration, state.epoch, state.history[0].loss) == (1, 1, 0.5)
    assert read_state(state_of(1, iteration=2, epoch=0), "s.keras").iteration == 2


def with_metadata(path, change):
    """Change what a .keras of ours tells of itself."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    metadata = json.loads(members["isonet.json"])
    change(metadata)
    members["isonet.json"] = json.dumps(metadata).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)
    path.write_bytes(packed.getvalue())


def test_losses_and_page_that_a_kill_kept_short_are_written_on_resume(scene, run):
    status, log = run("refine", "s.star", *SMALL, "--iterations=1")
    assert status == 0, log
    results = scene / "results"
    whole = {name: (results / name).read_bytes() for name in ("losses.csv", "report.html")}
    # killed after the state was written
    (results / "losses.csv").write_text((results / "losses.csv").read_text().splitlines()[0] + "\n")
    (results / "losses.png").unlink()
    (results / "report.html").unlink()
    assert run("refine", "s.star", *SMALL, "--iterations=1")[0] == 0
    assert (results / "losses.csv").read_bytes() == whole["losses.csv"]
    assert (results / "report.html").read_text().count("<tr>") == whole["report.html"].decode().count("<tr>")
    assert (results / "losses.png").exists()
    assert len(read_losses(results / "losses.csv")) == 1

    # a run that goes on writes where the user says, or beside the file that it goes on from
    shutil.copytree(results, scene / "strangers")
    file = scene / "strangers" / "refine_iter01.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "result_dir": "../outside", "iterations": 2}))
    (scene / "strangers" / "training_state.keras").unlink()
    before = contents(results)
    status, log = run("refine", "s.star", "--continue_from=strangers/refine_iter01.json")
    assert status == 0, log
    assert (scene / "strangers" / "model_iter02.keras").exists()
    assert not (scene.parent / "outside").exists()
    assert contents(results) == before

    # wrong kinds in the state are one line, and nothing is written
    for change in (
        lambda metadata: metadata.pop("run"),
        lambda metadata: metadata["progress"].update(epoch=-3),
        lambda metadata: metadata["progress"].update(history="abc"),
    ):
        state = (results / "training_state.keras").read_bytes()
        with_metadata(results / "training_state.keras", change)
        before = contents(results)
        status, log = run("refine", "s.star", *SMALL, "--iterations=2")
        assert status == 1 and "not the state of a training" in the_error(log)
        assert contents(results) == before
        (results / "training_state.keras").write_bytes(state)


def test_a_batch_that_a_stranger_made_large_is_the_users(scene, run):
    assert run("refine", "s.star", *SMALL, "--iterations=1")[0] == 0
    with_metadata(scene / "results" / "training_state.keras", lambda facts: facts["progress"].update(batch_size=10**9))
    status, log = run("refine", "s.star", *SMALL, "--iterations=2")
    assert status == 0, log
    facts = json.loads(zipfile.ZipFile(scene / "results" / "training_state.keras").read("isonet.json"))
    assert facts["progress"]["batch_size"] == 2


def test_noise_that_is_missing_is_told_before_the_iterations_without(scene, run):
    (scene / "noise").mkdir()
    options = ("--noise_dir=noise", "--noise_level=0.1", "--noise_start_iter=9", "--iterations=9")
    status, log = run("refine", "s.star", *SMALL, *options)
    assert status == 1 and "noise: it holds no .mrc or .rec files" in the_error(log)
    assert not (scene / "results").exists()


@pytest.mark.parametrize("name", ["report.html", "losses.csv"])
def test_foreign_files_in_the_folder_of_a_training_are_kept(scene, run, name):
    (scene / "results").mkdir()
    (scene / "results" / name).write_text("<html>the user's own</html>")
    before = contents(scene)
    status, log = run("refine", "s.star", *SMALL, "--iterations=1")
    assert status == 1 and name in the_error(log)
    assert contents(scene) == before


def test_a_foreign_page_beside_corrected_tomograms_is_kept(scene, run):
    (scene / "corrected_tomos").mkdir()
    (scene / "corrected_tomos" / "report.html").write_text("<html>the user's own</html>")
    before = contents(scene)
    status, log = run("predict", "t.star", "m.keras", "--cube_size=20", "--crop_size=40")
    assert status == 1 and "report.html" in the_error(log)
    assert contents(scene) == before
