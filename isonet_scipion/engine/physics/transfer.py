"""What a phase-flipped tomogram shows of the density: it is weakened by the CTF."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.physics.ctf import CtfParameters, ctf, first_peak
from isonet_scipion.engine.physics.fourier import frequencies

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Floats, Reals

CACHED = 32  # filters that are kept, for tomograms and sizes that come again and again


@dataclass(frozen=True)
class Transfer:
    """What phase-flipped tomograms show: |CTF|, kept at 1 below its first peak, times the envelope exp(-B k^2 / 4)."""

    voxel_size: float  # A
    ctf_parameters: CtfParameters
    bfactor: float = 0.0  # A^2
    comes_flipped: bool = False  # the tomogram is phase-flipped already

    def at(self, frequency: Doubles) -> Doubles:
        """Its value at spatial frequencies k in 1/A, any shape."""
        rising = frequency < first_peak(self.ctf_parameters)
        strength = np.where(rising, 1.0, np.abs(ctf(frequency, self.ctf_parameters)))
        return strength * np.exp(-self.bfactor / 4 * np.square(frequency))

    def filter(self, size: int) -> Floats:
        """Its values for a box of `size`^3 voxels: (n, n, n // 2 + 1) float32, laid out as `fourier.frequencies`."""
        return _filter(self, size)


@lru_cache(maxsize=CACHED)
def _filter(transfer: Transfer, size: int) -> Reals:
    radius = np.sqrt(sum(np.square(component) for component in frequencies(size)))
    values = transfer.at(radius / (size * transfer.voxel_size)).astype(np.float32)
    values.setflags(write=False)
    return values
