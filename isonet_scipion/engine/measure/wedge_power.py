"""Power in the missing wedge against that of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from isonet_scipion.engine.arrays import upright_planes
from isonet_scipion.engine.physics.wedge import TiltRange, measured

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Mean, Reals

SPECTRUM_PLANES = 64  # xz-planes that a spectrum is averaged over
AT_ONCE = 16  # of them, which are read together
BAND = (0.1, 0.6)  # fractions of Nyquist between which the wedge's power is compared
SHELLS = 20  # up to Nyquist
GUARD = 5.0  # degrees on both sides of the wedge's edge, at most, that count neither as measured nor as missing


def xz_power(volume: Reals | Mean) -> Doubles:
    """Mean power spectrum of the xz-planes.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) of any real type; may be a memory map.

    Returns
    -------
    ndarray
        (n, n) float64, n the larger of depth and width; zero frequency in the centre.
    """
    depth, height, width = volume.shape
    size = max(depth, width)
    window = (np.hanning(depth + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]).astype(np.float32)
    half = np.zeros((size, size // 2 + 1))
    planes = np.unique(np.linspace(0, height - 1, min(height, SPECTRUM_PLANES)).astype(int))
    for few in np.array_split(planes, -(-len(planes) // AT_ONCE)):
        for plane in upright_planes(volume, 1, few):
            plane -= plane.mean()
            plane *= window
            rows = scipy.fft.rfft(plane, size, axis=1, overwrite_x=True)
            spectrum = scipy.fft.fft(rows, size, axis=0, overwrite_x=True)
            half += spectrum.real**2 + spectrum.imag**2
    # the other half is this one mirrored through the zero frequency
    power = np.empty((size, size))
    power[:, : size // 2 + 1] = half
    mirrored = np.roll(half[::-1], 1, axis=0)
    power[:, size // 2 + 1 :] = mirrored[:, (size - 1) // 2 : 0 : -1]
    return scipy.fft.fftshift(power) / len(planes)


def wedge_power_ratio(volume: Reals, tilt: TiltRange) -> float:
    """Power per Fourier component inside the missing wedge over that outside, in the same resolution shells.

    About 0 for a back-projection, 1 where the wedge is filled as strongly as the rest.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) of any real type.
    tilt : TiltRange
        Of the tilt series.

    Returns
    -------
    float
        Median over the shells from 0.1 to 0.6 of Nyquist; components within 5 degrees of the
        wedge's edge (a quarter of the tilt range, where that is less) are left out.
    """
    return power_ratio(xz_power(volume), tilt)


def power_ratio(power: Doubles, tilt: TiltRange) -> float:
    """As `wedge_power_ratio`, of a spectrum by `xz_power`."""
    k = scipy.fft.fftshift(scipy.fft.fftfreq(len(power))) * 2
    kz, kx = k[:, None], k[None, :]
    shell = np.floor(np.hypot(kz, kx) * SHELLS)
    guard = min(GUARD, (tilt.maximum - tilt.minimum) / 4)  # half of a narrow range stays
    inner = TiltRange(tilt.minimum + guard, tilt.maximum - guard)
    outer = TiltRange(max(-90.0, tilt.minimum - guard), min(90.0, tilt.maximum + guard))
    seen, missing = measured(kz, kx, inner), ~measured(kz, kx, outer)
    ratios = []
    for number in range(round(BAND[0] * SHELLS), round(BAND[1] * SHELLS)):
        both = power[(shell == number) & missing], power[(shell == number) & seen]
        if all(len(values) > 4 for values in both):
            ratios.append(both[0].mean() / max(both[1].mean(), np.finfo(float).tiny))
    return float(np.median(ratios)) if ratios else float("nan")
