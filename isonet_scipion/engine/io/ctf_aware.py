"""What was done to the CTF of tomograms, and how those that undo it take them: phase-flipped, with their transfer."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from isonet_scipion.engine.conventions import CORRECTED, PHASE_FLIPPED, RAW
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.tilt_files import warn_of_phase_plate
from isonet_scipion.engine.io.tomogram_entry import CTF_STATE
from isonet_scipion.engine.physics.transfer import Transfer
from isonet_scipion.engine.wording import names_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isonet_scipion.engine.io.model_metadata import ModelMetadata
    from isonet_scipion.engine.io.tomogram_entry import TomogramEntry

log = logging.getLogger(__name__)
TOLD_OPTICS = {"voltage": "rlnVoltage", "cs": "rlnSphericalAberration"}  # what a training may be told, and its column


def require_uncorrected(entry: TomogramEntry, given: str | None = None) -> str:
    """Whether the tomogram is raw or phase-flipped, for what corrects the CTF.

    Parameters
    ----------
    entry : TomogramEntry
        Its row of the table.
    given : str, optional
        One of CTF_STATES, instead of what the table says. Where nothing says it, raw is assumed.

    Raises
    ------
    EngineError
        If its CTF is corrected already.
    """
    state = entry.ctf_state(given)
    if state == CORRECTED:
        raise EngineError(
            entry.path,
            "its CTF is corrected already",
            f"Take the tomogram as it was before, leave this one out, or say what it is by ctf_state or _{CTF_STATE}.",
        )
    return state or RAW


def tell_state(entry: TomogramEntry, state: str | None) -> None:
    """Log a line about what was done to a tomogram's CTF, or is assumed, and one about a phase plate."""
    log.info("%s: taken as %s", entry.path, ctf_in_words(state))
    warn_of_phase_plate(entry.path, entry.number("rlnPhaseShift", 0.0))


def ctf_in_words(state: str | None) -> str:
    """What was done to a CTF, or what is assumed."""
    if state is None:
        return f"raw, not CTF-corrected: nothing says otherwise (ctf_state, column _{CTF_STATE})"
    return {RAW: "raw, not CTF-corrected", PHASE_FLIPPED: "phase-flipped", CORRECTED: "CTF-corrected"}[state]


def tomogram_transfer(
    entry: TomogramEntry,
    voltage: float | None = None,
    cs: float | None = None,
    bfactor: float = 0.0,
    ctf_state: str | None = None,
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
    ctf_state : str, optional
        What was done to its CTF, instead of what the table says.

    Raises
    ------
    EngineError
        If the table does not have its defocus in A, its CTF is corrected, or the B-factor is negative.
    """
    if not 0 <= bfactor < math.inf:
        raise EngineError("bfactor", f"{bfactor:g} is out of range", "Give a number from 0 up, such as 500.")
    flipped = require_uncorrected(entry, ctf_state) == PHASE_FLIPPED
    return Transfer(entry.voxel_size, entry.ctf_parameters(voltage, cs), bfactor, flipped)


def warn_of_idle_state(metadata: ModelMetadata, ctf_state: str | None) -> None:
    """Log one line where a state of the CTF was given for a model that does not undo it."""
    if ctf_state and not metadata.ctf_aware:
        log.warning("ctf_state has no effect without a CTF-aware model.")


def known_transfer(entry: TomogramEntry, metadata: ModelMetadata, ctf_state: str | None = None) -> Transfer | None:
    """The transfer of a tomogram for a CTF-aware model, by its metadata; None for other models.

    What was done to its CTF is as of `known_state`.
    """
    if not metadata.ctf_aware:
        return None
    state = known_state(entry, metadata, ctf_state)
    return tomogram_transfer(entry, metadata.voltage, metadata.cs, metadata.bfactor or 0.0, state)


def tell_states(entries: Sequence[TomogramEntry], metadata: ModelMetadata, ctf_state: str | None) -> None:
    """Log what was done to each tomogram's CTF, for a CTF-aware model, and what its training was told otherwise.

    Of that, a line on other states, and one on another voltage or spherical aberration, which the model takes.
    """
    if not metadata.ctf_aware:
        return
    for entry in entries:
        tell_state(entry, known_state(entry, metadata, ctf_state))
    for name, label in TOLD_OPTICS.items():
        told = getattr(metadata, name)
        unlike = [entry.name for entry in entries if told is not None and entry.number(label, told) != told]
        if unlike:
            log.warning(
                "The training of the model was told %s %g, which is taken; the table has another %s for %s. If that is "
                "right, train without --%s.", name, told, label, names_in_words(unlike), name,
            )  # fmt: skip
    if metadata.ctf_state is None:
        return
    other = [entry.name for entry in entries if known_state(entry, metadata, ctf_state) != metadata.ctf_state]
    if other:
        log.warning(
            "The training of the model was told that its tomograms are %s (ctf_state); these are not: %s.",
            ctf_in_words(metadata.ctf_state), names_in_words(other),
        )  # fmt: skip


def known_state(entry: TomogramEntry, metadata: ModelMetadata, ctf_state: str | None = None) -> str | None:
    """What was done to a tomogram's CTF, for a model: `ctf_state`, else the table's, else what its training was told.

    None where nothing tells. Errors as of `TomogramEntry.ctf_state`.
    """
    return entry.ctf_state(ctf_state) or (metadata.ctf_state if metadata.ctf_aware else None)


def takes_deconvolved(wanted: bool, ctf_aware: bool) -> bool:
    """Whether to take deconvolved tomograms where they are `wanted`: not with a network that undoes the CTF itself."""
    return wanted and not ctf_aware


def tell_of_deconvolved(wanted: bool, ctf_aware: bool) -> None:
    """Log one line where deconvolved tomograms are `wanted`, but not taken."""
    if wanted and ctf_aware:
        log.info("CTF-aware: tomograms are taken as they are, not deconvolved.")
