"""The confidence as a colour on slices."""

import tracemalloc

import numpy as np
from matplotlib.figure import Figure

from isonet_scipion.engine.measure.confidence import Confidence
from isonet_scipion.engine.reporting.confidence_figure import draw_confidence


def test_each_slice_lies_under_its_own_confidence():
    after = np.random.default_rng(0).normal(size=(16, 24, 32)).astype(np.float32)
    confidence = Confidence(np.random.default_rng(1).random((2, 3, 4)).astype(np.float32), after.shape)
    volume = np.stack(list(confidence.planes()))
    axes = Figure().subplots(1, 4)
    draw_confidence(axes, after, confidence, 10.0)
    for panel, cut in zip(axes, (np.s_[8], np.s_[:, 12], np.s_[:, :, 16])):
        image, layer = panel.get_images()
        np.testing.assert_array_equal(image.get_array(), after[cut])
        np.testing.assert_allclose(layer.get_array(), volume[cut])
        assert layer.get_clim() == (0, 1) and 0 < layer.get_alpha() < 1
        assert image.get_extent() == layer.get_extent()
    assert sum(bar.get_height() for bar in axes[3].patches) == 24


def test_no_volume_as_large_as_the_tomogram_is_made():
    after = np.random.default_rng(0).normal(size=(128, 192, 192)).astype(np.float32)
    confidence = Confidence(np.random.default_rng(1).random((16, 24, 24)).astype(np.float32), after.shape)
    axes = Figure().subplots(1, 4)
    tracemalloc.start()
    draw_confidence(axes, after, confidence, 10.0)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < after.nbytes / 2
