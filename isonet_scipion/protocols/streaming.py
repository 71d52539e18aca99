"""What the stages over tomograms share: in streaming, a table and an output item for each, and what failed."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import traceback
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pwem.objects import EMSet
from pyworkflow.object import Pointer, Set
from pyworkflow.protocol.constants import MODE_RESTART
from pyworkflow.protocol.params import BooleanParam, IntParam, PointerParam
from pyworkflow.utils.retry_streaming import retry_on_sqlite_lock
from tomo.objects import SetOfTomograms, Tomogram

from isonet_scipion.constants import SOURCE_LABEL
from isonet_scipion.convert.acquisition import Optics, copySetInfo, ownAcquisition, readOptics
from isonet_scipion.convert.files import (
    asMrc,
    fileErrors,
    fileName,
    fileOf,
    halfMaps,
    halfNames,
    plainPath,
    requireHalves,
    shownNames,
)
from isonet_scipion.convert.outputs import outputFile
from isonet_scipion.convert.rows import tomogramRow, writeTable
from isonet_scipion.convert.sets import enabled, enabledIds, hasItems, itemsOf
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.star import Star, read_star
from isonet_scipion.engine.io.tomogram_entry import HALF_LABELS
from isonet_scipion.engine.wording import counted
from isonet_scipion.protocols.base import damagedLines, readAll
from isonet_scipion.protocols.ctf_history import States, ctfStates
from isonet_scipion.protocols.form import addContrast, labelOf
from isonet_scipion.protocols.linked_inputs import hasEnded, partialWarnings
from isonet_scipion.protocols.listing import firstLines, named
from isonet_scipion.protocols.record import identityOf, isIdentityOf, recordErrors
from isonet_scipion.protocols.refused import EngineFailure, refusal
from isonet_scipion.protocols.set_checks import correctedWarnings, idErrors, isOpen, kindErrors
from isonet_scipion.protocols.tomogram_steps import ProtIsoNetSteps

if TYPE_CHECKING:
    from pwem.objects import EMObject
    from pyworkflow.protocol import Form

logger = logging.getLogger(__name__)

FAILED_OUTPUT = "failedTomograms"
DISK_FULL = (os.strerror(errno.ENOSPC), "disk space")  # in the engine's errors
LOST = "are listed, but their files are gone. *Restart* makes everything anew"


class ProtIsoNetTomograms(ProtIsoNetSteps):
    """A stage over tomograms, in streaming: each has its own step, table and output item, so one can fail alone.

    Done is what is in the output: Continue works on the rest, also on what failed.
    """

    _possibleOutputs = {"tomograms": SetOfTomograms, FAILED_OUTPUT: SetOfTomograms}
    OUTPUT = "tomograms"
    OUTPUT_CLASS: type[EMSet] = SetOfTomograms

    def _addTomogramsParam(self, form: Form, help: str) -> None:
        form.addParam(
            "inputTomograms",
            PointerParam,
            pointerClass="SetOfTomograms",
            important=True,
            label="Tomograms",
            help=help + " Protein is dark in them, and the tilt axis is along y.",
        )
        addContrast(form)

    def _addHalvesParam(self, form: Form, default: bool, help: str) -> None:
        form.addParam("processHalves", BooleanParam, default=default, label="Also the half tomograms?", help=help)

    def _addRunningParams(self, form: Form, **threads: int) -> None:
        """The last two pages; with three threads one waits for tomograms and one works on them."""
        form.addSection(label="Streaming")
        form.addParam(
            "streamingSleepOnWait",
            IntParam,
            default=10,
            label="Look for new tomograms every (seconds)",
            help="How often to look while the input set is still growing.",
        )
        form.addParallelSection(threads=3, mpi=0, **threads)

    # ---------------------------------------------------------------- to be filled in by each stage

    def _partners(self, tomograms: Mapping[str, Tomogram]) -> dict[str, Any]:
        """What goes with each tomogram; those that are left out, or have to wait for it, are not there."""
        return dict.fromkeys(tomograms)

    def _tomogramErrors(self, tomograms: Mapping[str, Tomogram]) -> list[str]:
        """What some tomograms lack of what the form asks for: of all that are there, or of one in its turn."""
        return []

    def _unclearErrors(self) -> list[str]:
        """Which items of the inputs can't be told apart."""
        return idErrors("Tomograms", self.inputTomograms.get())

    def _needsHalves(self) -> bool:
        """Whether a tomogram fails without the files of the halves that it has."""
        return False

    def _process(self, tomogram: Tomogram, partner: Any) -> None:
        """Run the engine on one tomogram and append what it gives to the output."""
        raise NotImplementedError

    # ---------------------------------------------------------------- steps

    def _insertAllSteps(self) -> None:
        self._tellWarnings()
        self._keepValues()
        super()._insertAllSteps()

    def stepsGeneratorStep(self) -> None:
        """As for any steps of tomograms; no failure of a former run is told."""
        self._failed: dict[str, str] = {}
        self._tellFailures()
        self._ctfStates: States = {}
        super().stepsGeneratorStep()

    def _newTomograms(self) -> dict[str, tuple[Tomogram, object]]:
        """Those that can be worked on, and were not yet, with their partners."""
        seen = {None, *self._doneIds(), *self._tomograms}
        new = {tsId: tomogram for tsId, tomogram in self._tomogramsById().items() if tsId not in seen}
        if new:
            self._ctfStates = ctfStates(self)
        partners = self._partners(new) if new else {}
        return {tsId: (tomogram, partners[tsId]) for tsId, tomogram in new.items() if tsId in partners}

    def _processOne(self, tsId: str) -> None:
        """Process one tomogram; a failure is noted and leaves the others alone."""
        tomogram, partner = self._tomograms[tsId]
        try:
            lacking = self._tomogramErrors({tsId: tomogram})
            if lacking:  # it came after the form was checked
                raise EngineFailure(lacking[0])
            if self._needsHalves():
                requireHalves(tomogram)
            self._process(tomogram, partner)
        except Exception as error:
            refused = refusal(error, self.getPath())
            reason = str(refused or error)
            if isinstance(error, sqlite3.OperationalError) or any(words in reason for words in DISK_FULL):
                if refused is None:
                    raise
                raise refused from error  # the others would fail as well
            if not isinstance(error, (EngineFailure, EngineError)):
                self.error(traceback.format_exc())
                if refused is None:  # what is wrong in one may be right in the others
                    reason = _unexpected(error)
            self.error(f"{tsId}: {reason}")
            with self._lock:
                self._failed[tsId] = reason
                self._tellFailures()

    @retry_on_sqlite_lock(log=logger)
    def _tellFailures(self) -> None:
        """Store which tomograms failed so far, and why, for the summary: their set is made when all are done."""
        self.summaryVar.set("\n".join(f"*{tsId} failed*: {reason}" for tsId, reason in self._failed.items()))
        self._store(self.summaryVar)

    def closeStep(self) -> None:
        """Put the tomograms that failed into a set of their own; fail if there are no others."""
        self._closeOutputSet()
        self._tellWarnings()
        done = self._doneIds()
        failed = {tsId: self._failed[tsId] for tsId in self._tomograms if tsId in self._failed}
        left = [tsId for tsId in self._tomogramsById() if tsId not in {None, *done, *failed}]
        if left:
            self.info(f"Skipped because their mask, CTF or coordinates were missing: {', '.join(left)}.")
        if not done:
            without = [] if self._tomogramsById() else self._emptyErrors()
            first, *rest = failed.values() or without or ["None of the tomograms had all required inputs."]
            raise EngineFailure(first + (f" ({len(rest)} more failed, see the log)" if rest else ""))
        # the one of a former run is made again, if only to be empty: Scipion's window keeps outputs that are deleted
        if failed or hasattr(self, FAILED_OUTPUT):
            output = SetOfTomograms.create(self._getPath(), prefix="failed")
            copySetInfo(output, self.inputTomograms.get())
            for tsId, reason in failed.items():
                tomogram = self._tomograms[tsId][0].clone()
                tomogram.setObjComment(reason)
                # Scipion's sets of tomograms look at each one's size, which not all files have
                append = output.append if self._voxels(tsId) else partial(EMSet.append, output)
                append(tomogram)
            output.write()
            self._defineOutputs(**{FAILED_OUTPUT: output})
            self._defineSourceRelation(self.inputTomograms, output)
        unclear = self._unclearErrors()
        if unclear:  # they came after the form was checked
            raise EngineFailure(unclear[0])

    # ---------------------------------------------------------------- helpers of the stages

    def _table(self, tsId: str) -> str:
        return self._getExtraPath(f"{fileName(tsId)}.star")

    def _sourceOf(self, tomogram: Tomogram, partner: Any, halves: bool) -> list[object]:
        """What a tomogram's results are made from, apart from the form's values, and its `halves`; for `identityOf`."""
        return [tomogram, self._optics(tomogram), list(map(Path, halfMaps(tomogram) if halves else ())), partner]

    def _writeTable(self, tomogram: Tomogram, halves: bool = False, ownHalves: bool = False, **columns: Any) -> str:
        """Write the table of one tomogram, with a row for each half map, or their names in its own, if asked."""
        tsId, rate = tomogram.getTsId(), tomogram.getSamplingRate()
        source = identityOf(*self._sourceOf(*self._tomograms[tsId], halves or ownHalves))
        own, names, shown = fileName(tsId), halfNames(tsId), shownNames(tsId)
        pairs = zip(names, halfMaps(tomogram) if ownHalves else ())
        ownFiles = [asMrc(path, self._getTmpPath(f"{name}.mrc"), rate) for name, path in pairs]
        files = {own: fileOf(tomogram)}
        if halves:
            files.update(zip(names, halfMaps(tomogram)))
        rows = [
            tomogramRow(
                name,
                asMrc(path, self._getTmpPath(f"{name}.mrc"), rate),
                rate,
                self._optics(tomogram),
                # distinct among all tables, since the engine's random numbers depend on it
                len(files) * tomogram.getObjId() + place,
                ctfState=self._ctfStates.get(tsId),
                isInverted=self.isInverted.get(),
                halves=ownFiles if name == own else [None] * len(ownFiles),
                source=source,
                shownName=shown[name],
                **columns,
            )
            for place, (name, path) in enumerate(files.items())
        ]
        writeTable(self._table(tsId), rows)
        return self._table(tsId)

    def _tables(self) -> tuple[dict[str, Star], list[str]]:
        """The tables of the tomograms that are done, by tsId, and why others can't be read; none that are gone."""
        paths = {tsId: self._table(tsId) for tsId in sorted(self._doneIds())}
        tables, errors = readAll(read_star, paths.values())
        return {tsId: tables[path] for tsId, path in paths.items() if path in tables}, errors

    def _optics(self, tomogram: Tomogram) -> Optics:
        return readOptics(tomogram.getAcquisition(), ownAcquisition(self.inputTomograms.get()))

    def _halfFiles(self, label: str, tsId: str) -> list[str]:
        """What the engine made of the half maps, if they were asked for."""
        isAsked = self.processHalves and halfMaps(self._tomograms[tsId][0])
        names = halfNames(tsId) if isAsked else ()
        return [self._outputFile(label, tsId, name) for name in names]

    def _outputFile(self, label: str, tsId: str, name: str = "") -> str:
        """What the engine made of a tomogram, or of the half map of this base name."""
        name = name or fileName(tsId)
        rate = self._tomograms[tsId][0].getSamplingRate()
        return self._requireOutput(outputFile(self._table(tsId), label, name, rate), f"The output for {name}")

    @retry_on_sqlite_lock(log=logger)
    def _append(self, *items: Tomogram, name: str | None = None) -> None:
        """Append items to the output, or to another of the same class, which is made with the first one."""
        with self._lock:
            output = self._openOutput(name or self.OUTPUT, self.OUTPUT_CLASS)
            try:
                taken = set() if output.isEmpty() else output.getIdSet()
                for item in items:
                    if item.getObjId() in taken:  # by one of a version that did not keep the inputs' ids
                        item.setObjId(None)
                    output.append(item)
                output.write()
                self._store(output)
            finally:
                output.close()

    def _openOutput(self, name: str, setClass: type[EMSet]) -> EMSet:
        output = getattr(self, name, None)
        if output is not None:
            if not hasItems(output):  # a kill or a full disk left tables without a row, after which Scipion can't count
                output.clear()
            output.enableAppend()
            # Continue goes on with what was closed; a thread that outlasts a failure adds to what stays closed
            output.setStreamState(Set.STREAM_CLOSED if self.isFailed() else Set.STREAM_OPEN)
            return output
        output = setClass.create(self._getPath(), prefix=name)
        if isinstance(output, SetOfTomograms):
            copySetInfo(output, self.inputTomograms.get())
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

    def _hasResults(self) -> bool:
        return bool(self._doneIds())

    def _doneIds(self) -> set[str]:
        output = getattr(self, self.OUTPUT, None)
        return set(output.getTSIds()) if hasItems(output) else set()

    def _tomogramsById(self) -> dict[str, Tomogram]:
        """Those to work on: what is disabled in the set is left out."""
        tomograms = self.inputTomograms.get()
        return {tomogram.getTsId(): tomogram.clone() for tomogram in enabled(tomograms)}

    def _disabledIds(self) -> list[str]:
        """Those that are left out, in words for those without tsId; what was done before it was disabled is not."""
        tomograms, done = self.inputTomograms.get(), self._doneIds()
        left = [item.getTsId() for item in (() if tomograms is None else tomograms) if not item.isEnabled()]
        return [tsId or "one without tilt series ID (tsId)" for tsId in left if tsId not in done]

    def _goneIds(self) -> list[str]:
        """Those that are done, but that the input holds no longer, as where it was made again."""
        tomograms = self.inputTomograms.get()
        if tomograms is None:
            return []
        known = tomograms.getTSIds() if hasItems(tomograms) else ()
        return sorted(self._doneIds().difference(known))

    def _lostIds(self) -> list[str]:
        """Those that are done, but whose files were deleted since: Continue does not make them again."""
        output = getattr(self, self.OUTPUT, None)
        items = itemsOf(output) if hasItems(output) else ()
        lost = [self._idOf(item) for item in items if not os.path.exists(plainPath(item.getFileName()))]
        return list(dict.fromkeys(lost))

    @staticmethod
    def _idOf(item: EMObject) -> str:
        """The tsId of the tomogram that an item of the output is of."""
        return item.getTsId()

    # ---------------------------------------------------------------- checks and texts

    def _remadeErrors(self) -> list[str]:
        tables, _ = self._tables()
        sources, evens = cells(tables, SOURCE_LABEL), cells(tables, HALF_LABELS[0])
        made = {tsId: source for tsId, source in sources.items() if source is not None}
        tomograms = {tsId: tomogram for tsId, tomogram in self._tomogramsById().items() if tsId in made}
        partners = self._partners(tomograms)
        other = []
        for tsId in partners:
            # former versions left halves out where they are not needed
            kinds = {self._needsHalves(), self._needsHalves() or evens[tsId] is not None}
            with suppress(EngineError):  # a file that is gone does not tell
                now = [self._sourceOf(tomograms[tsId], partners[tsId], halves) for halves in kinds]
                if not any(isIdentityOf(made[tsId], *source) for source in now):
                    other.append(tsId)
        if not other:
            return []
        return [
            f"What is done of {named(other)} was made from other data than the inputs hold now, as where a "
            "protocol before this one was restarted. *Restart* makes everything anew."
        ]

    def _fileErrors(self) -> dict[str, str]:
        """Which tomograms will fail for their files, and why, by tsId."""
        return fileErrors(enabled(self.inputTomograms.get()), self._needsHalves())

    def _inputErrors(self) -> list[str]:
        tomograms = self.inputTomograms.get()
        ids = enabledIds(tomograms)
        errors = kindErrors("Tomograms", tomograms) or self._unclearErrors()
        if errors:
            return errors
        if not ids and not isOpen(self.inputTomograms):
            return self._emptyErrors()
        unreadable = list(self._fileErrors().values())
        if ids and len(unreadable) == len(ids):
            return [f"None of the tomograms can be read. The first: {unreadable[0]}"]
        return []

    def _emptyErrors(self) -> list[str]:
        """Why there is no tomogram to work on."""
        isEmpty = self.inputTomograms.get().isEmpty()
        return ["*Tomograms* is empty." if isEmpty else "*Tomograms*: all of the set are disabled."]

    def _warnings(self) -> list[str]:
        # the others are worked on all the same
        failing = [f"{tsId} will fail: {error}" for tsId, error in self._fileErrors().items()]
        warnings = firstLines(failing, "will fail for their files, too.")
        warnings += self._correctedWarnings()
        lost = self._lostIds() if self.runMode != MODE_RESTART else []
        if lost:
            warnings.append(f"The results of {named(lost)} {LOST}; *Continue* does not.")
        growing = [name for name in self._matched() if isOpen(getattr(self, name))]
        if growing and self.numberOfThreads.get() < 3:
            labels = ", ".join(f"*{labelOf(self, name)}*" for name in growing)
            warnings.append(
                f"{labels}: more are still to come. With less than 3 threads the work begins when all are there."
            )
        return warnings + self._gpuWarnings()

    def _correctedWarnings(self) -> list[str]:
        """That this would take a network's results for data."""
        return correctedWarnings("Tomograms", self.inputTomograms.get())

    def _gpuWarnings(self) -> list[str]:
        gpus = self.getGpuList() if self._needsGpu() else []
        if len(gpus) < 2 or self.numberOfThreads.get() > 1:
            return []
        # Scipion then runs step after step
        return [
            f"*{labelOf(self, 'numberOfThreads')}*: with 1 only one of the {len(gpus)} GPUs is used. With 2 or more "
            "each of them works on a tomogram of its own."
        ]

    def _summary(self) -> list[str]:
        output = getattr(self, self.OUTPUT, None)
        if not hasItems(output):
            return ["No output yet.", *self._failures()]
        tables, damaged = self._tables()
        lines, disabled = self._results(output, tables), self._disabledIds()
        if disabled:
            lines.append(f"Skipped, as they are disabled in the set: {named(disabled)}.")
        lines += self._leftOut()
        if hasEnded(self):
            lines += partialWarnings(self)
        gone = self._goneIds()
        if gone:
            lines.append(f"Also done, but no longer in *Tomograms*: {named(gone)}.")
        lost = self._lostIds()
        if lost:
            lines.append(f"*Missing*: the results of {named(lost)} {LOST}.")
        lines += self._failures() + damagedLines(damaged + recordErrors(self))
        return lines + self._engineWarnings()

    def _leftOut(self) -> list[str]:
        """Which tomograms were not worked on by a run that has ended, and why, for the summary."""
        tomograms, failed = self.inputTomograms.get(), getattr(self, FAILED_OUTPUT, None)
        if not self.isFinished() or tomograms is None:
            return []
        known = {None, *self._doneIds(), *(failed.getTSIds() if hasItems(failed) else ())}
        left = [tsId for tsId in enabledIds(tomograms) if tsId not in known]
        if not left:
            return []
        given = [f"*{labelOf(self, name)}*" for name in self._matched()[1:] if getattr(self, name).get() is not None]
        lacking = f"there is nothing for them in {' or '.join(given)}, or " if given else ""
        return [f"Not worked on: {named(left)}: {lacking}they came after this run, in which case *Continue* does."]

    def _failures(self) -> list[str]:
        """Which tomograms failed, and why, for the summary."""
        if self.isLaunched() or self.isScheduled():  # what is stored is of a former run, also the set in one that works
            return []
        failed = getattr(self, FAILED_OUTPUT, None)
        if failed is None or not self.isFinished():
            lines = (self.summaryVar.get() or "").splitlines()
        elif failed.isEmpty():
            lines = []
        else:
            lines = [f"*{item.getTsId()} failed*: {item.getObjComment()}" for item in failed]
        return firstLines(lines, "failed, too: see the run's log.")

    def _results(self, output: EMSet, tables: Mapping[str, Star]) -> list[str]:
        """The summary's lines, with the numbers that matter; `tables`: what the results were made from, by tsId."""
        return [f"{self._ofInput(output.getSize())} done."]

    def _ofInput(self, number: int) -> str:
        """A number of tomograms, and of how many, unless the input's link was removed after the run, in words.

        What the input holds no longer is not counted.
        """
        tomograms = self.inputTomograms.get()
        if tomograms is None:
            return counted(number, "tomograms")
        return f"{number - len(self._goneIds())} of {counted(tomograms.getSize(), 'tomograms')}"


def cells(tables: Mapping[str, Star], label: str) -> dict[str, str | None]:
    """What the tables of single tomograms have in a column, by tsId; None where they have nothing."""
    return {tsId: star.text(star.rows[0], label) if star.rows else None for tsId, star in tables.items()}


def _unexpected(error: Exception) -> str:
    """An error that nobody foresaw, with its place; in one line."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(place.filename)}, line {place.lineno}"
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{what} ({where}). This was not expected: please report it, with the traceback in the run's log."
