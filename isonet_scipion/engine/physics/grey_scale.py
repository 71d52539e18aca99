"""Grey scales: the linear map under which the network works, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.arrays import release_now_and_then
from isonet_scipion.engine.conventions import Normalisation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from isonet_scipion.engine.arrays import Floats, Mean, Reals

LOW_PERCENTILE, HIGH_PERCENTILE = 4, 96
SAMPLE = 1 << 20  # voxels; percentiles of larger volumes are those of as many, which moves them by 2e-4 of the scale


@dataclass(frozen=True)
class GreyScale:
    """The linear map (value - offset) / scale."""

    offset: float
    scale: float

    def apply(self, volume: Floats) -> Floats:
        """Map grey values to normalised ones, float32, any shape."""
        return (volume - np.float32(self.offset)) * np.float32(1 / self.scale)

    def apply_in_place(self, volume: Floats) -> Floats:
        """As `apply`, of a volume that it overwrites."""
        for plane in _planes(volume):
            plane[...] = self.apply(plane)
        return volume

    def undo(self, volume: Floats) -> Floats:
        """Map normalised values back to grey values, float32, any shape."""
        return volume * np.float32(self.scale) + np.float32(self.offset)


@dataclass(frozen=True)
class Shown:
    """A tomogram, or the box of it that holds data, as networks see it: normalised, protein bright."""

    voxels: Reals | Mean  # (z, y, x) of any real type, as in the file or phase-flipped; may be a memory map
    scale: GreyScale  # of the voxels with protein bright
    inverted: bool = False  # protein is bright in `voxels`

    def show(self, part: Floats) -> Floats:
        """A part of `voxels`, or all of them, as the network sees it: float32, same shape, a copy."""
        return self.show_in_place(np.array(part, np.float32))

    def show_in_place(self, part: Floats) -> Floats:
        """As `show`, of float32 voxels, which it overwrites."""
        for plane in _planes(part):
            self.contrast(plane)
            plane -= np.float32(self.scale.offset)
            plane *= np.float32(1 / self.scale.scale)
        return part

    def back(self, values: Floats) -> Floats:
        """What a network made, on the grey scale and with the contrast of `voxels`, in place."""
        for plane in _planes(values):
            plane *= np.float32(self.scale.scale)
            plane += np.float32(self.scale.offset)
            self.contrast(plane)
        return values

    def contrast(self, bright: Floats) -> Floats:
        """Voxels with protein bright, with the contrast of `voxels`, or the other way round, in place."""
        return bright if self.inverted else np.negative(bright, out=bright)


def _planes(array: Floats) -> Iterator[Floats]:
    """An array, or its last two axes' planes in turn: each stays in the processor's cache for several steps."""
    if array.ndim <= 2:
        yield array
        return
    for part in array:
        yield from _planes(part)


def measure(
    volume: Reals, normalisation: Normalisation = Normalisation.PERCENTILES, negated: bool = False
) -> GreyScale:
    """The map that brings a volume to IsoNet's scale.

    Parameters
    ----------
    volume : ndarray
        Of any real type and shape; a memory map of three axes is read plane by plane.
    normalisation : Normalisation
        What goes to 0 and 1.
    negated : bool
        Whether the map is that of the negated voxels.

    Returns
    -------
    GreyScale
        A constant volume gets the scale 1.
    """
    return measure_mean([volume], normalisation, negated)


def measure_mean(
    volumes: Sequence[Reals], normalisation: Normalisation = Normalisation.PERCENTILES, negated: bool = False
) -> GreyScale:
    """As `measure`, of the mean of volumes of one shape, which is not made."""
    if normalisation is Normalisation.PERCENTILES:
        values = np.mean([sample(volume) for volume in volumes], axis=0)
        low, high = np.percentile(values, (LOW_PERCENTILE, HIGH_PERCENTILE))
        offset, scale = float(-high if negated else low), float(high - low)
    else:
        offset, scale = _moments(volumes)
        offset = -offset if negated else offset
    return GreyScale(offset, scale if scale > 0 else 1.0)


def sample(volume: Reals | Mean) -> Floats:
    """Every n-th voxel of a large volume, (voxels,) float32; a memory map is read plane by plane.

    n shares no factor with the sides, so that no row is preferred.
    """
    step = max(1, volume.size // SAMPLE)
    if step == 1:
        return np.asarray(volume[:], np.float32).reshape(-1)
    while any(math.gcd(step, side) > 1 for side in volume.shape):
        step += 1
    parts = []
    for number in range(len(volume)):
        plane = np.asarray(volume[number])
        parts.append(plane.reshape(-1)[-number * plane.size % step :: step].astype(np.float32))
        release_now_and_then(volume, number)
    return np.concatenate(parts)


def _moments(volumes: Sequence[Reals]) -> tuple[float, float]:
    """Mean and standard deviation of the volumes' mean, in double precision without a copy of all."""
    parts = []
    for number, planes in enumerate(zip(*map(np.atleast_2d, volumes))):
        part = np.mean(planes, axis=0, dtype=np.float64)
        parts.append((part.size, part.mean(), part.var()))
        for volume in volumes:
            release_now_and_then(volume, number)
    sizes, means, variances = (np.array(values) for values in zip(*parts))
    mean = np.average(means, weights=sizes)
    return float(mean), float(np.sqrt(np.average(variances + (means - mean) ** 2, weights=sizes)))


def normalise(volume: Floats, normalisation: Normalisation = Normalisation.PERCENTILES) -> Floats:
    """Bring a volume to IsoNet's scale; see `measure`."""
    return measure(volume, normalisation).apply(volume)
