"""Rescaling volumes to another voxel size by cropping or padding their Fourier transform."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from isonet_scipion.engine.arrays import release_now_and_then, require_contrast

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats, Reals

LEAST_PADDING = 24  # mirrored voxels between opposite faces, so that they do not bleed into each other
MORE_LENGTHS = 250  # beyond twice an axis's; among so many is one that both voxel sizes divide well
OUT_OF_STEP = 0.03  # voxels that the last one is off its place, as bad as transforms that take twice the time
COSTLY = 50  # sum of a length's prime factors that doubles the time of its transform
PRIME = 4.5  # as many times longer is that of a length with large ones, which is made of two longer transforms
BLOCK = 1 << 17  # samples that are transformed at a time; of more, the system takes and gives memory each time


def rescaled_shape(shape: tuple[int, ...], step: float) -> tuple[int, ...]:
    """Shape of a rescaled volume; `step` is the new voxel size over the old one."""
    return tuple(max(2, round(length / step)) for length in shape)


def rescale(
    volume: Reals, voxel_size: float, new_voxel_size: float, out: Floats | None = None, threads: int = 1
) -> Floats:
    """Resample a volume as waves: those that the new voxels can show are kept as they are, finer ones are left out.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) of any real type; a memory map is read plane by plane.
    voxel_size, new_voxel_size : float
        In A.
    out : ndarray, optional
        float32, of `rescaled_shape`; may be a memory map. None: a new array.
    threads : int
        Number of CPU threads.

    Returns
    -------
    ndarray
        `out`; each side is the nearest whole number of new voxels, at least 2, and the corner stays in place.

    Raises
    ------
    EngineError
        If a voxel is not finite, or all are equal.
    """
    step = new_voxel_size / voxel_size
    z, y, x = (Axis.of(length, step) for length in volume.shape)
    # also of the result, which is written plane by plane: a memory map's pages are slow in any other order
    planes = np.empty((max(z.length, z.count), y.count, x.count), np.float32)
    lows, highs = np.empty((2, len(volume)))
    # keeps large grey values precise; what is only converted keeps its values exactly
    level = np.float32(0 if step == 1 else volume[len(volume) // 2].mean(dtype=np.float64))
    level = level if np.isfinite(level) else np.float32(0)

    def resample_plane(number: int) -> None:
        plane = volume[number].astype(np.float32)
        lows[number], highs[number] = plane.min(), plane.max()
        plane -= level
        rows = np.empty((y.length, x.count), np.float32)
        x.resample(plane, rows, axis=1)
        y.resample(rows, planes[number], axis=0)
        release_now_and_then(volume, number)

    # what is not finite is told of below
    with ThreadPoolExecutor(threads) as pool, np.errstate(invalid="ignore", over="ignore"):
        list(pool.map(resample_plane, range(len(volume))))
    require_contrast(float(lows.min()), float(highs.max()))
    z.resample(planes[: z.length], planes[: z.count], axis=0)
    if out is None:
        out = planes[: z.count]
    for number in range(z.count):
        np.add(planes[number], level, out=out[number])
        release_now_and_then(out, number)
    return out


@dataclass(frozen=True)
class Axis:
    """How one axis is resampled: mirrored to `padded` samples, of which `kept` waves make as many new ones."""

    length: int
    count: int  # new samples
    step: float
    padded: int
    kept: int

    @classmethod
    def of(cls, length: int, step: float) -> Axis:
        """For an axis of `length` samples, and a new sample every `step` old ones."""

        def demerit(padded: int) -> float:
            kept = max(1, round(padded / step))
            off = abs(padded / kept / step - 1) * length / max(1, step)
            return (off / OUT_OF_STEP) ** 2 + (_cost(padded) + _cost(kept)) / (length + length / step)

        padded = min(range(length + LEAST_PADDING, 2 * length + MORE_LENGTHS), key=demerit)
        return cls(length, rescaled_shape((length,) * 3, step)[0], step, padded, max(1, round(padded / step)))

    def resample(self, lines: Floats, out: Floats, axis: int) -> None:
        """Resample a float32 array along its first or second axis into another, which may be the same memory."""
        if self.step == 1:  # nothing to change: what is only converted keeps its values exactly
            out[...] = lines
            return
        step = max(1, BLOCK * lines.shape[1 - axis] // lines.size)
        for first in range(0, lines.shape[1 - axis], step):
            place = (slice(None),) * (1 - axis) + (slice(first, first + step),)
            out[place] = self._resampled(lines[place], axis)

    def _resampled(self, lines: Floats, axis: int) -> Floats:
        before = (self.padded - self.length) // 2
        after = self.padded - self.length - before
        padding = [(before, after) if number == axis else (0, 0) for number in range(lines.ndim)]
        spectrum = scipy.fft.rfft(np.pad(lines, padding, mode="symmetric"), axis=axis, overwrite_x=True)
        waves = min(self.padded // 2 + 1, self.kept // 2 + 1)
        # new sample i is centred at (i + 1/2) new voxels from the corner
        start = before + (self.step - 1) / 2
        turn = np.exp(2j * np.pi * np.arange(waves) * (start / self.padded)) * (self.kept / self.padded)
        if self.kept > self.padded and self.padded % 2 == 0:
            turn[-1] *= 0.5  # the wave at Nyquist is then one of two of a finer grid
        along = [-1 if number == axis else 1 for number in range(lines.ndim)]
        with np.errstate(invalid="ignore"):  # voxels that are not finite are told from the result
            spectrum = _first(spectrum, waves, axis) * turn.astype(np.complex64).reshape(along)
        return _first(scipy.fft.irfft(spectrum, self.kept, axis=axis, overwrite_x=True), self.count, axis)


def _first(array: Reals, count: int, axis: int) -> Reals:
    return array[(slice(None),) * axis + (slice(count),)]


@functools.lru_cache(maxsize=1 << 14)
def _cost(length: int) -> float:
    """Time of a transform, up to a factor."""
    left, factors, prime = length, 0, 2
    while prime * prime <= left:
        if left % prime:
            prime += 1
        else:
            left, factors = left // prime, factors + prime
    return length * min(1 + (factors + left) / COSTLY, PRIME)
