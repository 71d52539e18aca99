"""Voxels far beyond all others, such as gold beads: few of them outweigh the whole sample in any sum of squares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

from isonet_scipion.engine.arrays import release_now_and_then

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Flags, Floats, Integers, Mean, Reals

SHARE = 98.0  # percentile of the distances from the median: what is sample has more voxels than the rest
BEYOND = 3.0  # times as far; in noise that is 7 standard deviations
MOST = 0.01  # share of the voxels that may be spikes; more are a sparse sample in little noise
CELL, ENOUGH = 4, 8  # side in voxels of the cells that tell where spikes are, and how many in one are no chance


def without_spikes(box: Floats) -> tuple[Floats, bool]:
    """A box with the median in the place of its spikes and of what touches them, and whether it has any.

    Parameters
    ----------
    box : ndarray
        (z, y, x) float32; one that holds what is not finite stays as it is.

    Returns
    -------
    ndarray, bool
        The box itself where it has none.

    Examples
    --------
    >>> box = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    >>> box[8, 8, 8] = -100
    >>> calm, had_spikes = without_spikes(box)
    >>> bool(abs(calm).max() < 5), had_spikes
    (True, True)
    """
    spikes = near_spikes(box)
    return (box, False) if spikes is None else (calmed(box, spikes), True)


def near_spikes(box: Floats) -> Flags | None:
    """Which voxels of a box, (z, y, x) float32, are spikes or touch one; None where it has none."""
    low, high = spike_limits(box)
    spikes = (box < low) | (box > high)
    return binary_dilation(spikes) if spikes.any() else None


def calmed(box: Floats, spikes: Flags) -> Floats:
    """A copy of a box with its median in the place of spikes, such as `near_spikes` finds in it or in another."""
    return np.where(spikes, np.median(box), box)


def spike_limits(values: Reals) -> tuple[np.float32, np.float32]:
    """The lowest and the highest value that is no spike, of an array of any shape, which may hold NaN.

    Infinite where nothing tells spikes from sample: where too many values are far off, or most are equal.
    """
    middle = np.median(values)
    distances = np.abs(values - middle)
    most = BEYOND * np.percentile(distances, SHARE)
    if not (most > 0 and np.mean(distances > most) <= MOST):
        return np.float32(-np.inf), np.float32(np.inf)
    return np.float32(middle - most), np.float32(middle + most)


def spike_cells(volume: Reals | Mean, limits: tuple[np.float32, np.float32]) -> Doubles:
    """Where a volume has spikes, but for scattered ones.

    Parameters
    ----------
    volume : ndarray or Mean
        (z, y, x), read plane by plane.
    limits : tuple of float
        What `spike_limits` tells of its voxels, or of a sample of them.

    Returns
    -------
    ndarray of float
        (cells, 3), z, y, x: the middles of cells of 4^3 voxels.

    Examples
    --------
    >>> volume = np.random.default_rng(0).normal(size=(16, 16, 64)).astype(np.float32)
    >>> volume[8:10, 8:10, 8:10] = -100
    >>> spike_cells(volume, spike_limits(volume)).tolist()
    [[9.5, 9.5, 9.5]]
    """
    low, high = limits
    counts = np.zeros([-(-length // CELL) for length in volume.shape], np.uint8)
    for z in range(len(volume)):
        plane = volume[z]
        y, x = np.nonzero((plane < low) | (plane > high))
        np.add.at(counts[z // CELL], (y // CELL, x // CELL), 1)
        release_now_and_then(volume, z)
    return CELL * np.argwhere(counts >= ENOUGH) + (CELL - 1) / 2


def far_from(cells: Doubles, centres: Integers, side: int) -> Flags:
    """Which cubes around some centres (cubes, 3), z, y, x, of `side` voxels hold nothing of what `spike_cells` found.

    Examples
    --------
    >>> far_from(np.array([[9.5, 9.5, 9.5]]), np.array([[8, 8, 12], [8, 8, 40]]), 16).tolist()
    [False, True]
    """
    if not len(cells):
        return np.ones(len(centres), bool)
    distances, _ = cKDTree(cells).query(centres, p=np.inf)
    return np.asarray(distances > (side + CELL) / 2)
