"""Contours of IMOD models (.mod)."""

from __future__ import annotations

import logging
import os
import struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from isonet_scipion.engine.arrays import Doubles
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import require_file
from isonet_scipion.engine.sampling.boundary import Boundary

if TYPE_CHECKING:
    from pathlib import Path

    from isonet_scipion.engine.arrays import Doubles

log = logging.getLogger(__name__)
REMEDY = "Draw it on this tomogram with 3dmod and save the model again."


class _Object(NamedTuple):
    """One object of a model."""

    is_scattered: bool
    is_open: bool
    contours: list[Doubles]  # as of `read_contours`; none is empty


class _Strict:
    """A file that raises at its end: imodmodel would read on for ever, or prepare for billions of points.

    Meshes are passed over: they add nothing to the contours, and imodmodel knows one kind of them alone.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = os.fstat(file.fileno()).st_size
        self._chunk = b""

    def read(self, size: int) -> bytes:
        """As a file's; what stands for a chunk's name is never that of a mesh."""
        data = self._read(size)
        while size == 4 and data in (b"MESH", b"MEST"):
            if data == b"MESH":
                vertices, indices, _, _ = struct.unpack(">iiii", self._read(16))
                self._read(12 * vertices + 4 * indices)
            else:
                self._read(int.from_bytes(self._read(4), "big"))
            data = self._read(size)
        points = int.from_bytes(data[:4], "big", signed=True)
        if self._chunk == b"CONT" and not 0 <= 12 * points <= self._left:
            raise EOFError(f"a part of it claims {points} points")
        self._chunk = data if size == 4 else b""
        return data

    def _read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise EOFError("it ends too early")
        data = self._file.read(size)
        self._left -= size
        return data


def read_boundary(path: str | Path, shape: tuple[int, ...]) -> Boundary:
    """Read the contours of a model around the sample.

    Points of scattered objects, such as marked particles or beads, surround nothing where other objects do: they are
    left out then, and open contours are closed; both is logged.

    Parameters
    ----------
    path : str or Path
        The model (.mod).
    shape : (z, y, x)
        Shape of the tomogram, unbinned.

    Raises
    ------
    EngineError
        As of `read_contours`, or if it was drawn on a volume of another shape.
    """
    drawn_on, objects = _read_objects(path)
    if drawn_on and drawn_on != tuple(shape):
        raise EngineError(
            str(path), f"it was drawn on a volume of {drawn_on} voxels (z, y, x), not {tuple(shape)}", REMEDY
        )
    drawn, scattered = ([item for item in objects if item.is_scattered == kind] for kind in (False, True))
    if drawn and scattered:
        log.warning(
            "%s: the points of its scattered objects (%d) are left out, as they are no corners of a boundary.",
            path, sum(len(points) for item in scattered for points in item.contours),
        )  # fmt: skip
    lines = sum(len(points) > 2 for item in drawn if item.is_open for points in item.contours)
    if lines:
        log.warning("%s: its open contours (%d) are taken as closed ones.", path, lines)
    return Boundary(str(path), _contours(drawn or scattered))


def read_contours(path: str | Path) -> tuple[tuple[int, int, int] | None, tuple[Doubles, ...]]:
    """Read the points of a model.

    Parameters
    ----------
    path : str or Path
        The model (.mod).

    Returns
    -------
    drawn_on : tuple of int, optional
        Shape (z, y, x) of the volume that it was drawn on; None where the model does not tell.
    contours : tuple of ndarray
        (n, 3) x, y, z of each contour of all objects. Voxel i spans i to i + 1 in x and y; z is the slice's index.

    Raises
    ------
    EngineError
        If the file is missing, no IMOD model or cut short, has no points, or was saved on a flipped volume.
    """
    drawn_on, objects = _read_objects(path)
    return drawn_on, _contours(objects)


def _contours(objects: list[_Object]) -> tuple[Doubles, ...]:
    return tuple(points for item in objects for points in item.contours)


def _read_objects(path: str | Path) -> tuple[tuple[int, int, int] | None, list[_Object]]:
    """As `read_contours`, by the objects that have points."""
    from imodmodel.parsers import parse_model  # brings pandas: slow to import

    try:
        with open(require_file(path, "boundary"), "rb") as file:
            if file.read(4) != b"IMOD":
                raise EngineError(str(path), "it is not an IMOD model: it does not start with IMOD", REMEDY)
            file.seek(0)
            model = parse_model(_Strict(file))
    except OSError as error:
        raise EngineError(str(path), f"it cannot be read: {error.strerror}", "Check the model's path.") from error
    except (EOFError, ValueError, IndexError, OverflowError, struct.error) as error:
        raise EngineError(str(path), f"it is damaged or no IMOD model: {error}", REMEDY) from error

    if model.header.flags.model_last_viewed_onYZ_flipped_or_rotated:
        raise EngineError(
            str(path),
            "it was last saved on a volume that 3dmod showed flipped or turned (-Y), so in other axes",
            "Open it on the tomogram in 3dmod without -Y, and save it again.",
        )
    drawn_on = (model.header.zmax, model.header.ymax, model.header.xmax)
    if not all(np.isfinite(contour.points).all() for item in model.objects for contour in item.contours):
        raise EngineError(str(path), "it has points that are not numbers", REMEDY)
    objects = [
        _Object(flags.scattered, flags.open, [contour.points for contour in item.contours if len(contour.points)])
        for item, flags in ((item, item.header.flags) for item in model.objects)
    ]
    objects = [item for item in objects if item.contours]
    if not objects:
        raise EngineError(str(path), "it has no contours", REMEDY)
    # programs that do not know the volume write zeros
    return drawn_on if all(drawn_on) else None, objects
