"""Processes that work beside each other, one for each GPU."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any, NamedTuple, Tuple, TypeVar

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.process.last_words import KEPT, ending_words
from isonet_scipion.engine.process.memory import keep_freed_memory
from isonet_scipion.engine.process.parent_watch import PARENT, live_with_parent

log = logging.getLogger(__name__)
SECONDS_TO_END = 5.0
_CONTEXT = multiprocessing.get_context("spawn")  # a fork of a process that has threads may hang
Item = TypeVar("Item")


class Turns:
    """Shares items out among processes: each goes to the one that asks first. It travels to them by `side_by_side`.

    Parameters
    ----------
    processes : int
        How many share the items.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._next = _CONTEXT.Value("l", 0)

    def of(self, items: Sequence[Item]) -> Iterator[Item]:
        """Those of the items, the same ones in each process, that no process has taken yet.

        Examples
        --------
        >>> turns = Turns(2)
        >>> one, other = turns.of("abc"), turns.of("abc")
        >>> next(one), next(other), next(other), list(one)
        ('a', 'b', 'c', [])
        """
        while True:
            with self._next.get_lock():
                number = self._next.value
                self._next.value += 1
            if number >= len(items):
                return
            yield items[number]

    def left(self, items: Sequence[Item]) -> int:
        """How many of the items no process has taken yet."""
        return max(0, len(items) - int(self._next.value))

    def suffice(self, items: Sequence[Item]) -> bool:
        """Whether a process may take an item before it needs it: one is left for each of the others."""
        return self.left(items) >= self._processes


def side_by_side(function: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> None:
    """Run a function for each of some arguments, in a process of its own each, all at once.

    A failure leaves the others alone. What ends this process ends them. What they log is logged here.

    Parameters
    ----------
    function : callable
        Of a module; so are its arguments, which travel to the processes.
    arguments : sequence of tuple
        The first of each names it in the log.

    Raises
    ------
    EngineError
        That of the first process that had one, once all have ended.
    """
    level, running = logging.getLogger().getEffectiveLevel(), []
    os.environ[PARENT] = str(os.getpid())
    try:
        for given in arguments:
            receiving, sending = _CONTEXT.Pipe(duplex=False)
            process = _CONTEXT.Process(target=_work, args=(sending, level, function, given))
            process.start()
            sending.close()
            running.append((process, receiving, given[0]))
        failures = _failures(running)
    finally:
        del os.environ[PARENT]
        for process, *_ in running:
            process.terminate()
        for process, *_ in running:
            process.join(SECONDS_TO_END)
            process.kill()
    for failure in failures[1:]:
        log.error("%s", failure)
    if failures:
        raise failures[0]


class _Line(NamedTuple):
    """What a process logs."""

    logger: str
    level: int
    text: str


class _End(NamedTuple):
    """How a process ended: the parts of an `EngineError`, none where all went well."""

    error: Tuple[str, ...] = ()


class _Relay(logging.Handler):
    """Sends what a process logs to the one that started it, which knows how and where to tell it."""

    def __init__(self, sending: Any, name: str) -> None:
        super().__init__()
        self._sending, self._name = sending, name

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line, under the handler's lock: a pipe takes one at a time."""
        with suppress(OSError):  # nobody is left to tell
            self._sending.send(_Line(record.name, record.levelno, f"{self._name}: {self.format(record)}"))

    def end(self, end: _End) -> None:
        """Send the end."""
        self.acquire()
        self._sending.send(end)
        self.release()


def _work(sending: Any, level: int, function: Callable[..., None], given: tuple[Any, ...]) -> None:
    live_with_parent()
    keep_freed_memory()
    relay = _Relay(sending, given[0])
    logging.basicConfig(level=level, handlers=[relay], format="%(message)s")
    try:
        function(*given[1:])
        relay.end(_End())
    except EngineError as error:
        relay.end(_End((error.what, error.why, error.remedy)))


def _failures(running: Sequence[tuple[Any, Any, str]]) -> list[EngineError]:
    """What went wrong in processes, in their order, once all have ended; until then what they log is logged."""
    left = {receiving: (place, process, name) for place, (process, receiving, name) in enumerate(running)}
    failures: dict[int, EngineError] = {}
    while left:
        ready: list[Any] = wait(list(left))
        for receiving in ready:
            place, process, name = left[receiving]
            try:
                told = receiving.recv()
            except (EOFError, OSError):  # at the end of a message, or within one
                failures[place] = _ended(process, name)
                del left[receiving]
                continue
            if isinstance(told, _Line):
                logging.getLogger(told.logger).log(told.level, "%s", told.text)
                continue
            if told.error:
                failures[place] = EngineError(*told.error)
            del left[receiving]
    return [failures[place] for place in sorted(failures)]


def _ended(process: Any, name: str) -> EngineError:
    """Why a process ended before it told how."""
    process.join()
    if process.exitcode < 0:
        words = ending_words(-process.exitcode) or "perhaps for lack of memory"
        by = signal.Signals(-process.exitcode).name
        return EngineError(name, f"its process was ended by {by}, {words.rstrip('.')}", KEPT)
    return EngineError(name, f"its process ended with status {process.exitcode}", f"See the log above. {KEPT}")
