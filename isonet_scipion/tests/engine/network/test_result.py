"""A result out of what a network made: the mean of the parts, on one grey scale, with the border as it was."""

import weakref

import numpy as np
import pytest

from isonet_scipion.engine.conventions import Normalisation
from isonet_scipion.engine.network.result import whole_result
from isonet_scipion.engine.physics.borders import find_border
from isonet_scipion.engine.physics.grey_scale import GreyScale, Shown, measure


def shown_of(voxels, inverted=False):
    return Shown(voxels, measure(voxels, negated=not inverted), inverted)


def grey_values(level=0.0):
    return np.random.default_rng(0).normal(level, 5, (12, 20, 24)).astype(np.float32)


@pytest.mark.parametrize("inverted", [False, True])
def test_what_is_left_as_it_was_shown_is_the_mean_of_the_parts(inverted):
    halves = [grey_values(3), grey_values(7) ** 2]
    parts = [shown_of(half, inverted) for half in halves]
    made = (part.show(part.voxels) for part in parts)
    result = whole_result(halves[0], parts, made)
    np.testing.assert_allclose(result, np.mean(halves, axis=0), rtol=1e-4, atol=1e-3)
    result = whole_result(
        halves[0], parts, (part.show(part.voxels) for part in parts), to_own=GreyScale(offset=10.0, scale=2.0)
    )
    np.testing.assert_allclose(result, (np.mean(halves, axis=0) - 10) / 2, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("of_isonet", [False, True])
def test_a_border_stays_on_the_grey_scale_of_the_result(of_isonet):
    volume = grey_values(100)
    volume[:, :, :6] = 80
    border = find_border(volume)
    part = shown_of(border.inner(volume))
    normalisation = Normalisation.PERCENTILES if of_isonet else None
    result = whole_result(volume, [part], [part.show(part.voxels)], border, None, normalisation)
    if not of_isonet:
        np.testing.assert_allclose(result, volume, rtol=1e-5)
        return
    # percentiles of the negated voxels go to 0 and 1, and the contrast back to the file's
    low, high = np.percentile(-volume[:, :, 6:], (4, 96))
    np.testing.assert_allclose(result, -(-volume - low) / (high - low), atol=1e-3)


def test_what_was_normalised_anew_is_gone_while_the_next_part_is_made():
    parts, former = [shown_of(grey_values())] * 2, []

    def make(shown):
        assert all(reference() is None for reference in former)
        made = shown.show(shown.voxels)
        former.append(weakref.ref(made))
        return made

    whole_result(grey_values(), parts, map(make, parts), normalisation=Normalisation.MOMENTS)
    assert len(former) == 2
