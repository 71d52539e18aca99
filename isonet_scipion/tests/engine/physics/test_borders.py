import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from isonet_scipion.engine.physics.borders import find_border, mirrored_into, put_back_nearest
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.radial_filter import Deconvolution, deconvolve
from isonet_scipion.engine.sampling.mask import sample_mask

JOB = Deconvolution(10.0, CtfParameters(defocus=25000.0))


def scene(shape=(40, 60, 70), mean=1000.0, seed=0):
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=shape), 2)
    return (mean + 50 * (smooth / smooth.std() + 0.5 * rng.normal(size=shape))).astype(np.float32)


def padded(volume, value=0.0, widths=((0, 0), (12, 15), (0, 0))):
    return np.pad(volume, widths, constant_values=value)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int16, np.uint8, np.int8])
@pytest.mark.parametrize("value", [0, 100])
@pytest.mark.parametrize("widths", [((0, 0), (12, 15), (0, 0)), ((2, 0), (0, 0), (3, 7)), ((0, 1), (0, 0), (0, 0))])
def test_padding_is_found_with_any_value_at_any_face(dtype, value, widths):
    volume = (scene(mean=0) / 3).astype(dtype) if dtype != np.uint8 else (128 + scene(mean=0) / 4).astype(dtype)
    border = find_border(padded(volume, value, widths))
    np.testing.assert_array_equal(padded(volume, value, widths)[border.box], volume)
    assert border.empty is None
    assert border.values == (value,)


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("axes", [(2,), (1,), (1, 2), (0, 1, 2)])
def test_a_frame_of_one_or_two_voxels_is_found(dtype, width, axes):
    volume = scene(mean=1000 if dtype == np.float32 else 0).astype(dtype)
    whole = padded(volume, 0, [(width, width) if axis in axes else (0, 0) for axis in range(3)])
    border = find_border(whole)
    np.testing.assert_array_equal(whole[border.box], volume)
    assert border.empty is None and border.values == (0,)


def test_single_blank_planes_are_found_wherever_they_are():
    for axis, places in ((0, [1, 6, 22, 38]), (1, [7, 30]), (2, [12, 13, 40])):
        volume = np.moveaxis(scene(), axis, 0)
        volume[places] = 0
        border = find_border(np.moveaxis(volume, 0, axis))
        assert border is not None and np.moveaxis(border.empty, axis, 0)[places].all()
        assert border.share == pytest.approx(len(places) / len(volume))


@pytest.mark.parametrize("slope", [0.01, 0.03, 0.05, 0.1])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_borders_of_volumes_that_were_turned_a_little_are_found_to_their_tips(axis, slope):
    volume = np.moveaxis(scene((60, 60, 60)), 0, axis)
    y, x = np.indices(volume.shape[1:])
    turned = (y < slope * x) | (x < slope * (59 - y))
    volume[:, turned] = 0
    border = find_border(np.moveaxis(volume, 0, axis))
    np.testing.assert_array_equal(np.moveaxis(border.data(), axis, 0), np.broadcast_to(~turned, volume.shape))


@pytest.mark.parametrize("scale", [1, 0.37])
def test_a_border_of_floats_in_few_grey_levels_is_found(scale):
    levels = scale * np.round(scene(mean=0) / 10).astype(np.float32)
    border = find_border(padded(levels, 0))
    np.testing.assert_array_equal(padded(levels, 0)[border.box], levels)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
def test_padding_of_another_value_in_each_section_is_found(dtype):
    volume = (scene(mean=0) / 4 + 128 + 12 * np.sin(np.arange(40))[:, None, None]).astype(dtype)
    whole = np.stack([np.pad(plane, ((0, 9), (5, 7)), constant_values=plane.mean()) for plane in volume])
    border = find_border(whole)
    np.testing.assert_array_equal(whole[border.box], volume)
    assert border.empty is None and "a value of each section), which is left out" in border.describe()
    beside = np.pad(whole, ((0, 0), (0, 0), (20, 0)))  # zeros, too
    np.testing.assert_array_equal(beside[find_border(beside).box], volume)


def test_what_has_no_border_has_none():
    rng = np.random.default_rng(1)
    smooth = gaussian_filter(rng.normal(size=(40, 60, 70)), 4)
    for volume in (
        scene(),
        np.round(rng.normal(0, 1, (40, 60, 70))).astype(np.int8),  # a third of the voxels are 0
        np.round(3 * smooth / smooth.std()).astype(np.int8),  # denoised, in few grey levels: flat places
        np.round(3 * smooth / smooth.std()).astype(np.float32),  # the same, as converted
        (0.37 * np.round(3 * smooth / smooth.std()) - 1.1).astype(np.float32),
        (256 * np.round(3 * smooth / smooth.std())).astype(np.int16),
        # the same beside a gradient, so that sections are flat at other levels
        np.round(0.3 * smooth / smooth.std() + np.arange(40)[:, None, None]).astype(np.int16),
        np.full((8, 9, 10), 3.0, np.float32),  # for others to complain of
        np.zeros((2, 2, 2), np.float32),
    ):
        assert find_border(volume) is None


