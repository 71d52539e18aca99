"""What a model makes of tiles: without the grid that its blocks would leave."""

from functools import partial

import numpy as np
import pytest
import scipy.fft

keras = pytest.importorskip("keras")

from isonet_scipion.engine.conventions import Normalisation  # noqa: E402
from isonet_scipion.engine.network.correction import border_of, correct, corrector  # noqa: E402
from isonet_scipion.engine.network.grid_filter import grid_filter  # noqa: E402
from isonet_scipion.engine.network.tiling import isonet_tiling  # noqa: E402
from isonet_scipion.engine.network.transforms import without  # noqa: E402
from isonet_scipion.engine.network.unet import TAKEN, build_unet, run_network  # noqa: E402
from isonet_scipion.engine.physics.wedge import TiltRange  # noqa: E402
from isonet_scipion.engine.physics.wedge_strength import WedgeStrength  # noqa: E402
from isonet_scipion.engine.process.device import on_device  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402

SYMMETRIC, OTHER = TiltRange(-60, 60), TiltRange(-30, 66)


def network(stem, **more):
    shape = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2, stem=stem, **more)
    keras.utils.set_random_seed(1)
    model = build_unet(shape)
    model.set_weights(
        [w + 0.3 * np.random.default_rng(i).normal(size=w.shape) ** 2 for i, w in enumerate(model.get_weights())]
    )
    return model, shape


def tiles():
    return np.random.default_rng(0).normal(size=(2, 8, 12, 16)).astype(np.float32)


@pytest.mark.parametrize(("stem", "more"), [(1, {}), (2, {"fine": 2}), (1, {"denoiser": 2})])
def test_of_a_network_that_leaves_no_grid_all_is_kept(stem, more):
    model, shape = network(stem, **more)
    # two convolutions may sum up in another order than the one of what they join
    np.testing.assert_allclose(corrector(model, shape, SYMMETRIC)(tiles()), run_network(model, tiles()), rtol=1e-5)


@pytest.mark.parametrize("more", [{}, {"denoiser": 2}])
def test_the_grid_of_a_stem_goes_and_all_else_stays(more):
    model, shape = network(2, **more)
    if more:  # not trained yet
        last = model.get_layer(TAKEN)
        last.set_weights([np.zeros_like(weight) for weight in last.get_weights()])
    source = np.random.default_rng(0).normal(size=(1, 64, 64, 64)).astype(np.float32)
    source += 3 * (np.indices(source.shape[1:]).sum(axis=0) % 2)  # a pattern of the tomogram's own
    changed, left = (
        made(source)[0] - source[0] for made in (partial(run_network, model), corrector(model, shape, OTHER))
    )
    inside = (slice(16, 48),) * 3  # at a tile's faces less is taken away
    grid = grid_filter((32,) * 3, shape.divisor)
    k = 2 * scipy.fft.fftfreq(32)
    learned = (
        np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k[:17] ** 2) < 0.8
    )  # what is finer a denoiser gets as it was

    def power(volume):
        """Of a grid, and of all else but the mean."""
        values = np.abs(scipy.fft.rfftn(volume[inside] - volume[inside].mean())) ** 2
        return (values * grid).sum(), (values * learned * (1 - grid)).sum()

    before, after = power(changed), power(left)
    assert before[0] > 0.1 * before[1] and after[0] < 0.02 * before[0]
    assert after[1] > 0.7 * before[1]  # the grid, ten times as strong, is no pure one
    assert left[inside].mean() == pytest.approx(changed[inside].mean(), rel=1e-3)


