"""Whether the forms of a chain say the same of the contrast: results have that of what they are made from."""

from __future__ import annotations

from collections.abc import Iterator

from pyworkflow.protocol import Protocol
from tomo.objects import SetOfTomograms

from isonet_scipion.protocols.ctf_history import CHOSEN_BY
from isonet_scipion.protocols.form import labelOf
from isonet_scipion.protocols.record import usedValue

CONTRAST = "isInverted"  # the parameter
SELECTING = ("ProtSubSet", "ProtUserSubSet", "ProtUnionSet")  # Scipion's, which leave the items as they are


def contrastWarnings(protocol: Protocol) -> list[str]:
    """Which forms say of the tomograms, when they were made, another contrast than this one."""
    if not hasattr(protocol, CONTRAST):
        return []
    here = bool(getattr(protocol, CONTRAST))
    makers = _asked(protocol.inputTomograms.getObjValue())
    others = {maker.getRunName(): None for maker in makers if bool(usedValue(maker, CONTRAST)) != here}
    words = {True: "Yes", False: "No"}
    return [
        f"*{labelOf(protocol, CONTRAST)}* is {words[here]} here, but was {words[not here]} in *{name}*, whose results "
        "have the contrast of its input. One of them is wrong."
        for name in others
    ]


def _asked(maker: object) -> Iterator[Protocol]:
    """The nearest protocols before whose forms ask for the contrast, through those that only select items."""
    if not isinstance(maker, Protocol):
        return
    if maker.getClassName().startswith("ProtIsoNet") and hasattr(maker, CONTRAST):
        yield maker
    elif maker.getClassName() in SELECTING:
        for name, pointer in maker.iterInputAttributes():
            if name != CHOSEN_BY and isinstance(pointer.get(), SetOfTomograms):
                yield from _asked(pointer.getObjValue())
