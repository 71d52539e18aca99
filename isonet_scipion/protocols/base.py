"""What all protocols share: running the engine."""

from __future__ import annotations

import glob
import json
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import pyworkflow.utils as pwutils
from pwem.protocols import EMProtocol
from pyworkflow.constants import PROD, QUEUE_FOR_JOBS
from pyworkflow.exceptions import PyworkflowException
from pyworkflow.protocol.constants import GPU_LIST, MODE_RESTART, USE_GPU
from pyworkflow.protocol.params import BooleanParam, StringParam

from isonet_scipion.convert.files import fileName
from isonet_scipion.engine.io.outcome import read_outcome
from isonet_scipion.engine.process.last_words import ending_words
from isonet_scipion.engine.process.parent_watch import PARENT
from isonet_scipion.engine.serving import NAME as SERVE
from isonet_scipion.environment import has_gpu
from isonet_scipion.plugin import Plugin
from isonet_scipion.protocols.form import commandOptions, isFilledIn
from isonet_scipion.protocols.linked_inputs import absentErrors, growingErrors
from isonet_scipion.protocols.record import changeErrors, keepValues, usedValue
from isonet_scipion.protocols.together import Task

if TYPE_CHECKING:
    from pyworkflow.protocol import Form

OUTCOME_SUFFIX = "_outcome.json"
TO_FIRST_TAB = " 2>&1"  # the engine's log, in a shell: Scipion's window shows the standard output first
MOST_WARNINGS = 5  # that the summary shows


class EngineFailure(PyworkflowException):
    """The engine's one-line error; Scipion shows it as the protocol's error message."""


