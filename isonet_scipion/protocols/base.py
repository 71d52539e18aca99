"""What all protocols share: running the engine."""

from __future__ import annotations

import glob
import json
import logging
import os
import shlex
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import pyworkflow as pw
import pyworkflow.utils as pwutils
from pyworkflow.constants import PROD, QUEUE_FOR_JOBS
from pyworkflow.object import String
from pyworkflow.protocol.constants import GPU_LIST, MODE_RESTART, STATUS_RUNNING, USE_GPU
from pyworkflow.protocol.launch import _checkJobStatus
from pyworkflow.protocol.params import BooleanParam, StringParam
from pyworkflow.utils.retry_streaming import retry_on_sqlite_lock

from isonet_scipion.convert.files import fileName
from isonet_scipion.engine.errors import EngineError, one_line
from isonet_scipion.engine.io.outcome import read_outcome, reserve_outcome
from isonet_scipion.engine.process.last_words import ending_words
from isonet_scipion.engine.process.parent_watch import PARENT
from isonet_scipion.engine.process.signals import STATUS as SIGNALLED
from isonet_scipion.engine.serving import NAME as SERVE
from isonet_scipion.engine.wording import counted
from isonet_scipion.environment import has_gpu
from isonet_scipion.plugin import Plugin
from isonet_scipion.protocols.contrast import contrastWarnings
from isonet_scipion.protocols.form import GPU_ROW, commandOptions, inFormWords, isFilledIn, labelOf
from isonet_scipion.protocols.linked_inputs import (
    absentErrors,
    absentLinks,
    growingErrors,
    isLink,
    linkErrors,
    partialWarnings,
)
from isonet_scipion.protocols.record import changeErrors, keepValues, usedValue
from isonet_scipion.protocols.refused import EngineFailure, ProtIsoNetPlain
from isonet_scipion.protocols.together import Task

if TYPE_CHECKING:
    from pyworkflow.protocol import Form, Step

logger = logging.getLogger(__name__)

OUTCOME_SUFFIX = "_outcome.json"
TO_FIRST_TAB = " 2>&1"  # the engine's log, in a shell: Scipion's window shows the standard output first
MOST_WARNINGS = 5  # that the summary shows
# a job that the queue does not show, and that has told nothing: the queue may have failed to answer, and a shared disk
# shows what a node wrote after up to a minute
SECONDS_BETWEEN_LOOKS = 20.0
LOOKS = 3

Content = TypeVar("Content")
LATEST = threading.local()  # `job`: the one that a thread has submitted


