import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isonet_scipion.engine.conventions import Normalisation
from isonet_scipion.engine.physics import grey_scale
from isonet_scipion.engine.physics.grey_scale import measure, normalise


@given(st.integers(0, 1000), st.floats(0.01, 1000), st.floats(-1e3, 1e3), st.sampled_from(Normalisation))
def test_scale_is_reached_and_undone(seed, scale, offset, normalisation):
    volume = (np.random.default_rng(seed).normal(size=(5, 6, 7)) * scale + offset).astype(np.float32)
    result = normalise(volume, normalisation)
    of_percentiles = normalisation is Normalisation.PERCENTILES
    reached = np.percentile(result, [4, 96]) if of_percentiles else np.array([result.mean(), result.std()])
    tolerance = 1e-4 + 1e-5 * abs(offset) / scale
    np.testing.assert_allclose(reached, [0, 1], atol=tolerance)
    undone = measure(volume, normalisation).undo(result)
    np.testing.assert_allclose(undone, volume, atol=1e-5 * (scale + abs(offset)) + 1e-6)


def test_constant_volume_stays_finite():
    assert np.isfinite(normalise(np.full((3, 3, 3), 5, np.float32))).all()


@pytest.mark.parametrize("normalisation", Normalisation)
def test_the_scale_of_a_large_volume_is_that_of_all_voxels(normalisation, monkeypatch):
    monkeypatch.setattr(grey_scale, "SAMPLE", 20_000)
    rng = np.random.default_rng(0)
    # rows differ, as those of a tomogram do
    volume = (rng.normal(size=(50, 100, 100)) + np.arange(100) / 10).astype(np.float32)
    found = grey_scale.measure(volume, normalisation)
    if normalisation is Normalisation.PERCENTILES:
        low, high = np.percentile(volume, (4, 96))
        expected, most = (low, high - low), 0.02
    else:
        expected, most = (volume.mean(dtype=float), volume.std(dtype=float)), 1e-6
    np.testing.assert_allclose((found.offset, found.scale), expected, atol=most * expected[1])


@pytest.mark.parametrize("normalisation", Normalisation)
def test_the_scale_of_the_negated_voxels_and_of_a_memory_map(normalisation, tmp_path, monkeypatch):
    monkeypatch.setattr(grey_scale, "SAMPLE", 9_000)
    volume = np.random.default_rng(0).gamma(2, 1, size=(40, 50, 60)).astype(np.float32)
    np.save(tmp_path / "v.npy", volume)
    stored = np.load(tmp_path / "v.npy", mmap_mode="r")
    expected, found = measure(-volume, normalisation), measure(stored, normalisation, negated=True)
    np.testing.assert_allclose((found.offset, found.scale), (expected.offset, expected.scale), rtol=1e-5)
    flat = measure(np.zeros((2, 2, 2), np.float32) + 3, normalisation, negated=True)
    assert (flat.offset, flat.scale) == (-3, 1)


def test_a_scale_is_applied_in_place():
    volume = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    expected = grey_scale.GreyScale(3, 2).apply(volume)
    assert grey_scale.GreyScale(3, 2).apply_in_place(volume) is volume
    np.testing.assert_array_equal(volume, expected)


def test_the_sample_is_every_nth_voxel_of_the_whole(monkeypatch):
    monkeypatch.setattr(grey_scale, "SAMPLE", 1000)
    taken = grey_scale.sample(np.arange(20 * 30 * 40, dtype=np.float32).reshape(20, 30, 40))
    step = int(taken[1])
    np.testing.assert_array_equal(taken, np.arange(0, 20 * 30 * 40, step))
    assert step >= 24 and all(np.gcd(step, side) == 1 for side in (20, 30, 40))
