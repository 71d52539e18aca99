"""Kinds of values that came out of a JSON text, which a file's author can make anything."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin, get_type_hints

MOST = 1e300  # of a number: a JSON text's may be of any length
# the type hints of a dataclass, worked out once: a folder may hold the reports of hundreds of tomograms
kinds_of: Callable[[type], Mapping[str, Any]] = functools.lru_cache(get_type_hints)


def require_kinds(values: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Raise a ValueError unless each value that has a type hint is of its kind; numbers must be finite."""
    for name, value in values.items():
        if name in hints and not _fits(value, hints[name]):
            raise ValueError(f"its {name} is {str(value)[:40]!r}")


def _fits(value: Any, hint: Any) -> bool:
    options = get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(each, options[0]) for each in value)
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(
            _fits(key, options[0]) and _fits(each, options[1]) for key, each in value.items()
        )
    if options:  # Optional
        return any(_fits(value, option) for option in options)
    if hint is float:
        return type(value) in (int, float) and abs(value) < MOST  # not NaN either
    return type(value) is hint


def as_tuples(value: object) -> Any:
    """A value from a JSON text with tuples in the place of its lists."""
    if isinstance(value, list):
        return tuple(map(as_tuples, value))
    if isinstance(value, dict):
        return {key: as_tuples(each) for key, each in value.items()}
    return value
