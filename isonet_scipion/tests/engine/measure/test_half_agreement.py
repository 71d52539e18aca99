"""Resolution of two half tomograms."""

import numpy as np
import pytest

from isonet_scipion.engine.measure.half_agreement import HalfCurves
from isonet_scipion.engine.physics.fourier import filtered, frequencies
from isonet_scipion.engine.physics.wedge import TiltRange, measured_half_space

SIZE = 48


def halves(seed, limits):
    """Noise that two halves share up to shell limits[0], share to a correlation of 0.3 up to limits[1], then not."""
    common, *own = np.random.default_rng(seed).normal(size=(3, SIZE, SIZE, SIZE)).astype(np.float32)
    radius = np.sqrt(sum(np.square(component) for component in frequencies(SIZE)))
    sure, unsure = radius < limits[0], (radius >= limits[0]) & (radius < limits[1])
    shared = filtered(common, sure) + np.float32(np.sqrt(0.3)) * filtered(common, unsure)
    kept = (np.sqrt(0.7) * unsure + (radius >= limits[1])).astype(np.float32)
    return [shared + filtered(half, kept) for half in own]


def test_halves_are_resolved_to_where_they_agree_to_a_seventh():
    curves = HalfCurves(SIZE, TiltRange())
    for seed in range(8):
        curves.add("before", *halves(seed, (8, 16)))
    assert curves.curve("measured", "before").values[12] == pytest.approx(0.3, abs=0.06)
    for axis in "xy":
        # where it falls below 0.5 would be at shell 8: 60 A
        assert curves.resolution(axis, "before", 10.0) == pytest.approx(SIZE * 10 / 16, rel=0.12)
    assert curves.resolution("x", "after", 10.0) is None


def test_after_the_correction_what_is_in_the_wedge_counts_along_an_axis_too():
    curves, wedge = HalfCurves(SIZE, TiltRange()), ~measured_half_space(SIZE, TiltRange())
    common, *own = np.random.default_rng(0).normal(size=(3, SIZE, SIZE, SIZE)).astype(np.float32)
    for when in ("before", "after"):
        curves.add(when, *(filtered(common, wedge) + filtered(half, ~wedge) for half in own))
    assert np.nanmean(curves.curve("y", "before").values) < 0.1 < 0.25 < np.nanmean(curves.curve("y", "after").values)
