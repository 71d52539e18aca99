"""Ctrl-C, SIGTERM and a closed terminal (SIGHUP) end a command within seconds, whatever it is computing."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.process.threads import REMEDY

GRACE = 6.0  # seconds for the running step, which Python can't interrupt while it is inside TensorFlow
SECONDS_AGAIN = 0.05  # that a finaliser takes
STATUS: dict[int, int] = {number: 128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}


class Terminated(BaseException):
    """SIGTERM or SIGHUP, its argument, came; a BaseException, so that clean-up runs and nothing swallows it."""


EXCEPTION: dict[int, type[BaseException]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
    signal.SIGHUP: Terminated,
}
_came: list[int] = []  # the signal that was heeded
_inside: set[int] = set()  # threads that are in a section which no signal interrupts
_waiting: list[int] = []  # signals that came meanwhile


@contextmanager
def ending_on_signals(clean_up: Callable[[], None]) -> Iterator[None]:
    """Raise KeyboardInterrupt or `Terminated` for the first signal; after GRACE seconds end without waiting.

    Further signals are ignored, so that the clean-up is not cut short.

    Parameters
    ----------
    clean_up : callable
        Deletes what is half-written; called at the end, and before an end without waiting.
    """
    _came.clear()
    # what is started in the background ignores Ctrl-C, and goes on doing so
    heeded = [number for number in STATUS if signal.getsignal(number) != signal.SIG_IGN]
    earlier = {number: signal.signal(number, _raise_once) for number in heeded}
    receiving, sending = socket.socketpair()
    sending.setblocking(False)
    wakeup = signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
    hook = sys.unraisablehook
    sys.unraisablehook = lambda dropped: None if _sent_again(dropped.exc_value) else hook(dropped)
    finished = threading.Event()
    watch = threading.Thread(target=_end_after_grace, args=(receiving, finished, clean_up), daemon=True)
    try:
        _start(watch)
        yield
    except Exception as error:
        if _came:  # compiled code puts errors of its own in the place of a signal's exception
            raise EXCEPTION[_came[0]](_came[0]) from error
        raise
    finally:
        clean_up()  # the signal may have come in the middle of their own clean-up
        finished.set()
        sys.unraisablehook = hook
        signal.set_wakeup_fd(wakeup)
        with contextlib.suppress(OSError):
            sending.close()
        if watch.ident is not None:  # it was started
            watch.join()
        receiving.close()
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as error:
        raise EngineError("threads", "the system lets this process start none", REMEDY) from error


def _raise_once(number: int, _: object) -> None:
    if must_wait(number):
        return
    for each in STATUS:
        signal.signal(each, signal.SIG_IGN)
    _came.append(number)
    raise EXCEPTION[number](number)


def _sent_again(error: BaseException | None) -> bool:
    """Send a signal again whose exception came in a finaliser, where Python drops it."""
    if not _came or type(error) is not EXCEPTION[_came[0]]:
        return False
    number = _came.pop()
    signal.signal(number, _raise_once)
    again = threading.Timer(SECONDS_AGAIN, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
    return True


def _end_after_grace(receiving: socket.socket, finished: threading.Event, clean_up: Callable[[], None]) -> None:
    # the signal's number comes at once, even while the main thread is busy in compiled code
    while received := receiving.recv(1):
        status = STATUS.get(received[0])
        if status and not finished.wait(GRACE):
            clean_up()
            message = "isonet-engine: error: stopped in the middle of a step; what was finished is kept"
            with contextlib.suppress(OSError):  # the terminal is gone
                print(message, file=sys.stderr, flush=True)
            os._exit(status)


def leave(status: int) -> NoReturn:
    """End this process without taking Python down, which aborts where a thread is still inside TensorFlow.

    What is registered at `atexit` is called, and the standard streams are flushed.

    Parameters
    ----------
    status : int
        Exit status of the process.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


@contextmanager
def signals_put_off() -> Iterator[None]:
    """Put signals off until after this context, which has to be short: between making a file and noting whose it is."""
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
