"""The training step of the one-pass method, in numbers."""

import dataclasses

import numpy as np
import pytest

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.learning.one_pass_batches import SHOWN_WEIGHT  # noqa: E402
from isonet_scipion.engine.learning.one_pass_step import (  # noqa: E402
    COARSE,
    PART,
    OnePassModel,
    in_wedge_planes,
    plane_filter,
    rotated_mask,
    shown_and_target,
)
from isonet_scipion.engine.network.model_file import load_model  # noqa: E402
from isonet_scipion.engine.network.unet import TAKEN, build_unet  # noqa: E402
from isonet_scipion.engine.physics.wedge import apply_wedge  # noqa: E402
from isonet_scipion.engine.sampling.training_positions import MARGIN  # noqa: E402
from isonet_scipion.tests.engine.learning.one_pass_parts import TILT, TINY, batches_of, step  # noqa: E402


@pytest.mark.parametrize("halves", [1, 2])
def test_a_step_fills_the_crop_cuts_the_wedge_and_compares(halves):
    inputs, errors, _ = step(batches_of(halves))
    assert inputs["crops"].shape == (2, halves, 24, 24, 24) and errors.shape == (2, 2, 8, 8, 8)
    middle = (slice(MARGIN, MARGIN + 8),) * 3
    for crop, views in enumerate(inputs["matrices"]):
        # a network that changes nothing estimates the wedge as what the halves' mean holds there: a crop stays as it is
        mean = inputs["crops"][crop].mean(axis=0)
        filled = [mean + apply_wedge(half - mean, TILT) for half in inputs["crops"][crop]]
        for view, matrix in enumerate(views):
            points = np.stack(np.meshgrid(*[np.arange(24) - 11.5] * 3, indexing="ij")).reshape(3, -1)
            places = np.rint(matrix @ points + 11.5).astype(int)
            turned = [volume[tuple(places)].reshape(24, 24, 24) for volume in filled]
            middle_of_both, half_apart = np.mean(turned, axis=0), (turned[view % halves] - turned[view - 1]) / 2
            if halves == 1:
                half_apart = np.zeros_like(middle_of_both)
            shown = apply_wedge(middle_of_both + PART * half_apart, TILT)
            target = middle_of_both - apply_wedge(half_apart, TILT) / PART
            np.testing.assert_allclose(errors[crop, view], (shown - target)[middle], atol=1e-4)


def parts_of(signal, seed=5):
    """(1, 2, n, n, n): halves of a volume, with independent noise of the same strength."""
    rng = np.random.default_rng(seed)
    return np.stack([signal + rng.normal(size=signal.shape).astype(np.float32) for _ in range(2)])[None]


def both_views(parts, part):
    filters = plane_filter(parts.shape[-1], TILT)[None]
    pairs = (shown_and_target(parts, view, filters, part) for view in range(2))
    return [(np.asarray(shown)[0], np.asarray(target)[0]) for shown, target in pairs]


@pytest.mark.parametrize("part", [0.3, 0.7, 1.0, 2.0])
def test_noise_of_what_is_shown_and_of_what_it_is_compared_with_is_independent(part):
    parts = parts_of(np.zeros((48,) * 3, np.float32))
    mean = parts[0].mean(axis=0)
    for shown, target in both_views(parts, part):
        compared = apply_wedge(target, TILT)
        spread = shown.std() * compared.std() / np.sqrt(0.6 * shown.size)
        assert abs(np.mean(shown * compared)) < 4 * spread
        # unlike that with the mean, which would teach the network its own noise
        assert np.mean(shown * mean) > 20 * spread
        assert shown.std() == pytest.approx(apply_wedge(mean, TILT).std() * np.sqrt(1 + part**2), rel=0.02)


@pytest.mark.parametrize("part", [0.3, 1.0, 2.0])
def test_shown_and_hidden_make_the_whole_mean(part):
    signal = np.random.default_rng(1).normal(size=(24,) * 3).astype(np.float32)
    parts = parts_of(signal)
    mean = parts[0].mean(axis=0)
    views = both_views(parts, part)
    for shown, target in views:
        np.testing.assert_allclose(target - apply_wedge(target, TILT), mean - apply_wedge(mean, TILT), atol=1e-4)
        assert np.abs(shown - apply_wedge(mean, TILT)).max() > 0.1
    shown, target = (np.mean(both, axis=0) for both in zip(*views))
    np.testing.assert_allclose(shown + (target - apply_wedge(target, TILT)), mean, atol=1e-4)
    np.testing.assert_allclose(target, mean, atol=1e-4)


