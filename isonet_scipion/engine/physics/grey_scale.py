"""Grey scales: the linear map under which the network works, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LOW_PERCENTILE, HIGH_PERCENTILE = 4, 96


@dataclass(frozen=True)
class GreyScale:
    """The linear map (value - offset) / scale."""

    offset: float
    scale: float

    def apply(self, volume: np.ndarray) -> np.ndarray:
        """Map grey values to normalised ones, float32, any shape."""
        return (volume - np.float32(self.offset)) * np.float32(1 / self.scale)

    def undo(self, volume: np.ndarray) -> np.ndarray:
        """Map normalised values back to grey values, float32, any shape."""
        return volume * np.float32(self.scale) + np.float32(self.offset)


@dataclass(frozen=True)
class Shown:
    """A tomogram, or the box of it that holds data, as networks see it: normalised, protein bright."""

    voxels: np.ndarray  # (z, y, x) of any real type, as in the file or phase-flipped; may be a memory map
    scale: GreyScale  # of the voxels with protein bright
    inverted: bool = False  # protein is bright in `voxels`

    def show(self, part: np.ndarray) -> np.ndarray:
        """A part of `voxels`, or all of them, as the network sees it: float32, same shape, a copy."""
        part = np.array(part, np.float32)
        return self.normalise(part if self.inverted else np.negative(part, out=part))

    def normalise(self, bright: np.ndarray) -> np.ndarray:
        """Bring float32 voxels with protein bright to the network's scale, in place."""
        bright -= np.float32(self.scale.offset)
        bright *= np.float32(1 / self.scale.scale)
        return bright

    def back(self, values: np.ndarray) -> np.ndarray:
        """What a network made, on the grey scale and with the contrast of `voxels`, in place."""
        values *= np.float32(self.scale.scale)
        values += np.float32(self.scale.offset)
        return self.contrast(values)

    def contrast(self, bright: np.ndarray) -> np.ndarray:
        """Voxels with protein bright, with the contrast of `voxels`, in place."""
        return bright if self.inverted else np.negative(bright, out=bright)


def measure(volume: np.ndarray, percentile: bool = True) -> GreyScale:
    """The map that brings a volume to IsoNet's scale.

    Parameters
    ----------
    volume : ndarray
        float32, any shape.
    percentile : bool
        True: the 4th and 96th percentile go to 0 and 1; False: mean 0, standard deviation 1.

    Returns
    -------
    GreyScale
        A constant volume gets the scale 1.
    """
    if percentile:
        low, high = np.percentile(volume, (LOW_PERCENTILE, HIGH_PERCENTILE))
        offset, scale = float(low), float(high - low)
    else:
        offset, scale = float(volume.mean(dtype=np.float64)), float(volume.std(dtype=np.float64))
    return GreyScale(offset, scale if scale > 0 else 1.0)


def normalise(volume: np.ndarray, percentile: bool = True) -> np.ndarray:
    """Bring a volume to IsoNet's scale; see `measure`."""
    return measure(volume, percentile).apply(volume)
