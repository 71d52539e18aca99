import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from isonet_scipion.engine.conventions import Normalisation
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.network.correction import correct, measured_halo
from isonet_scipion.engine.network.tiling import (
    HALO,
    RAMP,
    Tiling,
    _axis_tiles,
    automatic_tiling,
    isonet_tiling,
    map_tiles,
)

SHAPES = st.tuples(*[st.integers(1, 70)] * 3)
DIVISOR = (8, 8, 8)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.integers(18, 40), st.integers(18, 40), st.integers(1, 5))
def test_identity_network_gives_the_tomogram_back_for_every_size_and_tile(shape, cube, extra, batch):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    result = map_tiles(volume, isonet_tiling(cube, cube + extra), lambda tiles: tiles, batch)
    np.testing.assert_allclose(result, volume, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(SHAPES, st.integers(80**3, 120**3))
def test_identity_network_gives_the_tomogram_back_for_automatic_tiles(shape, voxels):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    tiling = automatic_tiling(shape, DIVISOR, voxels)
    assert np.prod(tiling.tile) <= voxels
    assert all(side % 8 == 0 for side in (*tiling.tile, *tiling.step))
    seen = []
    result = map_tiles(volume, tiling, lambda tiles: tiles, progress=seen.append)
    np.testing.assert_allclose(result, volume, atol=1e-5)
    assert sum(seen) == np.prod(tiling.counts(shape))


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.integers(80**3, 120**3), st.sampled_from([16, 24, 32]), st.sampled_from([4, 8]))
def test_no_voxel_is_taken_from_near_a_tiles_edge(shape, voxels, halo, border):
    tiling = automatic_tiling(shape, DIVISOR, voxels, halo, border)
    for axis, length in enumerate(shape):
        tiles = list(_axis_tiles(length, axis, tiling))
        for number, tile in enumerate(tiles):
            assert len(tile.source) == tiling.tile[axis]
            inner = halo - RAMP // 2
            beyond = [border if number == 0 else inner, border if tile is tiles[-1] else inner]
            assert tile.inside.start >= beyond[0] and tile.inside.stop <= tiling.tile[axis] - beyond[1]
            np.testing.assert_array_equal(tile.source[tile.inside], np.arange(tile.target.start, tile.target.stop))


@pytest.mark.parametrize("border", [4, 8])
def test_no_axis_has_more_mirrored_voxels_than_asked_for(border):
    tiling = automatic_tiling((96, 500, 500), DIVISOR, 3_000_000, 24, border)
    assert tiling.tile[0] == (104 if border == 4 else 112)
    first, *_, last = _axis_tiles(500, 1, tiling)
    assert tiling.counts((96, 500, 500))[1] > 2
    assert first.inside.start == border
    assert tiling.tile[1] - last.inside.stop < border + 8 * tiling.counts((96, 500, 500))[1]


@pytest.mark.parametrize("shape", [(96, 200, 200), (200, 500, 500), (36, 206, 94)])
def test_little_more_than_the_tomogram_goes_through_the_network(shape):
    tiling = automatic_tiling(shape, DIVISOR, 16 << 20)
    assert tiling.counts(shape)[0] == 1  # thin tomograms stay whole in z
    assert tiling.load(shape) <= 2.5
    # the released program's choice, for comparison
    assert isonet_tiling(64, 96).load((96, 200, 200)) > 4


def test_few_tiles_stay_few_when_memory_allows():
    assert automatic_tiling((40, 60, 60), DIVISOR, 10**7).counts((40, 60, 60)) == (1, 1, 1)
    with pytest.raises(EngineError, match="memory"):
        automatic_tiling((40, 60, 60), DIVISOR, 1000)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((64, 80), "crop_size: 80 is less than cube_size 64 [+] 18"),
        ((16, 64), "cube_size: 16 is less than 18, over which"),
        ((64, 64), "crop_size: 64 is less than cube_size 64"),
    ],
)
def test_tiles_too_small_for_the_ramps_are_refused(sizes, said):
    with pytest.raises(EngineError, match=said):
        isonet_tiling(*sizes)


def test_weights_only_depend_on_the_place_so_that_a_constant_error_stays_constant():
    result = map_tiles(np.zeros((20, 50, 50), np.float32), Tiling((40,) * 3, (20,) * 3, 18, -9), lambda t: t + 1)
    np.testing.assert_allclose(result, 1, atol=1e-6)


@pytest.mark.parametrize("normalisation", Normalisation)
def test_corrected_tomogram_is_in_the_inputs_grey_scale_and_what_the_network_sees_is_bright(normalisation):
    tomogram = np.random.default_rng(1).normal(300, 20, (30, 40, 40)).astype(np.float32)
    tomogram[10:20, 10:20, 10:20] -= 200  # dark protein
    seen = []

    def network(tiles):
        seen.append(tiles)
        return tiles

    result = correct(tomogram, network, isonet_tiling(20, 40), normalisation=normalisation)
    np.testing.assert_allclose(result, tomogram, rtol=1e-4)
    everything = np.concatenate([tiles.ravel() for tiles in seen])
    assert everything.max() > 1.5 * -everything.min()
    normal = correct(
        tomogram.copy(), network, isonet_tiling(20, 40), normalisation=normalisation, normalized_output=True
    )
    if normalisation is Normalisation.PERCENTILES:
        np.testing.assert_allclose(np.percentile(-normal, [4, 96]), [0, 1], atol=1e-3)
    else:
        np.testing.assert_allclose([normal.mean(), normal.std()], [0, 1], atol=1e-3)


def test_the_halo_follows_the_networks_reach():
    volume = np.random.default_rng(0).normal(size=(40, 40, 140)).astype(np.float32)

    def mean_over(reach):
        return lambda tiles: np.stack([uniform_filter(tile, 2 * reach + 1, mode="constant") for tile in tiles])

    halos = [measured_halo(mean_over(reach), volume, DIVISOR) for reach in (0, 4, 12)]
    assert halos == [RAMP // 2, RAMP // 2 + 4, RAMP // 2 + 12]
    assert measured_halo(mean_over(4), volume[..., :40], DIVISOR) == HALO  # too small to tell
