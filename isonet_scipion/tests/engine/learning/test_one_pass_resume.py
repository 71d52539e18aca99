"""One-pass runs that go on from a refine_iterNN.json, and on another backend."""

import csv
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

import keras  # noqa: E402

from isonet_scipion.engine.io.mrc import write_volume  # noqa: E402
from isonet_scipion.engine.io.star import read_star, write_star  # noqa: E402
from isonet_scipion.engine.learning.one_pass import LearningRate, OnePass  # noqa: E402
from isonet_scipion.engine.learning.run import Run  # noqa: E402
from isonet_scipion.engine.network.model_file import STATE_FILE, load_model, read_facts  # noqa: E402
from isonet_scipion.tests.engine.conftest import set_cells  # noqa: E402

RUN = (
    "--method=one-pass", "--cube_size=8", "--filter_base=4", "--unet_depth=1", "--convs_per_depth=2",
    "--iterations=4", "--epochs=2", "--steps_per_epoch=2", "--batch_size=2", "--preprocessing_ncpus=1", "--seed=3",
    "--learning_rate=0.1", "--denoiser=0",  # at such a rate a denoiser diverges
)  # fmt: skip
BARE = ("--batch_normalization=False", "--drop_out=0")
QUICK = (*RUN, "--epochs=1", "--steps_per_epoch=1", *BARE)


@pytest.fixture
def project(tmp_path, run):
    rng = np.random.default_rng(0)
    for folder in ("tomo", "even", "odd"):
        write_volume(tmp_path / folder / "t.mrc", rng.normal(size=(32, 40, 40)).astype(np.float32), 10.0)
    assert run("prepare_star", "tomo", "--even_folder=even", "--odd_folder=odd")[0] == 0


def weights(path):
    return load_model(path)[0].get_weights()


def table(folder):
    with open(Path(folder) / "losses.csv") as file:
        return list(csv.DictReader(file))


def test_continue_from_goes_on_with_the_state_beside_it_to_the_same_weights(project, run, monkeypatch):
    options = ("refine", "tomograms.star", *RUN, "--epochs=1", "--iterations=3")
    assert run(*options)[0] == 0
    with monkeypatch.context() as cut:
        cut.setattr(Run, "_has_settled", lambda self: self.state.iteration == 2)
        assert run(*options, "--result_dir=cut")[0] == 0
    assert read_facts(Path("cut") / STATE_FILE)["progress"]["iteration"] == 2
    status, log = run("refine", "tomograms.star", "--continue_from=cut/refine_iter01.json")
    assert status == 0 and "Going on with iteration 2 after 0 of its epochs" in log, log
    for ours, theirs in zip(weights("cut/model_iter03.keras"), weights("results/model_iter03.keras")):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for row, other in zip(table("cut"), table("results")):
        assert float(row["withheld_correlation"]) == pytest.approx(float(other["withheld_correlation"]), abs=1e-3)
    assert float(other["withheld_correlation"])


def test_a_run_that_is_cut_trains_its_denoiser_to_the_same_weights(project, run, monkeypatch):
    options = ("refine", "tomograms.star", *RUN[:-2], "--epochs=1", "--learning_rate=0.004", "--denoiser=2")
    assert run(*options)[0] == 0
    goes_on = None
    for cut_before in (2, 4, None):  # the denoiser is trained from iteration 3 on
        with monkeypatch.context() as cut:
            cut.setattr(Run, "_has_settled", lambda self, end=cut_before: self.state.iteration == end)
            status, log = run(*options, "--result_dir=cut")
        assert status == 0 and (not goes_on or f"Going on with iteration {goes_on} after 0 of its epochs" in log), log
        goes_on = cut_before
    for number in (3, 4):
        for ours, theirs in zip(*(weights(f"{name}/model_iter0{number}.keras") for name in ("cut", "results"))):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert [row["with_denoiser"] for row in table("cut")] == ["0"] * 2 + ["1"] * 2


