"""What the one-pass method draws from the tomograms."""

import numpy as np
from scipy.spatial.transform import Rotation

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.learning.one_pass_batches import CropBatches, TomogramSource  # noqa: E402
from isonet_scipion.engine.learning.one_pass_step import OnePassModel, weighted_error  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.physics.back_projected_noise import NoiseSource  # noqa: E402
from isonet_scipion.engine.physics.grey_scale import GreyScale  # noqa: E402
from isonet_scipion.engine.physics.wedge import TiltRange  # noqa: E402
from isonet_scipion.engine.sampling.training_positions import MARGIN, crop_side  # noqa: E402
from isonet_scipion.engine.settings import NetworkSettings  # noqa: E402

TINY = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2, drop_out=0.0, stem=2)
TILT = TiltRange(-40.0, 55.0)


def source(halves, seed=0, size=40):
    rng = np.random.default_rng(seed)
    volumes = tuple(rng.normal(size=(size,) * 3).astype(np.float32) for _ in range(halves))
    centres = np.stack([rng.permutation(np.arange(14, size - 14)) for _ in range(3)], axis=1)
    return TomogramSource("t", volumes, GreyScale(0.0, 1.0), centres, TILT)


def batches_of(halves, size=8, pairs=4, steps=1, seed=(1, 0), filled=0.2, **noise):
    return CropBatches([source(halves)], size, size + 16, 0.0, filled, pairs, steps, seed, 1, **noise)


def step(batches, order=False):
    """Errors and loss of one step of networks that change nothing."""
    networks = build_unet(TINY), build_unet(TINY)
    model = OnePassModel(*networks, batches.cube_size, order)
    inputs, weights = batches[0]
    errors = model(inputs, training=False)
    return inputs, np.asarray(errors), float(np.mean(weighted_error(weights, errors)))


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
