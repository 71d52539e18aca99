"""Ctrl-C, SIGTERM and a closed terminal (SIGHUP) end a command within seconds, whatever it is computing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from isonet_scipion.engine.deferral import must_wait
from isonet_scipion.engine.files import discard_temporaries

GRACE = 6.0  # seconds for the running step, which Python can't interrupt while it is inside TensorFlow
STATUS = {number: 128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}


class Terminated(BaseException):
    """SIGTERM or SIGHUP, its argument, came; a BaseException, so that clean-up runs and nothing swallows it."""


EXCEPTION = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated, signal.SIGHUP: Terminated}
_came: list[int] = []  # the signal that was heeded


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt or `Terminated` for the first signal; after GRACE seconds end without waiting.

    Further signals are ignored, so that the clean-up is not cut short.
    """
    _came.clear()
    # what is started in the background ignores Ctrl-C, and goes on doing so
    heeded = [number for number in STATUS if signal.getsignal(number) != signal.SIG_IGN]
    earlier = {number: signal.signal(number, _raise_once) for number in heeded}
    receiving, sending = socket.socketpair()
    sending.setblocking(False)
    wakeup = signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
    finished = threading.Event()
    watch = threading.Thread(target=_end_after_grace, args=(receiving, finished), daemon=True)
    watch.start()
    try:
        yield
    except Exception as error:
        if _came:  # compiled code puts errors of its own in the place of a signal's exception
            raise EXCEPTION[_came[0]](_came[0]) from error
        raise
    finally:
        discard_temporaries()  # the signal may have come in the middle of their own clean-up
        finished.set()
        signal.set_wakeup_fd(wakeup)
        with contextlib.suppress(OSError):
            sending.close()
        watch.join()
        receiving.close()
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _raise_once(number: int, _: object) -> None:
    if must_wait(number):
        return
    for each in STATUS:
        signal.signal(each, signal.SIG_IGN)
    _came.append(number)
    raise EXCEPTION[number](number)


def _end_after_grace(receiving: socket.socket, finished: threading.Event) -> None:
    # the signal's number comes at once, even while the main thread is busy in compiled code
    while received := receiving.recv(1):
        status = STATUS.get(received[0])
        if status and not finished.wait(GRACE):
            discard_temporaries()
            message = "isonet-engine: error: stopped in the middle of a step; what was finished is kept"
            with contextlib.suppress(OSError):  # the terminal is gone
                print(message, file=sys.stderr, flush=True)
            os._exit(status)
