"""What all protocols share: running the engine, and a step for each tomogram."""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Sequence

from pwem.objects import EMSet
from pwem.protocols import EMProtocol
from pyworkflow.exceptions import PyworkflowException
from pyworkflow.object import Pointer, Set
from pyworkflow.protocol import STEPS_PARALLEL, Form
from pyworkflow.protocol.constants import GPU_LIST, USE_GPU
from pyworkflow.protocol.params import BooleanParam, PointerParam, StringParam
from pyworkflow.utils.retry_streaming import retry_on_sqlite_lock
from tomo.objects import SetOfTomograms, SetOfTomoMasks, Tomogram

from isonet_scipion import constants, convert
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.plugin import Plugin
from isonet_scipion.protocols.form import commandOptions

logger = logging.getLogger(__name__)

FAILED_OUTPUT = "failedTomograms"
SAMPLING_TOLERANCE = 0.005  # relative; Scipion rounds voxel sizes in places


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
        before = self._logSizes()
        try:
            self.runJob(program, arguments, numberOfMpi=1, numberOfThreads=1)
        except subprocess.CalledProcessError as error:
            raise EngineFailure(
                self._engineError(before, name)
                or f"isonet-engine {stage} ended with status {error.returncode}: see the log."
            ) from error

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


class ProtIsoNetTomograms(ProtIsoNetBase):
    """A stage over tomograms: each has its own step, table and output item, so one can fail or be redone alone."""

    stepsExecutionMode = STEPS_PARALLEL
    OUTPUT = "tomograms"
    OUTPUT_CLASS: type[EMSet] = SetOfTomograms
    NEEDS_GPU = False
    CORRECTS_CTF = False

    def _addTomogramsParam(self, form: Form, help: str) -> None:
        form.addParam(
            "inputTomograms",
            PointerParam,
            pointerClass="SetOfTomograms",
            important=True,
            label="Tomograms",
            help=help + " Protein is dark in them, and the tilt axis is along y.",
        )

    def _addHalvesParam(self, form: Form, verb: str) -> None:
        form.addParam(
            "processHalves",
            BooleanParam,
            default=False,
            label="Also the half tomograms?",
            help=f"{verb} the even and odd half tomograms too, in the same way, for programs that need them.",
        )

    # ---------------------------------------------------------------- to be filled in by each stage

    def _readInputs(self, tomograms: dict[str, Tomogram]) -> Iterable[str]:
        """Read what goes with the tomograms; returns the tsIds to work on."""
        return tomograms

    def _process(self, tomogram: Tomogram) -> None:
        """Run the engine on one tomogram and append what it gives to the output."""
        raise NotImplementedError

    # ---------------------------------------------------------------- steps

    def _insertAllSteps(self) -> None:
        everything = self._tomogramsById()
        self._tomograms = {tsId: everything[tsId] for tsId in self._readInputs(everything)}
        attempts = {tsId: len(self._failures(tsId)) for tsId in self._tomograms}
        # a tomogram that failed has another argument, so that Continue tries it again
        steps = [
            self._insertFunctionStep(self.processStep, tsId, count, prerequisites=[], needsGPU=self.NEEDS_GPU)
            for tsId, count in attempts.items()
        ]
        self._insertFunctionStep(self.closeStep, sum(attempts.values()), prerequisites=steps, needsGPU=False)

    def processStep(self, tsId: str, attempt: int) -> None:
        """Process one tomogram; a failure is noted and leaves the others alone."""
        try:
            with self._lock:
                isDone = tsId in self._doneIds()
            if not isDone:
                self._process(self._tomograms[tsId])
        except (EngineFailure, EngineError) as failure:
            self.error(f"{tsId}: {failure}")
            with open(self._failureFile(tsId), "a", encoding="utf-8") as file:
                file.write(f"{failure}\n")

    def closeStep(self, attempts: int) -> None:
        """Put the tomograms that failed into a set of their own; fail if there are no others."""
        self._closeOutputSet()
        done = self._doneIds()
        failed = {tsId: self._failures(tsId)[-1] for tsId in self._tomograms if tsId not in done}
        if not done:
            reasons = list(failed.values())
            more = f" ({len(reasons) - 1} more failed, see the log)" if len(reasons) > 1 else ""
            raise EngineFailure(reasons[0] + more)
        if hasattr(self, FAILED_OUTPUT):
            self.deleteOutput(getattr(self, FAILED_OUTPUT))
        if failed:
            output = SetOfTomograms.create(self._getPath(), prefix="failed")
            output.copyInfo(self.inputTomograms.get())
            for tsId, reason in failed.items():
                tomogram = self._tomograms[tsId].clone()
                tomogram.setObjComment(reason)
                output.append(tomogram)
            self._defineOutputs(**{FAILED_OUTPUT: output})
            self._defineSourceRelation(self.inputTomograms, output)

    # ---------------------------------------------------------------- helpers of the stages

    def _table(self, tsId: str) -> str:
        return self._getExtraPath(f"{tsId}.star")

    def _writeTable(self, tomogram: Tomogram, halves: bool = False, **columns: object) -> str:
        """Write the table of one tomogram, with a row for each half map if asked; returns its path."""
        tsId, rate = tomogram.getTsId(), tomogram.getSamplingRate()
        files = {tsId: tomogram.getFileName()}
        if halves:
            files.update(zip(halfNames(tsId), convert.halfMaps(tomogram)))
        rows = [
            convert.tomogramRow(
                name,
                convert.asMrc(path, self._getTmpPath(f"{name}.mrc"), rate),
                rate,
                self._optics(tomogram),
                # distinct among all tables, since the engine's random numbers depend on it
                len(files) * tomogram.getObjId() + place,
                isDeconvolved=tomogram.ctfCorrected() and not self.CORRECTS_CTF,
                **columns,
            )
            for place, (name, path) in enumerate(files.items())
        ]
        convert.writeTable(self._table(tsId), rows)
        return self._table(tsId)

    def _optics(self, tomogram: Tomogram) -> convert.Optics:
        return convert.readOptics(tomogram.getAcquisition(), self.inputTomograms.get().getAcquisition())

    def _halfFiles(self, label: str, tsId: str) -> list[str]:
        """What the engine made of the half maps, if they were asked for."""
        names = halfNames(tsId) if self.processHalves else ()
        return [self._outputFile(name, label, tsId) for name in names]

    def _outputFile(self, name: str, label: str, tsId: str) -> str:
        rate = self._tomograms[tsId].getSamplingRate()
        return self._requireOutput(convert.outputFile(self._table(tsId), label, name, rate), f"The output for {name}")

    @retry_on_sqlite_lock(log=logger)
    def _append(self, *items: Tomogram) -> None:
        """Append items to the output, which is made with the first one."""
        with self._lock:
            output = self._openOutput(self.OUTPUT, self.OUTPUT_CLASS)
            for item in items:
                output.append(item)
            output.write()
            self._store(output)
            output.close()

    def _openOutput(self, name: str, setClass: type[EMSet], **kwargs: object) -> EMSet:
        output = getattr(self, name, None)
        if output is not None:
            output.enableAppend()
            return output
        output = setClass.create(self._getPath(), prefix=name)
        if isinstance(output, SetOfTomograms):
            output.copyInfo(self.inputTomograms.get())
        output.setSamplingRate(self.inputTomograms.get().getSamplingRate())
        output.setStreamState(Set.STREAM_OPEN)
        self._prepareOutput(output)
        self._defineOutputs(**{name: output})
        for source in self._sources():
            if source.get() is not None:
                self._defineSourceRelation(source, output)
        return output

    def _sources(self) -> list[Pointer]:
        """The inputs that the output is made from."""
        return [self.inputTomograms]

    def _prepareOutput(self, output: EMSet) -> None:
        """Set what a new output set needs beyond the voxel size."""

    def _doneIds(self) -> set[str]:
        output = getattr(self, self.OUTPUT, None)
        return set() if output is None else set(output.getTSIds())

    def _tomogramsById(self) -> dict[str, Tomogram]:
        return {tomogram.getTsId(): tomogram.clone() for tomogram in self.inputTomograms.get()}

    def _failureFile(self, tsId: str) -> str:
        return self._getExtraPath(f"{tsId}_failures.txt")

    def _failures(self, tsId: str) -> list[str]:
        if not os.path.exists(self._failureFile(tsId)):
            return []
        with open(self._failureFile(tsId), encoding="utf-8") as file:
            return file.read().splitlines()

    # ---------------------------------------------------------------- checks and texts

    def _validate(self) -> list[str]:
        tomograms = self.inputTomograms.get()
        if isinstance(tomograms, SetOfTomoMasks):
            return ["*Tomograms* holds masks. Select a set of tomograms."]
        ids = [tomogram.getTsId() for tomogram in tomograms]
        if None in ids or len(set(ids)) < len(ids):
            return ["Each tomogram needs a tilt series ID (tsId) of its own: import them again with a {TS} pattern."]
        return []

    def _summary(self) -> list[str]:
        output = getattr(self, self.OUTPUT, None)
        if output is None:
            return ["No output yet."]
        lines = self._results(output)
        failed = getattr(self, FAILED_OUTPUT, None)
        if failed is not None:
            lines += [f"*{item.getTsId()} failed*: {item.getObjComment()}" for item in failed]
        return lines

    def _results(self, output: EMSet) -> list[str]:
        """The summary's lines, with the numbers that matter."""
        return [f"{output.getSize()} of {self.inputTomograms.get().getSize()} tomograms done."]


def halfNames(tsId: str) -> tuple[str, str]:
    """Base names of the two half maps of a tomogram."""
    return f"{tsId}_even", f"{tsId}_odd"


def sameSampling(first: float, second: float) -> bool:
    """Whether two voxel sizes are the same but for rounding."""
    return abs(first - second) <= SAMPLING_TOLERANCE * max(first, second)
