"""Masks of the voxels that hold sample: dense and textured places of a smoothed, binned tomogram."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage

from isonet_scipion.engine.arrays import Flags, Floats, Reals, release_now_and_then, require_contrast
from isonet_scipion.engine.physics.band_filter import filter_in_place, resampled

if TYPE_CHECKING:
    from isonet_scipion.engine.physics.borders import Border

BINNING = 2
KEEP_ALL = 99.8  # a percentage above this switches its criterion off
BLOCK = 1 << 18  # voxels that are worked on at a time, so that they stay in the cache
ROUNDING = 1e-6  # of the grey level: voxels that were all equal differ by so much once they are binned
NEAR = 1.0  # per cent of the voxels to either side of a percentile among which it is looked for
SAMPLE_STEP = 97  # voxels apart are those that tell where a percentile is, about


def sample_mask(
    tomogram: Reals,
    patch_size: int = 4,
    density_percentage: float = 50.0,
    std_percentage: float = 50.0,
    z_crop: float | None = None,
    boundary: Flags | None = None,
    threads: int = 1,
    border: Border | None = None,
    inverted: bool = False,
    out: Reals | None = None,
) -> Reals:
    """Mark sample by density and by local contrast.

    Parameters
    ----------
    tomogram : ndarray
        (z, y, x) of any real type, protein dark unless `inverted`; a memory map is read plane by plane.
    patch_size : int
        The box looked at has 2 * patch_size + 1 voxels of the binned volume on a side; the Gaussian
        that smooths it has a sigma of patch_size / 2.
    density_percentage, std_percentage : float
        Percentage of the volume that each criterion keeps; over 99.8 keeps all.
    z_crop : float, optional
        Fraction of the thickness that is left out at the top and at the bottom.
    boundary : ndarray of bool, optional
        Allowed region, of the binned shape (each side halved and rounded up).
    threads : int
        Number of CPU threads.
    border : Border, optional
        What of the tomogram is no data: the percentages are those of the rest, and no sample is in it.
    inverted : bool
        Whether protein is bright.
    out : ndarray of int8, optional
        Where the mask goes, of the tomogram's shape; may be a memory map.

    Returns
    -------
    ndarray of int8
        (z, y, x), 1 for sample, 0 elsewhere.

    Raises
    ------
    EngineError
        If a voxel is not finite, or all are equal.

    Examples
    --------
    >>> tomogram = np.random.default_rng(0).normal(size=(20, 40, 40)).astype(np.float32)
    >>> mask = sample_mask(tomogram, density_percentage=50, std_percentage=100)
    >>> mask.shape, bool(0.4 < mask.mean() <= 0.5)
    ((20, 40, 40), True)
    """
    if out is None:
        out = np.empty(tomogram.shape, np.int8)
    if border is not None:
        inner = border.inner(tomogram)
        mask = sample_mask(inner, patch_size, density_percentage, std_percentage, z_crop, None, threads, None, inverted)
        kept = border.without(mask > 0)
        # the box of the data is binned from its own first voxel, the boundary from that of the tomogram
        if boundary is not None:
            kept &= _repeat_by_two(boundary, np.empty(tomogram.shape, bool))
        out[:] = kept
        return out
    binned = bin_by_two(tomogram, threads)
    kept = _sample_of_binned(binned, patch_size, density_percentage, std_percentage, threads, inverted)
    del binned
    if z_crop:
        depth = len(kept)
        kept[: int(z_crop * depth)] = False
        kept[int((1 - z_crop) * depth) :] = False
    if boundary is not None:
        kept &= boundary
    return _repeat_by_two(kept, out)


def _sample_of_binned(
    binned: Floats, patch_size: int, density_percentage: float, std_percentage: float, threads: int, inverted: bool
) -> Flags:
    """Dense and textured places of a binned tomogram, which is overwritten."""
    if inverted:
        np.negative(binned, out=binned)
    low, high = float(binned.min()), float(binned.max())
    require_contrast(low, high if high - low > ROUNDING * max(-low, high) else low)

    def gaussian(length: int) -> Floats:
        return scipy.ndimage.gaussian_filter1d(np.eye(length, dtype=np.float32), patch_size / 2, axis=0, mode="reflect")

    filter_in_place(binned, gaussian, threads)
    kept = np.ones(binned.shape, bool)
    size = 2 * patch_size + 1
    other = np.empty_like(binned)  # the work's only other volume: where memory is new, all takes half as long again
    if density_percentage <= KEEP_ALL:
        lowest = _lowest(binned, size, threads, other)
        kept &= lowest < _percentile(lowest, density_percentage)
    if std_percentage <= KEEP_ALL:
        deviation = local_deviation(binned, size, threads, other)
        kept &= deviation > _percentile(deviation, 100 - std_percentage)
    return kept


def bin_by_two(tomogram: Reals, threads: int = 1) -> Floats:
    """Halve each side (rounded up) after a Gaussian of sigma 0.5 against aliasing.

    Parameters
    ----------
    tomogram : ndarray
        (z, y, x) of any real type.
    threads : int
        Number of CPU threads.

    Returns
    -------
    ndarray
        float32, (ceil(z/2), ceil(y/2), ceil(x/2)).
    """

    def plane(z: int) -> Floats:
        release_now_and_then(tomogram, z)
        return np.asarray(tomogram[z], np.float32)

    return resampled(plane, tomogram.shape, _halving, threads)


def _halving(length: int) -> Floats:
    """Smooth by sigma 0.5, then average two; an odd end is repeated, ends are mirrored."""
    even = length + length % 2
    smooth = scipy.ndimage.gaussian_filter1d(np.eye(even, dtype=np.float32), 0.5, axis=0, mode="mirror", truncate=4.0)
    halved = (smooth[::2] + smooth[1::2]) / 2
    halved[:, length - 1] += halved[:, length:].sum(axis=1)
    return halved[:, :length]


def _lowest(volume: Floats, size: int, threads: int, out: Floats) -> Floats:
    """The lowest value in a box of `size`^3 voxels around each, in two thirds of the time of scipy's filter."""
    rows = max(1, BLOCK // volume[:, 0].size)

    def filter_plane(z: int) -> None:
        out[z] = _lowest_along(_lowest_along(volume[z].T, size).T, size)

    def filter_along_z(first: int) -> None:
        out[:, first : first + rows] = _lowest_along(out[:, first : first + rows], size)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(filter_plane, range(len(volume))))
        list(pool.map(filter_along_z, range(0, volume.shape[1], rows)))
    return out


