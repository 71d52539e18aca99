"""Whether a declared tilt range is the one that the data show: a back-projection is empty inside its wedge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from isonet_scipion.engine.arrays import Doubles
from isonet_scipion.engine.physics.wedge import TiltRange

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Flags, Floats

BAND = (0.35, 0.8)  # fractions of Nyquist that are looked at: further in, a small box blurs the wedge's edge
BIN = 3.0  # degrees
EMPTY = 0.25  # an angle with less power than this share of the strong ones' is not measured
LEAST = 24  # voxels on a side of boxes that tell a range
TOLERANCE = 10.0  # degrees within which two ranges count as the same
FEWEST = 3  # directions clearly outside a range that tell whether its wedge is empty


def power_by_angle(volumes: Iterable[Floats]) -> tuple[Doubles, Doubles]:
    """Power of xz-planes by direction, each resolution shell counting the same.

    Parameters
    ----------
    volumes : iterable of ndarray
        (z, y, x) float32, all of one cubic size.

    Returns
    -------
    angles, power : ndarray
        Directions atan(kz/kx) in degrees, increasing, and the power there.
    """
    total: Doubles | None = None
    for volume in volumes:
        size = len(volume)
        window = np.hanning(size + 2)[1:-1]
        windowed = (volume - volume.mean()) * (window[:, None, None] * window)
        power = (np.abs(scipy.fft.fftn(windowed, axes=(0, 2))) ** 2).mean(axis=1)
        total = power if total is None else total + power
    if total is None:
        raise ValueError("no volumes")
    k = scipy.fft.fftfreq(len(total)) * 2
    kz, kx = k[:, None], k[None, :]
    radius = np.hypot(kz, kx)
    angle = np.degrees(np.arctan2(np.where(kx < 0, -kz, kz), np.abs(kx)))
    steps = radius * len(total) / 2
    used = (radius > BAND[0]) & (radius < BAND[1])
    at_each = _around(steps, total)[used]
    edges = np.arange(-90, 90 + BIN, BIN)
    place = np.clip(np.digitize(angle[used], edges) - 1, 0, len(edges) - 2)
    relative = total[used] / at_each
    counts = np.bincount(place, minlength=len(edges) - 1)
    reached = counts > 0  # some directions have no point of the grid
    power = np.bincount(place, relative, len(edges) - 1)
    return ((edges[:-1] + edges[1:]) / 2)[reached], power[reached] / counts[reached]


def _around(steps: Doubles, power: Doubles) -> Doubles:
    """Mean power at the radius of each point, from those of the shells about it.

    Within a shell, a small box of a deconvolved tomogram has several times the power inside than outside, and not all
    directions have points in both places.
    """
    shell = steps.astype(int).ravel()
    counts = np.bincount(shell)
    radii, means = (np.bincount(shell, values.ravel()) / counts for values in (steps, power))
    return np.exp(np.interp(steps, radii, np.log(np.maximum(means, np.finfo(float).tiny))))


def shown_range(angles: Doubles, power: Doubles) -> TiltRange | None:
    """The range of directions around 0 that hold power; None where no direction is clearly empty.

    Parameters
    ----------
    angles, power : ndarray
        Of `power_by_angle`.
    """
    filled = _holds_power(power)
    centre = int(np.argmin(np.abs(angles)))
    if filled.all() or not filled[centre]:
        return None
    below, above = np.flatnonzero(~filled[:centre]), np.flatnonzero(~filled[centre:])
    first = below[-1] + 1 if len(below) else 0
    last = centre + (above[0] if len(above) else len(filled) - centre) - 1
    return TiltRange(float(angles[first] - BIN / 2), float(angles[last] + BIN / 2))


def tilt_warning(declared: TiltRange, shown: TiltRange | None) -> str | None:
    """What is wrong with a declared range, None where nothing is.

    Parameters
    ----------
    declared : TiltRange
        What the table says.
    shown : TiltRange, optional
        What the data say.
    """
    if shown is None or _same(declared, shown):
        return None
    seen = f"the data show about {shown.minimum:.0f}..{shown.maximum:.0f} degrees"
    if _same(TiltRange(-declared.maximum, -declared.minimum), shown):
        return f"the tilt range {declared.minimum:g}..{declared.maximum:g} seems to be mirrored: {seen}"
    return f"the tilt range {declared.minimum:g}..{declared.maximum:g} does not fit: {seen}"


def filled_warning(declared: TiltRange, angles: Doubles, power: Doubles) -> str | None:
    """What is wrong where none of the directions that a declared range leaves out is empty; else None.

    Parameters
    ----------
    declared : TiltRange
        What the table says.
    angles, power : ndarray
        Of `power_by_angle`.
    """
    missing = (angles < declared.minimum - TOLERANCE) | (angles > declared.maximum + TOLERANCE)
    if missing.sum() < FEWEST or not _holds_power(power)[missing].all():
        return None
    return (
        f"its missing wedge (tilt range {declared.minimum:g}..{declared.maximum:g}) is not empty, as after a "
        "reconstruction from two tilt axes, or a correction or filter by another program. What is there counts as "
        "missing, and is not used"
    )


def _holds_power(power: Doubles) -> Flags:
    """Which directions are not clearly empty."""
    return power > EMPTY * np.percentile(power, 75)


def _same(first: TiltRange, second: TiltRange) -> bool:
    return max(abs(first.minimum - second.minimum), abs(first.maximum - second.maximum)) <= TOLERANCE
