"""Number formats of results: what fits is kept, what does not is scaled, what rounding would show in stays as it is."""

import logging

import numpy as np
import pytest

from isonet_scipion.engine.io.number_formats import MOST_LOSS, grey_values, stored, stored_or_float32

NOISE = np.random.default_rng(1).normal(size=(8, 9, 10)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "factor", "is_scaled"),
    [
        ("int16", 1.0, True),  # too coarse as whole numbers
        ("int16", 500.0, False),
        ("int16", 1e5, True),  # too large
        ("float16", 1.0, False),
        ("float16", 1e6, True),
        ("float16", 1e-6, True),  # below its smallest numbers
        ("float32", 1e6, False),
    ],
)
def test_values_are_scaled_where_they_do_not_fit_and_come_back(kind, factor, is_scaled):
    values = NOISE * np.float32(factor)
    made = stored(values, kind)
    assert made.voxels.dtype == kind and (made.scale != 1) == is_scaled
    back = grey_values(made.voxels, made.scale)
    assert np.isfinite(back).all()
    difference = np.sqrt(((back - values) ** 2).mean()) / values.std()
    assert difference == pytest.approx(made.loss, rel=0.2, abs=1e-9) and difference <= MOST_LOSS


@pytest.mark.parametrize("kind", ["int16", "float16"])
def test_what_rounding_would_show_in_stays_single_precision_and_the_log_says_so(kind, caplog):
    values = NOISE + np.float32(3000) * (1 if kind == "float16" else 0)
    values[0, 0, 0] = 1e5 if kind == "int16" else values[0, 0, 0]  # a hot voxel takes all of the range
    with caplog.at_level(logging.WARNING):
        made = stored_or_float32(values, kind, "TS_01")
    assert made.voxels is values and made.scale == 1
    assert "TS_01" in caplog.text and "written as float32" in caplog.text
    assert stored(values, kind).loss > MOST_LOSS


def test_a_flat_volume_is_kept():
    made = stored(np.full((2, 2, 2), 7, np.float32), "int16")
    assert made.loss == 0 and np.allclose(grey_values(made.voxels, made.scale), 7, atol=1e-3)
