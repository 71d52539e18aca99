"""Cutting subtomograms out of tomograms."""

from __future__ import annotations

import numpy as np

from isonet_scipion.engine.arrays import MASK, TOMOGRAM
from isonet_scipion.engine.conventions import CUBE_STEP
from isonet_scipion.engine.errors import EngineError


def usual_cube_size(crop_size: int) -> int:
    """Side in voxels of the cubes for subtomograms of a size of which nothing else is known, as IsoNet 0.2."""
    return int(crop_size / 1.5 + 1) // CUBE_STEP * CUBE_STEP


def allowed_range(shape: tuple[int, int, int], crop_size: int) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last centre (z, y, x) whose crop lies inside a volume.

    A crop of size n around centre c covers c - n//2 .. c - n//2 + n - 1.

    Raises
    ------
    EngineError
        If the volume is smaller than the crop.
    """
    if min(shape) < crop_size:
        axis = "zyx"[int(np.argmin(shape))]
        raise EngineError(
            TOMOGRAM,
            f"it has {min(shape)} voxels along {axis}, fewer than crop_size {crop_size}",
            f"Lower crop_size to at most {min(shape)}, and cube_size with it.",
        )
    first = np.full(3, crop_size // 2)
    return first, np.array(shape) - crop_size + crop_size // 2 + 1


def random_centres(
    shape: tuple[int, int, int], mask: np.ndarray | None, crop_size: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw centres of subtomograms among the mask's voxels, away from the borders.

    Parameters
    ----------
    shape : tuple of int
        Of the tomogram, (z, y, x).
    mask : ndarray, optional
        Same shape, non-zero for sample; may be a memory map. None: everywhere.
    crop_size : int
        Side of the subtomograms in voxels; they do not leave the tomogram.
    count : int
        How many. They are distinct as long as there are enough voxels.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int
        (count, 3), z, y, x.

    Raises
    ------
    EngineError
        If the tomogram is smaller than a subtomogram, or the mask has no voxel far enough from the borders.
    """
    first, last = allowed_range(shape, crop_size)
    inner = tuple(slice(a, b) for a, b in zip(first, last))
    extent = last - first
    if mask is None:
        flat = _draw(int(np.prod(extent)), count, rng)
        return first + np.stack(np.unravel_index(flat, extent), axis=1)
    # only the counts per plane are kept, never a list of all mask voxels
    planes = np.cumsum([np.count_nonzero(mask[z][inner[1:]]) for z in range(first[0], last[0])])
    if planes[-1] == 0:
        raise EngineError(
            MASK,
            f"it marks no voxel at least {crop_size // 2} voxels (half of crop_size) from every border",
            "Keep more of the volume in the mask or lower crop_size.",
        )
    ranks = _draw(int(planes[-1]), count, rng)
    centres = np.empty((count, 3), int)
    for z in np.unique(depth := np.searchsorted(planes, ranks, side="right")):
        chosen = depth == z
        voxels = np.flatnonzero(mask[first[0] + z][inner[1:]])
        y, x = np.unravel_index(voxels[ranks[chosen] - (planes[z - 1] if z else 0)], extent[1:])
        centres[chosen] = np.stack([np.full_like(y, z), y, x], axis=1) + first
    return centres


def fitting_count(shape: tuple[int, int, int], mask: np.ndarray | None, crop_size: int, spacing: int) -> int:
    """How many subtomograms a tomogram has room for, if their centres are not to crowd.

    Parameters
    ----------
    shape : tuple of int
        Of the tomogram, (z, y, x).
    mask : ndarray, optional
        Same shape, non-zero for sample; may be a memory map. None: everywhere.
    crop_size : int
        Side of the subtomograms in voxels; they do not leave the tomogram.
    spacing : int
        Side in voxels of the cells that have room for one centre each.

    Returns
    -------
    int
        Cells of the range of centres that hold sample.

    Raises
    ------
    EngineError
        If the tomogram is smaller than a subtomogram.
    """
    first, last = allowed_range(shape, crop_size)
    starts = [np.arange(a, b, spacing) for a, b in zip(first, last)]
    if mask is None:
        return int(np.prod([len(axis) for axis in starts]))
    count = 0
    for z in starts[0]:
        plane = np.asarray(mask[z : min(z + spacing, last[0]), first[1] : last[1], first[2] : last[2]]).any(axis=0)
        rows = np.logical_or.reduceat(plane, starts[1] - first[1], axis=0)
        count += int(np.logical_or.reduceat(rows, starts[2] - first[2], axis=1).sum())
    return count


def _draw(population: int, count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(population, count, replace=population < count)


def crop(volume: np.ndarray, centre: np.ndarray, size: int) -> np.ndarray:
    """A view of the cube of `size` voxels around a centre (z, y, x); see `allowed_range`."""
    return volume[tuple(slice(c - size // 2, c - size // 2 + size) for c in (int(c) for c in centre))]


def centre_crop(volume: np.ndarray, size: int) -> np.ndarray:
    """A view of the central cube of `size` voxels of a cubic volume."""
    start = (len(volume) - size) // 2
    return volume[start : start + size, start : start + size, start : start + size]
