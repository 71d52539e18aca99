"""How a command ended, in a file: what Scipion reads instead of the log."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Tuple

from isonet_scipion.engine.errors import EngineError, system_error
from isonet_scipion.engine.io.files import read_own_file
from isonet_scipion.engine.io.json_types import kinds_of, require_kinds

ROOM = 1 << 14  # bytes that are taken at the start, so that a disk which is full by then keeps no message back
MOST_WARNINGS = 20


@dataclass(frozen=True)
class Outcome:
    """What a command tells the program that started it."""

    status: int  # 0: success
    what: str = ""  # as in `EngineError`
    why: str = ""
    remedy: str = ""
    warnings: Tuple[str, ...] = ()  # one line each; the first ones

    @property
    def error(self) -> str:
        """In one line; empty for a success."""
        return f"{self.what}: {self.why}. {self.remedy}".strip() if self.why else self.what


def reserve_outcome(path: str | os.PathLike[str]) -> None:
    """Take the room for an outcome; as long as nothing else is written there, it is none.

    Raises
    ------
    EngineError
        If the file can't be written, or another one has its name.
    """
    if os.path.lexists(path) and read_own_file(path, ROOM).strip() and read_outcome(path) is None:
        raise EngineError(str(path), "it is there already, and no outcome of a command", "Give another name.")
    try:
        with open(path, "wb") as file:
            file.write(b" " * ROOM)
    except OSError as error:  # that of a full disk does not tell which file it was
        raise system_error(error, path, "can't be written") from error


def write_outcome(path: str | os.PathLike[str], outcome: Outcome) -> None:
    """Write an outcome into the room that is taken for it.

    Raises
    ------
    OSError
        If that fails.
    """
    kept = outcome.warnings[:MOST_WARNINGS]
    text = json.dumps({**asdict(outcome), "warnings": kept}).encode()
    while len(text) > ROOM and kept:
        kept = kept[:-1]
        text = json.dumps({**asdict(outcome), "warnings": kept}).encode()
    with open(path, "r+b") as file:
        file.write(text.ljust(ROOM))


def read_outcome(path: str | os.PathLike[str]) -> Outcome | None:
    """The outcome in a file; None where there is none: the command was ended before it could write it."""
    try:
        with open(path, "rb") as file:
            values = json.loads(file.read(ROOM))
        values["warnings"] = tuple(values["warnings"])
        require_kinds(values, kinds_of(Outcome))
        return Outcome(**values)
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