def _lowest_along(block: Floats, size: int) -> Floats:
    """The lowest of `size` neighbours along the first axis, from those of 2, 4, ... of them."""
    padded = np.pad(block, [(size // 2, size // 2)] + [(0, 0)] * (block.ndim - 1), "symmetric")
    width, lowest = 1, padded
    while 2 * width <= size:
        lowest, width = np.minimum(lowest[:-width], lowest[width:]), 2 * width
    # two that overlap make up the whole
    return np.minimum(lowest[: len(block)], lowest[size - width :][: len(block)])


def local_deviation(volume: Floats, size: int, threads: int, other: Floats) -> Floats:
    """Standard deviation in a box of size^3 around each voxel, over the voxels that lie inside the volume.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) float32. It is overwritten.
    size : int
        Side of the box in voxels, odd.
    threads : int
        Number of CPU threads.
    other : ndarray
        float32, same shape, for work. It is overwritten.

    Returns
    -------
    ndarray
        float32, same shape: `volume`.
    """
    volume -= volume.mean(dtype=np.float64).astype(np.float32)
    np.square(volume, out=other)

    def mean(length: int) -> Floats:
        places = np.arange(length)
        near = (abs(places - places[:, None]) <= size // 2).astype(np.float32)
        return near / near.sum(axis=1, keepdims=True)

    filter_in_place(volume, mean, threads)
    filter_in_place(other, mean, threads)
    other -= np.square(volume, out=volume)
    return np.sqrt(np.maximum(other, 0, out=other), out=volume)


def _percentile(values: Floats, percentage: float) -> float:
    """As np.percentile, but of a large volume only the voxels near it are put in order."""
    flat = values.reshape(-1)
    near = np.clip([percentage - NEAR, percentage + NEAR], 0, 100)
    low, high = np.percentile(flat[::SAMPLE_STEP], near) if len(flat) > BLOCK else (-np.inf, np.inf)
    blocks = [flat[first : first + BLOCK] for first in range(0, len(flat), BLOCK)]
    below = sum(int(np.count_nonzero(block < low)) for block in blocks)
    among = np.concatenate([block[(block >= low) & (block <= high)] for block in blocks])
    rank = percentage / 100 * (len(flat) - 1) - below
    if not 0 <= rank <= len(among) - 1:
        return float(np.percentile(flat, percentage))
    lower, upper = int(rank), min(int(rank) + 1, len(among) - 1)
    among.partition([lower, upper])
    return float(among[lower] + (rank - lower) * (float(among[upper]) - among[lower]))


def _repeat_by_two(binned: Flags, out: Reals) -> Reals:
    height, width = out.shape[1:]
    for z, plane in enumerate(binned):
        doubled = np.repeat(np.repeat(plane, BINNING, axis=1), BINNING, axis=0)[:height, :width]
        out[BINNING * z : BINNING * (z + 1)] = doubled
    return out
