"""The power in the missing wedge, apart from what leaks over its edge."""

import numpy as np
import pytest

from isonet_scipion.engine.measure.wedge_power import power_ratio, wedge_power_ratio
from isonet_scipion.engine.physics.wedge import TiltRange

SIZE = 64


def in_sectors(*sectors):
    """White noise of which only directions (degrees in the xz-plane) within some of (low, high) are kept."""
    noise = np.random.default_rng(0).normal(size=(SIZE, 8, SIZE)).astype(np.float32)
    k = np.fft.fftfreq(SIZE)
    angle = np.abs(np.degrees(np.arctan2(k[:, None], k[None, :] + 1e-12)))
    angle = np.minimum(angle, 180 - angle)[:, None, :]
    kept = np.zeros(angle.shape, bool)
    for low, high in sectors:
        kept |= (angle >= low) & (angle <= high)
    return np.fft.ifftn(np.fft.fftn(noise) * kept).real.astype(np.float32)


def test_a_full_wedge_is_1_and_an_empty_one_0():
    assert wedge_power_ratio(in_sectors((0, 90)), TiltRange()) == pytest.approx(1, abs=0.15)
    assert wedge_power_ratio(in_sectors((0, 60)), TiltRange()) < 0.01


def test_what_leaks_over_the_edge_does_not_count():
    leaking = wedge_power_ratio(in_sectors((0, 62)), TiltRange())
    filled = wedge_power_ratio(in_sectors((0, 75)), TiltRange())
    assert leaking < 0.025 < 0.2 < filled


@pytest.mark.parametrize("tilt", [(-5, 5), (-2, 1), (80, 90), (-90, -89), (-90, 90)])
def test_the_power_in_the_wedge_is_measured_for_narrow_ranges(tmp_path, tilt):
    volume = np.random.default_rng(0).normal(size=(48, 8, 48)).astype(np.float32)
    ratio = wedge_power_ratio(volume, TiltRange(*tilt))
    assert np.isnan(ratio) if tilt == (-90, 90) else ratio == pytest.approx(1, abs=0.5) or np.isnan(ratio)


def test_the_ratio_is_the_median_over_shells_from_a_tenth_to_six_tenths_of_nyquist():
    k = 2 * np.fft.fftshift(np.fft.fftfreq(128))
    shell = np.floor(20 * np.hypot(k[:, None], k))
    in_wedge = np.abs(k[:, None]) > np.tan(np.radians(60)) * np.abs(k)
    assert power_ratio(np.where(in_wedge, shell, 1.0), TiltRange()) == np.median(np.arange(2, 12))
