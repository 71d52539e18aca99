"""Masks of the voxels that hold sample: dense and textured places of a smoothed, binned tomogram."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage

from isonet_scipion.engine.arrays import Flags, Floats, Reals, release_now_and_then, require_contrast

if TYPE_CHECKING:
    from isonet_scipion.engine.physics.borders import Border

BINNING = 2
KEEP_ALL = 99.8  # a percentage above this switches its criterion off
BAND = 64  # rows of the binned planes that are made at a time
BLOCK = 1 << 18  # voxels that are filtered at a time, so that they stay in the cache
NEAR = 1.0  # per cent of the voxels to either side of a percentile among which it is looked for
SAMPLE_STEP = 97  # voxels apart are those that tell where a percentile is, about
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
        inner = border.inner(tomogram)
        mask = sample_mask(inner, patch_size, density_percentage, std_percentage, z_crop, None, threads, None, inverted)
        kept = border.without(mask > 0)
        # the box of the data is binned from its own first voxel, the boundary from that of the tomogram
        if boundary is not None:
            kept &= _repeat_by_two(boundary, tomogram.shape)
        return kept.astype(np.int8)
    binned = bin_by_two(tomogram, threads)
    if inverted:
        np.negative(binned, out=binned)
    require_contrast(float(binned.min()), float(binned.max()))
    smooth = scipy.ndimage.gaussian_filter(binned, patch_size / 2, output=binned, mode="reflect")
    kept = np.ones(smooth.shape, bool)
    size = 2 * patch_size + 1
    if density_percentage <= KEEP_ALL:
        lowest = _lowest(smooth, size, threads)
        kept &= lowest < _percentile(lowest, density_percentage)
        del lowest
    if std_percentage <= KEEP_ALL:
        deviation = local_deviation(smooth, size, threads)
        kept &= deviation > _percentile(deviation, 100 - std_percentage)
        del deviation
    if z_crop:
        depth = len(kept)
        kept[: int(z_crop * depth)] = False
        kept[int((1 - z_crop) * depth) :] = False
    if boundary is not None:
        kept &= boundary
    return _repeat_by_two(kept.astype(np.int8), tomogram.shape)


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
    binned = np.empty([-(-length // BINNING) for length in tomogram.shape], np.float32)
    places = _taken(len(tomogram))

    def bin_planes(first: int, last: int) -> None:
        planes: dict[int, Floats] = {}
        for z in range(first, last):
            taken = places[2 * z : 2 * z + 6]
            planes = {place: planes[place] if place in planes else _halved_plane(tomogram[place]) for place in taken}
            even, odd = ([planes[place] for place in taken[side::2]] for side in (0, 1))
            binned[z] = _halved(even, odd)
            release_now_and_then(tomogram, 2 * z + 1)

    ends = [len(binned) * number // threads for number in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(bin_planes, ends, ends[1:]))
    return binned


def _taken(length: int) -> list[int]:
    """Which samples of an axis the taps fall on: an odd end is repeated, ends are mirrored."""
    even = np.minimum(np.arange(length + length % 2), length - 1)
    return [int(place) for place in np.pad(even, 2, mode="reflect")]


def _halved_plane(plane: Reals) -> Floats:
    """Halve a plane along y and x, in bands of rows that stay in the cache."""
    result = np.empty([-(-length // BINNING) for length in plane.shape], np.float32)
    rows, columns = map(_taken, plane.shape)
    before, after = columns[:2], columns[2 + plane.shape[1] :]
    for first in range(0, len(result), BAND):
        band = result[first : first + BAND]
        taken = rows[2 * first : 2 * (first + len(band)) + 4]
        # not where the ends are mirrored: there fewer rows lie between the first and the last
        is_whole = taken[-1] - taken[0] == len(taken) - 1
        block = plane[taken[0] : taken[-1] + 1] if is_whole else plane[taken]
        half = _halved(*_pairs(np.asarray(block, np.float32), 0))
        band[:] = _halved(*_pairs(np.concatenate([half[:, before], half, half[:, after]], axis=1), 1))
    return result


def _pairs(block: Floats, axis: int) -> tuple[list[Floats], list[Floats]]:
    """For the taps of even and of odd number, the samples of a block that they fall on, along an axis."""
    sides = (_part(block, axis, side, block.shape[axis], 2) for side in (0, 1))
    # copies of every second column, which are slow to add up
    even, odd = (np.ascontiguousarray(side) if axis else side for side in sides)
    count = even.shape[axis] - 2
    even_parts, odd_parts = ([_part(side, axis, first, count) for first in range(3)] for side in (even, odd))
    return even_parts, odd_parts


def _halved(even: list[Floats], odd: list[Floats]) -> Floats:
    """The sum over the taps, which are symmetric."""
    total = _TAPS[2] * (even[1] + odd[1])
    total += _TAPS[1] * (odd[0] + even[2])
    total += _TAPS[0] * (even[0] + odd[2])
    return total


def _part(array: Floats, axis: int, first: int, count: int, step: int = 1) -> Floats:
    return array[(slice(None),) * axis + (slice(first, first + count, step),)]


def _along_each(volume: Floats, function: Callable[[Floats, int], Floats], threads: int) -> Floats:
    """Filter a volume along each axis by a function of a block and the axis (0 or 1) along which it works."""
    result = np.empty_like(volume)
    rows = max(1, BLOCK // volume[:, 0].size)

    def filter_plane(z: int) -> None:
        result[z] = function(function(volume[z], 1), 0)

    def filter_along_z(first: int) -> None:
        result[:, first : first + rows] = function(result[:, first : first + rows], 0)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(filter_plane, range(len(volume))))
        list(pool.map(filter_along_z, range(0, volume.shape[1], rows)))
    return result


def _padded(block: Floats, axis: int, before: int, mode: Any) -> Floats:
    return np.pad(block, [(before, before) if number == axis else (0, 0) for number in range(block.ndim)], mode)


def _lowest(volume: Floats, size: int, threads: int) -> Floats:
    """The lowest value in a box of `size`^3 voxels around each."""

    def lowest(block: Floats, axis: int) -> Floats:
        return _joined(_padded(block, axis, size // 2, "symmetric"), axis, size, np.minimum)

    return _along_each(volume, lowest, threads)


def _joined(padded: Floats, axis: int, size: int, join: np.ufunc) -> Floats:
    """Sum or minimum over `size` neighbours, from those over 1, 2, 4, ... of them."""
    length = padded.shape[axis] - size + 1
    result: Any = None
    first, width, joined = 0, 1, padded
    while True:
        if size & width:
            part = _part(joined, axis, first, length)
            result, first = part if result is None else join(result, part), first + width
        if 2 * width > size:
            return result
        left = joined.shape[axis] - width
        joined, width = join(_part(joined, axis, 0, left), _part(joined, axis, width, left)), 2 * width


def local_deviation(volume: Floats, size: int, threads: int = 1) -> Floats:
    """Standard deviation in a box of size^3 around each voxel, over the voxels that lie inside the volume.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) float32.
    size : int
        Side of the box in voxels, odd.
    threads : int
        Number of CPU threads.

    Returns
    -------
    ndarray
        float32, same shape.
    """
    centred = volume - volume.mean(dtype=np.float64).astype(np.float32)
    mean = _box_mean(centred, size, threads)
    square = _box_mean(np.square(centred, out=centred), size, threads)
    square -= np.square(mean, out=mean)
    return np.sqrt(np.maximum(square, 0, out=square), out=square)


def _box_mean(volume: Floats, size: int, threads: int) -> Floats:
    def mean(block: Floats, axis: int) -> Floats:
        total = _joined(_padded(block, axis, size // 2, "constant"), axis, size, np.add)
        inside = np.convolve(np.ones(block.shape[axis]), np.ones(size))[size // 2 : size // 2 + block.shape[axis]]
        total *= (1 / inside).astype(np.float32).reshape([-1 if number == axis else 1 for number in range(block.ndim)])
        return total

    return _along_each(volume, mean, threads)


def _percentile(values: Floats, percentage: float) -> float:
    """As np.percentile, but of a large volume only the voxels near it are put in order."""
    flat = values.reshape(-1)
    near = np.clip([percentage - NEAR, percentage + NEAR], 0, 100)
    low, high = np.percentile(flat[::SAMPLE_STEP], near) if len(flat) > BLOCK else (-np.inf, np.inf)
    below, among = int(np.count_nonzero(flat < low)), flat[(flat >= low) & (flat <= high)]
    rank = percentage / 100 * (len(flat) - 1) - below
    if not 0 <= rank <= len(among) - 1:
        return float(np.percentile(flat, percentage))
    lower, upper = int(rank), min(int(rank) + 1, len(among) - 1)
    among.partition([lower, upper])
    return float(among[lower] + (rank - lower) * (float(among[upper]) - among[lower]))


def _repeat_by_two(binned: Reals, shape: tuple[int, ...]) -> Reals:
    full = np.empty(shape, binned.dtype)
    for z, plane in enumerate(binned):
        doubled = np.repeat(np.repeat(plane, BINNING, axis=1), BINNING, axis=0)[: shape[1], : shape[2]]
        full[BINNING * z : BINNING * (z + 1)] = doubled
    return full
