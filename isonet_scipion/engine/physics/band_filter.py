"""Linear filters of short reach along the axes of large volumes: products with band matrices."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from isonet_scipion.engine.arrays import Floats

ROWS = 16  # of a matrix that are multiplied at a time: with more, too much of what is multiplied is zero
ON_ONE_THREAD = 1 << 18  # products: from here on OpenBLAS starts threads, which are in the way of ours


@dataclass(frozen=True)
class BandFilter:
    """A matrix that makes the samples along an axis of those there, by the blocks of it that are not zero."""

    blocks: tuple[tuple[slice, slice, Floats], ...]  # which samples are made, of which, and by what factors
    made: int

    @staticmethod
    def of_matrix(matrix: Floats) -> BandFilter:
        """Take a matrix (samples made, samples), float32.

        Examples
        --------
        >>> from scipy.ndimage import uniform_filter1d
        >>> means = BandFilter.of_matrix(uniform_filter1d(np.eye(5, dtype=np.float32), 3, axis=0))
        >>> samples = np.float32([[0], [3], [6], [9], [0]])
        >>> means.along_first(samples, np.empty_like(samples)).round(3).ravel().tolist()
        [1.0, 3.0, 6.0, 5.0, 3.0]
        """
        blocks = []
        for first in range(0, len(matrix), ROWS):
            rows = matrix[first : first + ROWS]
            held = np.flatnonzero(rows.any(axis=0))
            taken = slice(int(held[0]), int(held[-1]) + 1)
            blocks.append((slice(first, first + len(rows)), taken, np.ascontiguousarray(rows[:, taken])))
        return BandFilter(tuple(blocks), len(matrix))

    def along_first(self, samples: Floats, out: Floats) -> Floats:
        """Of samples (n, m), along their first axis, into `out`."""
        for made, taken, factors in self.blocks:
            _multiply(factors, samples[taken], out[made])
        return out


def _multiply(factors: Floats, samples: Floats, out: Floats) -> None:
    columns = max(1, ON_ONE_THREAD // factors.size)
    for first in range(0, samples.shape[1], columns):
        part = slice(first, first + columns)
        with np.errstate(invalid="ignore"):  # infinite voxels are found in the result
            np.matmul(factors, samples[:, part], out=out[:, part])


def filter_in_place(volume: Floats, matrix: Callable[[int], Floats], threads: int = 1) -> None:
    """Filter a volume along all axes.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) float32. It is overwritten.
    matrix : callable
        From the number of samples along an axis to the square matrix, float32, that filters them.
    threads : int
        Number of CPU threads.
    """
    along_z, along_y, along_x = (BandFilter.of_matrix(matrix(length)) for length in volume.shape)

    def filter_plane(plane: Floats) -> None:
        half = along_y.along_first(plane, np.empty_like(plane))
        along_x.along_first(half.T, plane.T)

    def filter_along_z(plane: Floats) -> None:
        plane[:] = along_z.along_first(plane, np.empty_like(plane))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(filter_plane, volume))
        list(pool.map(filter_along_z, volume.swapaxes(0, 1)))


def resampled(
    plane: Callable[[int], Floats], shape: tuple[int, ...], matrix: Callable[[int], Floats], threads: int = 1
) -> Floats:
    """A volume whose samples are others' sums, along all axes; what is made between takes no more than some planes.

    Parameters
    ----------
    plane : callable
        From a place along z to the xy-plane there, (y, x) float32.
    shape : tuple of int
        Of the volume (z, y, x).
    matrix : callable
        From the number of samples along an axis to the matrix (samples made, samples), float32.
    threads : int
        Number of CPU threads.

    Returns
    -------
    ndarray
        float32.
    """
    along_z, along_y, along_x = (BandFilter.of_matrix(matrix(length)) for length in shape)
    result = np.empty((along_z.made, along_y.made, along_x.made), np.float32)

    def fill(first: int, last: int) -> None:
        blocks = along_z.blocks[first:last]
        most = max((taken.stop - taken.start for _, taken, _ in blocks), default=0)
        planes = np.empty((most, *result.shape[1:]), np.float32)
        half = np.empty((along_y.made, shape[2]), np.float32)
        start = end = 0
        for made, taken, factors in blocks:
            kept = max(0, end - taken.start)
            planes[:kept] = planes[end - start - kept : end - start]
            start, end = taken.start, taken.stop
            for z in range(start + kept, end):
                along_x.along_first(along_y.along_first(plane(z), half).T, planes[z - start].T)
            samples = planes[: end - start].reshape(end - start, -1)
            _multiply(factors, samples, result[made].reshape(len(factors), -1))

    ends = [len(along_z.blocks) * number // threads for number in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, ends, ends[1:]))
    return result
