"""Training runs: repeatable, resumable, right for each tilt range."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from matplotlib.image import imread

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import Star, write_star
from isonet_scipion.engine.learning import iterative
from isonet_scipion.engine.learning.forecast import estimate_bytes, model_bytes
from isonet_scipion.engine.learning.noise_schedule import noise_level
from isonet_scipion.engine.learning.watchers import LossTable
from isonet_scipion.engine.measure.history import EpochRecord, require_convergence
from isonet_scipion.engine.network.model_file import STATE_FILE, load_model, read_facts
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.physics.withheld_tilts import narrowed, withheld_part

SMALL = (
    "--filter_base=2", "--unet_depth=1", "--convs_per_depth=2", "--iterations=3", "--epochs=2", "--steps_per_epoch=4",
    "--batch_size=2", "--noise_level=0.1", "--noise_start_iter=2", "--preprocessing_ncpus=2",
)  # fmt: skip
RECORD = "refine_iter02.json"
# where what is learned is of no consequence
QUICK = (*SMALL, "--epochs=1", "--steps_per_epoch=1", "--batch_normalization=False", "--drop_out=0")


@pytest.fixture
def subtomograms(tmp_path):
    """A table of four subtomograms of two tilt ranges."""
    star, rng = Star([]), np.random.default_rng(0)
    for number in range(4):
        path = tmp_path / "subtomo" / f"s{number}.mrc"
        data = rng.normal(0, 1, (24, 24, 24)).astype(np.float32)
        data[6:12, 6:14, 8:12] -= 5
        write_volume(path, data, 10.0)
        row = {}
        star.rows.append(row)
        tilt = (-60.0, 60.0) if number < 2 else (-30.0, 66.0)
        values = {"rlnImageName": path, "rlnCubeSize": 16, "rlnPixelSize": 10.0}
        values |= {"rlnTiltMin": tilt[0], "rlnTiltMax": tilt[1]}
        for label, value in values.items():
            star.set(row, label, value)
    write_star(tmp_path / "subtomo.star", star)
    return tmp_path


def weights(path):
    return load_model(path)[0].get_weights()


def assert_same_weights(first, second, tolerance):
    for a, b in zip(weights(first), weights(second)):
        np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.mark.traced
def test_same_seed_same_model(subtomograms, run):
    for name in "ab":
        status, log = run("refine", "subtomo.star", *SMALL, "--seed=5", "--iterations=2", f"--result_dir={name}")
        assert status == 0, log
        assert "Disk space" in log and "epoch 2/2: loss" in log
    assert_same_weights("a/model_iter02.keras", "b/model_iter02.keras", 0)
    with open("a/losses.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["iteration"]), int(row["epoch"])) for row in rows] == [(i, e) for i in (1, 2) for e in (1, 2)]
    assert [float(row["noise_level"]) for row in rows] == [0, 0, 0.1, 0.1]
    metadata = load_model("a/model_iter02.keras")[1]
    expected = {"tilt_min": -60, "tilt_max": 66, "voxel_size": 10, "iteration": 2, "cube_size": 16}
    assert expected.items() <= metadata.as_dict().items()


@pytest.mark.usefixtures("untrained")
def test_other_seed_other_model(subtomograms, run):
    for seed in (5, 6):
        assert run("refine", "subtomo.star", *QUICK, f"--seed={seed}", "--iterations=1", f"--result_dir={seed}")[0] == 0
    with pytest.raises(AssertionError):
        assert_same_weights("5/model_iter01.keras", "6/model_iter01.keras", 1e-6)


@pytest.mark.usefixtures("untrained")
def test_steps_follow_from_all_subtomograms(subtomograms, run):
    few = [option for option in SMALL if "steps" not in option]
    status, log = run("refine", "subtomo.star", *few, "--iterations=1", "--epochs=1")
    assert status == 0 and "; 1 iteration x 1 epoch x 12 steps x 2 pairs of " in log  # 6 * 4 subtomograms / 2


# in the second iteration, in the midst of an epoch: steps alone tell a loss
KILLED = """
import os, signal, sys
from isonet_scipion.engine.process.device import choose_devices
choose_devices("-1")
import tensorflow as tf
from isonet_scipion.engine.cli import main
from isonet_scipion.engine.learning.run import Progress
tf.config.run_functions_eagerly(True)
made = iter(range(7))
Progress.advance = lambda *told: told[2:] and next(made, None) is None and os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


