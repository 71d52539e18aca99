"""Rescaling as waves: what is kept, where it lies, what noise remains, what it takes."""

import tracemalloc

import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.physics.rescaling import Axis, rescale


@pytest.mark.parametrize(("old", "new"), [(10.0, 15.0), (10.0, 13.48), (13.48, 10.0), (10.0, 10.0), (10.0, 20.0)])
def test_a_wave_keeps_its_place_and_height(old, new):
    def wave(count, size):
        place = (np.arange(count) + 0.5) * size
        return np.cos(2 * np.pi * (place - 333) / 160)

    volume = np.full((1, 41, 1), 1.0) + wave(50, old)[:, None, None] * wave(61, old)
    result = rescale(volume.astype(np.float32), old, new)
    z, y, x = result.shape
    assert (z, y, x) == tuple(round(n * old / new) for n in (50, 41, 61))
    expected = 1 + wave(z, new)[:, None, None] * wave(x, new)
    inside = (slice(4, -4), slice(None), slice(4, -4))
    np.testing.assert_allclose(result[inside], np.broadcast_to(expected, (z, y, x))[inside], atol=0.02)


def test_a_volume_of_the_same_voxel_size_is_kept_exactly():
    volume = np.random.default_rng(0).integers(-300, 300, (9, 23, 10)).astype(np.int16)
    np.testing.assert_array_equal(rescale(volume, 10.0, 10.0), volume)


@pytest.mark.parametrize("level", [1e4, 1e6])
def test_high_grey_values_keep_the_digits_of_what_varies(level):
    high = np.random.default_rng(0).normal(level, 1, (30, 40, 50)).astype(np.float32)
    expected = rescale((high.astype(np.float64) - level).astype(np.float32), 10, 15)
    # no more than the last digit of a result so high
    np.testing.assert_allclose(rescale(high, 10, 15) - np.float64(level), expected, atol=np.spacing(np.float32(level)))


@pytest.mark.parametrize("length", [60, 401, 1000])
@pytest.mark.parametrize("step", [1.5, 1.337, 15 / 13.48, 0.71, 8.0, 1.348, 0.931, 1.0014])
def test_the_last_voxel_is_in_its_place_and_no_length_has_a_large_prime(length, step):
    axis = Axis.of(length, step)
    assert abs(axis.padded / axis.kept - step) * axis.count < 0.1 * max(1, step)
    assert all(largest_prime(count) < 130 for count in (axis.padded, axis.kept))


def largest_prime(number):
    return max(p for p in range(1, number + 1) if number % p == 0 and all(p % q for q in range(2, p)))


@pytest.mark.parametrize("step", [1.348, 0.931])
def test_memory_of_the_result_and_of_what_is_between(step):
    volume = np.random.default_rng(0).standard_normal((100, 300, 300), dtype=np.float32)
    tracemalloc.start()
    rescale(volume, 10.0, 10 * step)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * volume.nbytes


def test_noise_that_the_new_voxels_cannot_show_is_left_out():
    noise = np.random.default_rng(0).normal(size=(90, 90, 90)).astype(np.float32)
    kept = rescale(noise, 10, 15)[8:-8, 8:-8, 8:-8].std()
    assert kept == pytest.approx(1.5**-1.5, abs=0.02)  # of the waves, a share of 1 / 1.5 along each axis


def test_voxels_that_are_not_finite_are_refused():
    volume = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    volume[3, 4, 5] = np.nan
    with pytest.raises(EngineError, match="NaN"):
        rescale(volume, 10, 15)