def test_turned_and_several_borders_and_blank_planes():
    volume = scene()
    y, x = np.indices(volume.shape[1:])
    volume[:, x + y < 30] = 7  # a rotated tomogram's corner
    volume[:, x - y > 50] = -3
    volume[18:20, 20:40, 20:40] = 0  # less than 3 voxels thick, and few: data
    volume[-1] = 7
    border = find_border(volume)
    empty = ~border.data()
    assert set(border.values) == {7, -3}
    assert border.box[0] == slice(0, 39)
    assert empty[-1].all() and not empty[18, 20:40, 20:40].any()
    expected = (x + y < 30) | (x - y > 50)
    assert (empty[0] != expected).mean() < 0.005
    assert border.share == pytest.approx(empty.mean())


def test_mirrored_places_have_the_grey_values_beside_them():
    volume = scene(mean=1000)
    empty = np.zeros(volume.shape, bool)
    empty[:, :, 50:] = True
    empty[30:] = True
    filled = mirrored_into(np.where(empty, 0, volume), empty)
    np.testing.assert_array_equal(filled[:30, :, 50:60], volume[:30, :, 39:49][..., ::-1])
    assert filled.min() > 500


@pytest.mark.parametrize(("step", "nearest"), [(2.0, [1, 3, 5, 7]), (0.5, [0, 0, 1, 1, 2, 2, 3, 3])])
def test_a_border_is_put_back_from_the_nearest_voxels(step, nearest):
    volume = np.zeros((8, 8, 8), np.int16) + np.arange(8, dtype=np.int16)
    empty = volume < 6
    rescaled = np.full((len(nearest),) * 3, -1, np.float32)
    put_back_nearest(volume, empty, step, rescaled)
    np.testing.assert_array_equal(rescaled[0, 0], [-1 if place >= 6 else place for place in nearest])
    assert (rescaled == rescaled[0, 0]).all()


def test_deconvolution_is_that_without_the_border_which_stays_as_it_is():
    volume = scene()
    whole = padded(volume)
    result = deconvolve(whole, JOB, border=find_border(whole))
    np.testing.assert_array_equal(result[:, 12:-15], deconvolve(volume, JOB))
    assert (result[:, :12] == 0).all() and (result[:, -15:] == 0).all()


def test_deconvolution_beside_a_turned_border():
    volume = scene()
    y, x = np.indices(volume.shape[1:])
    cut = volume.copy()
    cut[:, x + y < 45] = 0
    result = deconvolve(cut, JOB, border=find_border(cut))
    inside = x + y > 55
    # with the border it is 0.3: the step of 1000 rings through all
    assert np.corrcoef(result[:, inside].ravel(), deconvolve(volume, JOB)[:, inside].ravel())[0, 1] > 0.95
    assert (result[:, x + y < 45] == 0).all()


@pytest.mark.parametrize("before", [12, 13])
def test_mask_is_that_without_the_border(before):
    volume = scene()
    whole = padded(volume, widths=((0, 0), (before, 15), (0, 0)))
    mask = sample_mask(whole, 4, 50, 50, border=find_border(whole))
    np.testing.assert_array_equal(mask[:, before:-15], sample_mask(volume, 4, 50, 50))
    assert not mask[:, :before].any() and not mask[:, -15:].any()


@pytest.mark.parametrize("before", [12, 13])
def test_a_boundary_stays_in_its_place_beside_a_border(before):
    whole = padded(scene(), widths=((0, 0), (before, 15), (0, 0)))
    boundary = np.zeros([-(-length // 2) for length in whole.shape], bool)
    boundary[2:9, 9:15, 4:11] = True
    mask = sample_mask(whole, 4, 100, 100, boundary=boundary, border=find_border(whole))
    drawn = np.kron(boundary, np.ones((2, 2, 2), bool))[tuple(map(slice, whole.shape))]
    np.testing.assert_array_equal(mask > 0, drawn)


def test_mask_of_bright_protein_is_that_of_dark():
    volume = scene()
    np.testing.assert_array_equal(sample_mask(-volume, inverted=True), sample_mask(volume))
    assert (sample_mask(-volume) != sample_mask(volume)).mean() > 0.2
