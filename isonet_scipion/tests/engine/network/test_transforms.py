"""Volumes are filtered on the device as scipy does it."""

import numpy as np
import pytest

pytest.importorskip("keras")

from isonet_scipion.engine.network.transforms import transferred


@pytest.mark.parametrize("shape", [(8, 12, 10), (9, 5, 7)])
def test_sides_may_differ_and_one_filter_serves_all(shape):
    rng = np.random.default_rng(0)
    volumes = rng.normal(size=(2, *shape)).astype(np.float32)
    # of a real volume, so that the filtered ones are real
    kept = np.abs(np.fft.rfftn(rng.normal(size=shape))).astype(np.float32)
    expected = [np.fft.irfftn(np.fft.rfftn(volume) * kept, shape) for volume in volumes]
    np.testing.assert_allclose(np.asarray(transferred(volumes, kept[None])), expected, rtol=1e-3, atol=1e-3)
