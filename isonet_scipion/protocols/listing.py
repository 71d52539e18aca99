"""How many tomograms are listed in a form's message or a summary: the first, and how many more there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from isonet_scipion.engine.wording import names_in_words

if TYPE_CHECKING:
    from pwem.objects import EMObject

MOST = 10  # names of a message, or lines of it that each tell of one tomogram


def named(tsIds: Iterable[str]) -> str:
    """The names of tomograms, perhaps each with a remark."""
    return names_in_words(list(tsIds), MOST)


def remarkLines(items: Iterable[EMObject]) -> list[str]:
    """What was noted of each of a set's items, where anything was."""
    lines = [f"{item.getTsId()}: {item.getObjComment()}." for item in items if item.getObjComment()]
    return firstLines(lines, "have such remarks, too: they are the comments of the set's items.")


def firstLines(lines: Sequence[str], rest: str) -> list[str]:
    """Lines that each tell of one tomogram; `rest` says what more of them do, after their number.

    Examples
    --------
    >>> firstLines([f"TS_{number} failed." for number in range(12)], "failed, too.")[-2:]
    ['TS_9 failed.', '2 more failed, too.']
    """
    more = len(lines) - MOST
    return [*lines[:MOST], *([f"{more} more {rest}"] if more > 0 else [])]
