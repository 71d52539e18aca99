"""The hidden-wedge measure of a one-pass training: what it says, where it is kept, and when it stops the run."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.io.mrc import write_volume  # noqa: E402
from isonet_scipion.engine.learning.one_pass import OnePass  # noqa: E402
from isonet_scipion.engine.learning.unseen_boxes import UnseenBoxes  # noqa: E402
from isonet_scipion.engine.measure.hidden_wedge import WedgeMeasure  # noqa: E402
from isonet_scipion.engine.measure.history import EpochRecord, best_end, iterations_without_gain  # noqa: E402
from isonet_scipion.engine.network.model_file import METADATA, STATE_FILE, read_facts  # noqa: E402
from isonet_scipion.engine.simulation.phantom import make_truth  # noqa: E402

RUN = (
    "--method=one-pass", "--cube_size=8", "--filter_base=4", "--unet_depth=1", "--iterations=3", "--epochs=1",
    "--steps_per_epoch=3", "--batch_size=2", "--preprocessing_ncpus=1", "--seed=3",
    "--learning_rate=0.1",
)  # fmt: skip


def ends(*values, losses=None, chance=0.1):
    losses = losses or [1.0] * len(values)
    return [
        EpochRecord(number, 1, 1.0, loss, 0.0, 1.0, *(() if value is None else (value, chance)))
        for number, (value, loss) in enumerate(zip(values, losses), 1)
    ]


def test_a_rise_within_chance_is_no_gain_but_a_slow_one_is_in_the_end():
    assert iterations_without_gain([]) == 0 and iterations_without_gain(ends(0.0)) == 0
    assert iterations_without_gain(ends(0.1, 0.3, 0.5)) == 0
    assert iterations_without_gain(ends(0.1, 0.3, 0.35, 0.2)) == 2
    assert iterations_without_gain(ends(0.1, 0.16, 0.22)) == 0
    assert iterations_without_gain(ends(0.1, 0.16, 0.19, 0.15)) == 3


def test_the_validation_loss_counts_only_where_nothing_was_tested():
    assert iterations_without_gain(ends(None, None, None, losses=[3, 1, 2])) == 1
    assert iterations_without_gain(ends(0.1, 0.3, losses=[1, 2])) == 0
    # a run that was begun by a version without the test
    assert iterations_without_gain(ends(None, None, 0.3, 0.2, losses=[1, 2, 3, 4])) == 1
    assert best_end(ends(None, None, None, losses=[3, 1, 2])).iteration == 2
    assert best_end(ends(None, 0.1, 0.4, 0.25, losses=[1, 2, 3, 4])).iteration == 3


def test_of_iterations_that_chance_may_have_parted_the_last_is_named():
    assert best_end(ends(0.1, 0.4, 0.45, 0.36, 0.3)).iteration == 4


@pytest.fixture
def project(tmp_path, run):
    rng = np.random.default_rng(0)
    truth = make_truth((32, 40, 40), 10.0, 1)
    for folder in ("even", "odd"):
        write_volume(tmp_path / folder / "t.mrc", rng.normal(0, 0.5, truth.shape).astype(np.float32) - truth, 10.0)
    write_volume(tmp_path / "tomo" / "t.mrc", -truth, 10.0)
    assert run("prepare_star", "tomo", "--even_folder=even", "--odd_folder=odd")[0] == 0
    return tmp_path


def table(folder):
    with open(Path(folder) / "losses.csv") as file:
        return list(csv.DictReader(file))


def test_a_run_shows_it_in_log_table_picture_and_page_and_keeps_it(project, run):
    status, log = run("refine", "tomograms.star", *RUN, "--epochs=2")
    assert status == 0, log
    rows = table("results")
    assert [bool(row["wedge_correlation"]) for row in rows] == [False, True] * 3
    tested = rows[1::2]
    page = Path("results/report.html").read_text()
    for row in tested:
        value, chance = float(row["wedge_correlation"]), float(row["wedge_chance"])
        assert abs(value) <= 1 and 0 < chance < 1
        assert f"Restored wedge correlation {value:.3f}, chance {chance:.3f}" in log
        told = "" if value >= 3 * chance else ": chance"
        assert f"<td>{value:.3f} &plusmn; {chance:.3f}{told}</td>" in page
    assert any(float(row["wedge_correlation"]) for row in tested)
    highest = max(tested, key=lambda row: float(row["wedge_correlation"]))
    least = float(highest["wedge_correlation"]) - float(highest["wedge_chance"])
    best = [row for row in tested if float(row["wedge_correlation"]) >= least][-1]
    assert f"within chance: {float(best['wedge_correlation']):.3f}, iteration {best['iteration']}." in log
    assert run("refine", "tomograms.star", *RUN, "--epochs=2", "--iterations=4")[0] == 0
    assert [row["wedge_correlation"] for row in table("results")[:6]] == [row["wedge_correlation"] for row in rows]
    assert table("results")[7]["wedge_correlation"]


def test_state_of_a_version_without_it_is_gone_on_with(project, run):
    assert run("refine", "tomograms.star", *RUN, "--iterations=1")[0] == 0
    state = Path("results") / STATE_FILE
    with zipfile.ZipFile(state) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(content[METADATA])
    for record in metadata["progress"]["history"]:
        del record["wedge_correlation"], record["wedge_chance"]
    with zipfile.ZipFile(state, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, json.dumps(metadata) if name == METADATA else data)
    status, log = run("refine", "tomograms.star", *RUN, "--iterations=2")
    assert status == 0 and "Going on with iteration 2" in log, log
    assert [bool(row["wedge_correlation"]) for row in table("results")] == [False, True]


def test_a_run_stops_when_it_has_not_risen(project, run, monkeypatch):
    measured = iter([0.2, 0.4, 0.45, 0.41, 0.6])
    monkeypatch.setattr(UnseenBoxes, "restored_wedge", lambda self, network: (next(measured), 0.1))
    status, log = run("refine", "tomograms.star", *RUN, "--iterations=6", "--patience=2")
    assert status == 0 and "Stopped: no gain for 2 iterations." in log, log
    assert "Highest restored wedge correlation, within chance: 0.410, iteration 4." in log
    assert read_facts(Path("results") / STATE_FILE)["progress"]["iteration"] == 5
    assert not Path("results/model_iter05.keras").exists()


def test_without_it_the_validation_loss_stops_and_the_log_says_so(project, run, monkeypatch):
    monkeypatch.setattr(UnseenBoxes, "restored_wedge", lambda self, network: None)
    status, log = run("refine", "tomograms.star", *RUN, "--iterations=1")
    assert status == 0 and "the validation loss counts instead" in log and "Smallest validation loss" in log, log


def test_a_training_that_made_its_start_worse_names_what_to_correct_with(project, run, monkeypatch):
    start = "start/model_iter01.keras"
    small = ("--preprocessing_ncpus=1", "--seed=1", "--epochs=1", "--steps_per_epoch=1", "--batch_size=2")
    assert run("refine", "tomograms.star", *RUN[:4], *small, "--iterations=1", "--result_dir=start")[0] == 0
    measures = iter([WedgeMeasure(0.4, 0.1), WedgeMeasure(0.3, 0.1), WedgeMeasure(0.35, 0.1), WedgeMeasure(0.45, 0.1)])
    monkeypatch.setattr(OnePass, "test", lambda self: next(measures))
    arguments = ("refine", "tomograms.star", *RUN[:2], *small, f"--pretrained_model={start}")
    status, log = run(*arguments, "--iterations=1")
    assert status == 0 and "The model it starts from: restored wedge correlation 0.400, chance 0.100" in log, log
    assert "(correlation 0.300)" in log and f"started from (0.400): correct with {start}." in log, log
    # gone on with, it knows its start without testing it again
    status, log = run(*arguments, "--iterations=2")
    assert status == 0 and "(correlation 0.350)" in log and f"correct with {start}." in log, log
    assert "The model it starts from" not in log
    status, log = run(*arguments, "--iterations=3")
    assert status == 0 and "correct with" not in log, log
    assert read_facts(Path("results") / STATE_FILE)["progress"]["start_wedge"] == 0.4


def test_without_a_model_to_start_from_there_is_none_to_go_back_to(project, run):
    status, log = run("refine", "tomograms.star", *RUN)
    assert status == 0 and "starts from" not in log and "correct with" not in log, log
    assert read_facts(Path("results") / STATE_FILE)["progress"]["start_wedge"] is None
