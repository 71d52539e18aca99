"""Regions of Fourier space."""

import numpy as np
import pytest

from isonet_scipion.engine.physics.fourier import cone, filtered, frequencies


@pytest.mark.parametrize("size", [12, 13])
def test_frequencies_are_those_of_the_transform(size):
    z, y, x = np.indices((size,) * 3)
    wave = np.cos(2 * np.pi * (2 * z - 3 * y + 4 * x) / size)
    kz, ky, kx = frequencies(size)
    strongest = np.unravel_index(np.argmax(np.abs(np.fft.rfftn(wave))), (size, size, size // 2 + 1))
    place = kz[strongest[0], 0, 0], ky[0, strongest[1], 0], kx[0, 0, strongest[2]]
    assert place == (2, -3, 4)


def test_filtering_twice_is_filtering_once():
    region = cone(16, 1)
    cube = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    once = filtered(cube, region)
    np.testing.assert_allclose(filtered(once, region), once, atol=1e-5)
    assert once.dtype == np.float32


def test_a_cone_covers_its_share_of_the_sphere():
    kz, ky, kx = frequencies(64)
    ball = np.sqrt(kz**2 + ky**2 + kx**2) < 32
    for axis in range(3):
        assert cone(64, axis)[ball].mean() == pytest.approx(1 - np.cos(np.radians(20)), abs=0.01)
