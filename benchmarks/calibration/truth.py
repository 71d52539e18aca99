"""The true correlation in the missing wedge."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import fft

from isonet_scipion.engine.measure.confidence import BANDS
from isonet_scipion.engine.physics.wedge import TiltRange, measured

SIDE, SIDES, STEP = 48, (32, 48, 64), 16  # voxels: of the boxes that it is made on, and tested on; between boxes
EMPTY = 0.02  # of the scene's mean power: truth and filling count as at least that, so that empty boxes come to 0


def in_wedge(volume: np.ndarray, tilt: TiltRange) -> np.ndarray:
    """What of a volume lies in the missing wedge."""
    kz, kx = fft.fftfreq(len(volume))[:, None, None], fft.rfftfreq(volume.shape[2])[None, None]
    spectrum = fft.rfftn(volume - volume.mean()) * ~measured(kz, kx, tilt)
    return fft.irfftn(spectrum, volume.shape).astype(np.float32)


def true_correlation(truth: np.ndarray, filled: np.ndarray, slab: np.ndarray, side: int) -> tuple:
    """Of boxes of a volume: centres in voxels (n, 3), correlation by band (n, bands) and over all shells (n,).

    Parameters
    ----------
    truth, filled : ndarray
        What lies in the missing wedge, in truth and after the correction.
    slab : ndarray of bool
        Where the sample is; boxes hold at least 30 % of it.
    side : int
        Of the boxes, which fade towards their faces.
    """
    place = (np.arange(side) + 0.5) / side
    taper = np.sin(np.pi / 2 * np.clip(4 * np.minimum(place, 1 - place), 0, 1)) ** 2
    window = (taper[:, None, None] * taper[:, None] * taper).astype(np.float32)
    k = fft.fftfreq(side, 1 / side)
    kx = fft.rfftfreq(side, 1 / side)
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + kx**2)).astype(int).ravel()
    twice = np.broadcast_to(np.where((kx > 0) & (kx < side / 2), 2.0, 1.0), (side, side, len(kx))).ravel()
    count = side // 2 + 1
    centres, sums = [], []
    starts = [np.linspace(0, n - side, round((n - side) / STEP) + 1).round().astype(int) for n in truth.shape]
    for corner in itertools.product(*(np.unique(axis) for axis in starts)):
        box = tuple(slice(start, start + side) for start in corner)
        if slab[box].mean() < 0.3:
            continue
        a, b = (fft.rfftn((one[box] - one[box].mean()) * window).ravel() for one in (truth, filled))
        values = ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)
        sums.append([np.bincount(shell, twice * value, 2 * count)[:count] for value in values])
        centres.append([start + side / 2 for start in corner])
    cross, *powers = np.array(sums).swapaxes(0, 1)
    powers = [np.maximum(power, EMPTY * power.mean(axis=0)) for power in powers]
    curve = cross / np.sqrt(powers[0] * powers[1] + 1e-20)
    fraction = np.arange(count) / (side // 2)
    bands = [curve[:, (fraction >= a) & (fraction < b)].mean(axis=1) for a, b in zip(BANDS[:-1], BANDS[1:])]
    whole = curve[:, (fraction >= BANDS[0]) & (fraction <= BANDS[-1])].mean(axis=1)
    return np.array(centres), np.stack(bands, axis=1), whole
