"""The hidden-wedge measure on boxes that a training never sees."""

import dataclasses

import numpy as np
import pytest

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.learning.one_pass_batches import TomogramSource  # noqa: E402
from isonet_scipion.engine.learning.unseen_boxes import BOXES, UnseenBoxes, apart  # noqa: E402
from isonet_scipion.engine.measure.hidden_wedge import TIPPED  # noqa: E402
from isonet_scipion.engine.physics.grey_scale import GreyScale  # noqa: E402
from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge  # noqa: E402
from isonet_scipion.engine.sampling.crops import crop  # noqa: E402
from isonet_scipion.engine.sampling.training_positions import set_aside  # noqa: E402
from isonet_scipion.engine.simulation.phantom import make_truth  # noqa: E402

SIDE, TILT = 24, TiltRange(-50.0, 60.0)


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
