"""Names and numbers in the words of a message."""

from __future__ import annotations

from collections.abc import Sequence

MOST_NAMED = 3  # in one message


def names_in_words(names: Sequence[str]) -> str:
    """Names of tomograms or files, of many the first.

    Examples
    --------
    >>> names_in_words(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, noun: str) -> str:
    """A number of things; `noun` is their plural, which loses its s where there is one.

    Examples
    --------
    >>> counted(1, "tomograms"), counted(2, "tomograms"), counted(0, "tomograms")
    ('1 tomogram', '2 tomograms', '0 tomograms')
    """
    return f"{number} {noun[:-1] if number == 1 else noun}"
