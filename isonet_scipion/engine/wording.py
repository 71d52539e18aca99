"""Names and numbers in the words of a message."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

MOST_NAMED = 3  # in one message


def names_in_words(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """Names of tomograms or files; of more than `most` the first.

    Examples
    --------
    >>> names_in_words(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, noun: str) -> str:
    """A number of things; `noun` is their plural, which loses its s where there is one.

    Examples
    --------
    >>> counted(1, "tomograms"), counted(2, "tomograms"), counted(0, "tomograms")
    ('1 tomogram', '2 tomograms', '0 tomograms')
    """
    return f"{number} {noun[:-1] if number == 1 else noun}"


def spread_in_words(values: Mapping[str, float], layout: str = "{:.2f}") -> str:
    """What many things have of something: the median, and which of them have the least and the most.

    Parameters
    ----------
    values : mapping of str to float
        One for each name; at least one.
    layout : str
        Of a value.

    Examples
    --------
    >>> spread_in_words({"TS_1": 0.4, "TS_2": 0.1, "TS_3": 0.7})
    'median 0.40, from 0.10 (TS_2) to 0.70 (TS_3)'
    """
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    middle, low, high = map(layout.format, (statistics.median(values.values()), values[least], values[most]))
    return f"median {middle}, from {low} ({least}) to {high} ({most})"
