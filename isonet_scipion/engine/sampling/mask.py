"""Masks of the voxels that hold sample: dense and textured places of a smoothed, binned tomogram."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage

from isonet_scipion.engine.arrays import Flags, Floats, Reals, release, require_contrast

if TYPE_CHECKING:
    from isonet_scipion.engine.physics.borders import Border

BINNING = 2
KEEP_ALL = 99.8  # a percentage above this switches its criterion off
_ANTI_ALIASING = scipy.ndimage.gaussian_filter1d(np.eye(1, 5, 2)[0], 0.5, mode="constant", truncate=4.0)
_TAPS = (np.convolve(_ANTI_ALIASING, [0.5, 0.5])).astype(np.float32)  # smooth by sigma 0.5, then average two


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
) -> Floats:
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
    if border is not None:
        if boundary is not None:
            halved = (slice(axis.start // BINNING, -(-axis.stop // BINNING)) for axis in border.box)
            boundary = boundary[tuple(halved)]
        inner = border.inner(tomogram)
        boundary = _of_binned_shape(boundary, inner.shape)
        mask = sample_mask(
            inner, patch_size, density_percentage, std_percentage, z_crop, boundary, threads, None, inverted
        )
        return border.without(mask > 0).astype(np.int8)
    binned = bin_by_two(tomogram, threads)
    if inverted:
        np.negative(binned, out=binned)
    require_contrast(float(binned.min()), float(binned.max()))
    smooth = scipy.ndimage.gaussian_filter(binned, patch_size / 2, mode="reflect")
    kept = np.ones(binned.shape, bool)
    size = 2 * patch_size + 1
    if density_percentage <= KEEP_ALL:
        kept &= _top_share(scipy.ndimage.maximum_filter(-smooth, size, mode="reflect"), density_percentage)
    if std_percentage <= KEEP_ALL:
        kept &= _top_share(local_deviation(smooth, size), std_percentage)
    if z_crop:
        depth = len(kept)
        kept[: int(z_crop * depth)] = False
        kept[int((1 - z_crop) * depth) :] = False
    if boundary is not None:
        kept &= boundary
    return _repeat_by_two(kept.astype(np.int8), tomogram.shape)


def _of_binned_shape(boundary: Flags | None, shape: tuple[int, ...]) -> Flags | None:
    """Without the last planes that a box with an odd start has more of."""
    return None if boundary is None else boundary[tuple(slice(-(-length // BINNING)) for length in shape)]


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
    depth, height, width = tomogram.shape
    halved = (depth, -(-height // BINNING), -(-width // BINNING))
    planes = np.empty(halved, np.float32)

    def bin_plane(z: int) -> None:
        rows = _halve(tomogram[z].astype(np.float32, copy=False))
        planes[z] = _halve(rows.T).T
        if z % 32 == 0:
            release(tomogram)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(bin_plane, range(depth)))
    return _halve(planes)


def _halve(array: Reals) -> Floats:
    """Filter along the first axis and keep every second sample; an odd end is repeated, ends are mirrored."""
    length = len(array)
    even = np.minimum(np.arange(length + length % 2), length - 1)
    source = np.pad(even, 2, mode="reflect")
    count = len(even) // 2
    result = np.zeros((count, *array.shape[1:]), np.float32)
    for tap, weight in enumerate(_TAPS):
        result += weight * array[source[tap : tap + 2 * count : 2]]
    return result


def local_deviation(volume: Floats, size: int) -> Floats:
    """Standard deviation in a box of size^3 around each voxel, over the voxels that lie inside the volume.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) float32.
    size : int
        Side of the box in voxels, odd.

    Returns
    -------
    ndarray
        float32, same shape.
    """
    centred = volume - volume.mean(dtype=np.float64).astype(np.float32)
    square = _box_mean(np.square(centred), size)
    mean = _box_mean(centred, size)
    square -= np.square(mean, out=mean)
    return np.sqrt(np.maximum(square, 0, out=square), out=square)


def _box_mean(volume: Floats, size: int) -> Floats:
    mean = scipy.ndimage.uniform_filter(volume, size, mode="constant")
    for axis, length in enumerate(volume.shape):
        inside = scipy.ndimage.uniform_filter1d(np.ones(length), size, mode="constant")
        mean /= inside.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    return mean


def _top_share(values: Floats, percentage: float) -> Flags:
    return values > np.percentile(values, 100 - percentage)


def _repeat_by_two(binned: Floats, shape: tuple[int, ...]) -> Floats:
    full = np.empty(shape, binned.dtype)
    for z in range(shape[0]):
        rows = np.repeat(np.repeat(binned[z // BINNING], BINNING, axis=1), BINNING, axis=0)
        full[z] = rows[: shape[1], : shape[2]]
    return full
