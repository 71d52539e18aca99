"""The missing wedge: which Fourier components a tilt series measures.

The tilt axis is y, the beam at zero tilt lies along z. Tilt t measures the direction kz/kx = tan(t),
so positive tilts fill the quadrants where kx and kz have the same sign. The wedge is the same for every ky.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from isonet_scipion.engine.conventions import TILT_RANGE
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.physics.fourier import frequencies

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Flags, Floats, Reals

NARROWEST = 10.0  # degrees between the outermost tilts of a tilt series; less is a slip
MOST_RADIANS = 1.6  # of a tilt
FULL = 180.0  # degrees between tilts that leave no missing wedge
TILT_TOLERANCE = 3.0  # degrees by which a tomogram's range may differ from the one that a model was trained for


@dataclass(frozen=True)
class TiltRange:
    """Smallest and largest tilt angle of a tilt series in degrees.

    Examples
    --------
    >>> TiltRange(-50, 60).symmetric
    False
    """

    minimum: float = TILT_RANGE[0]
    maximum: float = TILT_RANGE[1]

    def __post_init__(self) -> None:
        if not -90 <= self.minimum < self.maximum <= 90:
            raise EngineError(
                "tilt range",
                f"{self.minimum:g}..{self.maximum:g} degrees is impossible",
                "Give the smallest and the largest tilt angle, between -90 and 90.",
            )

    @property
    def symmetric(self) -> bool:
        """Whether it reaches as far on both sides of 0."""
        return self.minimum == -self.maximum


def declared_range(minimum: float, maximum: float, what: str = "tilt range") -> TiltRange:
    """The tilt range that a file, a table or an option says.

    Parameters
    ----------
    minimum, maximum : float
        In degrees.
    what : str
        Names the file or the option.

    Raises
    ------
    EngineError
        If it is impossible, too narrow for a tilt series, as one in radians is, or leaves no missing wedge.
    """
    try:
        tilt = TiltRange(minimum, maximum)
    except EngineError as error:
        raise EngineError(what, error.why, error.remedy) from error
    if maximum - minimum >= FULL:
        raise EngineError(
            what,
            f"{minimum:g}..{maximum:g} degrees leaves no missing wedge to fill",
            "Give the smallest and the largest tilt angle of the images that were recorded.",
        )
    if maximum - minimum < NARROWEST:
        why, meant = f"{minimum:g}..{maximum:g} degrees is too narrow for a tilt series", ""
        if max(abs(minimum), abs(maximum)) <= MOST_RADIANS:
            why += "; it looks like radians"
            meant = f", probably {np.degrees(minimum):.1f} and {np.degrees(maximum):.1f}"
        raise EngineError(what, why, f"Give the smallest and the largest tilt angle in degrees{meant}.")
    return tilt


def measured(kz: Doubles, kx: Doubles, tilt: TiltRange) -> Flags:
    """Whether frequencies lie within the tilt range.

    Parameters
    ----------
    kz, kx : ndarray
        Frequencies in one unit; they broadcast.
    tilt : TiltRange
        Of the tilt series.

    Returns
    -------
    ndarray of bool
        True where measured; the line kz = 0 is.
    """
    angle = np.degrees(np.arctan2(np.where(kx < 0, -kz, kz), np.abs(kx)))
    return ((angle > tilt.minimum) & (angle < tilt.maximum)) | (kz == 0)


def wedge_filter(kz: Reals, kx: Reals, radius: float, tilt: TiltRange) -> Floats:
    """IsoNet's filter M: 1 where measured and inside a circle, and on the whole line kz = 0; else 0.

    Parameters
    ----------
    kz, kx : ndarray
        Frequencies in cycles per box side; they broadcast.
    radius : float
        Of the circle, in cycles per box side.
    tilt : TiltRange
        Of the tilt series.

    Returns
    -------
    ndarray of float32
    """
    inside = kz * kz + kx * kx < radius * radius
    return ((measured(kz, kx, tilt) & inside) | (kz == 0)).astype(np.float32)


def apply_wedge(volume: Floats, tilt: TiltRange) -> Floats:
    """Filter a cubic subtomogram with M, in each of its xz-planes.

    Parameters
    ----------
    volume : ndarray
        (n, n, n) float32.
    tilt : TiltRange
        Of the tilt series.

    Returns
    -------
    ndarray
        Same shape, float32.

    Examples
    --------
    >>> cube = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    >>> without_wedge = apply_wedge(cube, TiltRange(-60, 60))
    >>> bool(without_wedge.std() < cube.std())
    True
    """
    size = len(volume)
    kz, _, kx = frequencies(size)
    return filter_planes(volume, wedge_filter(kz, kx, size / 2, tilt))


def filter_planes(volume: Floats, transfer: Reals) -> Floats:
    """Filter a volume in each of its xz-planes.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) float32.
    transfer : ndarray
        (z, 1, x // 2 + 1): what each component is multiplied by.

    Returns
    -------
    ndarray
        Same shape, float32.
    """
    spectrum = scipy.fft.rfftn(volume, axes=(0, 2))
    spectrum *= transfer
    return scipy.fft.irfftn(spectrum, s=(volume.shape[0], volume.shape[2]), axes=(0, 2), overwrite_x=True)


def measured_half_space(size: int, tilt: TiltRange) -> Flags:
    """M of a cubic box as bool, in the half space that a real volume's transform fills.

    Parameters
    ----------
    size : int
        Side of the box in voxels.
    tilt : TiltRange
        Of the tilt series.

    Returns
    -------
    ndarray of bool
        (n, n, n // 2 + 1) in kz, ky, kx; the same for every ky.
    """
    kz, _, kx = frequencies(size)
    return np.repeat(wedge_filter(kz, kx, size / 2, tilt) > 0, size, axis=1)
