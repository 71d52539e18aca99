"""Noise that looks like reconstruction noise: back-projected white noise, or recorded volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import scipy.fft

from isonet_scipion.engine.arrays import Integers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isonet_scipion.engine.arrays import Doubles, Flags, Floats, Integers
    from isonet_scipion.engine.physics.wedge import TiltRange

TILT_STEP = 3.0  # degrees between projections
OVERSAMPLING = 4
POOL_FACTOR = 16  # slices kept for each one that a cube needs
FLAT = 0.1  # of what most of a volume varies by: what varies less is padding, no noise


def projection_filter(length: int, mode: str) -> Doubles:
    """Filter of the projections, by frequency of a real transform of `length` samples.

    Parameters
    ----------
    length : int
        Samples of a projection.
    mode : str
        noFilter (1 everywhere), ramp (|s|) or hamming (|s| times a Hamming window that ends at Nyquist).
    """
    frequency = scipy.fft.rfftfreq(length)
    if mode == "noFilter":
        return np.ones_like(frequency)
    window = 0.54 + 0.46 * np.cos(2 * np.pi * frequency) if mode == "hamming" else 1.0
    return 2 * frequency * window


def back_projected_slices(count: int, size: int, tilt: TiltRange, mode: str, rng: np.random.Generator) -> Floats:
    """Independent xz-slices of back-projected white noise.

    Each slice has its own white projections at every 3 degrees of the tilt range. With white noise the
    slices of a volume along the tilt axis y are independent of each other, so any of them make a volume.

    Parameters
    ----------
    count : int
        Number of slices.
    size : int
        Side of a slice in voxels.
    tilt : TiltRange
        Range of the projections.
    mode : str
        See `projection_filter`.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray
        (count, size, size) float32: slice, z, x; mean 0 and standard deviation 1 in all.
    """
    length = scipy.fft.next_fast_len(2 * size, real=True)
    weights = projection_filter(length, mode).astype(np.float32)[:, None]
    centred = np.arange(size, dtype=np.float32) - (size - 1) / 2
    slices = np.zeros((size * size, count), np.float32)
    for angle in np.radians(np.arange(tilt.minimum, tilt.maximum + TILT_STEP / 2, TILT_STEP)):
        white = rng.standard_normal((length, count), dtype=np.float32)
        # finer samples, so that linear interpolation between them takes no power away
        projection = scipy.fft.irfft(scipy.fft.rfft(white, axis=0) * weights, OVERSAMPLING * length, axis=0)
        position = (centred[:, None] * np.sin(angle) + centred * np.cos(angle)).ravel() + length / 2
        position *= OVERSAMPLING
        left = np.floor(position).astype(int)
        share = (position - left).astype(np.float32)[:, None]
        slices += (1 - share) * projection[left] + share * projection[left + 1]
    slices -= slices.mean()
    slices /= slices.std()
    return np.ascontiguousarray(slices.T).reshape(count, size, size)


class Noise(Protocol):
    """Cubes of noise, drawn."""

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """A cube (size,)*3 float32 (z, y, x) of standard deviation 1."""


class NoiseSource:
    """Draws noise cubes from a pool of slices, each draw with its own slices in its own order."""

    def __init__(self, slices: Floats) -> None:
        """Take a pool of slices (count, z, x), at least as large as the cubes."""
        self.slices = slices

    @classmethod
    def simulated(cls, cube_size: int, tilt: TiltRange, mode: str, rng: np.random.Generator) -> NoiseSource:
        """A pool of back-projected noise for cubes of a size; see `back_projected_slices`."""
        chunks = [back_projected_slices(cube_size, cube_size, tilt, mode, rng) for _ in range(POOL_FACTOR)]
        return cls(np.concatenate(chunks))

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """A cube (size,)*3 float32 (z, y, x) of standard deviation 1."""
        chosen = rng.choice(len(self.slices), size, replace=len(self.slices) < size)
        z, x = (int(rng.integers(0, extent - size + 1)) for extent in self.slices.shape[1:])
        cube = self.slices[chosen, z : z + size, x : x + size].transpose(1, 0, 2)
        if rng.integers(2):
            cube = cube[::-1, :, ::-1]  # a half turn about the tilt axis leaves the wedge where it is
        return cube / max(float(cube.std()), 1e-12)


class RecordedNoise:
    """Draws noise cubes from anywhere in recorded volumes; each draw with slices of one volume in its own order."""

    def __init__(self, volumes: Sequence[Floats], cube_size: int) -> None:
        """Take volumes (z, y, x) float32 that have room for a cube (`noise_corners`)."""
        self._places = [(volume, noisy_slices(volume), noise_corners(volume, cube_size)) for volume in volumes]
        counts = np.array([len(rows) for _, rows, _ in self._places], float)
        self._shares = counts / counts.sum()

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """A cube (size,)*3 float32 (z, y, x) of mean 0 and standard deviation 1; `size` is at most the cubes'."""
        volume, rows, corners = self._places[rng.choice(len(self._places), p=self._shares)]
        z, x = corners[rng.integers(len(corners))]
        chosen = rng.choice(rows, size, replace=len(rows) < size)
        cube = volume[z : z + size, chosen, x : x + size]
        if rng.integers(2):
            cube = cube[::-1, :, ::-1]
        cube = cube - cube.mean()
        return cube / cube.std()


def noise_corners(volume: Floats, size: int) -> Integers:
    """Where a volume holds noise: first z and x (n, 2) of squares of `size` voxels in which nothing is padding."""
    live = _varies(volume.std(axis=1))
    summed = np.pad(np.cumsum(np.cumsum(live, axis=0), axis=1), ((1, 0), (1, 0)))
    inside = summed[size:, size:] - summed[:-size, size:] - summed[size:, :-size] + summed[:-size, :-size]
    return np.argwhere(inside == size * size)


def noisy_slices(volume: Floats) -> Integers:
    """Indices along y of the slices of a volume (z, y, x) that are not padding."""
    return np.flatnonzero(_varies(volume.std(axis=(0, 2))))


def _varies(deviations: Floats) -> Flags:
    # not of the deviation of all: of noise on a high level, that is the step to its padding
    return deviations > FLAT * np.quantile(deviations, 0.9)
