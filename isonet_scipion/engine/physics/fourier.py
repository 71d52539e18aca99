"""Regions of Fourier space, and boxes that are filtered by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Flags, Floats

CONE = 20.0  # degrees between an axis and the edge of its cone


def frequencies(size: int) -> tuple[Doubles, Doubles, Doubles]:
    """kz, ky, kx of the half space that a real volume's transform fills, in cycles per box side; they broadcast."""
    k = scipy.fft.fftfreq(size, 1 / size)
    return k[:, None, None], k[None, :, None], scipy.fft.rfftfreq(size, 1 / size)[None, None, :]


def filtered(volume: Floats, region: Flags) -> Floats:
    """A box with nothing left outside a region of Fourier space.

    Parameters
    ----------
    volume : ndarray
        (n, n, n) float32.
    region : ndarray of bool
        (n, n, n // 2 + 1), laid out as `frequencies`.
    """
    return scipy.fft.irfftn(scipy.fft.rfftn(volume) * region, volume.shape, overwrite_x=True)


def cone(size: int, axis: int) -> Flags:
    """Where the direction is within 20 degrees of an axis; bool (n, n, n // 2 + 1)."""
    k = frequencies(size)
    squares = sum(np.square(component) for component in k)
    return np.square(k[axis]) > np.cos(np.radians(CONE)) ** 2 * squares
