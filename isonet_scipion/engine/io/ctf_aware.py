"""Tomograms as CTF-aware networks take them: phase-flipped, with the transfer that their table tells."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.physics.transfer import Transfer

if TYPE_CHECKING:
    from isonet_scipion.engine.io.tomogram_table import TomogramEntry

log = logging.getLogger(__name__)


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
        If the table does not have its defocus in A, or the B-factor is negative.
    """
    if not 0 <= bfactor < math.inf:
        raise EngineError("bfactor", f"{bfactor:g} is out of range", "Give a number from 0 up, such as 500.")
    return Transfer(entry.voxel_size, entry.ctf_parameters(voltage, cs), bfactor)


def known_transfer(entry: TomogramEntry, metadata: dict) -> Transfer | None:
    """The transfer of a tomogram for a CTF-aware model, by its metadata; None for other models."""
    if not metadata.get("ctf_aware"):
        return None
    return tomogram_transfer(entry, metadata.get("voltage"), metadata.get("cs"))


def takes_deconvolved(wanted: bool, ctf_aware: bool) -> bool:
    """Whether to take deconvolved tomograms where they are `wanted`: not with a network that undoes the CTF itself."""
    if wanted and ctf_aware:
        log.info("CTF-aware: tomograms are taken as they are, not deconvolved.")
    return wanted and not ctf_aware
