"""Crops that stay inside."""

import numpy as np
import pytest

from isonet_scipion.engine.sampling.training_positions import MARGIN, crop_side, fitting_cube


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


@pytest.mark.parametrize("divisor", [3, 9])
@pytest.mark.parametrize("cube_size", [24, 27])
def test_crops_are_even_or_odd_as_their_cubes_whatever_the_divisor(cube_size, divisor):
    side = crop_side(cube_size, False, divisor)
    assert side % 2 == cube_size % 2 and side % divisor == 0 and side >= cube_size + 2 * MARGIN
