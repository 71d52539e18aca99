"""What was done to the CTF of tomograms before, as a project tells: from a set back to its tilt series.

Reconstructions do not hand on the tilt series' mark that its CTF was corrected, so it is looked for where it was made.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Mapping, Optional

from pyworkflow.object import RELATION_SOURCE
from pyworkflow.protocol import Protocol
from pyworkflow.protocol.params import EnumParam
from pyworkflow.utils.retry_streaming import retry_on_sqlite_lock
from tomo.objects import SetOfTiltSeriesBase, SetOfTomograms, SetOfTomoMasks, TiltSeriesBase

from isonet_scipion.constants import CTF_STATE_ATTRIBUTE
from isonet_scipion.engine.conventions import CORRECTED, CTF_STATES, PHASE_FLIPPED, RAW
from isonet_scipion.protocols.form import OneOf
from isonet_scipion.protocols.listing import named

if TYPE_CHECKING:
    from pwem.objects import EMObject, EMSet
    from pyworkflow.protocol import Form
    from tomo.objects import Tomogram

logger = logging.getLogger(__name__)
States = Mapping[str, Optional[str]]  # of each tomogram (tsId), one of CTF_STATES; None where nothing tells
BY_PROJECT = "as the project says"
CHOICES = (BY_PROJECT, *CTF_STATES)
CHOSEN_BY = "inputSubSet"  # parameter of Scipion's *subset*: its set says which items are taken, not what they are
STRENGTH = (None, RAW, PHASE_FLIPPED, CORRECTED)  # of several sources the one to which most was done counts


def addCtfHistory(form: Form, condition: str | None = None) -> None:
    """Add ctfHistory, which overrides what the project tells."""
    form.addParam(
        "ctfHistory",
        EnumParam,
        choices=list(CHOICES),
        validators=[OneOf(CHOICES)],
        default=0,
        condition=condition,
        label="CTF correction so far",
        help="How the CTF of the tomograms has been treated so far.\n\n"
        f"*{BY_PROJECT}*: phase-flipped where the tomograms, or the tilt series that they were made from, are marked "
        "as CTF-corrected (IMOD's ctfphaseflip); corrected where they were deconvolved; raw where the tilt series are "
        "not marked. *Import IsoNet project* records what the project's table says. For other imported tomograms "
        "nothing records it: they are taken as raw, and the summary says so.\n\n"
        "*raw*: not corrected.\n\n"
        "*phase-flipped*: the CTF's signs are corrected already and are not changed again (also Warp, and AreTomo3 "
        "with -CorrCTF 2).\n\n"
        "*corrected*: deconvolved during reconstruction, as AreTomo3 does by default. Do not deconvolve them again.",
    )


@retry_on_sqlite_lock(log=logger)  # other protocols may write the sets meanwhile
def ctfStates(protocol: Protocol) -> States:
    """What was done to the CTF of each of a protocol's inputTomograms: the form's word, else the project's."""
    pointer = protocol.inputTomograms
    items = pointer.get()
    # what the form does not show, as it was chosen for a CTF-aware network, says nothing of the tomograms
    isShown = hasattr(protocol, "ctfHistory") and protocol.evalParamCondition("ctfHistory")
    given = protocol.getEnumText("ctfHistory") if isShown else BY_PROJECT
    if given != BY_PROJECT:
        return {item.getTsId(): given for item in items}
    source = pointer.getObjValue()
    maker = source if isinstance(source, Protocol) else _maker(items, protocol)
    return _traced(items, maker, protocol, {})


def correctedErrors(states: States, tsIds: Iterable[str], label: str) -> list[str]:
    """That the CTF of some of the tomograms `tsIds` would be corrected twice by what the form's `label` does."""
    corrected = [tsId for tsId in tsIds if states.get(tsId) == CORRECTED]
    if not corrected:
        return []
    return [
        f"*{label}*: the CTF of {named(corrected)} is corrected already. Select them as they were before, or say "
        "what they are by *CTF correction so far*."
    ]


