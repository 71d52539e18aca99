"""Short sections that no signal interrupts: between making a file and noting that it is this process's."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_inside: set[int] = set()  # threads that are in such a section
_waiting: list[int] = []  # signals that came meanwhile


@contextmanager
def signals_put_off() -> Iterator[None]:
    """Let signals that use `must_wait` act after this context, which has to be short."""
    _inside.add(threading.get_ident())
    try:
        yield
    finally:
        _inside.discard(threading.get_ident())
        if _waiting and not _inside:
            signal.raise_signal(_waiting.pop())


def must_wait(number: int) -> bool:
    """Whether a signal's handler has to leave it for now; it is called again after the section."""
    _waiting.append(number)  # before the look at the threads, so that none leaves its section in between
    if _inside:
        return True
    _waiting.clear()
    return False
