"""What the command line has to know of a stage: one record, at the end of the stage's module."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from isonet_scipion.engine.settings.option import Option, options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Command:
    """One command.

    Parameters
    ----------
    function : callable
        Takes the arguments in their order, then the settings where there are some. Its name is the command's.
    arguments : tuple of str
        Names of the arguments, in capitals; those in brackets may be left out.
    settings : type or callable, optional
        The dataclass that the options are made from. A function that makes them instead: then the command's takes no
        settings but a mapping of the options that were typed to their values; what was not given is not there.
    writes : callable, optional
        From the values by name, as the function gets them, to the file or folder that one command at a time may write.
    files, folders : tuple of str
        Names of the values that name a file, or a folder, to write.
    less_memory : str
        What makes the command smaller.
    """

    function: Callable[..., None]
    arguments: tuple[str, ...] = ()
    settings: type | Callable[[], dict[str, Option]] | None = None
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
        return (self.settings if isinstance(self.settings, type) else self.function).__doc__ or ""

    @property
    def options(self) -> dict[str, Option]:
        """Its options by name, their help with their defaults."""
        if not isinstance(self.settings, type):
            return self.settings() if self.settings else {}
        return {name: replace(one, help=one.full_help) for name, one in options(self.settings).items()}

    def of_options(self, typed: Mapping[str, Any]) -> tuple[Any, ...]:
        """What the function takes for the options that were typed: settings, these options themselves, or nothing."""
        if isinstance(self.settings, type):
            return (self.settings(**typed),)
        return (typed,) if self.settings else ()

    def told(self, values: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
        """All values by name, without the defaults of options where the function takes what was typed alone."""
        if isinstance(self.settings, type) or not self.settings:
            return dict(values)
        untyped = self.options.keys() - typed.keys()
        return {name: value for name, value in values.items() if name not in untyped}


def value_of(name: str) -> Callable[[Mapping[str, Any]], str]:
    """For `Command.writes`: the value of one argument or option."""
    return itemgetter(name)
