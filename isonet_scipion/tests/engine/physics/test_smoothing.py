"""The binned Gaussian against its definition."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from isonet_scipion.engine.physics.smoothing import smooth_planes


@pytest.mark.parametrize("deviation", [1.5, 5.0, 9.0])
@pytest.mark.parametrize("shape", [(45, 61, 50), (3, 40, 41)])
def test_smoothing_from_a_binned_copy_is_the_gaussian(shape, deviation):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    volume += np.linspace(0, 2, shape[1], dtype=np.float32)[:, None]  # a slope shows a shift
    exact = gaussian_filter(volume, deviation)
    result = np.stack(list(smooth_planes(iter(volume), shape, deviation)))
    assert result.shape == shape and result.dtype == np.float32
    assert (result - exact).std() < 0.02 * volume.std()
    inside = (slice(None), slice(12, -12), slice(12, -12))
    assert abs((result - exact)[inside]).max() < 0.02


@pytest.mark.parametrize("deviation", [5.0, 20.0])
def test_binning_and_interpolation_do_not_widen_the_gaussian(deviation):
    places = np.arange(320)
    variances = []
    for centre in range(160, 168):  # of the responses to single voxels, wherever they are in a bin
        volume = (places == centre).astype(np.float32).reshape(1, 1, -1)
        response = next(smooth_planes(iter(volume), volume.shape, deviation))[0]
        variances.append(np.average((places - centre) ** 2, weights=response))
    assert np.mean(variances) == pytest.approx(deviation**2, rel=0.01)
