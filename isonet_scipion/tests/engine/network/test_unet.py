"""The network's layers are IsoNet 0.2's."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from isonet_scipion.engine.network.unet import (  # noqa: E402
    TAKEN,
    aside,
    build_unet,
    denoises,
    run_network,
    split,
    undenoised,
)
from isonet_scipion.engine.process.device import on_device  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402
from isonet_scipion.tests.engine.network.tensors import largest  # noqa: E402


@pytest.mark.parametrize("pool", [None, (2, 2, 2)])
def test_what_is_negative_leaks_through_by_a_twentieth(pool):
    model = build_unet(NetworkSettings(filter_base=2, unet_depth=2, pool=pool))
    rectifiers = [layer for layer in model.layers if isinstance(layer, keras.layers.LeakyReLU)]
    # after each of the convolutions but the two last ones, and after the skips where the network takes strides
    assert len(rectifiers) == 2 * 2 * 3 + 1 + (0 if pool else 4)
    for layer in rectifiers:
        np.testing.assert_allclose(layer(np.array([-2.0, 3.0], np.float32)), [-0.1, 3.0], rtol=1e-6)


def test_it_gives_its_input_plus_what_its_last_layer_makes():
    model = build_unet(NetworkSettings(filter_base=2, unet_depth=1))
    cubes = np.random.default_rng(0).normal(size=(2, 8, 8, 8)).astype(np.float32)
    last = model.get_layer("fullconv_out")
    last.set_weights([np.zeros_like(weight) for weight in last.get_weights()])
    np.testing.assert_array_equal(run_network(model, cubes), cubes)
    last.set_weights([np.zeros_like(weight) + (weight.ndim == 1) for weight in last.get_weights()])
    np.testing.assert_allclose(run_network(model, cubes), cubes + 1, atol=1e-6)


def test_sides_must_be_multiples_of_what_it_halves():
    assert NetworkSettings(unet_depth=3).divisor == (8, 8, 8)
    assert NetworkSettings(unet_depth=2, pool=(1, 2, 2)).divisor == (1, 4, 4)


def test_what_is_tried_aside_is_the_same_and_follows_the_weights():
    model = build_unet(NetworkSettings(filter_base=2, unet_depth=1))
    tried = aside(model)
    for shape in ((1, 8, 8, 8), (1, 16, 8, 12)):
        cubes = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        np.testing.assert_allclose(tried(cubes), run_network(model, cubes), atol=1e-5)
    last = model.get_layer("fullconv_out")
    last.set_weights([np.zeros_like(weight) + (weight.ndim == 1) for weight in last.get_weights()])
    np.testing.assert_allclose(tried(cubes), cubes + 1, atol=1e-5)


@pytest.mark.parametrize("stem", [1, 2])
def test_a_denoiser_adds_nothing_at_first_and_comes_after_all_others(stem):
    network = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2, stem=stem, denoiser=3)
    model = build_unet(network)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name == "fullconv_out":  # which starts with zeros, too
            layer.set_weights([rng.normal(size=weight.shape) for weight in layer.get_weights()])
    cubes = rng.normal(size=(1, 8, 8, 8)).astype(np.float32)
    before = undenoised(model)
    made = run_network(before, cubes)
    assert not np.allclose(made, cubes) and not denoises(model)
    np.testing.assert_array_equal(run_network(model, cubes), made)
    last = model.get_layer(TAKEN)
    last.set_weights([rng.normal(size=weight.shape) for weight in last.get_weights()])
    assert denoises(model)
    np.testing.assert_array_equal(run_network(before, cubes), made)
    whole = run_network(model, cubes)
    assert not np.allclose(whole, made)
    _, first, denoiser = split(model, network)
    between, features = first(keras.ops.convert_to_tensor(cubes[..., None]))
    np.testing.assert_allclose(between[..., 0], made, atol=1e-5)
    np.testing.assert_allclose(
        denoiser([keras.ops.convert_to_tensor(cubes[..., None]), features, between])[..., 0], whole, atol=1e-5
    )
    assert not denoises(build_unet(NetworkSettings(filter_base=2, unet_depth=1)))


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("more", [{}, {"fine": 4}, {"denoiser": 4}, {"pool": (2, 2, 2)}])
def test_a_compiled_network_makes_what_its_layers_make(stem, more):
    # TensorFlow fuses convolutions with what follows them, and not always rightly
    model, rng = build_unet(NetworkSettings(filter_base=2, unet_depth=1, stem=stem, **more)), np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(np.array(weight) + 0.3 * rng.normal(size=weight.shape))
    cubes = rng.normal(size=(1, 8, 8, 8)).astype(np.float32)
    layer_by_layer = np.asarray(model(keras.ops.convert_to_tensor(cubes[..., None]), training=False))[..., 0]
    np.testing.assert_allclose(run_network(model, cubes), layer_by_layer, atol=1e-4 * layer_by_layer.std())


@pytest.mark.parametrize("more", [{}, {"stem": 2}, {"pool": (2, 2, 2)}, {"batch_normalization": False}])
def test_a_network_without_its_joined_tensor_makes_the_same(more):
    network = NetworkSettings(filter_base=3, unet_depth=2, drop_out=0, **more)
    model, rng = build_unet(network), np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(np.array(weight) + 0.3 * rng.normal(size=weight.shape))
    before, unjoined, after = split(model, network)
    assert before is None and after is None
    cubes = rng.normal(size=(1, 8, 16, 8)).astype(np.float32)
    made = np.asarray(model(cubes[..., None], training=False))[..., 0]
    applied = on_device(unjoined)(keras.ops.convert_to_tensor(cubes[..., None]))
    np.testing.assert_allclose(np.asarray(applied)[..., 0], made, atol=1e-4 * (made - cubes).std())


def test_the_largest_tensor_is_half_as_large_without_the_joined_one():
    network = NetworkSettings(filter_base=3, unet_depth=2)
    model, sides = build_unet(network), (8, 16, 8)
    _, unjoined, _ = split(model, network)
    assert largest(model, sides) == 6 * np.prod(sides) and largest(unjoined, sides) == 3 * np.prod(sides)
