"""Processes that work beside each other, one for each GPU."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.process.last_words import KEPT, ending_words
from isonet_scipion.engine.process.memory import keep_freed_memory
from isonet_scipion.engine.process.parent_watch import PARENT, live_with_parent

log = logging.getLogger(__name__)
SECONDS_TO_END = 5.0


def side_by_side(function: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> None:
    """Run a function for each of some arguments, in a process of its own each, all at once.

    A failure leaves the others alone. What ends this process ends them.

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
    context = multiprocessing.get_context("spawn")  # a fork of a process that has threads may hang
    level, running = logging.getLogger().getEffectiveLevel(), []
    os.environ[PARENT] = str(os.getpid())
    try:
        for given in arguments:
            receiving, sending = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(sending, level, function, given))
            process.start()
            sending.close()
            running.append((process, receiving, given[0]))
        failures = [failure for failure in map(_outcome, running) if failure is not None]
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


def _work(sending: Any, level: int, function: Callable[..., None], given: tuple[Any, ...]) -> None:
    live_with_parent()
    keep_freed_memory()
    logging.basicConfig(level=level, format=f"%(asctime)s {given[0]}: %(message)s", datefmt="%H:%M:%S")
    try:
        function(*given[1:])
        sending.send(())
    except EngineError as error:
        sending.send((error.what, error.why, error.remedy))


def _outcome(one: tuple[Any, Any, str]) -> EngineError | None:
    """What a process told at its end; None where all went well."""
    process, receiving, name = one
    try:
        told = receiving.recv()
    except EOFError:
        process.join()
        words = ending_words(-process.exitcode)
        if words is not None:
            by = signal.Signals(-process.exitcode).name
            return EngineError(name, f"its process was ended by {by}, {words.rstrip('.')}", KEPT)
        return EngineError(name, f"its process ended with status {process.exitcode}", f"See the log above. {KEPT}")
    return EngineError(*told) if told else None
