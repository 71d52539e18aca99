"""Protocols that run while a test goes on: started, waited for, killed, continued."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyworkflow
from pyworkflow.object import Set
from pyworkflow.protocol import MODE_RESUME, Protocol
from tomo.objects import SetOfTomograms

from isonet_scipion.tests.protocols.scene import IsoNetTest

SECONDS = 300  # that anything here may take on a busy machine
FRESH = 1.0  # seconds; what was written so shortly ago may have changed since it was read


def waitFor(condition: Callable[[], object], seconds: float = SECONDS) -> object:
    """What `condition` returns once that is true; fails where it stays false."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.1)
    raise AssertionError(f"nothing after {seconds} s")


@contextlib.contextmanager
def quickChecks() -> Iterator[None]:
    """Protocols started within look for new steps each second."""
    before = os.environ.get("SCIPION_STEPS_CHECK_SEC")
    os.environ["SCIPION_STEPS_CHECK_SEC"] = "1"
    try:
        yield
    finally:
        del os.environ["SCIPION_STEPS_CHECK_SEC"]
        if before is not None:
            os.environ["SCIPION_STEPS_CHECK_SEC"] = before


def commandLine(process: psutil.Process) -> str:
    """Empty for a process that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


class LiveTest(IsoNetTest):
    """A project whose protocols run beside the test."""

    def start(self, protocol: Protocol) -> Protocol:
        """Launch a protocol and return at once; it does not outlive the test."""
        with quickChecks(), self.quickStart():
            self.proj.launchProtocol(protocol, wait=False)
        self.addCleanup(self.kill, protocol)
        return protocol

    def refresh(self, protocol: Protocol) -> Protocol:
        """What Scipion's window does each few seconds: read the protocol's state, see whether it lives."""
        began = time.time()
        isRead = self.proj._updateProtocol(protocol) == pyworkflow.PROTOCOL_UPDATED
        if isRead and os.path.getmtime(protocol.getDbPath()) > began - FRESH:
            # Scipion notes the file's time after it has read it, and would not see what was written in between
            protocol.lastUpdateTimeStamp.set(None)
        if protocol.isFailed() and "not found running" in protocol.getErrorMessage():
            # it may have ended after Scipion had read its state, but before Scipion looked whether it lives
            protocol.lastUpdateTimeStamp.set(None)
            self.proj._updateProtocol(protocol)
        return protocol

    def end(self, protocol: Protocol) -> Protocol:
        """Wait until it has ended."""
        waitFor(lambda: not self.refresh(protocol).isActive())
        return protocol

    def continue_(self, protocol: Protocol) -> Protocol:
        """Scipion's Continue; returns when it has finished."""
        protocol.runMode.set(MODE_RESUME)
        with quickChecks():
            self.launchProtocol(protocol)
        return protocol

    def size(self, protocol: Protocol, output: str) -> int:
        """Items that an output has on disk so far."""
        items = getattr(self.refresh(protocol), output, None)
        if items is None:
            return 0
        items.load()
        number = items.getSize()
        items.close()
        return number

    @staticmethod
    def engine(protocol: Protocol) -> psutil.Process | None:
        """The engine's process that works for a protocol, whoever its parent is."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()  # those of a shell around it are in one piece
                isEngine = "isonet_scipion.engine" in words or any(word.endswith("launch_engine.py") for word in words)
                if isEngine and protocol.workingDir.get() in " ".join(words) and process.cwd() == os.getcwd():
                    return process
        return None

    @contextlib.contextmanager
    def paused(self, protocol: Protocol, when: Callable[[], object] = lambda: True) -> Iterator[psutil.Process]:
        """The engine that works for a protocol once a condition holds; within, it stands still and so does not end."""

        def stop() -> psutil.Process | None:
            engine = self.engine(protocol) if when() else None
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended: the next one
                if engine is not None:
                    engine.suspend()
                    return engine
            return None

        engine = waitFor(stop)
        try:
            yield engine
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                engine.resume()

    def kill(self, protocol: Protocol, how: int = signal.SIGKILL) -> None:
        """Send a signal to the protocol's process, not to its children, and wait for its end."""
        pid = self.refresh(protocol).getPid()  # at first it is that of a shell
        if pid and psutil.pid_exists(pid):
            process = psutil.Process(pid)
            process.send_signal(how)
            process.wait(SECONDS)

    @classmethod
    def openSet(cls, name: str, items: list) -> SetOfTomograms:
        """A set that is still growing, as a further output of the import."""
        output = SetOfTomograms.create(cls.tomograms._getPath(), prefix=name)
        output.copyInfo(cls.tomograms.Tomograms)
        output.setStreamState(Set.STREAM_OPEN)
        cls.append(output, items)
        cls.tomograms._defineOutputs(**{name: output})
        cls.proj.mapper.commit()
        return output

    @staticmethod
    def append(output: Set, items: list, state: int = Set.STREAM_OPEN) -> None:
        """Add items to a growing set; with STREAM_CLOSED they are the last."""
        output.enableAppend()
        for item in items:
            output.append(item.clone())
        output.setStreamState(state)
        output.write()
        output.close()

    @staticmethod
    def log(protocol: Protocol) -> str:
        """Everything that the run wrote."""
        paths = Path(protocol._getLogsPath()).glob("run.std*")
        return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)