def test_killed_run_goes_on_and_ends_in_the_same_model(subtomograms, run):
    few = ("refine", "subtomo.star", *SMALL, "--iterations=2", "--steps_per_epoch=2")
    few += ("--remove_intermediate=True", "--seed=5")
    assert run(*few, "--result_dir=whole")[0] == 0
    killed = [sys.executable, "-c", KILLED, *few, "--result_dir=killed"]
    assert subprocess.run(killed, cwd=subtomograms, stderr=subprocess.DEVNULL).returncode == -signal.SIGKILL
    folder = subtomograms / "killed"
    assert (folder / "model_iter01.keras").exists() and not (folder / "model_iter02.keras").exists()
    status, log = run(*few, "--result_dir=killed")
    assert status == 0 and "Going on with iteration 2 after 0 of its epochs" in log, log
    assert_same_weights(folder / "model_iter02.keras", subtomograms / "whole" / "model_iter02.keras", 1e-6)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_finished_run_goes_on_for_more_iterations_but_not_with_other_settings(subtomograms, run):
    small = (*QUICK, "--seed=5")
    assert run("refine", "subtomo.star", *small, "--iterations=1")[0] == 0
    status, log = run("refine", "subtomo.star", *small, "--learning_rate=0.1")
    assert status == 1 and "results: it holds a run with learning_rate 0.0004, not 0.1" in log
    assert run("refine", "subtomo.star", *small, "--iterations=2", "--result_dir=other")[0] == 0
    # without a seed the stored one is taken
    assert run("refine", "subtomo.star", *QUICK, "--iterations=2")[0] == 0
    assert_same_weights("results/model_iter02.keras", "other/model_iter02.keras", 1e-6)


@pytest.mark.usefixtures("untrained")
def test_finished_run_goes_on_without_options_that_had_no_effect_also_an_earlier_versions(
    subtomograms, run, monkeypatch
):
    quiet = (*QUICK, "--seed=5", "--noise_level=0", "--noise_start_iter=1")
    status, log = run("refine", "subtomo.star", *quiet, "--iterations=1", "--noise_dir=noise")
    assert status == 0 and "noise_dir has no effect without a noise_level above 0." in log, log
    status, log = run("refine", "subtomo.star", *quiet, "--iterations=2")
    assert status == 0 and "Going on with iteration 2" in log, log
    facts = read_facts(Path("results") / STATE_FILE)
    kept = {**facts, "run": {**facts["run"], "noise_dir": "noise"}}
    monkeypatch.setattr("isonet_scipion.engine.learning.run.read_facts", lambda path, remedy: kept)
    status, log = run("refine", "subtomo.star", *quiet, "--iterations=3")
    assert status == 0 and "Going on with iteration 3" in log, log


def test_a_deleted_model_is_written_again_if_it_is_the_last_and_else_not_named_as_the_one_to_take(
    subtomograms, run, monkeypatch
):
    again = ("refine", "subtomo.star", *QUICK, "--seed=5", "--iterations=2")
    assert run(*again)[0] == 0
    first, last, record = (Path("results") / name for name in ("model_iter01.keras", "model_iter02.keras", RECORD))
    before, told = weights(last), record.read_text()
    last.unlink()
    record.unlink()
    status, log = run(*again)
    assert status == 0 and record.read_text() == told, log
    for one, other in zip(weights(last), before):
        np.testing.assert_array_equal(one, other)
    monkeypatch.setattr("isonet_scipion.engine.learning.run.chosen_iteration", lambda *_: 1)
    assert f"Correct with {first}: it restores" in run(*again)[1]
    first.unlink()
    status, log = run(*again)
    assert status == 0 and "Correct with" not in log and f"was deleted: correct with {last}, the last" in log, log


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("is_cut", [True, False])
def test_a_damaged_state_is_told_with_what_to_do_which_helps(subtomograms, run, is_cut):
    assert run("refine", "subtomo.star", *QUICK, "--iterations=1")[0] == 0
    state = Path("results") / STATE_FILE
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 255
    state.write_bytes(content[:-100] if is_cut else content)
    status, log = run("refine", "subtomo.star", *QUICK, "--iterations=2")
    words = "Delete it, and give the last refine_iterNN.json beside it, if any, as continue_from; or give another"
    assert status == 1 and f"error: results/{STATE_FILE}: it" in log and words in log, log
    state.unlink()
    status, log = run("refine", "subtomo.star", "--continue_from=results/refine_iter01.json", "--iterations=2")
    assert status == 0 and Path("results/model_iter02.keras").exists(), log


