"""Boundaries of the sample: polygons and z ranges, and the voxels inside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.errors import EngineError

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Flags

Z_RANGE_VOXELS = 5
"""Two last points at least this many binned voxels apart in z are a z range, no corners (IsoNet 0.2's rule)."""


@dataclass(frozen=True)
class Boundary:
    """The contours of one IMOD model.

    Attributes
    ----------
    path : str
        File that they come from, for messages.
    contours : tuple of (n, 3) arrays
        Points (x, y, z) of each contour, of all objects, in voxels of the tomogram. As in IMOD, voxel i spans
        i to i + 1 in x and y, while z is the index of the slice.
    """

    path: str
    contours: tuple[Doubles, ...]


def boundary_mask(boundary: Boundary, shape: tuple[int, ...], binning: int = 2) -> Flags:
    """Mark the voxels inside a boundary.

    The x and y of a contour's points are a polygon that holds at every z. If the last two points of a contour are
    5 or more (binned) voxels apart in z, these two are no corners but the z range of that polygon. Where fewer than
    three corners are left there is no polygon: such a contour's z range then holds for all polygons that have none
    of their own, or, without any polygon, for the whole of x and y. The result is the union of all of this.
    Contours with neither an area nor a z range (a stray click) do nothing.

    Parameters
    ----------
    boundary : Boundary
        Contours in voxels of the unbinned tomogram; what lies outside the volume is cut off.
    shape : (z, y, x)
        Shape of the mask.
    binning : int
        How many voxels of the tomogram are one of the mask along each axis.

    Returns
    -------
    (z, y, x) bool array
        True for voxels whose centre is inside in x and y, in planes that the z range touches.

    Raises
    ------
    EngineError
        If no contour has an area or a z range.
    """
    parts = [_corners_and_z_range(points, Z_RANGE_VOXELS * binning) for points in boundary.contours]
    polygons = [(corners, z_range) for corners, z_range in parts if len(corners) >= 3]
    shared = [z_range for corners, z_range in parts if len(corners) < 3 and z_range]
    if not polygons and not shared:
        raise EngineError(
            boundary.path,
            f"none of its {len(boundary.contours)} contours encloses an area or gives a z range",
            "Draw a contour of three or more points around the sample.",
        )
    mask = np.zeros(shape, bool)
    for corners, own in polygons:
        inside = _inside(corners / binning, shape[1:])
        for planes in [own] if own else shared or [(0, shape[0] * binning)]:
            mask[_planes(planes, binning)] |= inside
    if not polygons:
        for planes in shared:
            mask[_planes(planes, binning)] = True
    return mask


def _corners_and_z_range(points: Doubles, least: float) -> tuple[Doubles, tuple[float, float] | None]:
    """Split a contour into the (x, y) of its corners and the (lowest, highest) z of its last two points, if set."""
    if len(points) >= 2 and abs(points[-1, 2] - points[-2, 2]) >= least:
        return points[:-2, :2], (points[-2:, 2].min(), points[-2:, 2].max())
    return points[:, :2], None


def _planes(z_range: tuple[float, float], binning: int) -> slice:
    """The planes of the mask that hold slices from z_range[0] to z_range[1], both included."""
    first, last = (int(np.floor(z / binning)) for z in z_range)
    return slice(max(first, 0), max(last + 1, 0))


def _inside(corners: Doubles, shape: tuple[int, ...]) -> Flags:
    """(y, x) bool array: pixel (j, i), centred at x = i + 0.5, y = j + 0.5, is inside the polygon (even-odd rule)."""
    x, y = corners.T.astype(np.float64)
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    centres = np.arange(shape[1]) + 0.5
    inside = np.empty(shape, bool)
    for row in range(shape[0]):
        height = row + 0.5
        edges = (y <= height) != (next_y <= height)
        share = (height - y[edges]) / (next_y[edges] - y[edges])
        crossings = np.sort(x[edges] + share * (next_x[edges] - x[edges]))
        inside[row] = np.searchsorted(crossings, centres) % 2 == 1
    return inside