def test_continue_from_in_another_folder_starts_from_the_model_with_all_settings(project, run, monkeypatch):
    assert run("refine", "tomograms.star", *RUN, "--epochs=1")[0] == 0
    rates, starts = [], []
    start, called = OnePass.start_iteration, LearningRate.__call__

    def spied(self, *how):
        batches = start(self, *how)
        starts.append(self.network.get_weights())
        # 4 steps are left of the run's 8
        rates.extend(float(called(self.rate, step)) for step in range(5) if len(starts) == 1)
        return batches

    monkeypatch.setattr(OnePass, "start_iteration", spied)
    status, log = run("refine", "tomograms.star", "--continue_from=results/refine_iter02.json", "--result_dir=other")
    assert status == 0 and "halves" in log, log
    for ours, theirs in zip(starts[0], weights("results/model_iter02.keras")):
        np.testing.assert_array_equal(ours, theirs)
    assert [row["iteration"] for row in table("other")] == ["3", "4"]
    assert not Path("other/model_iter01.keras").exists() and Path("other/model_iter04.keras").exists()
    # what it starts from counts as the iteration before
    for ours, theirs in zip(weights("other/model_iter02.keras"), weights("results/model_iter02.keras")):
        np.testing.assert_array_equal(ours, theirs)
    # a new optimiser: the rate rises again, then is that of the run's later steps
    whole = keras.optimizers.schedules.CosineDecay(0.0, 7, warmup_target=0.1, warmup_steps=1)
    assert rates[0] == 0
    np.testing.assert_allclose(rates[1:], [float(whole(4 + step)) for step in range(1, 5)], rtol=1e-5)
    assert rates[1] < 0.5 * 0.1 and rates[4] < 1e-6
    # what was finished is gone on with from its own state
    status, log = run("refine", "tomograms.star", "--continue_from=results/refine_iter02.json", "--result_dir=other")
    assert status == 0 and "Going on with iteration 5" in log and len(table("other")) == 2


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_jax_computes_what_tensorflow_does(project, run):
    assert run("refine", "tomograms.star", *QUICK, "--iterations=2", "--result_dir=start")[0] == 0
    # without dropout: the backends' random numbers differ
    steps = ("--iterations=3", "--epochs=1", "--steps_per_epoch=1", "--drop_out=0")
    more = ("refine", "tomograms.star", *RUN, "--pretrained_model=start/model_iter02.keras", *steps)
    status, log = run(*more, "--result_dir=tensorflow")
    assert status == 0, log
    done = subprocess.run(
        [sys.executable, "-m", "isonet_scipion.engine", *more, "--result_dir=jax"],
        env={**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_backend_optimization_level=0"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours, theirs = table("jax"), table("tensorflow")
    assert len(ours) == 3
    # the first step, from the same weights, and two more that are made after updates
    for row, other in zip(ours, theirs):
        for column in ("loss", "val_loss"):
            assert float(row[column]) == pytest.approx(float(other[column]), rel=1e-4 if row is ours[0] else 1e-2)
        assert float(row["withheld_correlation"]) == pytest.approx(float(other["withheld_correlation"]), abs=0.01)
    assert float(theirs[-1]["withheld_correlation"])


@pytest.mark.parametrize("method", ["one-pass", "iterative"])
def test_float16_is_trained_with_a_scaled_loss_to_the_losses_of_float32(project, run, method):
    star, common = "tomograms.star", [one for one in RUN if not one.startswith("--iterations")]
    if method == "iterative":
        set_cells(star, 0, rlnNumberSubtomo=4)  # each gets an estimate
        assert run("extract", star, "--cube_size=8", "--crop_size=16", "--use_deconv_tomo=False")[0] == 0
        star, common[:2] = "subtomo.star", ["--method=iterative"]
    common += ["--iterations=1", "--drop_out=0", "--learning_rate=0.001"]
    try:
        for precision in ("float32", "mixed_float16"):
            status, log = run("refine", star, *common, f"--precision={precision}", f"--result_dir={precision}")
            assert status == 0, log
    finally:
        keras.config.set_dtype_policy("float32")
    for ours, theirs in zip(table("mixed_float16"), table("float32")):
        assert float(ours["loss"]) == pytest.approx(float(theirs["loss"]), rel=0.02)
    with zipfile.ZipFile(Path("mixed_float16") / STATE_FILE) as state:
        state.extract("model.weights.h5")
    with h5py.File("model.weights.h5") as weights_file:
        scale = [float(values[()]) for values in weights_file["optimizer/vars"].values() if values.shape == ()]
    assert 2**15 in scale  # Keras's first scale of the loss, which no step made too large


@pytest.mark.usefixtures("untrained")
def test_what_was_made_is_not_overwritten_and_new_options_are_not_ignored(project, run):
    assert run("refine", "tomograms.star", *QUICK, "--iterations=2", "--gpuID=-1")[0] == 0
    made = Path("results/model_iter02.keras").read_bytes()
    # other options from iteration 1 on, in the same folder
    again = ("refine", "tomograms.star", "--continue_from=results/refine_iter01.json")
    status, log = run(*again, "--learning_rate=0.01")
    words = "model_iter02.keras: it is there already, of a later iteration than 1, from which this run goes on. Give"
    assert status == 1 and words in log
    gpus = "results/refine_iter01.json: its run was given --gpuID -1. All GPUs that are there are taken unless it is"
    assert gpus in log and "was given" not in run(*again, "--learning_rate=0.01", "--gpuID=-1")[1]
    assert Path("results/model_iter02.keras").read_bytes() == made
    # no iteration left
    status, log = run("refine", "tomograms.star", "--continue_from=results/refine_iter02.json", "--result_dir=other")
    assert status == 1 and "iterations: 2 are finished already. Give more than 2." in log
    assert not list(Path("other").iterdir())
    # a run that is gone on with
    assert run(*again, "--result_dir=other")[0] == 0
    status, log = run(*again, "--result_dir=other", "--filled_weight=0.9")
    assert status == 1 and "it holds a run with filled_weight 0.2, not 0.9" in log
    status, log = run(*again, "--result_dir=other", "--patience=5", "--iterations=3")
    assert status == 0 and "Going on with iteration 3" in log, log
    assert run(*again, "--patience=-1")[0] == 2


@pytest.mark.usefixtures("untrained")
def test_another_start_is_told_by_its_name_not_by_the_learning_rate_that_follows_from_it(project, run):
    quick = [one for one in (*QUICK, "--iterations=1") if "learning_rate" not in one]
    assert run("refine", "tomograms.star", *quick)[0] == 0
    shutil.copy("results/model_iter01.keras", "start.keras")
    status, log = run("refine", "tomograms.star", *quick, "--pretrained_model=start.keras")
    assert status == 1 and "it holds a run with pretrained_model None, not ../start.keras." in log, log


@pytest.mark.usefixtures("untrained")
def test_a_run_is_not_gone_on_with_in_its_folder_on_other_tomograms(project, run, tmp_path):
    assert run("refine", "tomograms.star", *QUICK, "--iterations=1")[0] == 0
    write_volume("other/o.mrc", np.random.default_rng(9).normal(size=(32, 40, 40)).astype(np.float32), 10.0)
    write_volume("other/p.mrc", np.random.default_rng(8).normal(size=(32, 40, 40)).astype(np.float32), 10.0)
    assert run("prepare_star", "other", "--output_star=other.star")[0] == 0
    again = ("refine", "other.star", "--continue_from=results/refine_iter01.json", "--iterations=2")
    status, log = run(*again)
    assert status == 1 and "results: it holds a training on other data (" in log, log
    assert not Path("results/model_iter02.keras").exists()
    status, log = run(*again, "--result_dir=new")
    assert status == 0 and Path("new/model_iter02.keras").exists(), log
    status, log = run("refine", "tomograms.star", *again[2:], "--filled_weight=0.9", "--cube_size=12")
    assert status == 0 and Path("results/model_iter02.keras").exists(), log


@pytest.mark.usefixtures("untrained")
def test_an_interrupted_continuation_is_known_by_its_file_however_that_is_spelled(project, run, monkeypatch, tmp_path):
    table_file = tmp_path / "tomograms.star"
    whole = read_star(table_file)
    names = ("rlnMicrographName", *(label for label in whole.labels if "Half" in label))
    whole.rows[0].update({label: str(tmp_path / whole.rows[0][label]) for label in names})
    write_star(table_file, whole)
    assert run("refine", table_file, *QUICK, "--iterations=2")[0] == 0
    begun = ("refine", table_file, "--iterations=4", "--continue_from")
    with monkeypatch.context() as cut:
        cut.setattr(Run, "_has_settled", lambda self: self.state.iteration == 4)
        assert run(*begun, "results/refine_iter02.json")[0] == 0
    for folder, start in (
        (".", "./results/refine_iter02.json"),
        (".", tmp_path / "results" / "refine_iter02.json"),
        ("tomo", "../results/refine_iter02.json"),
    ):
        monkeypatch.chdir(tmp_path / folder)
        status, log = run(*begun, start)
        assert status == 0 and "Going on with iteration" in log, log
    monkeypatch.chdir(tmp_path)
    assert len(table("results")) == 4
    # of an earlier version, which kept the name as it was given
    facts = read_facts(Path("results") / STATE_FILE)["run"]
    assert facts["continue_from"] == "refine_iter02.json"
    monkeypatch.setattr(
        "isonet_scipion.engine.learning.run.read_facts",
        lambda path, remedy: {**read_facts(path), "run": {**facts, "continue_from": "results/refine_iter02.json"}},
    )
    status, log = run(*begun, "./results/refine_iter02.json")
    assert status == 0 and "Going on with iteration 5" in log, log
    # another file, though of the same content
    shutil.copytree("results", "other", ignore=shutil.ignore_patterns(STATE_FILE))
    status, log = run(*begun, "other/refine_iter02.json", "--result_dir=results")
    assert status == 1 and "it is there already, of another run" in log, log


TINY = ("--epochs=2", "--steps_per_epoch=1", *BARE)


def places(folder="results"):
    return [(int(row["iteration"]), int(row["epoch"])) for row in table(folder)]


@pytest.mark.usefixtures("untrained")
def test_a_run_goes_on_with_more_and_with_fewer_epochs(project, run, monkeypatch):
    assert run("refine", "tomograms.star", *RUN, *TINY, "--iterations=1")[0] == 0
    for iteration, epochs in ((1, 3), (2, 1), (3, 2)):
        again = (f"--continue_from=results/refine_iter{iteration:02d}.json", f"--iterations={iteration + 1}")
        status, log = run("refine", "tomograms.star", *again, f"--epochs={epochs}")
        assert status == 0 and f"Going on with iteration {iteration + 1} after 0 of its epochs" in log, log
    assert places() == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 1), (4, 1), (4, 2)]
    # all of them are compared
    runs = []
    chosen = Run._chosen
    monkeypatch.setattr(Run, "_chosen", lambda self: runs.append(self) or chosen(self))
    assert run("refine", "tomograms.star", *again, "--epochs=2")[0] == 0
    assert [(record.iteration, record.epoch) for record in runs[0]._ends()] == [(1, 2), (2, 3), (3, 1), (4, 2)]


