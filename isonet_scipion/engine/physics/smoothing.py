"""A wide Gaussian, from a binned copy: a thousandth of the work of one by its definition."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from isonet_scipion.engine.arrays import Floats, Integers

LEAST_BINNED = 2.25  # voxels; deviation of what is left of the Gaussian after binning
MOST_BINNED = 8
FEWEST_BINS = 16  # along an axis; its last bin may hold less than the others


def smooth_planes(planes: Iterable[Floats], shape: tuple[int, ...], deviation: float) -> Iterator[Floats]:
    """The xy-planes of a volume after a Gaussian, mirrored at the faces, each in turn.

    Where the Gaussian is wide, the volume is binned, smoothed, and interpolated linearly; the Gaussian is narrower by
    what binning and interpolation smooth. Of white noise's deviation after it, that differs by less than 2 %.

    Parameters
    ----------
    planes : iterable of ndarray
        Those of the volume, (y, x) float32. All are taken before the first one is given.
    shape : tuple of int
        Of the volume (z, y, x).
    deviation : float
        Of the Gaussian in voxels.

    Yields
    ------
    ndarray
        (y, x) float32.
    """
    most = int(np.clip(deviation / LEAST_BINNED, 1, MOST_BINNED))
    bins = np.array([max(1, min(most, length // FEWEST_BINS)) for length in shape])
    # variances of a box of `bins` samples and of linear interpolation between its sums
    left = np.sqrt(deviation**2 - (bins**2 - 1) / 12 - (bins**2 - 1) / 6) / bins
    binned = gaussian_filter(_binned(planes, shape, bins), left)
    z, y, x = (_interpolation(length, step) for length, step in zip(shape, bins))

    @functools.lru_cache(maxsize=2)  # planes of the result lie between the same two, then the second and the next
    def widened(number: int) -> Floats:
        return _widened(binned[min(number, len(binned) - 1)], y, x)

    for low, share in zip(*z):
        plane = widened(low + 1) - widened(low)
        plane *= share
        plane += widened(low)
        yield plane


def _binned(planes: Iterable[Floats], shape: tuple[int, ...], bins: Integers) -> Floats:
    """Means over blocks of `bins` voxels (z, y, x); the last ones hold what there is."""
    counts = [np.diff(np.arange(0, length, step), append=length) for length, step in zip(shape, bins)]
    result, total = np.empty([len(count) for count in counts], np.float32), np.zeros(shape[1:], np.float32)
    for z, plane in enumerate(planes, 1):
        total += plane
        if z % bins[0] == 0 or z == shape[0]:
            place = (z - 1) // bins[0]
            result[place] = _sums(_sums(total, bins[1]).T, bins[2]).T
            result[place] /= counts[0][place] * counts[1][:, None] * counts[2]
            total[:] = 0
    return result


def _sums(rows: Floats, bins: int) -> Floats:
    """Of each `bins` rows that follow each other, and of the last ones; np.add.reduceat takes several times as long."""
    sums = rows[::bins].copy()
    for first in range(1, bins):
        others = rows[first::bins]
        sums[: len(others)] += others
    return sums


def _interpolation(length: int, bins: int) -> tuple[Integers, Floats]:
    """For each voxel the bin below its centre, and how far it is to the next one (0 to 1)."""
    most = -(-length // bins) - 1
    position = np.clip((np.arange(length) + 0.5) / bins - 0.5, 0, most)
    low = np.minimum(np.floor(position).astype(int), max(most - 1, 0))
    return low, (position - low).astype(np.float32)


def _widened(plane: Floats, y: tuple[Integers, Floats], x: tuple[Integers, Floats]) -> Floats:
    for axis, (low, share) in ((1, x), (0, y)):
        high = np.minimum(low + 1, plane.shape[axis] - 1)
        share = share if axis == 1 else share[:, None]
        first = plane.take(low, axis)
        plane = first + share * (plane.take(high, axis) - first)
    return plane
