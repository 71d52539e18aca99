"""The filter of a grid: what it passes, and what not."""

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from isonet_scipion.engine.network.grid_filter import grid_filter

SHAPE, PERIOD = (48, 32, 64), (4, 8, 16)


def passed(volume):
    return scipy.fft.irfftn(scipy.fft.rfftn(volume) * grid_filter(volume.shape, PERIOD), volume.shape)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_a_grid_of_any_pattern_is_passed_but_for_its_mean(seed):
    pattern = np.random.default_rng(seed).normal(3, 1, PERIOD)
    grid = np.tile(pattern, [length // every for length, every in zip(SHAPE, PERIOD)])
    np.testing.assert_allclose(passed(grid), grid - pattern.mean(), atol=1e-5)


def test_of_a_grid_that_fades_most_is_passed():
    places = np.meshgrid(*(np.arange(length) - length / 2 for length in (96, 96, 96)), indexing="ij")
    fade = np.exp(-sum(place**2 for place in places) / 2 / 16**2)
    grid = fade * np.cos(2 * np.pi * places[2] / 8)
    left = grid - passed(grid)
    assert np.square(left).mean() < 0.2 * np.square(grid).mean()
    assert np.abs(passed(fade)).max() < 0.01  # what is as large as that, but no grid, is not


def test_to_nyquist_all_is_passed_that_is_as_fine_as_voxels():
    noise = np.random.default_rng(0).normal(size=(32, 48, 40))
    passed = scipy.fft.rfftn(noise) * grid_filter(noise.shape, PERIOD, to_nyquist=True)
    kz, ky = (scipy.fft.fftfreq(length) for length in noise.shape[:2])
    radius = 2 * np.sqrt(kz[:, None, None] ** 2 + ky[:, None] ** 2 + scipy.fft.rfftfreq(40) ** 2)
    whole, usual = scipy.fft.rfftn(noise), grid_filter(noise.shape, PERIOD)
    np.testing.assert_allclose(passed[radius >= 1], whole[radius >= 1], rtol=1e-5)
    np.testing.assert_allclose(passed[radius < 0.84], (whole * usual)[radius < 0.84], atol=1e-3)


@pytest.mark.parametrize("shape", [(64, 64, 64), (96, 48, 128)])
def test_little_of_noise_is_passed(shape):
    noise = np.random.default_rng(0).normal(size=shape)
    assert passed(noise).var() < 0.03 * noise.var()
