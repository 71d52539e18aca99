"""What all protocols share: running the engine."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pwem.protocols import EMProtocol
from pyworkflow.exceptions import PyworkflowException
from pyworkflow.protocol.constants import GPU_LIST, USE_GPU
from pyworkflow.protocol.params import BooleanParam, StringParam

from isonet_scipion import constants
from isonet_scipion.engine.process.parent_watch import PARENT
from isonet_scipion.plugin import Plugin
from isonet_scipion.protocols.form import commandOptions, isFilledIn

if TYPE_CHECKING:
    from pyworkflow.protocol import Form


class EngineFailure(PyworkflowException):
    """The engine's one-line error; Scipion shows it as the protocol's error message."""


class ProtIsoNetBase(EMProtocol):
    """Runs commands of the engine through Scipion's executor."""

    def _addGpuParams(self, form: Form) -> None:
        form.addHidden(
            USE_GPU,
            BooleanParam,
            default=True,
            label="Use GPU?",
            help="Without a GPU the CPU does the same work, some ten times slower.",
        )
        form.addHidden(
            GPU_LIST,
            StringParam,
            default="0",
            label="GPUs",
            help="Numbers of the GPUs to use, such as 0 or 0,1. Training uses all of them at once.",
        )

    def _validate(self) -> list[str]:
        return self._inputErrors() if isFilledIn(self) else []

    def _inputErrors(self) -> list[str]:
        """What is wrong with inputs and values that are legal each by itself."""
        return []

    def _citations(self) -> list[str]:
        return ["Liu2022"]

    def _runEngine(self, stage: str, files: Sequence[str], options: dict[str, object], name: str = "") -> None:
        """Run one command of the engine in the project's folder.

        Parameters
        ----------
        stage : str
            Its first argument.
        files : sequence of str
            Its other arguments.
        options : dict
            Options and their values.
        name : str
            What it works on (tsId): with several commands at once, tells whose error a line is.

        Raises
        ------
        EngineFailure
            With the one line of the engine that says what went wrong.
        """
        program, arguments = Plugin.engineCommand(), shlex.join([stage, *files, *commandOptions(options)])
        if self.usesGpu() and self._stepsExecutor.getGpuList():
            # Scipion puts the GPUs in with the % operator, so other percent signs are doubled
            program = f"CUDA_VISIBLE_DEVICES=%(GPU)s {program.replace('%', '%%')}"
            arguments = arguments.replace("%", "%%")
        elif self.allowsGpu() and not self.usesGpu():
            program = f"CUDA_VISIBLE_DEVICES=-1 {program}"
        environ = Plugin.getEnviron()
        # a queue does not tell how its jobs end
        statusFile = self._getExtraPath(f"{name or stage}.status")
        if self.useQueueForSteps():
            readStatus(statusFile)  # that of a run that was killed
            arguments += f" || echo $? > {shlex.quote(statusFile)}"
        else:  # on this very machine
            environ[PARENT] = str(os.getpid())
        before = self._logSizes()
        try:
            self.runJob(program, arguments, numberOfMpi=1, numberOfThreads=1, env=environ)
            status = readStatus(statusFile)
        except subprocess.CalledProcessError as error:
            status = error.returncode
        if status:
            raise EngineFailure(self._engineError(before, name) or f"isonet-engine {stage} {ending(status)}")

    def _requireOutput(self, path: str | None, what: str) -> str:
        """`path`, which a queue's job may have failed to write without a word."""
        if path is None or not os.path.exists(path):
            raise EngineFailure(f"{what} was not written: see the log.")
        return path

    def _logSizes(self) -> dict[str, int]:
        folder = self._getLogsPath()
        return {entry.path: entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()}

    def _engineError(self, before: dict[str, int], name: str) -> str | None:
        lines = []
        for path in self._logSizes():
            with open(path, "rb") as log:
                log.seek(before.get(path, 0))
                text = log.read().decode("utf-8", "replace")
            lines += [line for line in re.split(r"[\r\n]+", text) if constants.ERROR_PREFIX in line]
        own = [line for line in lines if name in line] or lines
        return own[-1].split(constants.ERROR_PREFIX, 1)[1] if own else None


def readStatus(path: str) -> int:
    """The exit status that a queue's job left in a file, which is deleted; 0 without one."""
    if not os.path.exists(path):
        return 0
    with open(path, encoding="utf-8") as file:
        status = int(file.read())
    os.remove(path)
    return status


def ending(status: int) -> str:
    """What the exit status of a command says of its end; a shell gives 128 + the signal's number."""
    number = -status if status < 0 else status - 128
    if number not in set(signal.Signals):
        return f"ended with status {status}: see the log."
    name = signal.Signals(number).name
    return f"was ended by {name}, perhaps for lack of memory. Continue goes on with what is missing."
