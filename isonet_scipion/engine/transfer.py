"""What a tomogram shows of the density, as CTF-aware networks take it: phase-flipped, weakened by the CTF."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from isonet_scipion.engine.ctf import Microscope, ctf, first_peak
from isonet_scipion.engine.deconvolution import PhaseFlip, deconvolve
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.fsc import frequencies
from isonet_scipion.engine.tomograms import TomogramEntry
from isonet_scipion.engine.volume import Volume, naming, read_float

log = logging.getLogger(__name__)
CACHED = 32  # filters that are kept, for tomograms and sizes that come again and again


@dataclass(frozen=True)
class Transfer:
    """What phase-flipped tomograms show: |CTF|, kept at 1 below its first peak, times the envelope exp(-B k^2 / 4)."""

    voxel_size: float  # A
    microscope: Microscope
    bfactor: float = 0.0  # A^2

    def at(self, frequency: np.ndarray) -> np.ndarray:
        """Its value at spatial frequencies k in 1/A, any shape."""
        rising = frequency < first_peak(self.microscope)
        strength = np.where(rising, 1.0, np.abs(ctf(frequency, self.microscope)))
        return strength * np.exp(-self.bfactor / 4 * np.square(frequency))

    def filter(self, size: int) -> np.ndarray:
        """Its values for a cubic box of `size` voxels: (n, n, n // 2 + 1) float32, laid out as `fsc.frequencies`."""
        return _filter(self, size)


@lru_cache(maxsize=CACHED)
def _filter(transfer: Transfer, size: int) -> np.ndarray:
    radius = np.sqrt(sum(np.square(component) for component in frequencies(size)))
    values = transfer.at(radius / (size * transfer.voxel_size)).astype(np.float32)
    values.setflags(write=False)
    return values


def tomogram_transfer(
    entry: TomogramEntry, voltage: float | None = None, cs: float | None = None, bfactor: float = 0.0
) -> Transfer:
    """The transfer of a tomogram, as its row of the table tells.

    Parameters
    ----------
    entry : TomogramEntry
        The row.
    voltage, cs : float, optional
        In kV and mm, instead of the table's.
    bfactor : float
        Of the envelope in A^2.

    Raises
    ------
    EngineError
        If the table does not have its defocus, or the B-factor is negative.
    """
    if not 0 <= bfactor < math.inf:
        raise EngineError("bfactor", f"{bfactor:g} is out of range", "Give a number from 0 up, such as 500.")
    microscope = entry.microscope(voltage, cs)
    if microscope.defocus <= 0:
        raise EngineError(
            entry.star.path,
            f"_rlnDefocus is {microscope.defocus:g} for {entry.path}, but what is CTF-aware needs the defocus",
            "Give it in A, underfocus positive, such as 30000.",
        )
    return Transfer(entry.voxel_size, microscope, bfactor)


def known_transfer(entry: TomogramEntry, metadata: dict) -> Transfer | None:
    """The transfer of a tomogram for a CTF-aware model, by its metadata; None for other models."""
    if not metadata.get("ctf_aware"):
        return None
    return tomogram_transfer(entry, metadata.get("voltage"), metadata.get("cs"))


def read_flipped(volume: Volume, transfer: Transfer | None) -> np.ndarray:
    """The voxels as a new float32 array, phase-flipped where there is a transfer; errors as `volume.read_float`."""
    if transfer is None:
        return read_float(volume)
    with naming(volume):
        return deconvolve(volume.data, PhaseFlip(transfer.voxel_size, transfer.microscope))


def takes_deconvolved(wanted: bool, ctf_aware: bool) -> bool:
    """Whether to take deconvolved tomograms where they are `wanted`: not with a network that undoes the CTF itself."""
    if wanted and ctf_aware:
        log.info("CTF-aware: tomograms are taken as they are, not deconvolved.")
    return wanted and not ctf_aware
