"""Factors for what was filled in count in the missing wedge alone, by the distance from the origin."""

import numpy as np
import pytest

from isonet_scipion.engine.physics.wedge import TiltRange, filter_planes, measured
from isonet_scipion.engine.physics.wedge_strength import WedgeStrength, mean_strength

TILT = TiltRange(-30, 66)
FALLING = WedgeStrength((0.25, 0.75), (1.0, 0.5))


@pytest.mark.parametrize("shape", [(12, 10, 16), (9, 12, 15)])
def test_what_was_measured_counts_in_full_and_the_rest_by_its_resolution(shape):
    transfer = FALLING.transfer(shape, TILT)
    kz, ky = (2 * np.fft.fftfreq(n) for n in shape[:2])
    kx = 2 * np.fft.rfftfreq(shape[2])
    assert transfer.shape == (*shape[:2], len(kx)) and transfer.dtype == np.float32
    for z, y, x in np.ndindex(*transfer.shape):
        radius = np.sqrt(kz[z] ** 2 + ky[y] ** 2 + kx[x] ** 2)
        there = bool(measured(kz[z], kx[x], TILT))
        factor = np.clip(1.25 - radius, 0.5, 1) * np.cos(np.pi / 2 * np.clip((radius - 0.84) / 0.16, 0, 1)) ** 2
        assert transfer[z, y, x] == pytest.approx(1 if there else factor, abs=1e-6)


def test_a_volume_without_anything_in_the_wedge_is_left_as_it_is():
    shape = (16, 12, 16)
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    kz, kx = np.fft.fftfreq(shape[0])[:, None, None], np.fft.rfftfreq(shape[2])[None, None]
    inside = measured(kz, kx, TILT) & (np.abs(kz) < 0.5) & (kx < 0.5)  # Nyquist stands for two directions at once
    without = filter_planes(volume, inside)
    changed = np.fft.irfftn(np.fft.rfftn(without) * FALLING.transfer(shape, TILT), shape)
    np.testing.assert_allclose(changed, without, atol=1e-5)


def test_the_mean_is_that_of_the_factors_everywhere():
    other, shape = WedgeStrength((0.1, 0.4, 1.0), (0.2, 0.9, 0.3)), (12, 10, 16)
    mean = mean_strength([FALLING, None, other])
    apart = [strength.transfer(shape, TILT) for strength in (FALLING, other)]
    np.testing.assert_allclose(mean.transfer(shape, TILT), np.mean(apart, axis=0), atol=1e-6)
    assert mean_strength([None, FALLING]) == FALLING and mean_strength([None, None]) is None


def test_it_is_described_at_resolutions():
    assert FALLING.describe(10.0) == "1.00 at 100 A, 0.85 at 50 A, 0.65 at 33 A"
