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
