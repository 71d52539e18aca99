"""Volumes are filtered on the device as scipy does it."""

import numpy as np
import pytest

pytest.importorskip("keras")

from isonet_scipion.engine.network.transforms import transferred, without


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
