import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from isonet_scipion.engine.physics import band_filter
from isonet_scipion.engine.physics.band_filter import filter_in_place, resampled

shapes = st.tuples(*[st.integers(1, 40)] * 3)


@settings(max_examples=25, deadline=None)
@given(shapes, st.sampled_from([0.5, 2.0]), st.integers(1, 3))
def test_gaussian_is_scipys(shape, deviation, threads):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = scipy.ndimage.gaussian_filter(volume.astype(float), deviation)

    def gaussian(length):
        return scipy.ndimage.gaussian_filter1d(np.eye(length, dtype=np.float32), deviation, axis=0)

    filter_in_place(volume, gaussian, threads)
    np.testing.assert_allclose(volume, expected, atol=2e-6)


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(1, 150), st.integers(1, 40), st.integers(1, 40)), st.integers(1, 5))
def test_resampling_is_the_product_with_the_matrix_along_each_axis(shape, threads):
    volume = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    asked = []

    def thirds(length):
        made = -(-length // 3)
        return np.float32([[3 * row <= place < 3 * row + 5 for place in range(length)] for row in range(made)])

    def plane(z):
        asked.append(z)
        return volume[z]

    result = resampled(plane, shape, thirds, threads)
    expected = volume.astype(float)
    for axis in range(3):
        expected = np.moveaxis(np.tensordot(thirds(shape[axis]).astype(float), expected, (1, axis)), 0, axis)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)
    if threads == 1:
        assert asked == list(range(shape[0]))  # a file is read once, from its start to its end


@pytest.mark.parametrize("columns", [1, 100, 5000])
def test_products_in_parts_are_the_product(columns):
    rng = np.random.default_rng(2)
    factors, samples = rng.normal(size=(16, 40)).astype(np.float32), rng.normal(size=(40, columns)).astype(np.float32)
    out = np.empty((16, columns), np.float32)
    band_filter._multiply(factors, samples, out)
    np.testing.assert_allclose(out, factors @ samples, rtol=1e-4, atol=1e-4)
