"""How strongly what was filled into the missing wedge counts, by resolution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Tuple

import numpy as np
import scipy.fft

from isonet_scipion.engine.physics.wedge import TiltRange, measured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isonet_scipion.engine.arrays import Floats

TOLD = (0.2, 0.4, 0.6)  # fractions of Nyquist at which it is put into words
# fractions of Nyquist between which what was filled in fades out: the turned cubes that a network learns from are
# interpolated and hold little there, nothing beyond, while the lines of a grid stand out where all else is faint
FADE = (0.84, 1.0)


@dataclass(frozen=True)
class WedgeStrength:
    """Factors for what was filled in, at some spatial frequencies; linear in between, constant beyond up to FADE."""

    frequencies: Tuple[float, ...]  # fractions of Nyquist, rising
    factors: Tuple[float, ...]  # 0: left empty, 1: as the network has made it

    def transfer(self, shape: tuple[int, ...], tilt: TiltRange) -> Floats:
        """What the components of a volume are multiplied by.

        Parameters
        ----------
        shape : tuple of int
            Of the volume (z, y, x), in voxels.
        tilt : TiltRange
            Of the tilt series.

        Returns
        -------
        ndarray
            (z, y, x // 2 + 1) float32, laid out as the transform of a real volume: 1 where it was measured.

        Examples
        --------
        >>> half = WedgeStrength((0.5,), (0.5,)).transfer((8, 8, 8), TiltRange(-60, 60))
        >>> float(half[3, 0, 0]), float(half[0, 0, 3])  # along z and x
        (0.5, 1.0)
        """
        return _transfer(self, shape, tilt)

    def describe(self, voxel_size: float) -> str:
        """Its factors at some resolutions, for voxels of so many A."""
        factors = np.interp(TOLD, self.frequencies, self.factors)
        return ", ".join(f"{factor:.2f} at {2 * voxel_size / at:.0f} A" for at, factor in zip(TOLD, factors))


def mean_strength(strengths: Sequence[WedgeStrength | None]) -> WedgeStrength | None:
    """The mean of those that are known; None without any.

    Examples
    --------
    >>> mean_strength([WedgeStrength((0.0, 1.0), (1.0, 0.5)), WedgeStrength((0.5,), (0.25,)), None])
    WedgeStrength(frequencies=(0.0, 0.5, 1.0), factors=(0.625, 0.5, 0.375))
    """
    known = [strength for strength in strengths if strength is not None]
    if not known:
        return None
    places = sorted({place for strength in known for place in strength.frequencies})
    factors = np.mean([np.interp(places, strength.frequencies, strength.factors) for strength in known], axis=0)
    return WedgeStrength(tuple(places), tuple(factors.tolist()))


def faded(radius: Floats) -> Floats:
    """What is left, 1 to 0, at radii of Fourier space, in fractions of Nyquist, of what fades out over FADE.

    Examples
    --------
    >>> faded(np.array([0.5, 0.92, 1.2])).round(3).tolist()
    [1.0, 0.5, 0.0]
    """
    return np.cos(np.pi / 2 * np.clip((radius - FADE[0]) / (FADE[1] - FADE[0]), 0, 1)) ** 2


@lru_cache(maxsize=2)
def _transfer(strength: WedgeStrength, shape: tuple[int, ...], tilt: TiltRange) -> Floats:
    kz, ky = (2 * scipy.fft.fftfreq(length).astype(np.float32) for length in shape[:2])
    kx = 2 * scipy.fft.rfftfreq(shape[2]).astype(np.float32)
    kept = measured(kz[:, None, None], kx[None, None, :], tilt)
    values = np.empty((shape[0], shape[1], len(kx)), np.float32)
    for plane, z, here in zip(values, kz, kept):  # a large tile's distances would take much memory at once
        radius = np.sqrt(z**2 + ky[:, None] ** 2 + kx**2)
        plane[:] = faded(radius) * np.interp(radius, strength.frequencies, strength.factors)
        plane[:, here[0]] = 1
    values.setflags(write=False)
    return values
