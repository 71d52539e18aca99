"""The iterative method with `patience`: subtomograms that training never sees, and the wedge measured on them."""

import csv

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.star import Star, write_star
from isonet_scipion.engine.sampling.training_positions import unseen_subtomograms
from isonet_scipion.engine.simulation.phantom import make_truth

SIZE = 24


def test_unseen_subtomograms_share_no_voxel_with_those_of_the_same_tomogram_that_are_trained_on():
    rng = np.random.default_rng(0)
    places, tomograms = rng.integers(0, 400, (200, 3)).astype(float), ["a", "b"] * 100
    training, unseen, apart = unseen_subtomograms(tomograms, places, SIZE, np.random.default_rng(1))
    assert apart and len(unseen) > 1 and training.mean() > 0.8 and not training[unseen].any()
    for number in unseen:
        near = np.abs(places - places[number]).max(axis=1) < SIZE
        alike = np.array(tomograms) == tomograms[number]
        assert not (near & alike & training).any()
    assert training.sum() + len(unseen) <= len(places)


def test_where_all_overlap_a_tenth_is_kept_and_a_single_one_is_trained_on():
    training, unseen, apart = unseen_subtomograms([""] * 40, np.zeros((40, 3)), SIZE, np.random.default_rng(1))
    assert not apart and len(unseen) == 4 and training.sum() == 36 and not training[unseen].any()
    training, unseen, apart = unseen_subtomograms([""], np.zeros((1, 3)), SIZE, np.random.default_rng(1))
    assert training.all() and not unseen and not apart


@pytest.fixture
def table(tmp_path):
    truth = make_truth((40, 80, 80), 10.0, 1) + np.random.default_rng(0).normal(0, 0.5, (40, 80, 80))
    star = Star([])
    for number in range(6):
        path = tmp_path / "subtomo" / f"s{number}.mrc"
        corner = 8, 26 * (number // 3), 26 * (number % 3)
        write_volume(path, -truth[tuple(slice(c, c + SIZE) for c in corner)].astype(np.float32), 10.0)
        values = {"rlnImageName": path, "rlnCubeSize": 16, "rlnPixelSize": 10.0, "rlnTomoName": "t"}
        values.update({f"rlnCoordinate{axis}": c + 12 for axis, c in zip("ZYX", corner)})
        row = {}
        star.rows.append(row)
        for label, value in values.items():
            star.set(row, label, value)
    write_star(tmp_path / "subtomo.star", star)


def test_with_patience_the_wedge_is_measured_on_what_is_kept_from_training(table, run):
    small = ("--filter_base=2", "--unet_depth=2", "--iterations=1", "--epochs=1", "--steps_per_epoch=2", "--seed=1")
    status, log = run("refine", "subtomo.star", *small, "--batch_size=2", "--patience=1")
    assert status == 0 and "5 subtomograms of 24^3 (1 more are kept from training)" in log, log
    assert "Restored wedge correlation" in log
    with open("results/losses.csv") as file:
        assert float(next(csv.DictReader(file))["wedge_chance"]) > 0
    status, log = run("refine", "subtomo.star", *small, "--batch_size=2", "--result_dir=other")
    assert status == 0 and "6 subtomograms" in log and "Restored wedge" not in log
