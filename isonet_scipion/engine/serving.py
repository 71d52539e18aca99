"""Commands one after the other in one process, which keeps its libraries, its GPU and the network it has read."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence

from isonet_scipion.engine.process.gpus import VISIBLE
from isonet_scipion.engine.process.parent_watch import live_with_parent
from isonet_scipion.engine.process.signals import STATUS

NAME = "serve"
HELP = (
    "Run commands from the standard input, one after the other, in one process. Each is a line with a JSON list of the "
    'words after isonet-engine, such as ["predict", "TS_01.star", "builtin"], and is answered by a line with its exit '
    "status. Words after serve only show up in ps."
)


def serve(run: Callable[[Sequence[str]], int]) -> int:
    """Run the commands that come on the standard input, and answer each on the standard output with its exit status.

    A line is a JSON list of the words after `isonet-engine`; so is an answer a line. All else that is printed goes to
    the standard error. The end of the input, or a signal, ends the process; a command that fails does not. Words after
    `serve` on its own command line are for those who look at the list of processes.

    Parameters
    ----------
    run : callable
        Runs one command, and returns its exit status.

    Returns
    -------
    int
        0, or the status of the command that a signal ended.
    """
    live_with_parent()
    answers = os.dup(1)
    os.dup2(2, 1)  # libraries print what they like
    try:
        return _answer(run, answers)
    except KeyboardInterrupt:  # while it waited for a command
        return STATUS[signal.SIGINT]


def _answer(run: Callable[[Sequence[str]], int], answers: int) -> int:
    given = os.environ.get(VISIBLE)
    for line in sys.stdin:
        status = run(words) if (words := _words(line)) is not None else 2
        # numbers of GPUs count among those that this process was given, not among those that a command chose
        os.environ.pop(VISIBLE, None)
        if given is not None:
            os.environ[VISIBLE] = given
        try:
            os.write(answers, f"{status}\n".encode())
        except BrokenPipeError:  # who asked has gone
            return 0
        if status in STATUS.values():
            return status
    return 0


def _words(line: str) -> list[str] | None:
    """The command of a line; None if it holds none."""
    try:
        words = json.loads(line)
    except ValueError:
        words = None
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return words
    print(f"isonet-engine {NAME}: error: not a JSON list of words: {line[:100]!r}", file=sys.stderr)
    return None