@pytest.mark.parametrize(("length", "kept"), [(8, 0.0), (32, 0.5), (128, 0.96)])
def test_what_is_larger_than_the_training_showed_stays(length, kept):
    wave = np.sin(2 * np.pi * (np.arange(256) + 0.5) / length)[:, None, None] * np.ones((1, 20, 20))
    tomogram = wave.astype(np.float32)

    def result(kept_beyond):
        tiling = isonet_tiling(64, 96)
        return correct(
            tomogram.copy(),
            lambda tiles: 0.5 * tiles,
            tiling,
            normalisation=Normalisation.MOMENTS,
            kept_beyond=kept_beyond,
        )

    inside = (slice(64, 192), 10, 10)
    np.testing.assert_allclose(result(None)[inside], 0.5 * tomogram[inside], atol=1e-4)
    np.testing.assert_allclose(result(32)[inside], (0.5 + 0.5 * kept) * tomogram[inside], atol=0.01)


@pytest.mark.parametrize("kept_beyond", [None, 8])
def test_a_tomogram_is_corrected_from_its_file_which_stays_as_it_is(tmp_path, kept_beyond):
    tomogram = np.random.default_rng(0).integers(-100, 100, (20, 50, 60)).astype(np.int8)
    tomogram.tofile(tmp_path / "t")
    mapped = np.memmap(tmp_path / "t", np.int8, "r", shape=tomogram.shape)
    tiling = isonet_tiling(20, 40)
    results = [
        correct(volume, lambda tiles: np.tanh(tiles, out=tiles), tiling, kept_beyond=kept_beyond)
        for volume in (mapped, tomogram.astype(np.float32))
    ]
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(mapped, tomogram)
    assert 1 < np.abs(results[0] - tomogram).max() < 200


def test_what_tiles_of_one_shape_lose_is_made_once(monkeypatch):
    model, shape = network(1)
    strength, made = WedgeStrength((0.5,), (0.25,)), []

    def transfer(self, sides, tilt):
        made.append(sides)
        return np.ones((*sides[:2], sides[2] // 2 + 1), np.float32)

    monkeypatch.setattr(WedgeStrength, "transfer", transfer)
    correct_tiles = corrector(model, shape, OTHER, strength)
    for part in (tiles(), tiles(), tiles()[:1], tiles()[:, :, :8]):
        correct_tiles(part)
    assert made == [(8, 12, 16), (8, 8, 16)]


def test_what_is_filled_in_is_weakened_on_the_device():
    model, shape = network(1)
    plain = corrector(model, shape, OTHER)(tiles())
    strength = WedgeStrength((0.5,), (0.25,))
    lost = 1 - strength.transfer(tiles().shape[1:], OTHER)
    expected = np.asarray(without(plain, lost[None], border_of(shape)))
    weakened = corrector(model, shape, OTHER, strength)(tiles())
    np.testing.assert_allclose(weakened, expected, rtol=1e-3, atol=1e-3 * plain.std())
    assert np.abs(weakened - plain).max() > 0.1 * plain.std()


def test_tiles_corrected_twice_do_not_depend_on_half_a_turn_about_the_tilt_axis():
    model, shape = network(2)
    half_turn = (slice(None), slice(None, None, -1), slice(None), slice(None, None, -1))
    once, twice = (corrector(model, shape, OTHER, twice=given) for given in (False, True))
    expected = (once(tiles()) + once(tiles()[half_turn])[half_turn]) / 2
    np.testing.assert_allclose(twice(tiles()), expected, rtol=1e-4, atol=1e-4 * expected.std())
    np.testing.assert_allclose(twice(tiles()[half_turn])[half_turn], expected, rtol=1e-4, atol=1e-4 * expected.std())
    assert np.abs(once(tiles()) - expected).max() > 0.1 * expected.std()


@pytest.mark.parametrize("denoiser", [0, 2])
def test_the_next_tomogram_finds_the_network_compiled(denoiser):
    shape = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2, denoiser=denoiser)
    model = build_unet(shape)
    tiles = np.zeros((1, 8, 8, 8), np.float32)
    corrector(model, shape, TiltRange())(tiles)
    compiled = on_device.cache_info().misses
    corrector(model, shape, TiltRange(-40, 50), twice=True)(tiles)
    assert on_device.cache_info().misses == compiled
    corrector(build_unet(shape), shape, TiltRange())(tiles)
    assert on_device.cache_info().misses > compiled