class ProtIsoNetBase(EMProtocol):
    """Runs commands of the engine through Scipion's executor."""

    _devStatus = PROD
    FREE: tuple[str, ...] = ()  # parameters that may change when a run is continued, besides those of how it is run

    def _addGpuParams(self, form: Form) -> None:
        form.addHidden(
            USE_GPU,
            BooleanParam,
            default=has_gpu(),
            label="Use GPU?",
            help="Without a GPU the CPU does the same work, about ten times slower. The default is Yes where this "
            "machine has an NVIDIA driver. With Yes, the protocol stops if one of the GPUs is missing.",
        )
        form.addHidden(
            GPU_LIST,
            StringParam,
            default="0",
            label="GPUs",
            help="Numbers of the GPUs to use, such as 0 or 0,1. Training uses all of them at once; in the "
            "correction each GPU works on one tomogram at a time. If steps go to a queue, each tomogram's job asks for "
            "one GPU.",
        )

    def _gpusPerStep(self) -> int:
        """How many GPUs a step that computes works on: all that are listed."""
        return len(self.getGpuList())

    def _needsGpu(self) -> bool:
        """Whether Scipion's executor has to lend a step GPUs; in a queue each job gets its own."""
        return self.usesGpu() and not self.useQueueForSteps()

    def getSubmitDict(self) -> dict[str, object]:
        """What a queue's template can ask for: the GPUs and threads that a job really works with."""
        values = super().getSubmitDict()
        values["GPU_COUNT"] = len(self.getGpuList()) if self.usesGpu() else 0
        if values.get(QUEUE_FOR_JOBS) == "Y":
            threads = self._threadsPerStep()
            values.update(
                GPU_COUNT=self._gpusPerStep() if self.usesGpu() else 0, JOB_THREADS=threads, JOB_CORES=threads
            )
        return values

    def _threadsPerStep(self) -> int:
        """CPU threads of a step that computes."""
        return max(1, self.numberOfThreads.get())

    def _validate(self) -> list[str]:
        absent = absentErrors(self)
        if absent or not isFilledIn(self):
            return absent
        errors = self._growingErrors() + self._runningErrors()
        # not while it is scheduled, when Scipion waits until there are no errors: they are found when it runs
        goesOn = self._hasResults() and self.runMode != MODE_RESTART and not self.isScheduled()
        if goesOn:
            errors += changeErrors(self, self.FREE)
        errors += self._inputErrors()
        return self._remadeErrors() if goesOn and not errors else errors

    def _growingErrors(self) -> list[str]:
        """Which inputs are still being made, where all of them are needed."""
        return [] if self.worksInStreaming() else growingErrors(self)

    def _runningErrors(self) -> list[str]:
        """What is wrong with the threads and the GPUs, which Scipion's executor would end at, or before, its start."""
        errors = [] if self.numberOfThreads.get() >= 1 else ["*Threads*: must be at least 1."]
        if not self.allowsGpu():
            return errors
        try:
            gpus = self.getGpuList()
        except (ValueError, TypeError):
            gpus = [-1]
        if min(gpus, default=0) < 0:
            text = self.gpuList.get()
            remedy = "For the CPU: *Use GPU?* No." if self.usesGpu() else "Write 0 there, which is not used."
            errors.append(f"*GPUs*: '{text}' is no list of numbers such as 0 or 0,1. {remedy}")
        elif self.usesGpu() and not gpus:
            errors.append("*GPUs*: name at least one, or choose No for *Use GPU?*.")
        return errors

    def _hasResults(self) -> bool:
        """Whether there is something that the form's values were used for, and that Continue keeps."""
        return any(True for _ in self.iterOutputAttributes())

    def _keepValues(self) -> None:
        """Store the values that the results are made with, before the first of them is."""
        if not self._hasResults():
            keepValues(self)

    def _used(self, name: str) -> object:
        """The value of a parameter that the results were made with; the form may say another one by now."""
        return usedValue(self, name)

    def _inputErrors(self) -> list[str]:
        """What is wrong with inputs and values that are legal each by itself."""
        return []

    def _remadeErrors(self) -> list[str]:
        """That Continue would mix what is done with what inputs that were made again give; all else is right."""
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
            What it works on (tsId), where several commands run at once.

        Raises
        ------
        EngineFailure
            With what the engine says went wrong.
        """
        outcomeFile = self._outcomeFile(stage, name)
        words = ["--outcome", outcomeFile, stage, *files, *commandOptions(options)]
        if self.allowsGpu() and not self.usesGpu():
            words += ["--gpuID", "-1"]
        with suppress(FileNotFoundError):
            os.remove(outcomeFile)
        if self.useQueueForSteps():
            status = self._submit(words, outcomeFile)
        else:  # on this very machine
            status = self._runHere(words, {**Plugin.getEnviron(), PARENT: str(os.getpid())})
        outcome = read_outcome(outcomeFile)
        if outcome is None and status:
            raise EngineFailure(f"isonet-engine {stage} {ending(status)}")
        if outcome is not None and outcome.status:  # not what happened to the process after its work was done
            raise EngineFailure(outcome.error)

    def _submit(self, words: Sequence[str], outcomeFile: str) -> int:
        """The exit status of a command that a job of the queue runs, perhaps with those of other threads."""
        task, command = threading.current_thread(), (list(words), outcomeFile)
        if isinstance(task, Task):
            return task.together.status(task, command)
        return self._submitAll([command])[0]

    def _submitAll(self, commands: list[tuple[list[str], str]]) -> list[int]:
        """The exit statuses of commands that one job runs, each with its outcome's file.

        A command that ends the engine leaves the later ones alone: they are run by a further job.
        """
        statuses, first = [0] * len(commands), 0
        while first < len(commands):
            left = commands[first:]
            status = self._submitJob([words for words, _ in left], f"{left[0][1]}.status")
            undone = [number for number, (_, outcomeFile) in enumerate(left) if read_outcome(outcomeFile) is None]
            if not status or not undone:
                break
            statuses[first + undone[0]] = status
            first += undone[0] + 1
        return statuses

    def _submitJob(self, commands: Sequence[Sequence[str]], statusFile: str) -> int:
        """The exit status of a job of the queue, which does not tell it: the job leaves it in a file."""
        gpus = ["--gpuID", ",".join(map(str, range(self._gpusPerStep())))] if self.usesGpu() else []
        listFile = f"{statusFile}.commands"
        if len(commands) == 1:
            arguments = shlex.join([*commands[0], *gpus])
        else:
            with open(listFile, "w", encoding="utf-8") as file:
                file.writelines(json.dumps([*words, *gpus]) + "\n" for words in commands)
            arguments = f"{SERVE} < {shlex.quote(listFile)}"
        readStatus(statusFile)  # that of a run that was killed
        arguments += f"{TO_FIRST_TAB} || echo $? > {shlex.quote(statusFile)}"
        self.runJob(Plugin.engineCommand(), arguments, numberOfMpi=1, numberOfThreads=1, env=Plugin.getEnviron())
        with suppress(FileNotFoundError):
            os.remove(listFile)
        return readStatus(statusFile)

    def _runHere(self, words: Sequence[str], environ: dict[str, str]) -> int:
        """The exit status of a command on this machine, on the GPUs that Scipion lends to this step."""
        arguments = shlex.join(words)
        if self.usesGpu() and self._stepsExecutor.getGpuList():
            # Scipion puts the GPUs in with the % operator, so other percent signs are doubled. An option, since a queue
            # has set CUDA_VISIBLE_DEVICES, among which they count
            arguments = arguments.replace("%", "%%") + " --gpuID '%(GPU)s'"
        arguments += TO_FIRST_TAB
        try:
            self.runJob(
                Plugin.engineCommand(), arguments, numberOfMpi=1, numberOfThreads=1, env=pwutils.Environ(environ)
            )
            return 0
        except subprocess.CalledProcessError as error:
            return error.returncode

    def _outcomeFile(self, stage: str, name: str) -> str:
        """Where one command tells how it ended."""
        return self._getExtraPath("_".join([stage, *([fileName(name)] if name else [])]) + OUTCOME_SUFFIX)

    def _engineWarnings(self) -> list[str]:
        """What the engine warned of, for the summary; each line once."""
        outcomes = map(read_outcome, glob.glob(os.path.join(glob.escape(self._getExtraPath()), f"*{OUTCOME_SUFFIX}")))
        told = list(dict.fromkeys(line for outcome in outcomes if outcome for line in outcome.warnings))
        more = [f"{len(told) - MOST_WARNINGS} more warnings: see the log."] if len(told) > MOST_WARNINGS else []
        return [f"*Warning*: {line}" for line in told[:MOST_WARNINGS]] + more

    def _requireOutput(self, path: str | None, what: str) -> str:
        """`path`, which a queue's job may have failed to write without a word."""
        if path is None or not os.path.exists(path):
            raise EngineFailure(f"{what} was not written: see the log.")
        return path


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
    words = ending_words(number) or "perhaps for lack of memory."
    return f"was ended by {name}, {words} Continue goes on with what is missing."
