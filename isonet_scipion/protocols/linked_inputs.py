"""Inputs that are linked but not there yet, or not all of it: not the same as none."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyworkflow.object import Pointer, Set
from pyworkflow.protocol import Protocol, getUpdatedProtocol
from pyworkflow.protocol.protocol import LegacyProtocol

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.voxel_size import require_voxel_size
from isonet_scipion.protocols.form import labelOf
from isonet_scipion.protocols.set_checks import sameSampling

if TYPE_CHECKING:
    from pyworkflow.project import Project

RATE, ENABLED_COLUMN = "_samplingRate", "enabled"  # in the file of a set


def absentErrors(protocol: Protocol) -> list[str]:
    """Which linked inputs do not exist yet. While there are any, Scipion's scheduler waits.

    What the protocol that makes them has stored meanwhile is read first. Inputs that must be given are not told:
    Scipion does.
    """
    errors = []
    for name, pointer in _shownLinks(protocol):
        param, source = protocol.getParam(name), pointer.getObjValue()
        if param.allowsNull and pointer.get() is None:
            if isinstance(source, Protocol) and os.path.exists(source.getDbPath()):  # else it has not begun
                protocol.getProject()._updateProtocol(source)
            if pointer.get() is None:
                errors.append(f"*{labelOf(protocol, name)}*: {_pending(source, pointer.getExtended())}")
    return errors + _forgottenErrors(protocol)


def _forgottenErrors(protocol: Protocol) -> list[str]:
    """Which inputs were linked in the workflow that a protocol was imported from, to what this project does not have.

    Scipion leaves them empty, so that a missing model would be taken for the builtin one.
    """
    links = json.loads(protocol._importedLinks.get() or "{}")
    return [
        f"*{labelOf(protocol, name)}*: the workflow that this protocol was imported from has '{link}' here. It is not "
        "in this project, or was unlinked. Choose one; if none is wanted, *Duplicate* this protocol and run the copy."
        for name, link in links.items()
        if isLink(protocol, name)
        and protocol.getParam(name).allowsNull
        and not (getattr(protocol, name).hasValue() or getattr(protocol, name).hasExtended())
        and protocol.evalParamCondition(name)
    ]


def absentLinks(protocol: Protocol) -> dict[str, str]:
    """The links of a form, also hidden ones, to what is not there yet, as Scipion's workflows write links."""
    names = [name for name, _ in protocol.getDefinition().iterParams() if isLink(protocol, name)]
    links = {name: getattr(protocol, name) for name in names if getattr(protocol, name).hasValue()}
    return {name: link.getUniqueId() for name, link in links.items() if link.pointsNone()}


def isLink(protocol: Protocol, name: str) -> bool:
    """Whether a form has an input of this name."""
    return protocol.getParam(name) is not None and getattr(protocol, name).isPointer()


def _pending(source: Protocol | None, output: str) -> str:
    if source is None:
        why = "is no longer in the project: its protocol was deleted"
        return f"'{output}', which was linked, {why}. Choose another, or press *Remove* beside the empty field."
    what = f"'{output}' of *{source.getRunName()}*"
    if hasEnded(source):
        return f"{what}, which is linked, was not made, and that protocol has ended. Run it again, or unlink it."
    if isinstance(source, LegacyProtocol):  # as where a workflow was imported without the protocol
        why = "cannot come: this project does not have that protocol, or Scipion not its plugin"
        return f"{what}, which is linked, {why}. Choose another, or unlink it."
    return f"{what}, which is linked, is not there yet. Wait for it (*Schedule* does), or unlink it."


def linkErrors(protocol: Protocol) -> list[str]:
    """What keeps linked inputs from being looked at at all: they are of another kind, or their voxels have no size."""
    return otherErrors(protocol) or voxelErrors(protocol)


def otherErrors(protocol: Protocol) -> list[str]:
    """Which linked inputs are not what the form asks for, as where *join sets* was restarted with other sets."""
    errors = []
    for name, pointer in _shownLinks(protocol):
        asked, held = protocol.getParam(name).pointerClass.get(), pointer.get()
        if held is not None and asked not in {kind.__name__ for kind in type(held).__mro__}:
            errors.append(f"*{labelOf(protocol, name)}*: what is linked is a {type(held).__name__}, not a {asked}.")
    return errors