class ProtIsoNetBase(ProtIsoNetPlain):
    """Runs commands of the engine through Scipion's executor."""

    _devStatus = PROD
    FREE: tuple[str, ...] = ()  # parameters that may change when a run is continued, besides those of how it is run

    def __init__(self, **kwargs: object) -> None:
        """Scipion forgets the label that it is given, by which a template says what is to be chosen in a form."""
        super().__init__(**kwargs)
        self.setObjLabel(kwargs.get("objLabel") or "")
        self._importedLinks = String()  # of the workflow's file that it was imported from, as JSON: parameter -> link
        self._toldWarnings: set[str] = set()

    def _addGpuParams(self, form: Form) -> None:
        form.addHidden(
            USE_GPU,
            BooleanParam,
            default=has_gpu(),
            label=GPU_ROW,
            help="Without a GPU the CPU does the same work, about ten times slower. The default is Yes where this "
            "machine has an NVIDIA driver. With Yes, the protocol stops if one of the GPUs is missing.",
        )
        form.addHidden(
            GPU_LIST,
            StringParam,
            default="0",
            label=GPU_ROW,
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
        absent = absentErrors(self) or linkErrors(self)
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
        errors = []
        if self.numberOfThreads.get() < 1:
            errors.append(f"*{labelOf(self, 'numberOfThreads')}*: must be at least 1.")
        if not self.allowsGpu():
            return errors
        try:
            gpus = self.getGpuList()
        except (ValueError, TypeError):
            gpus = [-1]
        if min(gpus, default=0) < 0:
            text = self.gpuList.get()
            remedy = "For the CPU choose No." if self.usesGpu() else "Write 0 there, which is not used."
            errors.append(f"*{GPU_ROW}*: '{text}' is no list of numbers such as 0 or 0,1. {remedy}")
        elif self.usesGpu() and not gpus:
            errors.append(f"*{GPU_ROW}*: name at least one, or choose No.")
        return errors

    def loadSteps(self) -> list[Step]:
        """As Scipion; none where a run was killed while it wrote them anew, so that Continue looks at what is done."""
        try:
            return super().loadSteps()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return []

    def getDefinitionDict(self) -> dict[str, object]:
        """As Scipion, for an exported workflow; also the links to what is not there yet, which it leaves out."""
        values = super().getDefinitionDict()
        return {**values, **{name: link for name, link in absentLinks(self).items() if name not in values}}

    def processImportDict(self, importDict: dict[str, object], importDir: str) -> dict[str, object]:
        """As Scipion, which forgets links of an imported workflow that lead out of it: `absentErrors` tells them."""
        links = {name: link for name, link in importDict.items() if isLink(self, name) and link}
        self._importedLinks.set(json.dumps(links))
        return super().processImportDict(importDict, importDir)

    def warnings(self) -> list[str]:
        """As Scipion; first, whether inputs may be incomplete, or their contrast another one than was told before."""
        return partialWarnings(self) + contrastWarnings(self) + super().warnings()

    @retry_on_sqlite_lock(log=logger)  # other protocols may write the sets meanwhile
    def _tellWarnings(self) -> None:
        """Log what the form warns of, each line once: of a scheduled run, and what came later, nobody has seen it."""
        for line in self.warnings():
            if line not in self._toldWarnings:
                self._toldWarnings.add(line)
                self.warning(line)

    def _hasResults(self) -> bool:
        """Whether there is something that the form's values were used for, and that Continue keeps."""
        return any(True for _ in self.iterOutputAttributes())

    def _keepValues(self) -> None:
        """Store the values that the results are made with, before the first of them is."""
        if not self._hasResults():
            keepValues(self)

    def _used(self, name: str) -> Any:
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
        EngineError
            If the file in which it is to say that can't be written.
        """
        outcomeFile = self._outcomeFile(stage, name)
        words = ["--outcome", outcomeFile, stage, *files, *commandOptions(options)]
        if self.allowsGpu() and not self.usesGpu():
            words += ["--gpuID", "-1"]
        reserve_outcome(outcomeFile)  # here too: a full disk is told, which would keep the engine from telling it
        if self.useQueueForSteps():
            end = self._submit(words, outcomeFile)
        else:  # on this very machine
            end = ending(self._runHere(words, {**Plugin.getEnviron(), PARENT: str(os.getpid())}))
        outcome = read_outcome(outcomeFile)
        if outcome is None and end:
            raise EngineFailure(f"isonet-engine {stage} {end}")
        if outcome is not None and outcome.status in SIGNALLED.values():
            raise EngineFailure(f"isonet-engine {stage} {ending(outcome.status)}")
        if outcome is not None and outcome.status:  # not what happened to the process after its work was done
            raise EngineFailure(inFormWords(self, outcome.error))

    def _submit(self, words: Sequence[str], outcomeFile: str) -> str:
        """How a command ended that a job of the queue runs, perhaps with those of other threads; empty if well."""
        task, command = threading.current_thread(), (list(words), outcomeFile)
        if isinstance(task, Task):
            return task.together.end(task, command)
        return self._submitAll([command])[0]

    def _submitAll(self, commands: list[tuple[list[str], str]]) -> list[str]:
        """How commands ended that one job runs, each with its outcome's file.

        A command that ends the engine leaves the later ones alone: they are run by a further job. Not so where the
        whole job has ended, perhaps at its time limit, or is lost sight of and may still run.
        """
        ends, first = [""] * len(commands), 0
        while first < len(commands):
            left = commands[first:]
            status = self._submitJob([words for words, _ in left], left[-1][1], f"{left[0][1]}.status")
            undone = [first + n for n, (_, outcomeFile) in enumerate(left) if read_outcome(outcomeFile) is None]
            if not undone:
                break
            if status is None or status in SIGNALLED.values():
                for number in undone:
                    ends[number] = self._silentEnding() if status is None else ending(status)
                break
            ends[undone[0]] = ending(status)
            first = undone[0] + 1
        return ends

    def _submitJob(self, commands: Sequence[Sequence[str]], lastOutcome: str, statusFile: str) -> int | None:
        """The exit status of a job of the queue, which leaves it in a file if it is an error; None without one."""
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
        LATEST.job = None
        try:
            self.runJob(Plugin.engineCommand(), arguments, numberOfMpi=1, numberOfThreads=1, env=Plugin.getEnviron())
        except Exception as error:  # Scipion's have no kind of their own
            if LATEST.job is not None:
                raise
            raise EngineFailure(
                f"the queue did not take the job: {one_line(str(error))}. Check the queue that was chosen and "
                f"{pw.Config.SCIPION_HOSTS}; Continue submits it again."
            ) from error
        self._awaitWord(lambda: hasText(statusFile) or read_outcome(lastOutcome) is not None)
        with suppress(FileNotFoundError):
            os.remove(listFile)
        return readStatus(statusFile)

    def appendJobId(self, jobId: int) -> None:
        """As Scipion, which forgets the number of a job that the queue does not show."""
        super().appendJobId(jobId)
        LATEST.job = jobId

    def _awaitWord(self, hasTold: Callable[[], bool]) -> None:
        """Wait for a job that Scipion takes for ended, until it has told how, or the queue has not shown it for long.

        Scipion takes a single empty answer of the queue for the end.
        """
        if hasTold():
            return
        self.appendJobId(LATEST.job)  # Stop is to cancel it
        self._store(self._jobId)
        looks = LOOKS
        while looks and not hasTold():
            time.sleep(SECONDS_BETWEEN_LOOKS)
            isShown = _checkJobStatus(self.getHostConfig(), LATEST.job) == STATUS_RUNNING
            looks = LOOKS if isShown else looks - 1
        self.removeJobId(LATEST.job)
        self._store(self._jobId)

    def _silentEnding(self) -> str:
        """What there is to say of this thread's job, which told nothing."""
        step = threading.current_thread().thId  # type: ignore[attr-defined]  # of Scipion's kind of thread
        # as Scipion names what belongs to a job
        name = f"{self.strId()}-{step}-{self._stepsExecutor.threadCommands[step]}"
        found = sorted(glob.glob(os.path.join(glob.escape(self._getLogsPath()), f"*{glob.escape(name)}.*")))
        logs = " and ".join(path for path in found if not path.endswith(".job"))
        return (
            f"told nothing of its end: job {LATEST.job} is not in the queue any more. Perhaps it reached its limit of "
            f"time or memory, was cancelled, or its node failed. Its log: {logs or self._getLogsPath()}. Continue "
            "submits it again, and goes on from what was saved last."
        )

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
        lines = (inFormWords(self, line) for outcome in outcomes if outcome for line in outcome.warnings)
        told = list(dict.fromkeys(lines))
        more = (
            [f"{counted(len(told) - MOST_WARNINGS, 'more warnings')}: see the log."]
            if len(told) > MOST_WARNINGS
            else []
        )
        return [f"*Warning*: {line}" for line in told[:MOST_WARNINGS]] + more

    def _requireOutput(self, path: str | None, what: str) -> str:
        """`path`, which a queue's job may have failed to write without a word."""
        if path is None or not os.path.exists(path):
            raise EngineFailure(f"{what} was not written: see the log.")
        return path


def readAll(read: Callable[[str], Content], paths: Iterable[str]) -> tuple[dict[str, Content], list[str]]:
    """What a function makes of files, by path, and what it says of others that it can't read; none that are gone."""
    contents, errors = {}, []
    for path in paths:
        try:
            if os.path.exists(path):
                contents[path] = read(path)
        except EngineError as error:
            errors.append(str(error))
    return contents, errors


def damagedLines(errors: Iterable[str]) -> list[str]:
    """What a summary says of files that can't be read."""
    return [f"*Damaged*: {error}" for error in errors]


def hasText(path: str) -> bool:
    """Whether a file is there that holds anything."""
    return os.path.exists(path) and os.path.getsize(path) > 0


def readStatus(path: str) -> int | None:
    """The exit status that a queue's job left in a file, which is deleted; None without one."""
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        text = file.read().strip()
    os.remove(path)
    return int(text) if text else None


def ending(status: int) -> str:
    """What the exit status of a command says of its end, empty for 0; a shell gives 128 + the signal's number."""
    if not status:
        return ""
    number = -status if status < 0 else status - 128
    if number not in set(signal.Signals):
        return f"ended with status {status}: see the log."
    name = signal.Signals(number).name
    perhaps = "perhaps at a queue's time limit, or by hand." if number in SIGNALLED else "perhaps for lack of memory."
    words = ending_words(number) or perhaps
    return f"was ended by {name}, {words} Continue goes on with what is missing."
