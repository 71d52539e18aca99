"""What a protocol's results were made with: kept beside them, since the form may say something else by then."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyworkflow.object import Object
from pyworkflow.protocol import Protocol
from pyworkflow.protocol.params import EnumParam, PathParam
from tomo.objects import Tomogram

from isonet_scipion.convert.files import fileDigest, fileOf, plainPath, refuseForeign
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import file_state, write_whole
from isonet_scipion.protocols.form import labelOf

if TYPE_CHECKING:
    from pyworkflow.object import Pointer

RECORD = "values.json"
# parameters of how a protocol is run, which its results do not depend on
RUNNING = (
    "runName", "runMode", "hostName", "numberOfThreads", "numberOfMpi", "binThreads", "useGpu", "gpuList",
    "streamingSleepOnWait",
)  # fmt: skip


def formValues(protocol: Protocol, free: Collection[str] = ()) -> dict[str, object]:
    """The values of a form that are in effect, but those that are `free` to change; links as protocol.output."""
    values: dict[str, object] = {}
    for name, param in protocol.getDefinition().iterParams():
        if name in RUNNING or name in free or not protocol.evalParamCondition(name):
            continue
        value = getattr(protocol, name)
        if value.isPointer():
            values[name] = _source(value) if value.hasValue() else None
        elif isinstance(param, EnumParam):
            values[name] = protocol.getEnumText(name)
        elif isinstance(param, PathParam):
            values[name] = os.path.normpath(value.get()) if value.get() else None
        else:
            values[name] = None if value.get() == "" else value.get()
    return values


def _source(pointer: Pointer) -> str:
    source = pointer.getObjValue()
    if isinstance(source, Protocol):
        return f"{source.getObjId()}.{pointer.getExtended()}"
    return f"{source.getObjParentId()}.{source.getLastName()}"  # as older versions of Scipion link


def keepValues(protocol: Protocol) -> None:
    """Store the form's values as those that the results are made with from now on."""
    write_whole(protocol._getExtraPath(RECORD), json.dumps(formValues(protocol), indent=1), since=False)


def keptValues(protocol: Protocol) -> dict[str, object]:
    """What `keepValues` stored; empty where there is nothing; an EngineError where it is damaged."""
    path = protocol._getExtraPath(RECORD)
    if not os.path.exists(path):
        return {}
    try:
        kept = json.loads(Path(path).read_bytes())
    except ValueError:
        kept = None
    if not isinstance(kept, dict):  # a machine that crashed may leave it empty
        raise EngineError(
            path,
            "it does not tell any more which values of the form the results were made with",
            "*Restart* makes everything anew; where you know that no value has changed, delete it and *Continue*.",
        )
    return kept


def recordErrors(protocol: Protocol) -> list[str]:
    """That what `keepValues` stored is damaged."""
    try:
        keptValues(protocol)
    except EngineError as error:
        return [str(error)]
    return []


def usedValue(protocol: Protocol, name: str) -> Any:
    """The value of a parameter that the results were made with; the form's where no record tells, or before any."""
    kept = {} if recordErrors(protocol) else keptValues(protocol)
    return kept[name] if name in kept else formValues(protocol).get(name)


def identityOf(*things: object) -> str:
    """Digits that tell what results are made from, for `isIdentityOf`; EngineErrors of files that can't be read.

    Parameters
    ----------
    *things : object
        Tomograms, and files as Path, which count by their content; other objects of Scipion and values; sequences.
    """
    return f"{_digits(things, _stateOf)}-{_digits(things, fileDigest)}"


def isIdentityOf(identity: str, *things: object) -> bool:
    """Whether `identityOf` told these things; files are only read where they were written since."""
    state, _, content = identity.partition("-")
    return state == _digits(things, _stateOf) or content == _digits(things, fileDigest)


def _digits(things: Sequence[object], ofFile: Callable[[str], str]) -> str:
    return hashlib.sha256(_words(things, ofFile).encode()).hexdigest()[:16]


def _words(thing: object, ofFile: Callable[[str], str]) -> str:
    if isinstance(thing, Tomogram):
        return f"{ofFile(fileOf(thing))} {thing.getSamplingRate()}"
    if isinstance(thing, Path):
        return ofFile(str(thing))
    if isinstance(thing, Object):
        return repr(sorted(thing.getObjDict().items()))
    if isinstance(thing, (list, tuple)):
        return f"[{', '.join(_words(each, ofFile) for each in thing)}]"
    return repr(thing)


def _stateOf(path: str) -> str:
    refuseForeign(path)
    return repr(file_state(os.path.realpath(plainPath(path))))


def changeErrors(protocol: Protocol, free: Collection[str] = ()) -> list[str]:
    """Which values are not those that the results so far were made with."""
    errors = recordErrors(protocol)
    if errors:
        return errors
    kept, given = keptValues(protocol), formValues(protocol, free)
    for name, value in given.items():
        if name not in kept or kept[name] == value:
            continue
        was, now = ("empty" if each in (None, "") else each for each in (kept[name], value))
        is_link = getattr(protocol, name).isPointer()
        change = "was another input" if is_link else f"was {was}, now it is {now},"
        errors.append(
            f"*{labelOf(protocol, name)}* {change} for what is done already. *Restart* makes everything anew; "
            "*Continue* needs the value as it was."
        )
    return errors
