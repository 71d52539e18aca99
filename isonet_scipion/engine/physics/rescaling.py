"""Rescaling volumes to another voxel size by cropping or padding their Fourier transform."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from isonet_scipion.engine.arrays import release, require_contrast

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats, Reals

LEAST_PADDING = 24  # mirrored voxels between opposite faces, so that they do not bleed into each other
MOST_PADDING = 250  # among so many lengths is one that both voxel sizes divide well
OUT_OF_STEP = 0.03  # voxels that the last one is off its place, as bad as a transform of a length that is slow
SLAB = 1 << 22  # voxels that are transformed along z at a time


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
    planes = np.empty((len(volume), y.count, x.count), np.float32)
    lows, highs = np.empty((2, len(volume)))

    def resample_plane(number: int) -> None:
        plane = volume[number].astype(np.float32)
        lows[number], highs[number] = plane.min(), plane.max()
        planes[number] = y.resampled(x.resampled(plane.T).T)
        if number % 32 == 0:
            release(volume)

    # what is not finite is told of below
    with ThreadPoolExecutor(threads) as pool, np.errstate(invalid="ignore", over="ignore"):
        list(pool.map(resample_plane, range(len(volume))))
    require_contrast(float(lows.min()), float(highs.max()))
    out = np.empty((z.count, y.count, x.count), np.float32) if out is None else out
    rows = max(1, SLAB // planes[:, 0].size)
    for first in range(0, y.count, rows):
        out[:, first : first + rows] = z.resampled(planes[:, first : first + rows])
        release(out)
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

        def demerit(padded: int) -> tuple[float, int]:
            kept = max(1, round(padded / step))
            off = abs(padded / kept / step - 1) * length
            slow = sum(scipy.fft.next_fast_len(count, real=True) > count for count in (padded, kept))
            return off / OUT_OF_STEP + slow, padded

        padded = min(range(length + LEAST_PADDING, length + MOST_PADDING), key=demerit)
        return cls(length, rescaled_shape((length,) * 3, step)[0], step, padded, max(1, round(padded / step)))

    def resampled(self, lines: Floats) -> Floats:
        """An array (length, ...) float32 resampled along its first axis: (count, ...) float32."""
        before = (self.padded - self.length) // 2
        after = self.padded - self.length - before
        padding = [(before, after)] + [(0, 0)] * (lines.ndim - 1)
        spectrum = scipy.fft.rfft(np.pad(lines, padding, mode="symmetric"), axis=0, overwrite_x=True)
        if self.kept > self.padded and self.padded % 2 == 0:
            spectrum[-1] *= 0.5  # the wave at Nyquist is then one of two of a finer grid
        waves = min(len(spectrum), self.kept // 2 + 1)
        # new sample i is centred at (i + 1/2) new voxels from the corner
        start = before + (self.step - 1) / 2
        turn = np.exp(2j * np.pi * np.arange(waves) * (start / self.padded)).astype(np.complex64)
        with np.errstate(invalid="ignore"):  # voxels that are not finite are told from the result
            spectrum = spectrum[:waves] * turn.reshape(-1, *[1] * (lines.ndim - 1))
        samples = scipy.fft.irfft(spectrum, self.kept, axis=0, overwrite_x=True)[: self.count]
        samples *= np.float32(self.kept / self.padded)
        return samples