def statesInWords(states: Iterable[str | None], ofModel: str | None = None) -> str:
    """How many tomograms of each state there are, for a summary; `ofModel`: what its training was told, if anything."""
    states = list(states)
    assumed = f"assumed to be {ofModel or 'raw'} (the project does not say{', the model does' if ofModel else ''})"
    words: dict[str | None, str] = {**{state: state for state in CTF_STATES}, None: assumed}
    told = [f"{states.count(state)} {word}" for state, word in words.items() if state in states]
    return f"CTF correction before: {', '.join(told) or 'unknown'}."


def _traced(items: EMSet, maker: Protocol | None, protocol: Protocol, known: dict[int, States]) -> States:
    """The state of each item of a set, which `maker` made; `known` are those of sets that were traced already."""
    if items.getObjId() in known:
        return known[items.getObjId()]
    known[items.getObjId()] = {}  # while it is traced: sets may be in a circle
    isImported = maker is not None and maker.getClassName() == "ProtIsoNetImportProject"
    own = {item.getTsId(): _ownState(item, isImported) for item in items}
    if maker is not None and _corrects(maker, items):
        states: dict[str, str | None] = dict.fromkeys(own, CORRECTED)
    else:
        before: dict[str, str | None] = {}
        for source, its_maker in _sources(items, maker, protocol):
            for tsId, state in _traced(source, its_maker, protocol, known).items():
                before[tsId] = max(before.get(tsId), state, key=STRENGTH.index)
        states = {tsId: max(before.get(tsId), state, key=STRENGTH.index) for tsId, state in own.items()}
    known[items.getObjId()] = states
    return states


def _ownState(item: TiltSeriesBase | Tomogram, isImported: bool) -> str | None:
    """What an item itself tells: by its mark, and by the table of the IsoNet project that it is from."""
    told = item.getAttributeValue(CTF_STATE_ATTRIBUTE)
    if not item.ctfCorrected():
        return told or (RAW if isinstance(item, TiltSeriesBase) else None)
    # older imports of a project, which do not tell the state, marked only what is deconvolved
    isDeconvolved = isImported and not item.hasAttribute(CTF_STATE_ATTRIBUTE)
    return max(told, CORRECTED if isDeconvolved else PHASE_FLIPPED, key=STRENGTH.index)


def _corrects(maker: Protocol, items: EMSet) -> bool:
    """Whether a set that a protocol made has its CTF corrected in strength too, as by any program's deconvolution."""
    names = [name for name, output in maker.iterOutputAttributes() if output.getObjId() == items.getObjId()]
    if any("failed" in name.lower() for name in names):
        return False  # these are as they came
    name = maker.getClassName()
    if name == "ProtIsoNetPredict":
        model = maker.model.get()
        return model is not None and model.isCtfAware()
    return "deconv" in name.lower()


def _sources(items: EMSet, maker: Protocol | None, protocol: Protocol) -> Iterator[tuple[EMSet, Protocol | None]]:
    """The tomograms and tilt series that a set was made from, each with its own maker."""
    inputs = () if maker is None else maker.iterInputAttributes()
    pointers = [pointer for name, pointer in inputs if name != CHOSEN_BY]
    found = False
    for pointer in pointers:
        source, holder = pointer.get(), pointer.getObjValue()
        if _isTraced(source):
            found = True
            yield source, holder if isinstance(holder, Protocol) else _maker(source, protocol)
    if not found and items.hasObjId():
        for relation in protocol.getProject().mapper.getRelationsByName(RELATION_SOURCE):
            if relation["object_child_id"] == items.getObjId():
                source = protocol.getProject().mapper.selectById(relation["object_parent_id"])
                if isinstance(source, Protocol) and relation["object_parent_extended"]:
                    source = getattr(source, relation["object_parent_extended"], None)
                if _isTraced(source):
                    yield source, _maker(source, protocol)


def _isTraced(source: EMObject) -> bool:
    isKind = isinstance(source, (SetOfTiltSeriesBase, SetOfTomograms)) and not isinstance(source, SetOfTomoMasks)
    return isKind and hasattr(source.ITEM_TYPE, "ctfCorrected")


def _maker(items: EMSet, protocol: Protocol) -> Protocol | None:
    """The protocol that a set is an output of."""
    if not items.getObjParentId():
        return None
    parent = protocol.getProject().mapper.selectById(items.getObjParentId())
    return parent if isinstance(parent, Protocol) else None