@pytest.mark.usefixtures("untrained")
def test_with_fewer_epochs_than_were_made_an_iteration_is_begun_anew(project, run, monkeypatch):
    assert run("refine", "tomograms.star", *RUN, *TINY, "--epochs=1", "--iterations=1")[0] == 0
    again = ("refine", "tomograms.star", "--continue_from=results/refine_iter01.json", "--iterations=2")
    facts = read_facts(Path("results") / STATE_FILE)
    record = {**facts["progress"]["history"][0], "iteration": 2}
    history = [*facts["progress"]["history"], record, {**record, "epoch": 2}]
    cut = {**facts, "run": {**facts["run"], "epochs": 3}}
    cut["progress"] = {**facts["progress"], "iteration": 2, "epoch": 2, "history": history}
    with monkeypatch.context() as changed:
        changed.setattr("isonet_scipion.engine.learning.run.read_facts", lambda path, remedy: cut)
        status, log = run(*again, "--epochs=2")
    assert status == 0 and "Going on" not in log and places() == [(1, 1), (2, 1), (2, 2)], log


@pytest.mark.usefixtures("untrained")
def test_losses_of_the_iterations_before_are_kept_without_the_state(project, run):
    whole = ("refine", "tomograms.star", *RUN, *TINY, "--epochs=1", "--iterations=3")
    assert run(*whole)[0] == 0
    before = table("results")
    (Path("results") / STATE_FILE).unlink()
    status, log = run(*whole, "--iterations=4")
    words = "results/model_iter02.keras: it is there already, but no training_state.keras to go on with. Give the last"
    assert status == 1 and words in log, log
    again = ("refine", "tomograms.star", "--continue_from=results/refine_iter03.json")
    status, log = run(*again, "--iterations=3")
    assert status == 1 and "iterations: 3 are finished already" in log and table("results") == before, log
    for iterations in (4, 5):  # the second goes on with the state of the first
        assert run(*again, f"--iterations={iterations}")[0] == 0
        assert table("results")[:3] == before and places() == [(one, 1) for one in range(1, iterations + 1)]
    # in another folder they are another run's
    assert run(*again, "--iterations=4", "--result_dir=other")[0] == 0
    assert places("other") == [(4, 1)]