@pytest.mark.usefixtures("untrained")
def test_continue_from_restores_all_settings_that_are_not_given_anew(subtomograms, run):
    assert run("refine", "subtomo.star", *QUICK, "--epochs=2", "--iterations=1", "--seed=5")[0] == 0
    anew = ("--continue_from=results/refine_iter01.json", "--iterations=2", "--epochs=1")
    status, log = run("refine", "subtomo.star", *anew)
    assert status == 0, log
    stored = json.loads(Path("results/refine_iter02.json").read_text())
    assert (stored["filter_base"], stored["batch_size"], stored["steps_per_epoch"], stored["seed"]) == (2, 2, 1, 5)
    assert (stored["epochs"], stored["noise_level"], len(stored["losses"])) == (1, [0.1], 1)


@pytest.mark.usefixtures("untrained")
def test_continue_from_with_another_shape_of_the_network_is_told_before_work_starts(subtomograms, run):
    assert run("refine", "subtomo.star", *QUICK, "--seed=5", "--iterations=1")[0] == 0
    again = ("refine", "subtomo.star", "--continue_from=results/refine_iter01.json", "--iterations=2")
    for folder in ("results", "other"):
        status, log = run(*again, "--filter_base=4", f"--result_dir={folder}")
        words = "results/model_iter01.keras: its network has another shape: filter_base 2 (the run's: 4). Leave these"
        assert status == 1 and words in log and not Path("other").exists(), log


@pytest.mark.usefixtures("untrained")
def test_a_run_that_has_nothing_left_to_train_says_so(subtomograms, run):
    words = "Nothing is left to train up to iteration 1: raise iterations to go on."
    assert words not in run("refine", "subtomo.star", *QUICK, "--seed=5", "--iterations=1")[1]
    status, log = run("refine", "subtomo.star", "--continue_from=results/refine_iter01.json")
    assert status == 0 and words in log, log


@pytest.mark.usefixtures("untrained")
@pytest.mark.drawn
def test_estimates_are_written_dark_or_not_at_all(subtomograms, run):
    assert run("refine", "subtomo.star", *QUICK, "--iterations=2")[0] == 0
    few = ("--result_dir=few", "--remove_intermediate=True")
    assert run("refine", "subtomo.star", *QUICK, "--iterations=2", *few)[0] == 0
    for iteration in ("00", "01"):
        estimate = open_volume(f"results/s0_iter{iteration}.mrc")
        source = open_volume("subtomo/s0.mrc").data
        assert np.corrcoef(estimate.data.ravel(), source.ravel())[0, 1] > 0.6
        np.testing.assert_allclose(np.percentile(-estimate.data, [4, 96]), [0, 1], atol=1e-4)
    assert not list(Path("few").glob("*.mrc"))
    assert Path("few/losses.png").stat().st_size > 5000


@pytest.mark.usefixtures("untrained")
@pytest.mark.drawn
def test_page_of_the_training_shows_losses_and_slices_of_each_iteration(subtomograms, run):
    assert run("refine", "subtomo.star", *QUICK, "--iterations=2")[0] == 0
    page = Path("results/report.html").read_text()
    assert page.count("data:image/png;base64,") == 4  # losses, and slices before and after each iteration
    assert "<td>2</td><td>0.1</td>" in page and "http" not in page and "After each iteration: subtomogram s0" in page
    picture = imread("results/slices_iter01.png")
    assert picture.shape[:2] == (24, 3 * 24 + 2 * 2)
    estimate = open_volume("results/s0_iter01.mrc").data  # by the same network, without mirrored borders
    assert np.corrcoef(picture[..., 0][:, 26:50].ravel(), estimate[::-1, 12].ravel())[0, 1] > 0.9
    assert "correlation with the withheld tilts" in page


