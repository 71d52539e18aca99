"""Boundaries of the sample, drawn as IMOD model contours (.mod)."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np

from isonet_scipion.engine.errors import EngineError

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
    contours: tuple[np.ndarray, ...]


class _Strict:
    """A file that raises at its end: imodmodel would read on for ever, or prepare for billions of points."""

    # bytes of each of the numbers that a chunk's header begins with: points, vertices, indices
    _COUNTS: ClassVar = {b"CONT": (12,), b"MESH": (12, 4)}

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = os.fstat(file.fileno()).st_size
        self._chunk = b""

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise EOFError("it ends too early")
        data = self._file.read(size)
        self._left -= size
        counts = [int.from_bytes(data[4 * i : 4 * i + 4], "big", signed=True) for i in range(len(data) // 4)]
        for count, item in zip(counts, self._COUNTS.get(self._chunk, ())):
            if not 0 <= item * count <= self._left:
                raise EOFError(f"a part of it claims {count} points")
        self._chunk = data if size == 4 else b""
        return data


def read_boundary(path: str | Path, shape: tuple[int, int, int]) -> Boundary:
    """Read the contours of an IMOD model.

    Parameters
    ----------
    path : str or Path
        The model (.mod).
    shape : (z, y, x)
        Shape of the tomogram, unbinned.

    Raises
    ------
    EngineError
        If the file is missing, no IMOD model or cut short, has no points, or was drawn on a volume of another shape.
    """
    from imodmodel.parsers import parse_model  # brings pandas: slow to import

    remedy = "Draw the boundary on this tomogram with 3dmod and save the model again."
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"IMOD":
                raise EngineError(str(path), "it is no IMOD model: it does not start with IMOD", remedy)
            file.seek(0)
            model = parse_model(_Strict(file))
    except OSError as error:
        raise EngineError(str(path), f"it cannot be read: {error.strerror}", "Check the boundary's path.") from error
    except (EOFError, ValueError, IndexError, OverflowError, struct.error) as error:
        raise EngineError(str(path), f"it is damaged or no IMOD model: {error}", remedy) from error

    drawn_on = (model.header.zmax, model.header.ymax, model.header.xmax)
    # Programs that do not know the volume write zeros.
    if all(drawn_on) and drawn_on != tuple(shape):
        raise EngineError(
            str(path), f"it was drawn on a volume of {drawn_on} voxels (z, y, x), not {tuple(shape)}", remedy
        )
    if not all(np.isfinite(contour.points).all() for item in model.objects for contour in item.contours):
        raise EngineError(str(path), "it has points that are no numbers", remedy)
    contours = tuple(contour.points for item in model.objects for contour in item.contours if len(contour.points))
    if not contours:
        raise EngineError(str(path), "it has no contours", remedy)
    return Boundary(str(path), contours)


def boundary_mask(boundary: Boundary, shape: tuple[int, int, int], binning: int = 2) -> np.ndarray:
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


def _corners_and_z_range(points: np.ndarray, least: float) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Split a contour into the (x, y) of its corners and the (lowest, highest) z of its last two points, if set."""
    if len(points) >= 2 and abs(points[-1, 2] - points[-2, 2]) >= least:
        return points[:-2, :2], (points[-2:, 2].min(), points[-2:, 2].max())
    return points[:, :2], None


def _planes(z_range: tuple[float, float], binning: int) -> slice:
    """The planes of the mask that hold slices from z_range[0] to z_range[1], both included."""
    first, last = (int(np.floor(z / binning)) for z in z_range)
    return slice(max(first, 0), max(last + 1, 0))


def _inside(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(y, x) bool array: pixel (j, i), centred at x = i + 0.5, y = j + 0.5, is inside the polygon (even-odd rule)."""
    from matplotlib.path import Path as Polygon

    y, x = np.indices(shape) + 0.5
    return Polygon(corners).contains_points(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(shape)
