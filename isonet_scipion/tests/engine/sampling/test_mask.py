import mrcfile
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.sampling import mask as mask_module
from isonet_scipion.engine.sampling.mask import bin_by_two, local_deviation, sample_mask


def test_mask_of_the_released_programs_binned_tomogram(released, monkeypatch):
    binned = released["binned"]
    monkeypatch.setattr(mask_module, "bin_by_two", lambda tomogram, threads: binned)
    tomogram = np.broadcast_to(np.float32(0), [2 * length for length in binned.shape])
    mask = sample_mask(tomogram, 4, 60, 55, z_crop=0.1)[::2, ::2, ::2]
    expected = np.unpackbits(released["mask"]).reshape(binned.shape)
    assert np.mean(mask != expected) < 1e-3  # the tomogram is kept in half precision


def test_equals_the_released_programs_mask(reference):
    with mrcfile.open(reference / "cell_deconv.mrc") as tomogram, mrcfile.open(reference / "cell_mask.mrc") as expected:
        mask = sample_mask(tomogram.data, 4, 60, 55, z_crop=0.1)
        np.testing.assert_array_equal(mask, expected.data)


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.sampled_from([3, 5]))
def test_local_deviation_is_that_of_the_voxels_inside(shape, size):
    volume = np.random.default_rng(5).normal(1000, 3, shape).astype(np.float32)
    result = local_deviation(volume.copy(), size, 1, np.empty_like(volume))
    half = size // 2
    for place in np.ndindex(shape):
        box = volume[tuple(slice(max(0, p - half), p + half + 1) for p in place)]
        assert result[place] == pytest.approx(box.std(dtype=float), abs=0.02)


@given(st.tuples(*[st.integers(2, 13)] * 3))
def test_binning_halves_every_size_and_keeps_the_grey_level(shape):
    binned = bin_by_two(np.full(shape, 7, np.int16))
    assert binned.shape == tuple(-(-n // 2) for n in shape)
    np.testing.assert_allclose(binned, 7, rtol=1e-5)


def test_dense_textured_block_is_found_and_odd_sizes_keep_their_last_planes():
    rng = np.random.default_rng(6)
    tomogram = rng.normal(0, 0.1, (41, 61, 63)).astype(np.float32)
    tomogram[21:, 31:, 31:] += rng.normal(-5, 5, (20, 30, 32))
    mask = sample_mask(tomogram, 2, 20, 40)
    assert mask.dtype == np.int8
    assert mask.shape == tomogram.shape
    assert mask[24:, 34:, 34:].mean() > 0.9
    assert mask[:16, :26, :26].sum() == 0
    assert mask[-1].any() and mask[:, -1].any() and mask[:, :, -1].any()


@pytest.mark.parametrize("level", [0, 7, -1000.3])
def test_equal_voxels_are_refused_though_binning_rounds(level):
    with pytest.raises(EngineError, match="all its voxels are equal"):
        sample_mask(np.full((20, 37, 50), level, np.float32))


def test_mask_goes_where_it_is_wanted_and_the_tomogram_stays():
    tomogram = np.random.default_rng(10).normal(0, 1, (20, 25, 27)).astype(np.float32)
    before, out = tomogram.copy(), np.full(tomogram.shape, -1, np.int8)
    assert sample_mask(tomogram, out=out) is out
    np.testing.assert_array_equal(out, sample_mask(tomogram, threads=2))
    np.testing.assert_array_equal(tomogram, before)
    assert set(np.unique(out)) == {0, 1}


def test_switched_off_criteria_z_crop_and_boundary():
    tomogram = np.random.default_rng(7).normal(0, 1, (20, 24, 26)).astype(np.float32)
    assert sample_mask(tomogram, density_percentage=100, std_percentage=100).all()
    cropped = sample_mask(tomogram, density_percentage=100, std_percentage=100, z_crop=0.2)
    np.testing.assert_array_equal(np.flatnonzero(cropped.any((1, 2))), np.arange(4, 16))
    boundary = np.zeros((10, 12, 13), bool)
    boundary[2:4, 5:7, 1:3] = True
    inside = sample_mask(tomogram, density_percentage=100, std_percentage=100, boundary=boundary)
    assert inside.sum() == 8 * 8 and inside[4:8, 10:14, 2:6].all()
    half = sample_mask(tomogram, density_percentage=30, std_percentage=100)
    assert 0.25 < half.mean() <= 0.3


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.sampled_from([3, 5, 9]))
def test_lowest_value_of_a_box_is_scipys(shape, size):
    volume = np.random.default_rng(8).normal(size=shape).astype(np.float32)
    expected = scipy.ndimage.minimum_filter(volume, size, mode="reflect")
    np.testing.assert_array_equal(mask_module._lowest(volume, size, 2, np.empty_like(volume)), expected)


@pytest.mark.parametrize("percentage", [0, 0.2, 37, 50, 99.9, 100])
def test_percentile_of_a_large_volume_is_numpys(percentage):
    values = np.random.default_rng(9).normal(100, 1, (10, 200, 200)).astype(np.float32)
    for volume in (values, np.round(values)):
        found = mask_module._percentile(volume, percentage)
        assert found == pytest.approx(np.percentile(volume.astype(float), percentage), abs=1e-5)
