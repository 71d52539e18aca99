"""Scenes that the builtin model is trained on."""

import numpy as np
import pytest

from isonet_scipion.engine.simulation.scenes import Density, random_scene


@pytest.fixture(scope="module")
def scene():
    return random_scene((48, 48, 48), 10.0, np.random.default_rng(0))


def test_scenes_are_repeatable_crowded_and_alike_along_all_axes(scene):
    np.testing.assert_array_equal(scene, random_scene((48, 48, 48), 10.0, np.random.default_rng(0)))
    assert not np.array_equal(scene, random_scene((48, 48, 48), 10.0, np.random.default_rng(1)))
    assert scene.dtype == np.float32 and scene.min() >= 0 and 0.5 < scene.max() < 5
    assert 0.01 < (scene > 0.25).mean() < 0.5
    roughness = np.zeros(3)
    for seed in range(6):
        density = random_scene((32, 32, 32), 12.0, np.random.default_rng(seed))
        roughness += [np.square(np.diff(density, axis=axis)).mean() for axis in range(3)]
    assert roughness.max() < 1.5 * roughness.min()


def test_given_densities_are_placed_turned_at_their_size():
    volume = np.full((24, 20, 20), 3.0, np.float32)  # on a background of 3
    volume[4:20, 6:14, 6:14] += 7
    density = Density.of(volume, 10.0)
    assert 0 <= density.values.min() < 0.02 and np.median(density.values[density.values > 0.5]) == pytest.approx(
        1, abs=0.05
    )
    assert density.values.shape == pytest.approx((16, 8, 8), abs=3)
    for voxel_size in (6.0, 10.0, 16.0):
        sampled = density.sampled(voxel_size)
        content = sampled.values.sum() * (sampled.voxel_size * voxel_size) ** 3
        assert content == pytest.approx(density.values.sum() * 10.0**3, rel=0.05)
    alone = random_scene((64, 64, 64), 10.0, np.random.default_rng(4))
    seeds = range(5)
    given = [random_scene((64, 64, 64), 10.0, np.random.default_rng(seed), [density]) for seed in seeds]
    np.testing.assert_array_equal(given[4], random_scene((64, 64, 64), 10.0, np.random.default_rng(4), [density]))
    assert not np.array_equal(given[4], alone)
    assert all(scene.dtype == np.float32 and 0.01 < (scene > 0.25).mean() < 0.6 for scene in given)
