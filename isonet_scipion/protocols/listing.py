"""How many tomograms are listed in a form's message or a summary: the first, and how many more there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isonet_scipion.engine.wording import names_in_words

MOST = 10  # names of a message, or lines of it that each tell of one tomogram


def named(tsIds: Iterable[str]) -> str:
    """The names of tomograms, perhaps each with a remark."""
    return names_in_words(list(tsIds), MOST)


def firstLines(lines: Sequence[str], rest: str) -> list[str]:
    """Lines that each tell of one tomogram; `rest` says what more of them do, after their number.

    Examples
    --------
    >>> firstLines([f"TS_{number} failed." for number in range(12)], "failed, too.")[-2:]
    ['TS_9 failed.', '2 more failed, too.']
    """
    more = len(lines) - MOST
    return [*lines[:MOST], *([f"{more} more {rest}"] if more > 0 else [])]
