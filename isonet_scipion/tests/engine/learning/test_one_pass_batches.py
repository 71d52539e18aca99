"""What the one-pass method draws from the tomograms."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.learning.one_pass_batches import CropBatches, scratch_bytes  # noqa: E402
from isonet_scipion.engine.physics.back_projected_noise import NoiseSource  # noqa: E402
from isonet_scipion.engine.sampling.training_positions import MARGIN, crop_side  # noqa: E402
from isonet_scipion.tests.engine.learning.one_pass_parts import batches_of, source, step  # noqa: E402


def test_any_angle_takes_crops_without_empty_corners():
    batches = CropBatches([source(1, size=64)], 8, crop_side(8, True, 4), 1.0, 0.2, 2, 1, (1, 0), 1)
    inputs, errors, _ = step(batches, order=True)
    grid, side = 8 + 2 * MARGIN, crop_side(8, True, 4)
    assert inputs["crops"].shape[-1] == side and not np.allclose(np.abs(inputs["matrices"]).max(-1), 1)
    corner = np.array([[-1, 1]] * 3) * (grid - 1) / 2
    corners = np.stack(np.meshgrid(*corner, indexing="ij")).reshape(3, -1)
    assert np.abs(Rotation.random(100, random_state=0).as_matrix() @ corners).max() <= side / 2
    assert np.isfinite(errors).all()


def test_batches_depend_on_seed_epoch_and_step_alone_and_hold_out_their_centres():
    def drawn(seed, step=0):
        return batches_of(1, steps=2, seed=seed)[step][0]

    first, again = drawn((1, 0)), drawn((1, 0))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    for other in (drawn((2, 0)), drawn((1, 1)), drawn((1, 0), 1)):
        assert not np.array_equal(first["crops"], other["crops"])
    data, unseen = source(1), set()
    for number in range(20):
        unseen |= {crop.tobytes() for crop in drawn((number, -1))["crops"]}
    training = {crop.tobytes() for number in range(60) for crop in drawn((number, 0))["crops"]}
    assert len(unseen) == 1 and len(training) == len(data.centres) - 1 and not unseen & training


def test_noise_of_the_asked_for_strength_is_added():
    noise = [NoiseSource(np.random.default_rng(1).normal(size=(40, 8, 8)).astype(np.float32))]
    plain, noisy = (batches_of(1, **more)[0][0]["noise"] for more in ({}, {"noise": noise, "noise_level": 0.3}))
    assert not plain.any()
    np.testing.assert_allclose(noisy.std(axis=(2, 3, 4)), 0.3, rtol=1e-5)


def test_halves_drawn_as_their_mean_are_what_a_whole_tomogram_gives():
    halves, mean = batches_of(2)[0], batches_of(2, as_mean=True)[0]
    np.testing.assert_allclose(mean[0]["crops"], halves[0]["crops"].mean(axis=1, keepdims=True), atol=1e-6)
    # what the input shows counts as little as without halves: its own noise is the target
    np.testing.assert_array_equal(mean[1], batches_of(1)[0][1])
    assert mean[1].sum() < halves[1].sum()


@pytest.mark.parametrize(
    ("lacks_some", "flipped", "voxels"),
    [
        (False, False, 1000 + 8000),  # of what a training may see of each
        (False, True, 1000 + 2 * 8000),  # and of the larger one, which goes last, as it was read
        (True, False, 1000 + 2 * 8000),
    ],
)
def test_disk_space_of_copies_is_the_most_that_they_take_at_once(lacks_some, flipped, voxels):
    extents = [((10, 10, 10), False), ((20, 20, 20), lacks_some)]
    for halves, number in (((), 1), (("even.mrc", "odd.mrc"), 2)):
        entries = [SimpleNamespace(fitting_halves=lambda halves=halves: halves)] * 2
        assert scratch_bytes(entries, extents, flipped) == 4 * number * voxels