def test_with_1_a_half_is_shown_and_the_other_compared():
    parts = parts_of(np.zeros((24,) * 3, np.float32))
    for (shown, target), half, other in zip(both_views(parts, 1.0), parts[0], parts[0][::-1]):
        np.testing.assert_allclose(shown, apply_wedge(half, TILT), atol=1e-4)
        np.testing.assert_allclose(apply_wedge(target, TILT), apply_wedge(other, TILT), atol=1e-4)


def test_loss_tells_measured_from_estimated_frequencies():
    losses = {filled: step(batches_of(2, filled=filled))[2] for filled in (0.0, 0.5, 1.0)}
    errors = step(batches_of(2))[1]
    assert losses[1.0] == pytest.approx(np.mean(errors**2), rel=1e-4)
    assert 0 < losses[0.0] < losses[0.5] < losses[1.0]
    assert losses[0.5] == pytest.approx((losses[0.0] + losses[1.0]) / 2, rel=1e-4)


@pytest.mark.parametrize("halves", [1, 2])
def test_without_halves_what_the_input_shows_hardly_counts(halves):
    _, weights = batches_of(halves, filled=1.0)[0]
    weights = weights.reshape(-1, 8, 8, 8)
    shown = rotated_mask(8, np.eye(3), TILT) > 0
    assert 0.3 < shown.mean() < 0.9
    k = np.fft.fftfreq(8)
    ky, kx, kz = np.meshgrid(k, k, k, indexing="ij")
    coarse = np.exp(-(kx**2 + ky**2 + kz**2) / COARSE**2)
    least = 1.0 if halves == 2 else SHOWN_WEIGHT
    expected = np.broadcast_to((least + (1 - least) * coarse)[shown], (len(weights), shown.sum()))
    assert expected.max() == 1 and expected.min() == pytest.approx(least, rel=1e-3)
    np.testing.assert_allclose(weights[:, shown], expected, rtol=1e-4)
    np.testing.assert_allclose(weights[:, ~shown], 1.0)


def test_measured_frequencies_turn_with_the_volume():
    rng = np.random.default_rng(0)
    volume = apply_wedge(rng.normal(size=(9, 9, 9)), TILT)  # odd: rotations of the cube are exact on its grid
    inputs, _ = batches_of(1, 9, pairs=8)[0]
    for matrix in inputs["matrices"].reshape(-1, 3, 3):
        points = np.stack(np.meshgrid(*[np.arange(9) - 4] * 3, indexing="ij")).reshape(3, -1)
        places = np.rint(matrix @ points + 4).astype(int)
        spectrum = np.fft.fftn(volume[tuple(places)].reshape(9, 9, 9)).transpose(1, 2, 0)
        mask = rotated_mask(9, matrix, TILT)
        assert np.abs(spectrum * (1 - mask)).max() < 1e-4 * np.abs(spectrum).max()
        assert 0.4 < mask.mean() < 0.7


def test_planes_are_filtered_as_numpy_does():
    volumes = np.random.default_rng(0).normal(size=(2, 10, 6, 10)).astype(np.float32)
    filters = np.stack([plane_filter(10, TILT)] * 2)
    expected = np.fft.ifft2(np.fft.fft2(volumes, axes=(1, 3)) * filters[:, :, None], axes=(1, 3)).real
    np.testing.assert_allclose(np.asarray(in_wedge_planes(volumes, filters)), expected, atol=1e-5)


def weights(path):
    return load_model(path)[0].get_weights()


def test_a_step_without_the_denoiser_is_that_of_the_network_before_it():
    shape = dataclasses.replace(TINY, denoiser=2)
    network, estimator = build_unet(shape), build_unet(shape)
    rng = np.random.default_rng(0)
    for model in (network, estimator):
        last = model.get_layer(TAKEN)
        last.set_weights([rng.normal(size=weight.shape) for weight in last.get_weights()])
    batches = batches_of(2)
    model = OnePassModel(network, estimator, batches.cube_size, False)
    inputs, _ = batches[0]
    whole = np.asarray(model(inputs))
    model.is_whole = False
    np.testing.assert_allclose(np.asarray(model(inputs)), step(batches)[1], atol=1e-5)  # networks that change nothing
    assert not np.allclose(whole, np.asarray(model(inputs)))
