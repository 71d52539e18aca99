"""What the command line has to know of a stage: one record, at the end of the stage's module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any


@dataclass(frozen=True)
class Command:
    """One command.

    Parameters
    ----------
    function : callable
        Takes the arguments in their order, then the settings where there are some. Its name is the command's.
    arguments : tuple of str
        Names of the arguments, in capitals; those in brackets may be left out.
    settings : type, optional
        The dataclass that the options are made from.
    takes_typed : bool
        Whether the function takes, instead of the settings, a mapping of the options that were typed to their values:
        what was not given is not there.
    writes : callable, optional
        From all values by name to the file or folder that one command at a time may write.
    files, folders : tuple of str
        Names of the values that name a file, or a folder, to write.
    less_memory : str
        What makes the command smaller.
    """

    function: Callable[..., None]
    arguments: tuple[str, ...] = ()
    settings: type | None = None
    takes_typed: bool = False
    writes: Callable[[Mapping[str, Any]], str] | None = None
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    less_memory: str = "Close other programs."

    @property
    def name(self) -> str:
        """What is typed."""
        return self.function.__name__

    @property
    def description(self) -> str:
        """For its help."""
        return (self.settings or self.function).__doc__ or ""


def value_of(name: str) -> Callable[[Mapping[str, Any]], str]:
    """For `Command.writes`: the value of one argument or option."""
    return itemgetter(name)
