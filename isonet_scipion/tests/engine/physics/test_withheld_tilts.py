"""The outermost tilts that are kept from a training."""

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from isonet_scipion.engine.physics import withheld_tilts
from isonet_scipion.engine.physics.wedge import TiltRange, measured
from isonet_scipion.engine.physics.withheld_tilts import (
    WITHHELD,
    narrowed,
    withheld_part,
    withheld_sectors,
    withhold,
)

RANGES = st.tuples(st.floats(-90, 60), st.floats(10, 180)).map(lambda r: TiltRange(r[0], min(90.0, r[0] + r[1])))
SIDES = st.integers(17, 40)


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def spectrum(volume):
    return scipy.fft.rfftn(volume.astype(np.float64), axes=(0, 2))


@given(tilt=RANGES, depth=SIDES, width=SIDES)
@settings(max_examples=30, deadline=None)
def test_the_sectors_alone_are_taken_away(tilt, depth, width):
    volume = noise(depth, 3, width)
    seen = volume - withheld_part(volume, tilt)
    sectors = withheld_sectors(depth, width, tilt)
    before, after = spectrum(volume), spectrum(seen)
    scale = np.abs(before).max()
    kz, kx = scipy.fft.fftfreq(depth)[:, None, None], scipy.fft.rfftfreq(width)[None, None, :]
    left = narrowed(tilt)
    kept = np.broadcast_to(~sectors, before.shape)
    assert np.abs(after[np.broadcast_to(sectors, before.shape)]).max(initial=0) < 1e-5 * scale
    np.testing.assert_allclose(after[kept], before[kept], atol=1e-5 * scale)
    # what was never measured is none of the sectors
    assert not (sectors & ~measured(kz, kx, tilt)).any() and not (sectors & measured(kz, kx, left)).any()


@given(tilt=RANGES)
@settings(max_examples=30, deadline=None)
def test_the_range_that_is_left_is_narrower_by_as_much_on_both_sides(tilt):
    left, whole = narrowed(tilt), tilt.maximum - tilt.minimum
    assert left.maximum - left.minimum == pytest.approx((1 - WITHHELD) * whole)
    assert left.minimum - tilt.minimum == pytest.approx(tilt.maximum - left.maximum)


@pytest.mark.parametrize("tilt", [TiltRange(-60, 60), TiltRange(-40, 66), TiltRange(-30, 30), TiltRange(-85, 85)])
def test_a_twentieth_of_what_was_measured_is_withheld_on_both_sides(tilt):
    depth, width = 200, 201
    kz, kx = scipy.fft.fftfreq(depth)[:, None], scipy.fft.rfftfreq(width)[None, :]
    sectors = withheld_sectors(depth, width, tilt)[:, 0]
    near = (np.hypot(kz, kx) < 0.5) & (kx > 0)
    share = (sectors & near).sum() / (measured(kz, kx, tilt) & near).sum()
    assert share == pytest.approx(WITHHELD, rel=0.1)
    above, below = (sectors & near & sign for sign in (kz > 0, kz < 0))
    assert above.sum() == pytest.approx(below.sum(), rel=0.15) or not tilt.symmetric
    assert above.any() and below.any()


def test_a_large_volume_is_filtered_by_slabs_to_the_same(monkeypatch):
    volume, tilt = (100 * noise(20, 13, 24)).astype(np.int16), TiltRange(-50, 64)
    whole, slabs = np.empty(volume.shape, np.float32), np.empty(volume.shape, np.float32)
    withhold(volume, tilt, whole)
    monkeypatch.setattr(withheld_tilts, "SLAB_VOXELS", 3 * 20 * 24)
    withhold(volume, tilt, slabs)
    np.testing.assert_allclose(slabs, whole, atol=1e-3)
    np.testing.assert_allclose(whole, volume - withheld_part(volume, tilt), atol=1e-3)
    assert np.abs(whole - volume).std() > 1
