"""What is measured, and what is missing."""

import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.physics.wedge import (
    TiltRange,
    apply_wedge,
    declared_range,
    measured,
    measured_half_space,
    wedge_filter,
)


@pytest.mark.parametrize("ends", [(60, -60), (10, 10), (-91, 60), (float("nan"), 60)])
def test_impossible_ranges_are_refused(ends):
    with pytest.raises(EngineError, match="tilt range"):
        TiltRange(*ends)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((60, -60), "60..-60 degrees is impossible"),
        ((50, 55), "50..55 degrees is too narrow for a tilt series. Give"),
        ((-1.047, 1.047), "looks like radians. Give .* in degrees, probably -60.0 and 60.0"),
        ((-4, 5.9), "too narrow for a tilt series. Give"),
        ((-90, 90), "-90..90 degrees leaves no missing wedge to fill. Give"),
    ],
)
def test_ranges_that_nobody_tilted_by_are_refused_where_they_are_declared(ends, said):
    with pytest.raises(EngineError, match=f"^t.star: .*{said}"):
        declared_range(*ends, "t.star")
    assert declared_range(-4, 6) == TiltRange(-4, 6)
    assert declared_range(-90, 89) == TiltRange(-90, 89)


@pytest.mark.parametrize("tilt", [TiltRange(-50, 60), TiltRange(-80, 80)])
def test_share_of_the_directions_that_is_measured(tilt):
    k = np.fft.fftfreq(256)
    inside = np.hypot(k[:, None], k[None, :]) < 0.5
    share = measured(k[:, None], k[None, :], tilt)[inside].mean()
    assert share == pytest.approx((tilt.maximum - tilt.minimum) / 180, abs=0.01)


def test_the_filter_ends_at_its_radius_but_on_the_middle_line():
    k = np.arange(-8, 8)
    values = wedge_filter(k[:, None], k[None, :], 5, TiltRange(-89.9, 89.9))
    outside = np.hypot(k[:, None], k[None, :]) > 6
    assert values[outside & (k[:, None] != 0)].sum() == 0
    assert (values[8] == 1).all()


def test_a_real_transforms_half_space_agrees_with_the_whole():
    cube = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    spectrum = np.abs(np.fft.rfftn(apply_wedge(cube, TiltRange(-40, 60)))) ** 2
    seen = measured_half_space(16, TiltRange(-40, 60))
    assert seen.shape == spectrum.shape
    assert spectrum[~seen].sum() < 1e-6 * spectrum.sum()