def voxelErrors(protocol: Protocol) -> list[str]:
    """Which linked sets have no possible voxel size, by which all else is reckoned, or items of others."""
    errors = []
    for name, pointer in _shownLinks(protocol):
        items = pointer.get()
        if isinstance(items, Set) and hasattr(items, "getSamplingRate") and not items.isEmpty():
            rate = items.getSamplingRate()
            try:
                why = "the set has no voxel size" if rate is None else f"the set's voxel size is {rate:g} Å"
                require_voxel_size(-1 if rate is None else rate, f"*{labelOf(protocol, name)}*", why)
            except EngineError as error:
                errors.append(f"{error.what}: {error.why}. Import or make it again with its voxel size.")
                continue
            others = _otherRates(items)
            if others:
                errors.append(
                    f"*{labelOf(protocol, name)}*: the set's voxel size is {rate:g} Å, but some of its items have "
                    f"{', '.join(f'{other:g}' for other in others)} Å. Make sets of items of one voxel size."
                )
    return errors


def _otherRates(items: Set) -> list[float]:
    """Voxel sizes (A) of items that are not that of their set, which it does not hand on to all."""
    if not hasattr(items.ITEM_TYPE(), RATE):
        return []
    found = items.getUniqueValues(RATE, where=f"{ENABLED_COLUMN}=1")
    return sorted(rate for rate in found if rate and not sameSampling(rate, items.getSamplingRate()))


def hasEnded(protocol: Protocol) -> bool:
    """Whether a protocol was run and runs no more, so that nothing further is to come."""
    return bool(protocol.isFinished() or protocol.isFailed() or protocol.isAborted())


def hasEndedByNow(source: object, project: Project) -> bool:
    """As `hasEnded`, of a protocol that may have ended since it was loaded; False for what is no protocol."""
    return isinstance(source, Protocol) and hasEnded(_byNow(source, project))


def _byNow(source: Protocol, project: Project) -> Protocol:
    """A protocol as its own process has stored it, which may have ended since it was loaded."""
    source.setProject(project)  # Scipion gives it none where it is reached by a link
    # a user may delete the logs, of which its database is one
    return getUpdatedProtocol(source) if os.path.exists(source.getDbPath()) else source


def growingErrors(protocol: Protocol) -> list[str]:
    """Which inputs are still being made, for a protocol that takes them once, as they are when it starts."""
    errors = []
    for name, pointer in _shownLinks(protocol):
        items, source = pointer.get(), pointer.getObjValue()
        if isinstance(items, Set) and items.isStreamOpen() and isinstance(source, Protocol) and source.isActive():
            errors.append(
                f"*{labelOf(protocol, name)}*: more are still to come from *{source.getRunName()}*. "
                "Wait for it (*Schedule* does)."
            )
    return errors


def partialWarnings(protocol: Protocol) -> list[str]:
    """Which linked sets may lack items, as what makes them has failed or was stopped; Scipion has closed them then."""
    warnings = []
    for name, pointer in _shownLinks(protocol):
        items, source = pointer.get(), pointer.getObjValue()
        if not isinstance(items, Set) or not isinstance(source, Protocol):
            continue
        maker = _byNow(source, protocol.getProject()) if source.isActive() else source
        if maker.isFailed() or maker.isAborted():
            how = "was stopped" if maker.isAborted() else "failed"
            warnings.append(
                f"*{labelOf(protocol, name)}*: *{source.getRunName()}* {how}, so not all may be there. What is there "
                "is taken: if all are needed, *Continue* that protocol before this one."
            )
    return warnings


def _shownLinks(protocol: Protocol) -> Iterator[tuple[str, Pointer]]:
    """The inputs of a form that are linked, if only to what was deleted, and that its other values do not hide."""
    for name, _ in protocol.getDefinition().iterParams():
        value = getattr(protocol, name)
        # of a link to what was deleted, Scipion keeps the output's name
        if value.isPointer() and (value.hasValue() or value.hasExtended()) and protocol.evalParamCondition(name):
            yield name, value
