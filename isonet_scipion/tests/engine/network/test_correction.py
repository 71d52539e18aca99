"""What a model makes of tiles: the mean over turned copies where its blocks would leave a grid."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from isonet_scipion.engine.conventions import Normalisation  # noqa: E402
from isonet_scipion.engine.network.correction import correct, corrector  # noqa: E402
from isonet_scipion.engine.network.tiling import BORDER, isonet_tiling  # noqa: E402
from isonet_scipion.engine.network.transforms import without  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet, run_network  # noqa: E402
from isonet_scipion.engine.physics.cube_rotations import half_turns  # noqa: E402
from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge  # noqa: E402
from isonet_scipion.engine.physics.wedge_strength import WedgeStrength  # noqa: E402
from isonet_scipion.engine.settings import NetworkSettings  # noqa: E402

SYMMETRIC, OTHER = TiltRange(-60, 60), TiltRange(-30, 66)


def network(stem, fine=0, interpolate=False):
    shape = NetworkSettings(
        filter_base=2, unet_depth=1, convs_per_depth=2, stem=stem, fine=fine, interpolate=interpolate
    )
    keras.utils.set_random_seed(1)
    model = build_unet(shape)
    model.set_weights(
        [w + 0.3 * np.random.default_rng(i).normal(size=w.shape) ** 2 for i, w in enumerate(model.get_weights())]
    )
    return model, shape


def tiles():
    return np.random.default_rng(0).normal(size=(2, 8, 12, 16)).astype(np.float32)


@pytest.mark.parametrize(("tilt", "count"), [(SYMMETRIC, 4), (OTHER, 2)])
def test_half_turns_leave_the_wedge_where_it_is(tilt, count):
    cube = np.random.default_rng(0).normal(size=(15,) * 3).astype(np.float32)
    turns = half_turns(tilt.symmetric)
    assert len({(turn.axes, turn.signs) for turn in turns}) == count
    for turn in turns:
        np.testing.assert_array_equal(turn.apply(turn.apply(cube)), cube)
        shown = turn.apply(apply_wedge(np.ascontiguousarray(turn.apply(cube)), tilt))
        np.testing.assert_allclose(shown, apply_wedge(cube, tilt), atol=1e-5)
    moved = half_turns(True)[2]
    other = moved.apply(apply_wedge(np.ascontiguousarray(moved.apply(cube)), OTHER))
    assert np.abs(other - apply_wedge(cube, OTHER)).max() > 0.1


@pytest.mark.parametrize("tilt", [SYMMETRIC, OTHER])
def test_a_network_with_a_stem_treats_turned_tiles_alike(tilt):
    model, shape = network(2)
    correct_tiles = corrector(model, shape, tilt)
    straight = correct_tiles(tiles())
    assert straight.dtype == np.float32
    for turn in half_turns(tilt.symmetric)[1:]:
        turned = np.stack([turn.apply(tile) for tile in tiles()])
        np.testing.assert_allclose(turn.apply(correct_tiles(turned)[0]), straight[0], rtol=1e-4, atol=1e-4)
        assert np.abs(turn.apply(run_network(model, turned)[0]) - run_network(model, tiles())[0]).max() > 0.01


@pytest.mark.parametrize(("stem", "fine", "interpolate"), [(1, 0, False), (2, 2, False), (2, 0, True)])
def test_a_network_that_leaves_no_grid_is_applied_once(stem, fine, interpolate):
    model, shape = network(stem, fine, interpolate)
    np.testing.assert_array_equal(corrector(model, shape, SYMMETRIC)(tiles()), run_network(model, tiles()))


def test_most_of_the_grid_of_a_stem_cancels():
    def strength(volume):
        """Of a pattern of 2 voxels along each axis."""
        return [abs(np.mean(volume * sign)) for sign in np.indices(volume.shape) % 2 * 2 - 1]

    model, shape = network(2)
    flat = np.zeros((1, 16, 16, 16), np.float32)
    for plain, averaged in zip(
        strength(run_network(model, flat)[0]), strength(corrector(model, shape, SYMMETRIC)(flat)[0])
    ):
        assert averaged < 1e-4 * max(plain, 1e-3) + 1e-6


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
    expected = np.asarray(without(plain, lost[None], BORDER))
    weakened = corrector(model, shape, OTHER, strength)(tiles())
    np.testing.assert_allclose(weakened, expected, rtol=1e-3, atol=1e-3 * plain.std())
    assert np.abs(weakened - plain).max() > 0.1 * plain.std()
