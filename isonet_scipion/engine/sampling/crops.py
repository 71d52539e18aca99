"""Cutting subtomograms out of tomograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage

from isonet_scipion.engine.arrays import MASK, TOMOGRAM, Floats, Integers, Reals
from isonet_scipion.engine.conventions import CUBE_STEP
from isonet_scipion.engine.errors import EngineError

if TYPE_CHECKING:
    from isonet_scipion.engine.physics.borders import Border
    from isonet_scipion.engine.sampling.mask_values import Mask

LEAST_PLANES = 16  # of a part: fewer show a network too little of what is around
MOST_EMPTY = 0.5  # share of a crop that may be without data, where no crop is free of it


def usual_cube_size(crop_size: int) -> int:
    """Side in voxels of the cubes for subtomograms of a size of which nothing else is known, as IsoNet 0.2."""
    return int(crop_size / 1.5 + 1) // CUBE_STEP * CUBE_STEP


def allowed_range(shape: tuple[int, ...], crop_size: int) -> tuple[Integers, Integers]:
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


def planes_around(shape: tuple[int, ...], centre: Sequence[float], voxels: int) -> tuple[slice, ...]:
    """Whole xz-planes of about so many voxels around a place, no fewer than LEAST_PLANES; all, if these fit.

    A part with faces across x or z would smear what the wedge keeps apart.
    """
    count = min(shape[1], max(LEAST_PLANES, voxels // (shape[0] * shape[2])))
    first = int(np.clip(round(centre[1]) - count // 2, 0, shape[1] - count))
    return slice(0, shape[0]), slice(first, first + count), slice(0, shape[2])


def random_centres(
    shape: tuple[int, ...],
    mask: Reals | Mask | None,
    crop_size: int,
    count: int,
    rng: np.random.Generator,
    border: Border | None = None,
    repeats: bool = True,
) -> Integers:
    """Draw centres of subtomograms among the mask's voxels, away from the borders.

    Parameters
    ----------
    shape : tuple of int
        Of the tomogram, (z, y, x).
    mask : ndarray or Mask, optional
        Same shape, non-zero for sample; may be a memory map. None: everywhere.
    crop_size : int
        Side of the subtomograms in voxels; they do not leave the tomogram.
    count : int
        How many. They are distinct as long as there are enough voxels.
    rng : numpy.random.Generator
    border : Border, optional
        What of the tomogram is no data: crops hold nothing of it, or where that is not possible, little.
    repeats : bool
        Where there are too few voxels, some are drawn more than once; else there are fewer centres.

    Returns
    -------
    ndarray of int
        (count, 3), z, y, x.

    Raises
    ------
    EngineError
        If the tomogram is smaller than a subtomogram, or the mask has no voxel far enough from the borders.
    """
    if border is not None:
        room, places = _in_data(mask, crop_size, border)
        centres = random_centres(room, places, crop_size, count, rng, repeats=repeats)
        return centres + [axis.start for axis in border.box]
    first, last = allowed_range(shape, crop_size)
    inner = tuple(slice(a, b) for a, b in zip(first, last))
    extent = last - first
    if mask is None:
        flat = _draw(int(np.prod(extent)), count, rng, repeats)
        return first + np.stack(np.unravel_index(flat, extent), axis=1)
    # only the counts per plane are kept, never a list of all mask voxels
    planes = np.cumsum([np.count_nonzero(mask[z][inner[1:]]) for z in range(first[0], last[0])])
    if planes[-1] == 0:
        raise EngineError(
            MASK,
            f"it marks no voxel at least {crop_size // 2} voxels (half of crop_size) from every border",
            "Keep more of the volume in the mask or lower crop_size.",
        )
    ranks = _draw(int(planes[-1]), count, rng, repeats)
    centres = np.empty((len(ranks), 3), int)
    for z in np.unique(depth := np.searchsorted(planes, ranks, side="right")):
        chosen = depth == z
        voxels = np.flatnonzero(mask[first[0] + z][inner[1:]])
        y, x = np.unravel_index(voxels[ranks[chosen] - (planes[z - 1] if z else 0)], extent[1:])
        centres[chosen] = np.stack([np.full_like(y, z), y, x], axis=1) + first
    return centres


def fitting_count(
    shape: tuple[int, ...],
    mask: Reals | Mask | None,
    crop_size: int,
    spacing: int,
    border: Border | None = None,
) -> int:
    """How many subtomograms a tomogram has room for, if their centres are not to crowd.

    Parameters
    ----------
    shape : tuple of int
        Of the tomogram, (z, y, x).
    mask : ndarray or Mask, optional
        Same shape, non-zero for sample; may be a memory map. None: everywhere.
    crop_size : int
        Side of the subtomograms in voxels; they do not leave the tomogram.
    spacing : int
        Side in voxels of the cells that have room for one centre each.
    border : Border, optional
        As for `random_centres`.

    Returns
    -------
    int
        Cells of the range of centres that hold sample.

    Raises
    ------
    EngineError
        If the tomogram is smaller than a subtomogram.
    """
    if border is not None:
        return fitting_count(*_in_data(mask, crop_size, border), crop_size, spacing)
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


def _in_data(mask: Reals | Mask | None, crop_size: int, border: Border) -> tuple[tuple[int, ...], Any]:
    """Shape of the box that holds all data, and the places in it around which crops may be taken; None: all."""
    shape = border.inner_shape
    inside = None if mask is None else mask.box(border.box) if hasattr(mask, "box") else mask[border.box]
    if border.empty is None:
        return shape, inside
    first, last = allowed_range(shape, crop_size)
    inner = tuple(slice(a, b) for a, b in zip(first, last))
    free = (~border.empty).astype(np.uint8)
    for axis in range(3):
        free = scipy.ndimage.minimum_filter1d(free, crop_size, axis, mode="nearest")
    if inside is not None:
        free &= np.stack([inside[z] != 0 for z in range(len(free))])
    if not free[inner].any():
        held = scipy.ndimage.uniform_filter((~border.empty).astype(np.float32), crop_size, mode="nearest")
        free = held >= 1 - MOST_EMPTY
        if inside is not None:
            free &= np.stack([inside[z] != 0 for z in range(len(free))])
    return shape, free


def _draw(population: int, count: int, rng: np.random.Generator, repeats: bool) -> Integers:
    return rng.choice(population, count if repeats else min(count, population), replace=repeats and population < count)


def with_more(centres: Integers, more: Integers, count: int, rng: np.random.Generator) -> Integers:
    """`count` of some centres (n, 3), at least one, and of more: distinct ones, if these do not suffice each again."""
    both = np.concatenate([centres, more])
    both = both[np.sort(np.unique(both, axis=0, return_index=True)[1])][:count]
    return np.concatenate([both, both[rng.integers(len(both), size=count - len(both))]])


def crop(volume: Floats, centre: Integers, size: int) -> Floats:
    """A view of the cube of `size` voxels around a centre (z, y, x); see `allowed_range`."""
    return volume[tuple(slice(c - size // 2, c - size // 2 + size) for c in (int(c) for c in centre))]


def centre_crop(volume: Floats, size: int) -> Floats:
    """A view of the central cube of `size` voxels of a cubic volume."""
    start = (len(volume) - size) // 2
    return volume[start : start + size, start : start + size, start : start + size]