@pytest.mark.usefixtures("untrained")
def test_what_continue_from_does_not_go_with_is_told(project, run, tmp_path):
    assert run("refine", "tomograms.star", *RUN, *TINY, "--epochs=1", "--iterations=1")[0] == 0
    again = ("--continue_from=results/refine_iter01.json", "--iterations=2", "--result_dir=other")
    status, log = run("refine", "tomograms.star", *again, "--pretrained_model=builtin")
    assert status == 1 and "pretrained_model: continue_from goes on from its own run's model" in log, log
    assert run("extract", "tomograms.star", "--cube_size=8", "--crop_size=16")[0] == 0
    status, log = run("refine", "subtomo.star", *again)
    words = "continue_from: one-pass trains on a table of tomograms, but subtomo.star is one of subtomograms"
    assert status == 1 and words in log and "or leave out continue_from." in log, log
    assert not Path("other").exists()
    coarse = read_star("tomograms.star")
    coarse.set(coarse.rows[0], "rlnPixelSize", 17.0)
    for label in [label for label in coarse.labels if "Half" in label]:
        del coarse.rows[0][label]
        coarse.labels.remove(label)
    write_volume("coarse.mrc", np.random.default_rng(5).normal(size=(32, 40, 40)).astype(np.float32), 17.0)
    coarse.set(coarse.rows[0], "rlnMicrographName", "coarse.mrc")
    write_star("coarse.star", coarse)
    status, log = run("refine", "coarse.star", *again)
    words = "results/model_iter01.keras: it was trained on or with 10 A per voxel (here 17), half tomograms"
    assert status == 0 and words in log, log
