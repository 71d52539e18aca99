"""Waves of a grid that a network leaves do not stand out of the noise around them."""

import numpy as np
import pytest

pytest.importorskip("keras")

from isonet_scipion.engine.measure.grid import grid_peak
from isonet_scipion.engine.network.grid_levels import grid_levels, levelled
from isonet_scipion.engine.network.tiling import automatic_tiling
from isonet_scipion.engine.physics.grey_scale import GreyScale, Shown

PERIOD = (8, 8, 8)
SHAPE = (64, 96, 80)
NOISE = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
LEFT = 0.3 * NOISE  # by a network that takes noise


def waves(strength):
    """Waves of 8/3 voxels along z and 2 along y that come and go slowly."""
    z, y, _ = np.indices(SHAPE)
    return (strength * np.cos(2 * np.pi * 3 / 8 * z) * np.cos(np.pi * y) * (1 + np.sin(2 * np.pi * y / 48))).astype("f")


def shown(volume):
    return Shown(volume, GreyScale(0, 1))


def tiling(voxels):
    return automatic_tiling(SHAPE, PERIOD, voxels, 24, 4)


def test_a_faint_grid_is_brought_to_what_is_around_it():
    gridded = LEFT + waves(0.0135)
    made = levelled(gridded, shown(NOISE), tiling(1 << 24), PERIOD)
    assert grid_peak(gridded) > 4 and grid_peak(made) < 1.7
    assert np.square(made - LEFT).mean() < 0.7 * np.square(gridded - LEFT).mean()
    np.testing.assert_allclose(made.mean(), gridded.mean(), atol=1e-4)


def test_what_the_tomogram_itself_shows_of_a_grid_stays():
    own = waves(0.05)
    made = LEFT + own
    assert levelled(made, shown(NOISE + own), tiling(1 << 24), PERIOD) is made
    assert levelled(made, shown(NOISE), tiling(1 << 24), PERIOD) is not made


def test_tiles_do_not_show():
    gridded = LEFT + waves(0.0135)
    voxels = 88 * 80 * 72
    assert np.prod(tiling(voxels).counts(SHAPE)) > 1
    one, several = (levelled(gridded, shown(NOISE), tiling(most), PERIOD) for most in (1 << 24, voxels))
    inside = (slice(8, -8),) * 3
    assert np.abs(one - several)[inside].max() < 0.001 < np.abs(one - gridded)[inside].max()


def levels_of(made, source):
    return grid_levels(lambda place: made[place], lambda place: source[place], made.shape, PERIOD)


@pytest.mark.parametrize("strength", [0.015, 0.03])
def test_a_wave_is_left_the_power_around_it(strength):
    rng = np.random.default_rng(1)
    source, z = rng.normal(size=(96, 96, 96)), np.arange(96)[:, None, None]
    levels = levels_of(0.3 * rng.normal(size=source.shape) + strength * np.cos(np.pi / 2 * z), source)
    # a window of Hann collects its mean squared over its mean square, 2/3 for each axis, of a wave's power
    ratio = 1 + (strength / 0.3 / 2) ** 2 * 32**3 * (2 / 3) ** 3
    assert levels[2, 0, 0] == pytest.approx(ratio**-0.5, rel=0.35) and levels[0, 0, 0] == 1
    assert (levels[:, 1:] > 0.7).all()


def test_what_the_sample_shows_where_little_was_taken_as_noise_stays():
    z = np.arange(64)[:, None, None]
    sample = 0.1 * np.cos(np.pi / 2 * z)
    source = np.random.default_rng(1).normal(size=(64, 64, 64))
    hidden = levels_of(0.5 * source + sample, source)
    assert hidden[2, 0, 0] == 1 > levels_of(0.3 * source + sample, source)[2, 0, 0]


def test_volumes_without_room_for_four_periods_stay():
    small = NOISE[:16]
    assert (grid_levels(lambda place: small[place], lambda place: small[place], small.shape, PERIOD) == 1).all()