def test_what_is_withheld_is_in_no_pair_and_no_estimate(subtomograms, run, monkeypatch):
    prepared = []
    prepare = iterative.prepare

    def spied(target, tilt, cube_size):
        prepared.append((target, tilt))
        return prepare(target, tilt, cube_size)

    monkeypatch.setattr(iterative, "prepare", spied)
    few = ("--iterations=1", "--steps_per_epoch=8")
    assert run("refine", "subtomo.star", *QUICK, *few)[0] == 0
    ranges = {narrowed(TiltRange(-60, 60)): TiltRange(-60, 60), narrowed(TiltRange(-30, 66)): TiltRange(-30, 66)}
    assert {tilt for _, tilt in prepared} == set(ranges)
    for target, tilt in prepared:
        # before any training the estimates hold nothing there
        assert np.abs(withheld_part(target, ranges[tilt])).max() < 1e-4 * np.abs(target).max()


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("size", [24, 20])
def test_subtomograms_that_are_replaced_end_the_training(subtomograms, run, monkeypatch, size):
    start = iterative.Iterative.start_iteration

    def replaced(self, state, level, before):
        if state.iteration == 2:
            write_volume("subtomo/s1.mrc", np.ones((size,) * 3, np.float32), 10.0)
        return start(self, state, level, before)

    monkeypatch.setattr(iterative.Iterative, "start_iteration", replaced)
    status, log = run("refine", "subtomo.star", *QUICK)
    assert status == 1 and "subtomo/s1.mrc: it was replaced while the training ran" in log, log
    assert "Traceback" not in log and not Path("results/model_iter02.keras").exists()


@pytest.mark.usefixtures("untrained")
def test_released_model_is_a_start(subtomograms, run, reference):
    settings = ("--filter_base=8", "--iterations=1", "--epochs=1", "--steps_per_epoch=1", "--batch_size=2")
    model = reference / "model_fb8.h5"
    status, log = run("refine", "subtomo.star", *settings, f"--pretrained_model={model}", "--learning_rate=1e-9")
    assert status == 0, log
    trained = [w for w in weights("results/model_iter01.keras") if w.ndim == 5]
    for ours, theirs in zip(trained, [w for w in weights(model) if w.ndim == 5]):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    status, log = run("refine", "subtomo.star", *QUICK, f"--pretrained_model={model}", "--result_dir=other")
    assert status == 1 and "model_fb8.h5: its network has another shape: filter_base 8 (the run's: " in log
    assert "NetworkSettings" not in log and not Path("other").exists()


@pytest.mark.usefixtures("untrained")
def test_a_run_goes_on_however_its_start_model_is_spelled(subtomograms, run, monkeypatch):
    small = (*QUICK, "--seed=5")
    assert run("refine", "subtomo.star", *small, "--iterations=1", "--result_dir=first")[0] == 0
    spelled = ("first/model_iter01.keras", "./first/model_iter01.keras", subtomograms / "first" / "model_iter01.keras")
    for iterations, model in enumerate(spelled, 1):
        status, log = run("refine", "subtomo.star", *small, f"--iterations={iterations}", f"--pretrained_model={model}")
        assert status == 0 and ("Going on with" in log) == (iterations > 1), log
    facts = read_facts(Path("results") / STATE_FILE)
    earlier = {**facts, "run": {**facts["run"], "pretrained_model": "./first/model_iter01.keras"}}
    monkeypatch.setattr("isonet_scipion.engine.learning.run.read_facts", lambda path, remedy: earlier)
    again = ("refine", "subtomo.star", *small, "--iterations=4", "--pretrained_model")
    shutil.copy("first/model_iter01.keras", "other.keras")
    status, log = run(*again, "other.keras")
    assert status == 1 and "results: it holds a run with pretrained_model ./first/model_iter01.keras, not ../oth" in log
    status, log = run(*again, "first/model_iter01.keras")
    assert status == 0 and "Going on with iteration 4" in log, log


