"""The hidden-wedge measure of a one-pass training: what it says, where it is kept, and when it stops the run."""

import csv
import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.io.mrc import write_volume  # noqa: E402
from isonet_scipion.engine.learning.one_pass_batches import TomogramSource  # noqa: E402
from isonet_scipion.engine.learning.unseen_boxes import BOXES, UnseenBoxes, apart  # noqa: E402
from isonet_scipion.engine.measure.hidden_wedge import TIPPED  # noqa: E402
from isonet_scipion.engine.measure.history import EpochRecord, best_end, iterations_without_gain  # noqa: E402
from isonet_scipion.engine.network.model_file import METADATA, STATE_FILE, read_facts  # noqa: E402
from isonet_scipion.engine.physics.grey_scale import GreyScale  # noqa: E402
from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge  # noqa: E402
from isonet_scipion.engine.sampling.crops import crop  # noqa: E402
from isonet_scipion.engine.sampling.training_positions import set_aside  # noqa: E402
from isonet_scipion.engine.simulation.phantom import make_truth  # noqa: E402

SIDE, TILT = 24, TiltRange(-50.0, 60.0)
RUN = (
    "--method=one-pass", "--cube_size=8", "--filter_base=4", "--unet_depth=1", "--iterations=3", "--epochs=1",
    "--steps_per_epoch=3", "--batch_size=2", "--preprocessing_ncpus=1", "--seed=3",
    "--learning_rate=0.1",
)  # fmt: skip


def tomogram(halves=1, seed=0, tilt=TILT, noise=0.3):
    """A phantom with its wedge missing, and its truth, both protein bright."""
    truth = make_truth((72, 72, 72), 10.0, seed)
    rng = np.random.default_rng(seed)
    volumes = tuple(
        -apply_wedge(truth + rng.normal(0, noise, truth.shape), tilt).astype(np.float32) for _ in range(halves)
    )
    centres = np.stack([rng.integers(SIDE // 2, length - SIDE // 2 + 1, 300) for length in truth.shape], axis=1)
    return TomogramSource("t", volumes, GreyScale(0.0, 1.0), centres, tilt), truth.astype(np.float32)


def idle(volumes):
    return volumes


def blend(boxes, truths, share):
    """A network that knows a share of the truth, in the order in which it is asked."""
    asked = (
        TIPPED.apply(crop(truth, centre, SIDE)) for truth, centres in zip(truths, boxes.centres) for centre in centres
    )
    return lambda volumes: (1 - share) * volumes + share * next(asked)


@pytest.mark.parametrize("halves", [1, 2])
def test_it_rises_with_what_the_network_restores(halves):
    sources, truths = zip(*(tomogram(halves, seed) for seed in range(12)))
    boxes = UnseenBoxes(sources, SIDE)
    rng = np.random.default_rng(1)

    def inventive(volumes):
        return volumes + rng.normal(size=volumes.shape).astype(np.float32)

    nothing, chance = boxes.restored_wedge(idle)
    invented, _ = boxes.restored_wedge(inventive)
    oracle, _ = boxes.restored_wedge(blend(boxes, truths, 1.0))
    assert nothing == 0 and abs(invented) < 4 * chance
    right = blend(boxes, truths, 1.0)
    poor, _ = boxes.restored_wedge(lambda volumes: inventive(right(volumes)))
    assert 3 * chance < poor < oracle - 3 * chance


def test_of_halves_the_mean_is_shown():
    (halved, _), shown = tomogram(2), []
    whole = dataclasses.replace(halved, volumes=(np.mean(halved.volumes, axis=0),))

    def network(volumes):
        shown.append(volumes.copy())
        return volumes + np.roll(volumes, 1, axis=1) ** 2

    measures = [UnseenBoxes([source], SIDE).restored_wedge(network) for source in (halved, whole)]
    assert measures[0][0] == pytest.approx(measures[1][0], abs=1e-4) and abs(measures[0][0]) > 1e-3
    boxes = len(shown) // 2
    for ours, theirs in zip(shown[:boxes], shown[boxes:]):
        assert ours.shape == (1, SIDE, SIDE, SIDE)
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_each_tomogram_is_tested_with_its_own_tilt_range():
    truths = [tomogram(1, 0, tilt, 0.0) for tilt in (TiltRange(-60.0, 60.0), TiltRange(-30.0, 30.0))]
    (wide, _), (narrow, _) = truths

    def shown_power(source):
        powers = []
        UnseenBoxes([source], SIDE).restored_wedge(lambda volumes: powers.append(volumes.var()) or volumes)
        return np.mean(powers)

    both = []
    UnseenBoxes([wide, narrow], SIDE).restored_wedge(lambda volumes: both.append(volumes.var()) or volumes)
    alone = [shown_power(source) for source in (wide, narrow)]
    assert alone[1] < 0.8 * alone[0]
    np.testing.assert_allclose(np.mean(both), np.mean(alone), rtol=0.05)


def test_boxes_are_unseen_apart_and_few():
    source, _ = tomogram()
    boxes = UnseenBoxes([source], SIDE)
    (centres,) = boxes.centres
    training, unseen, apart_from_training = source.split(SIDE)
    assert apart_from_training and 1 <= len(centres) <= BOXES
    assert {tuple(centre) for centre in centres} <= {tuple(centre) for centre in unseen}
    assert np.abs(training[:, None] - centres).max(axis=-1).min() >= SIDE
    assert len(training) > 0.8 * len(source.centres)
    assert [len(places) for places in UnseenBoxes([source] * 100, SIDE).centres] == [1] * 100
    assert len(apart(np.arange(90).reshape(30, 3), 3, 5)) == 5


def test_a_large_tomogram_holds_out_more_and_a_small_one_shares_its_places():
    rng = np.random.default_rng(0)

    def boxes_of(length):
        centres = rng.integers(SIDE // 2, length - SIDE // 2 + 1, (2000, 3))
        return centres, *set_aside(centres, SIDE, BOXES)

    assert len(boxes_of(400)[2]) == BOXES
    centres, training, boxes = boxes_of(140)
    assert 1 < len(boxes) < BOXES and 0.85 <= len(training) / len(centres) < 0.95
    distances = np.abs(boxes[:, None] - boxes).max(axis=-1) + SIDE * np.eye(len(boxes), dtype=int)
    assert distances.min() >= SIDE and np.abs(training[:, None] - boxes).max(axis=-1).min() >= SIDE
    centres, training, boxes = boxes_of(40)
    assert len(boxes) == 0 and len(training) == len(centres)
    small = dataclasses.replace(tomogram()[0], centres=centres)
    training, unseen, apart_from_training = small.split(SIDE)
    assert not apart_from_training and (len(training), len(unseen)) == (1800, 200)


def test_where_nothing_is_hidden_nothing_is_told():
    source, _ = tomogram(tilt=TiltRange(-90.0, 90.0))
    assert UnseenBoxes([source], SIDE).restored_wedge(idle) is None


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
