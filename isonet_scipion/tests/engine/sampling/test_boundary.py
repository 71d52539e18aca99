from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.imod_model import read_boundary
from isonet_scipion.engine.sampling.boundary import Boundary, boundary_mask
from isonet_scipion.tests.imod_model import SHAPE, SQUARE, write_model

REAL_MODELS = Path(__file__).parents[5] / "shared" / "data" / "imod_models"
BINNED = (20, 30, 40)


def mask_of(*contours: list[tuple[float, float, float]], shape=BINNED, binning=2) -> np.ndarray:
    return boundary_mask(Boundary("model", tuple(np.array(c, float) for c in contours)), shape, binning)


def square_mask(planes: slice = slice(None)) -> np.ndarray:
    expected = np.zeros(BINNED, bool)
    expected[planes, 10:25, 5:15] = True
    return expected


def test_polygon_holds_at_every_z():
    np.testing.assert_array_equal(mask_of(SQUARE), square_mask())


def test_voxel_centres_decide():
    unbinned = mask_of([(0.6, 0, 0), (2.6, 0, 0), (2.6, 1, 0), (0.6, 1, 0)], shape=(1, 2, 4), binning=1)
    np.testing.assert_array_equal(unbinned[0], [[False, True, True, False], [False] * 4])
    upright = mask_of([(0, 0.4, 0), (0, 2.4, 0), (1, 2.4, 0), (1, 0.4, 0)], shape=(1, 4, 2), binning=1)
    np.testing.assert_array_equal(upright[0].T, [[True, True, False, False], [False] * 4])


def test_last_two_points_far_apart_are_a_z_range():
    np.testing.assert_array_equal(mask_of([*SQUARE, (0, 0, 30), (79, 59, 8)]), square_mask(slice(4, 16)))


@pytest.mark.parametrize(("difference", "is_range"), [(9.9, False), (10, True)])
def test_z_range_rule_counts_binned_voxels(difference, is_range):
    # As corners, these two points would cut the square's right half off.
    mask = mask_of([*SQUARE, (10, 40, 0), (10, 30, difference)])
    assert mask[6:].any() != is_range
    assert mask[0].sum() == 150


def test_two_points_alone_give_only_a_z_range():
    mask = mask_of([(5, 5, 10), (6, 6, 21)])
    assert mask[5:11].all()
    assert mask.sum() == 6 * 30 * 40


def test_z_range_in_a_contour_of_its_own_limits_only_polygons_without_one():
    other = [(40, 20, 4), (60, 20, 4), (60, 50, 4), (40, 50, 4), (0, 0, 0), (0, 0, 39)]
    mask = mask_of(SQUARE, other, [(5, 5, 10), (6, 6, 21)])
    np.testing.assert_array_equal(mask[..., :20], square_mask(slice(5, 11))[..., :20])
    assert mask[:, 10:25, 20:30].all()


def test_contours_at_different_z_are_a_union():
    other = [(40, 20, 30), (60, 20, 30), (60, 50, 30), (40, 50, 30)]
    expected = square_mask()
    expected[:, 10:25, 20:30] = True
    np.testing.assert_array_equal(mask_of(SQUARE, other), expected)


def test_outside_is_cut_off():
    huge = [(-1000, -1000, 0), (5000, -1000, 0), (5000, 5000, 0), (-1000, 5000, 0), (0, 0, -300), (0, 0, 7)]
    mask = mask_of(huge)
    assert mask[:4].all()
    assert not mask[4:].any()
    assert not mask_of([*SQUARE, (0, 0, -300), (0, 0, -7)]).any()


def test_stray_clicks_do_nothing():
    np.testing.assert_array_equal(mask_of([(1, 1, 1)], [(1, 1, 1), (9, 9, 1)], SQUARE), square_mask())
    with pytest.raises(EngineError, match="none of its 1 contours"):
        mask_of([(1, 1, 1), (9, 9, 1)])


def test_objects_are_a_union(tmp_path):
    other = [(x + 30, y, z) for x, y, z in SQUARE]
    boundary = read_boundary(write_model(tmp_path / "a.mod", [SQUARE], [], [other]), SHAPE)
    mask = boundary_mask(boundary, BINNED)
    assert mask.sum() == 2 * square_mask().sum()
    assert mask[:, 10:25, 20:30].all()


needs_real_models = pytest.mark.skipif(not REAL_MODELS.is_dir(), reason=f"{REAL_MODELS} is missing")


def filled(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pillow's rendering of a polygon, eight times finer since it counts all pixels on the edge as inside."""
    image = Image.new("1", (8 * shape[1], 8 * shape[0]))
    ImageDraw.Draw(image).polygon([tuple(point) for point in 8 * points[:, :2]], fill=1)
    return np.array(image)[4::8, 4::8]


@needs_real_models
def test_real_model_of_two_contours():
    boundary = read_boundary(REAL_MODELS / "two_contour_example.mod", (128, 128, 128))
    assert [len(points) for points in boundary.contours] == [17, 8]
    mask = boundary_mask(boundary, (128, 128, 128), binning=1)
    assert (mask == mask[:1]).all()
    # Both contours are spirals that cross themselves.
    expected = np.logical_or(*(filled(points, (128, 128)) for points in boundary.contours))
    assert np.mean(mask[0] != expected) < 0.02
    assert mask[0].sum() == pytest.approx(expected.sum(), rel=0.02)
    binned = boundary_mask(boundary, (64, 64, 64))
    assert binned[0].sum() * 4 == pytest.approx(expected.sum(), rel=0.02)


@needs_real_models
@pytest.mark.parametrize(
    ("name", "shape", "contours"),
    [("meshed_curvature_example.mod", (256, 91, 221), 22), ("multiple_objects_example.mod", (300, 924, 956), 2)],
)
def test_real_models_with_several_objects(name, shape, contours):
    boundary = read_boundary(REAL_MODELS / name, shape)
    assert len(boundary.contours) == contours
    mask = boundary_mask(boundary, shape, binning=1)
    expected = np.logical_or.reduce([filled(points, shape[1:]) for points in boundary.contours])
    assert mask[0].sum() == pytest.approx(expected.sum(), rel=0.03)