@pytest.mark.usefixtures("untrained")
def test_a_start_model_that_was_replaced_since_changes_nothing_in_an_interrupted_run(subtomograms, run, monkeypatch):
    small = (*SMALL, "--steps_per_epoch=1", "--iterations=1")
    for name in ("first", "other"):
        assert run("refine", "subtomo.star", *small, "--epochs=1", f"--result_dir={name}")[0] == 0
    estimated, start = [], iterative.Iterative.start_iteration

    def spied(self, state, level, before):
        estimated.append(weights(before))
        return start(self, state, level, before)

    monkeypatch.setattr(iterative.Iterative, "start_iteration", spied)
    again = ("refine", "subtomo.star", *small, "--pretrained_model=first/model_iter01.keras")
    with monkeypatch.context() as cut:
        cut.setattr(LossTable, "after_epoch", Mock(side_effect=EngineError("", "cut", "")))
        assert "cut" in run(*again)[1]
    shutil.copy("other/model_iter01.keras", "first/model_iter01.keras")
    status, log = run(*again)
    assert status == 0 and "Going on with iteration 1 after 1 of its epochs" in log, log
    for ours, theirs in zip(*estimated):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("untrained")
def test_a_run_goes_on_from_another_working_folder(subtomograms, run, monkeypatch):
    write_volume("noise/n.mrc", np.random.default_rng(0).normal(size=(24, 24, 24)).astype(np.float32), 10.0)
    small = (subtomograms / "subtomo.star", *QUICK, "--seed=5")
    assert run("refine", *small, "--iterations=1", "--noise_dir=noise")[0] == 0
    monkeypatch.chdir(subtomograms / "subtomo")
    elsewhere = ("refine", *small, "--result_dir=../results")
    for iterations, folder in ((2, "../noise"), (3, subtomograms / "noise")):
        status, log = run(*elsewhere, f"--iterations={iterations}", f"--noise_dir={folder}")
        assert status == 0 and f"Going on with iteration {iterations}" in log, log
    shutil.copytree("../noise", "noise")
    status, log = run(*elsewhere, "--iterations=4", "--noise_dir=noise")
    assert status == 1 and "it holds a run with noise_dir" in log and "not ../subtomo/noise" in log, log


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 1.1])
def test_diverging_loss_stops_with_advice(loss):
    history = [EpochRecord(1, 1, 0.1, 0.1, 0.0, 1.0)]
    require_convergence(EpochRecord(1, 2, 0.9, 0.9, 0.0, 1.0), history, 4e-4)
    with pytest.raises(EngineError, match=r"iteration 1 epoch 2.*Lower learning_rate to 0\.0001"):
        require_convergence(EpochRecord(1, 2, loss, 0.1, 0.0, 1.0), history, 4e-4)


def test_run_that_does_not_fit_on_the_disk_is_refused_before_it_starts(subtomograms, run, monkeypatch):
    monkeypatch.setattr("isonet_scipion.engine.process.disk.shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    status, log = run("refine", "subtomo.star", *SMALL)
    assert status == 1 and "results: this needs" in log and "remove_intermediate" in log
    assert not Path("results").exists()
    # 3 iterations' models, twice the state with two more numbers per weight, 4 estimates of 24^3 each
    assert model_bytes(1000, 3) == 4 * 1000 * 9 and estimate_bytes(4, 24, 3) == 4 * 4 * 24**3 * 3


def test_noise_schedule():
    levels, starts = (0.05, 0.1), (3, 5)
    assert [noise_level(iteration, levels, starts) for iteration in range(1, 7)] == [0, 0, 0.05, 0.05, 0.1, 0.1]
    assert noise_level(9, (), ()) == 0
    for bad in (((0.1,), (1, 2)), ((0.1, 0.2), (2, 2)), ((-0.1,), (1,))):
        with pytest.raises(EngineError):
            noise_level(1, *bad)
