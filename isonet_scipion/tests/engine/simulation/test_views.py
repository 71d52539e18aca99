"""What a tilt series shows of a scene, and crops of it."""

import numpy as np
import pytest

from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge
from isonet_scipion.engine.simulation.scenes import random_scene
from isonet_scipion.engine.simulation.views import crops, endless_views, random_view, tilt_series


@pytest.fixture(scope="module")
def scene():
    return random_scene((48, 48, 48), 10.0, np.random.default_rng(0))


def test_views_lack_the_wedge_and_correlate_with_their_truth(scene):
    for seed in range(6):
        seen, truth = random_view(scene, 10.0, np.random.default_rng(seed))
        assert seen.shape == truth.shape == scene.shape and seen.dtype == np.float32
        # no tilt range goes beyond 70 degrees
        inside = seen - apply_wedge(seen, TiltRange(-70, 70)) - seen.mean()
        ball = truth - apply_wedge(truth, TiltRange(-70, 70)) - truth.mean()
        assert inside[4:-4].std() < seen.std() and ball.std() > 0
        assert np.corrcoef(seen.ravel(), truth.ravel())[0, 1] > 0.15


def test_a_tilt_series_shows_its_range_and_is_noisier_at_high_tilt():
    n = 64
    kz, kx = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)
    angle = np.degrees(np.arctan2(kz, kx))
    radius = n * np.hypot(kz, kx)
    for tilts in (np.arange(-50.0, 66.0, 1.0), -np.arange(-50.0, 66.0, 1.0)[::-1]):
        shown, noise = tilt_series(kz, kx, tilts, 1.0)
        inside = (angle > tilts[0] + 8) & (angle < tilts[-1] - 8) & (radius > 6)
        outside = ((angle < tilts[0] - 12) | (angle > tilts[-1] + 12)) & (radius > 6) & (kx > 0)
        assert np.abs(shown[inside & (radius < 20)] - 1).max() < 0.05 and shown[outside].max() < 0.02
        at = [noise[inside & (np.abs(radius - 25) < 5) & (np.abs(np.abs(angle) - tilt) < 5)] ** 2 for tilt in (0, 40)]
        # power: (1 + 40/60) / cos(40 degrees)
        assert np.mean(at[1]) / np.mean(at[0]) == pytest.approx(2.18, rel=0.15)
    # a step of 4 degrees leaves gaps far from the origin, one of 1 degree none
    coarse, fine = (tilt_series(kz, kx, np.arange(-60.0, 61.0, step), 1.0)[0] for step in (4.0, 1.0))
    ring = (np.abs(radius - 30) < 1) & (np.abs(angle) < 45)
    assert coarse[ring].std() > 5 * fine[ring].std()


def test_crops_are_of_views_mirrored_and_weigh_by_their_signal():
    views = endless_views((1, 2), side=24)
    first = [next(views) for _ in range(2)]
    again = endless_views((1, 2), side=24)
    np.testing.assert_array_equal(first[0], next(again))
    assert first[0].dtype == np.float16 and first[0].shape == (2, 24, 24, 24)
    inputs, truths, weights = crops(first, 16, 3, np.random.default_rng(0))
    assert inputs.shape == truths.shape == (3, 16, 16, 16, 1) and weights.shape == (3,) and (weights > 0).all()
    view = np.arange(2 * 16**3, dtype=np.float32).reshape(2, 16, 16, 16)
    inputs, truths, weights = crops([view], 16, 64, np.random.default_rng(0))
    mirrored = {inputs[n, 0, 0, 0, 0] for n in range(64)}  # its first voxel is a corner of the view
    assert len(mirrored) == 8
    for n in range(64):  # input and truth alike
        np.testing.assert_array_equal(truths[n] - inputs[n], np.full_like(inputs[n], 16**3))
    assert weights[0] == pytest.approx(0.3**2 / view[1].var(), rel=1e-4)
    assert crops([np.zeros((2, 16, 16, 16))], 16, 1, np.random.default_rng(0))[2] == 100
