"""Last words of a process that compiled code or the system ends in the midst of its work, when Python can say nothing.

Python's `faulthandler` writes a few words at such an end, into a pipe; a small process that waits at its other end
makes one line of them that names the limits and what to do.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
from contextlib import suppress

MOST_WORDS = 200  # bytes of faulthandler's that matter: the traceback after them is left out
# signal: faulthandler's name of it, what may have caused it, and what to do
ENDINGS: dict[int, tuple[str, str, str]] = {
    # what TensorFlow does where one of its threads can't be started in the midst of the work
    signal.SIGABRT: (
        "Aborted",
        "perhaps since the limit on threads or memory was reached",
        "Raise the limits (ulimit -u, ulimit -v, the container's pids limit), close other programs, "
        "or give it fewer CPUs.",
    ),
    signal.SIGSEGV: (
        "Segmentation fault",
        "perhaps since the limit on threads or memory was reached",
        "Raise the limits (ulimit -u, ulimit -v), or close other programs.",
    ),
    signal.SIGBUS: (
        "Bus error",
        "since a file was cut short, or its disk is full or failed, while it was read or written",
        "Check the files and the disk.",
    ),
    signal.SIGILL: (
        "Illegal instruction",
        "since this processor lacks instructions that a library was built with",
        "Take another machine, or install the engine on this one.",
    ),
}
KEPT = "What was finished is kept; start again for the rest."


def ending_words(number: int) -> str | None:
    """What the end by a signal may mean, and what to do; None where nothing can be said."""
    if number not in ENDINGS:
        return None
    _, reason, remedy = ENDINGS[number]
    return f"{reason}. {remedy}"


def leave_last_words(name: str) -> None:
    """Have one line said if this process, which must have no threads yet, is ended by one of `ENDINGS`.

    Parameters
    ----------
    name : str
        Of the program, which the line begins with.
    """
    if faulthandler.is_enabled():  # whoever did that wants to see the traceback
        return
    receiving, sending = os.pipe()
    try:
        watcher = os.fork()
    except OSError:  # no process can be started: the work itself may need none
        os.close(receiving)
        os.close(sending)
        return
    if watcher == 0:
        try:
            _wait(name, receiving)
        finally:
            os._exit(0)
    os.close(receiving)
    faulthandler.enable(sending, all_threads=False)
    atexit.register(_dismiss, watcher)


def _dismiss(watcher: int) -> None:
    """End the waiting process with this one: the first process of a container may not ask for its status."""
    faulthandler.disable()
    with suppress(OSError):
        os.kill(watcher, signal.SIGKILL)
        os.waitpid(watcher, 0)


def _wait(name: str, receiving: int) -> None:
    """Wait for the end of the other process, and say what it meant; holds nothing open but the standard error."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    for file in os.listdir("/proc/self/fd"):
        if int(file) not in (2, receiving):
            with suppress(OSError):
                os.close(int(file))
    words = b""
    while part := os.read(receiving, 4096):
        words = (words + part)[:MOST_WORDS]
    for signalled, (told, *_) in ENDINGS.items():
        if told.encode() in words:
            by = signal.Signals(signalled).name
            with suppress(OSError):  # nobody listens
                os.write(2, f"{name}: error: it was ended by {by}, {ending_words(signalled)} {KEPT}\n".encode())
