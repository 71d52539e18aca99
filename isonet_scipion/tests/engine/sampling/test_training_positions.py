"""Crops that stay inside, and boxes that training never sees."""

import numpy as np
import pytest

from isonet_scipion.engine.sampling.training_positions import MARGIN, crop_side, fitting_cube, set_aside


@pytest.mark.parametrize("any_angle", [False, True])
@pytest.mark.parametrize("cube", [16, 24, 48])
def test_a_turned_cube_and_its_margin_stay_inside_the_crop(cube, any_angle):
    side = crop_side(cube, any_angle, 8)
    reach = (cube + 2 * MARGIN) * (np.sqrt(3) if any_angle else 1)
    assert reach <= side < reach + 16 and side % 8 == 0


def test_a_cube_fits_the_shortest_side():
    assert fitting_cube(500, False, 8) == 48
    for shortest in (24, 40, 63):
        side = fitting_cube(shortest, False, 8)
        assert crop_side(side, False, 8) <= shortest


def test_no_crop_of_the_training_overlaps_an_unseen_box():
    centres = np.random.default_rng(0).integers(0, 200, (2000, 3))
    training, boxes = set_aside(centres, 24, 10)
    assert 1 <= len(boxes) <= 10 and len(training) > 0.5 * len(centres)
    assert (np.abs(training[:, None] - boxes).max(axis=-1) >= 24).all()
    apart = np.abs(boxes[:, None] - boxes).max(axis=-1)
    assert (apart[~np.eye(len(boxes), dtype=bool)] >= 24).all()


def test_none_is_set_aside_where_it_would_cost_half_of_the_places():
    training, boxes = set_aside(np.random.default_rng(0).integers(0, 20, (100, 3)), 24, 10)
    assert len(boxes) == 0 and len(training) == 100
