"""Volumes are filtered on the device as scipy does it."""

import numpy as np
import pytest

pytest.importorskip("keras")

from isonet_scipion.engine.measure.grid import grid_peak
from isonet_scipion.engine.network.transforms import levelled, transferred, without


@pytest.mark.parametrize("shape", [(8, 12, 10), (9, 5, 7)])
def test_sides_may_differ_and_one_filter_serves_all(shape):
    rng = np.random.default_rng(0)
    volumes = rng.normal(size=(2, *shape)).astype(np.float32)
    # of a real volume, so that the filtered ones are real
    kept = np.abs(np.fft.rfftn(rng.normal(size=shape))).astype(np.float32)
    expected = [np.fft.irfftn(np.fft.rfftn(volume) * kept, shape) for volume in volumes]
    np.testing.assert_allclose(np.asarray(transferred(volumes, kept[None])), expected, rtol=1e-3, atol=1e-3)


def test_what_is_taken_away_does_not_ring_in_the_middle():
    """A ramp is no detail, but for the step from its one end to the other."""
    length, edge = 64, 8
    ramp = np.broadcast_to(np.linspace(-1, 1, length, dtype=np.float32)[:, None, None], (1, length, 8, 8)).copy()
    kz = np.fft.fftfreq(length)[:, None, None]
    fine = np.broadcast_to((np.abs(kz) > 0.25).astype(np.float32), (length, 8, 5))[None]
    inside = slice(edge, -edge)
    changed = np.abs(np.asarray(without(ramp, fine, edge)) - ramp)[0, inside]
    rung = np.abs(np.asarray(transferred(ramp, fine)))[0, inside]
    assert changed.max() < 0.005 and rung.max() > 5 * changed.max()


def test_what_is_taken_away_is_gone_within_the_edge_and_the_mean_stays():
    volume = 5 + np.random.default_rng(0).normal(size=(1, 48, 48, 48)).astype(np.float32)
    everything = np.ones((1, 48, 48, 25), np.float32)
    everything[0, 0, 0, 0] = 0
    left = np.asarray(without(volume, everything, 8))[0]
    np.testing.assert_allclose(left[8:-8, 8:-8, 8:-8], 5, atol=0.05)
    assert left[0].std() > 0.5


def with_grid(rng, shape, strength):
    """Noise, and the same with waves of 8/3 voxels along z and 2 along y that come and go slowly."""
    noise = rng.normal(size=shape).astype(np.float32)
    z, y, _ = np.indices(shape)
    waves = np.cos(2 * np.pi * 3 / 8 * z) * np.cos(np.pi * y) * (1 + np.sin(2 * np.pi * y / 48))
    return noise, noise + (strength * waves).astype(np.float32)


def test_a_faint_grid_is_brought_to_what_is_around_it():
    noise, gridded = with_grid(np.random.default_rng(0), (64, 96, 80), 0.045)
    made = np.asarray(levelled(gridded[None], noise[None], (8, 8, 8), 8))[0]
    assert grid_peak(gridded) > 4 and grid_peak(made) < 1.7
    inside = (slice(8, -8),) * 3
    assert np.square(made - noise)[inside].mean() < 0.5 * np.square(gridded - noise)[inside].mean()
    np.testing.assert_allclose(made.mean(), gridded.mean(), atol=1e-6)


def test_what_the_tomogram_itself_shows_of_a_grid_stays():
    _, gridded = with_grid(np.random.default_rng(0), (64, 96, 80), 0.045)
    made = np.asarray(levelled(gridded[None], gridded[None], (8, 8, 8), 8))[0]
    np.testing.assert_array_equal(made, gridded)
    made = np.asarray(levelled(0.5 * gridded[None], gridded[None], (8, 8, 8), 8))[0]
    np.testing.assert_allclose(made, 0.5 * gridded, atol=1e-4)


def test_each_volume_is_levelled_by_its_own_waves():
    noise, gridded = with_grid(np.random.default_rng(0), (32, 48, 40), 0.3)
    both = np.asarray(levelled(np.stack([noise, gridded]), np.stack([noise, noise]), (8, 8, 8), 8))
    np.testing.assert_array_equal(both[0], noise)
    np.testing.assert_allclose(both[1], np.asarray(levelled(gridded[None], noise[None], (8, 8, 8), 8))[0], atol=1e-5)
    assert not np.allclose(both[1], gridded, atol=0.05)


def test_nothing_is_taken_where_nothing_lies_between_a_grids_frequencies():
    noise, gridded = with_grid(np.random.default_rng(0), (8, 8, 8), 0.3)
    np.testing.assert_array_equal(levelled(gridded[None], noise[None], (8, 8, 8), 8)[0], gridded)
