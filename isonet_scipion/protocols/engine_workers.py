"""Engine processes that a protocol keeps for one tomogram after the other: a start takes seconds, on a GPU many."""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, cast

logger = logging.getLogger(__name__)

IDLE_SECONDS = 60.0  # after which one is ended: it holds memory of a GPU
SECONDS_TO_END = 10.0


class EngineWorker:
    """One process, which runs a command at a time."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start it with a command line that serves, and its environment. It ends with this process."""
        self.idleSince = 0.0
        self._process = subprocess.Popen(
            command, env=dict(environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stdout, text=True
        )
        self._commands, self._answers = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        logger.info("Engine process %d: %s", self._process.pid, shlex.join(command))

    def isAlive(self) -> bool:
        """Whether it takes further commands."""
        return self._process.poll() is None

    def run(self, words: Sequence[str]) -> int:
        """The exit status of a command; where the process was ended meanwhile, its own, as of `subprocess`."""
        try:
            self._commands.write(json.dumps(list(words)) + "\n")
            self._commands.flush()
            answer = self._answers.readline()
        except OSError:
            answer = ""
        return int(answer) if answer else self._process.wait()

    def end(self) -> None:
        """Let it end, and see to it that it does."""
        with suppress(OSError):
            self._commands.close()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()


class EngineWorkers:
    """Those of one protocol: for each list of GPUs as many as work at once. No thread of its own watches them."""

    def __init__(self) -> None:
        """None is started before there is work."""
        self._idle: dict[str, list[EngineWorker]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def lent(self, gpus: str, command: Sequence[str], environ: Mapping[str, str]) -> Iterator[EngineWorker]:
        """An idle worker that works on these GPUs, else a new one; others can't have it meanwhile."""
        with self._lock:
            idle = self._idle.setdefault(gpus, [])
            worker = idle.pop() if idle else None
        if worker is not None and not worker.isAlive():  # ended by the system or by hand while it was idle
            worker.end()
            worker = None
        worker = worker or EngineWorker(command, environ)
        try:
            yield worker
        finally:
            worker.idleSince = time.monotonic()
            if worker.isAlive():
                with self._lock:
                    self._idle[gpus].append(worker)
            else:
                worker.end()

    def endIdle(self, seconds: float = 0.0) -> None:
        """End those that have been idle for so long."""
        with self._lock:
            latest = time.monotonic() - seconds
            ending = [worker for idle in self._idle.values() for worker in idle if worker.idleSince <= latest]
            self._idle = {gpus: [one for one in idle if one not in ending] for gpus, idle in self._idle.items()}
        for worker in ending:
            worker.end()
