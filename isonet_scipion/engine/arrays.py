"""Arrays that may be memory maps: scratch space, and what is wrong with voxels."""

from __future__ import annotations

import mmap
import os
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isonet_scipion.engine.errors import EngineError, system_error

Floats = NDArray[np.float32]  # what is computed with: volumes, boxes, slices
Doubles = NDArray[np.float64]  # frequencies, angles, sums, curves
Flags = NDArray[np.bool_]  # masks and regions
Integers = NDArray[np.intp]  # voxels' places
Reals = NDArray[Any]  # of any real type, as in a file

LARGEST = 1e15  # grey values beyond it are no data, and leave no digits for the others
SMALLEST = 1e-15  # grey values that differ by less have squares that single precision can't hold
TOMOGRAM, MASK = "tomogram", "mask"  # what an error is about where only voxels are known


class Mean:
    """The mean of volumes of one shape: each part of it is made when it is read."""

    def __init__(self, volumes: Sequence[Reals]) -> None:
        """Take volumes (z, y, x) of any real type; may be memory maps."""
        self.volumes = tuple(volumes)
        self.shape, self.size = volumes[0].shape, volumes[0].size

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, place: Any) -> Floats:
        mean = np.array(self.volumes[0][place], np.float32)
        for volume in self.volumes[1:]:
            mean += volume[place]
        mean /= np.float32(len(self.volumes))
        return mean


def size_in_words(shape: Sequence[int]) -> str:
    """The size of a volume (z, y, x), as viewers tell it."""
    return " x ".join(map(str, reversed(shape)))


def fingerprint(values: Reals) -> int:
    """A number that tells voxels of any real type from others: the CRC of their values in single precision."""
    return zlib.crc32(np.ascontiguousarray(values, "<f4").data)


def release(array: Reals | Mean) -> None:
    """Give a memory map's pages back to the system; the content stays in the file. Other arrays are left alone."""
    for volume in array.volumes if isinstance(array, Mean) else (array,):
        mapping = getattr(volume, "_mmap", None)
        if mapping is not None:
            mapping.madvise(mmap.MADV_DONTNEED)


def release_now_and_then(volume: Reals | Mean, plane: int) -> None:
    """Release a volume that is read plane by plane, or box by box, at every 32nd."""
    if plane % 32 == 31:
        release(volume)


def upright_plane(volume: Reals | Mean, axis: int, place: int) -> Floats:
    """The plane of a volume at a place along y (axis 1) or x (axis 2), as it goes through all xy-planes.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) of any real type; a memory map, all of whose pages may come with the plane, is released on the way.
    axis, place : int
        Where it is.

    Returns
    -------
    ndarray
        (z, x) or (z, y), float32.
    """
    return upright_planes(volume, axis, np.array([place]))[0]


def upright_planes(volume: Reals | Mean, axis: int, places: Integers) -> Floats:
    """As `upright_plane`, at several places, (places, z, x) or (places, z, y): the volume is gone through once."""
    if isinstance(volume, Mean):  # a whole plane of each for every row would be far too much
        return np.mean([upright_planes(one, axis, places) for one in volume.volumes], axis=0, dtype=np.float32)
    planes = np.empty((len(places), volume.shape[0], volume.shape[3 - axis]), np.float32)
    for z, rows in enumerate(np.asarray(volume)):  # parts of a memory map itself take longer to make
        planes[:, z] = rows[places] if axis == 1 else rows[:, places].T
        release_now_and_then(volume, z)
    release(volume)
    return planes


def extremes(volume: Reals) -> tuple[float, float]:
    """Smallest and largest voxel of a volume; NaN where one is. A memory map is read plane by plane."""
    low, high = [], []
    for number, plane in enumerate(volume):
        low.append(plane.min())
        high.append(plane.max())
        release_now_and_then(volume, number)
    return float(np.min(low)), float(np.max(high))


def require_numbers(low: float, high: float, name: str = TOMOGRAM) -> None:
    """Raise an EngineError about `name` unless its smallest and largest voxel are finite and may be grey values."""
    if not (np.isfinite(low) and np.isfinite(high)):
        raise EngineError(name, "it holds NaN or infinite voxels", "Reconstruct it again or replace them.")
    if max(-low, high) > LARGEST:
        extreme = high if high > -low else low
        raise EngineError(
            name, f"it holds voxels of {extreme:g}, which are not grey values", "Reconstruct it again or replace them."
        )


def require_contrast(low: float, high: float, name: str = TOMOGRAM) -> None:
    """Raise an EngineError about `name` as `require_numbers`, or if smallest and largest voxel are (all but) equal."""
    require_numbers(low, high, name)
    if low == high:
        raise EngineError(name, "all its voxels are equal", "Leave it out or make it again.")
    if high - low < SMALLEST:
        why = f"its voxels are {low:g} to {high:g}, too near each other to compute with"
        raise EngineError(name, why, "Multiply them by a large number.")


def scratch_array(shape: tuple[int, ...], dtype: Any, folder: str | os.PathLike[str]) -> Reals:
    """An array in a file without a name, which vanishes with the array or the process.

    Raises
    ------
    EngineError
        If the folder has no room for it, or can't be written.
    """
    size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:  # the map keeps it alive
            os.posix_fallocate(file.fileno(), 0, size)  # a memory map on a full disk would end in SIGBUS
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise system_error(error, folder, f"no {size >> 20} MiB of scratch space") from error
