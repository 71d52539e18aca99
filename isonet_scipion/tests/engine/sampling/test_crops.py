import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.physics.borders import Border
from isonet_scipion.engine.sampling.crops import centre_crop, crop, fitting_count, planes_around, random_centres


@given(st.tuples(*[st.integers(8, 20)] * 3), st.integers(2, 8), st.integers(0, 5), st.integers(0, 40))
def test_crops_lie_inside_and_putting_them_back_changes_nothing(shape, size, seed, count):
    volume = np.random.default_rng(seed).normal(size=shape)
    centres = random_centres(shape, None, size, count, np.random.default_rng(seed))
    assert centres.shape == (count, 3)
    again = volume.copy()
    for centre in centres:
        cube = crop(volume, centre, size)
        assert cube.shape == (size,) * 3
        assert cube[(size // 2,) * 3] == volume[tuple(centre)]
        start = centre - size // 2
        again[tuple(slice(a, a + size) for a in start)] = cube
    np.testing.assert_array_equal(again, volume)


@given(st.integers(1, 200), st.integers(0, 100))
def test_centres_are_mask_voxels_and_distinct_while_there_are_enough(count, seed):
    rng = np.random.default_rng(seed)
    mask = (rng.random((12, 13, 14)) < 0.1).astype(np.int8)
    mask[6, 6, 6] = 1
    centres = random_centres(mask.shape, mask, 4, count, rng)
    assert mask[tuple(centres.T)].all()
    possible = np.count_nonzero(mask[2:11, 2:12, 2:13])
    assert len(np.unique(centres, axis=0)) == count if count <= possible else len(centres) == count


def test_every_mask_voxel_is_reached():
    mask = np.zeros((10, 10, 10), np.int8)
    mask[4:6, 3:7, 5] = 1
    centres = random_centres(mask.shape, mask, 4, 8, np.random.default_rng(0))
    np.testing.assert_array_equal(sorted(map(tuple, centres)), np.argwhere(mask).tolist())


def test_thin_tomogram_and_empty_mask_are_refused():
    with pytest.raises(EngineError, match="fewer than crop_size 16"):
        random_centres((8, 40, 40), None, 16, 5, np.random.default_rng(0))
    with pytest.raises(EngineError, match="no voxel"):
        random_centres((20, 20, 20), np.zeros((20, 20, 20), np.int8), 16, 5, np.random.default_rng(0))


def test_centre_crop():
    volume = np.arange(6**3).reshape(6, 6, 6)
    np.testing.assert_array_equal(centre_crop(volume, 4), volume[1:5, 1:5, 1:5])


@given(st.tuples(*[st.integers(8, 20)] * 3), st.integers(2, 8), st.integers(1, 6), st.integers(0, 5))
def test_room_is_the_number_of_cells_that_hold_sample(shape, size, spacing, seed):
    mask = np.random.default_rng(seed).random(shape) < 0.05
    low = size // 2
    centres = [c for c in np.argwhere(mask) if all(low <= p <= n - size + low for p, n in zip(c, shape))]
    assert fitting_count(shape, mask, size, spacing) == len({tuple((c - low) // spacing) for c in centres})
    assert fitting_count(shape, None, size, spacing) == fitting_count(shape, np.ones(shape, np.int8), size, spacing)


@pytest.mark.parametrize(
    ("shape", "voxels", "planes"),
    [((200, 900, 900), 1 << 23, 46), ((400, 1000, 1000), 1 << 22, 16), ((30, 12, 30), 1, 12)],
)
def test_the_part_has_whole_xz_planes_within_bounds_and_as_many_as_are_allowed(shape, voxels, planes):
    for centre in ((0, 0, 0), shape, [n / 2 for n in shape]):
        depth, height, width = planes_around(shape, centre, voxels)
        assert (depth, width) == (slice(0, shape[0]), slice(0, shape[2]))
        assert height.start >= 0 and height.stop <= shape[1] and height.stop - height.start == planes
        assert height.start <= centre[1] <= height.stop
    assert abs((height.start + height.stop) / 2 - centre[1]) <= 0.5


def test_crops_beside_holes_that_none_avoids_hold_mostly_data():
    empty = np.zeros((24, 24, 24), bool)
    empty[::4, :, :12] = empty[:, ::4, 12:] = empty[:, 1::4, 12:] = empty[:, 2::4, 12:] = True
    everything = tuple(slice(0, 24) for _ in range(3))
    border = Border(everything, empty, (0.0,), float(empty.mean()), empty.shape)
    centres = random_centres(empty.shape, None, 8, 200, np.random.default_rng(0), border)
    shares = [crop(empty, centre, 8).mean() for centre in centres]
    assert min(shares) > 0 and max(shares) <= 0.5
