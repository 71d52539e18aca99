"""Correction of whole tomograms with a trained network."""

from __future__ import annotations

import os
import shlex
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from pwem.convert.headers import setMRCSamplingRate
from tomo.objects import SetOfTomograms

from isonet_scipion.constants import DEFOCUS_SOURCE_LABEL, SCALE_ATTRIBUTE
from isonet_scipion.convert.acquisition import Optics, ownAcquisition, setTilts
from isonet_scipion.convert.files import asMrc, fileName, fileOf, halfMaps, halfNames, halvesError, plainPath
from isonet_scipion.convert.outputs import processedTomogram, reportNumbers, setReport, setScale
from isonet_scipion.convert.sets import hasItems
from isonet_scipion.engine.conventions import REPORT_PAGE
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.confidence_file import confidence_path
from isonet_scipion.engine.io.files import content_digest
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.page_cache import read_through
from isonet_scipion.engine.io.refine_json import MODEL_SUFFIXES, model_name
from isonet_scipion.engine.io.report_file import TomogramReport, read_report, report_path
from isonet_scipion.engine.io.shown import require_halves
from isonet_scipion.engine.io.tomogram_entry import CORRECTED_BY, CTF_STATE, require_alike_halves
from isonet_scipion.engine.network.model_file import BUILTIN, model_path, read_metadata
from isonet_scipion.engine.serving import NAME as SERVE
from isonet_scipion.engine.settings.correction import PredictSettings
from isonet_scipion.plugin import Plugin
from isonet_scipion.protocols.base import damagedLines, readAll
from isonet_scipion.protocols.ctf_history import statesInWords
from isonet_scipion.protocols.defocus import phaseRemarks, sourcedDefoci, usedDefocus
from isonet_scipion.protocols.engine_workers import IDLE_SECONDS, EngineWorkers
from isonet_scipion.protocols.form import addOption, addTiltRange, labelOf, tiltErrors
from isonet_scipion.protocols.listing import firstLines, named, remarkLines
from isonet_scipion.protocols.model_checks import (
    ctfErrors,
    ctfWarnings,
    halvesErrors,
    samplingErrors,
    tileErrors,
    tiltWarnings,
    unfinishedErrors,
)
from isonet_scipion.protocols.predict_form import (
    addConfidence,
    addCtf,
    addGreyValues,
    addModel,
    addTiles,
    engineOptions,
)
from isonet_scipion.protocols.restored import halvesLines, restoredLines, worthTraining
from isonet_scipion.protocols.set_checks import isOpen
from isonet_scipion.protocols.streaming import ProtIsoNetTomograms, cells
from isonet_scipion.protocols.training_base import ProtIsoNetTraining, methodCitations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyworkflow.object import Pointer
    from pyworkflow.protocol import Form
    from tomo.objects import Tomogram

    from isonet_scipion.engine.io.model_metadata import ModelMetadata
    from isonet_scipion.engine.io.star import Star

HALVES_THEMSELVES = "The even and odd half tomograms of the output were corrected separately."
WITHOUT_HALVES = "worked on without its halves, by which noise is told from signal"
BUILTIN_IN_WORDS = "the builtin model"
OF_FORMER_VERSION = (
    "What is corrected so far was corrected by version 1.0.0 of this plugin, in another way. *Restart* corrects all "
    "anew; or correct a *subset* of what is missing in a new protocol."
)
STRICTER_TEST = (
    "Do not compare the restored wedge correlation with that of the builtin model: a network that was trained on the "
    "tomograms gets a stricter test."
)


class ProtIsoNetPredict(ProtIsoNetTomograms):
    """Fill the missing wedge of whole tomograms, and remove noise, with a trained network.

    The result is for looking, picking and segmenting. Compare every feature with the tomogram before correction.
    """

    _label = "correct tomograms"
    CONFIDENCE = "confidenceVolumes"
    _possibleOutputs = {**ProtIsoNetTomograms._possibleOutputs, CONFIDENCE: SetOfTomograms}
    MATCHED = ("inputCtfs",)
    FREE = ("batchSize",)

    def __init__(self, **kwargs: object) -> None:
        """Nothing runs yet."""
        super().__init__(**kwargs)
        self._workers = EngineWorkers()
        self._readAhead: set[str] = set()  # tsIds

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        self._addGpuParams(form)
        self._addTomogramsParam(form, "Tomograms to correct, of the kind that the network was trained on.")
        addModel(form)
        addCtf(form)
        self._addHalvesParam(
            form,
            False,
            "Correct the even and odd half tomograms too, in the same way, for programs that need them.",
        )
        addTiltRange(form, "each tomogram's")
        addConfidence(form)
        addTiles(form)
        addGreyValues(form)
        addOption(form, PredictSettings, "check_axes", "Check the axes?", expert=True)
        addOption(form, PredictSettings, "precision", "Precision", expert=True)
        self._addRunningParams(form)

    def _partners(self, tomograms: Mapping[str, Tomogram]) -> dict[str, tuple[float | None, str | None]]:
        """The defocus that a CTF-aware model needs, and where it is from."""
        if not self._metadata().ctf_aware:
            return dict.fromkeys(tomograms, (None, None))
        sourced = sourcedDefoci(self, tomograms, isOpen(self.inputCtfs))
        return {tsId: pair for tsId, pair in sourced.items() if pair[0] is not None}

    def _tomogramErrors(self, tomograms: Mapping[str, Tomogram]) -> list[str]:
        unknown = [tsId for tsId, tomogram in tomograms.items() if not self._optics(tomogram).hasTilts]
        errors = samplingErrors(self, tomograms) + tiltErrors(self, named(unknown))
        return errors + halvesErrors(self, tomograms)

    def _needsHalves(self) -> bool:
        try:
            return self.processHalves.get() or self._metadata().halves
        except EngineError:  # of the model, which is told where that is checked
            return False

    def _process(self, tomogram: Tomogram, partner: tuple[float | None, str | None]) -> None:
        tsId, (defocus, source) = tomogram.getTsId(), partner
        without = None if self._needsHalves() else halvesError(tomogram) or self._impossibleHalves(tomogram)
        if without:
            self.warning(f"{tsId}: {WITHOUT_HALVES}: {without}")
        table = self._writeTable(
            tomogram,
            halves=self.processHalves.get(),
            ownHalves=not without,  # the report also takes them, to allow for noise
            defocus=defocus,
            defocusSource=source,
        )
        options = {"output_dir": self._getExtraPath(), **engineOptions(self)}
        if self._needsGpu():
            threading.Thread(target=self._readNext, daemon=True).start()
        self._runEngine("predict", [table, self._modelFile()], options, name=tsId)
        halves = self._halfFiles("rlnCorrectedTomoName", tsId)
        path = self._outputFile("rlnCorrectedTomoName", tsId)
        ctfCorrected = tomogram.ctfCorrected() or self._metadata().ctf_aware
        corrected = processedTomogram(tomogram, path, ctfCorrected, halves)
        remarks = [f"{WITHOUT_HALVES}: {without}"] if without else []
        if self._metadata().ctf_aware:
            with self._lock:  # another thread may be reading the CTFs
                remarks += phaseRemarks(self, tsId)
        corrected.setObjComment("; ".join(remarks))
        report = self._requireOutput(str(report_path(path)), f"The report on {tsId}")
        setReport(corrected, report)
        # which the form may have given: the next protocol needs it too
        setTilts(corrected, self._optics(tomogram), ownAcquisition(self.inputTomograms.get()))
        setScale(corrected, self._table(tsId))
        if self.confidence:
            self._appendConfidence(tomogram, str(confidence_path(path)))
        self._append(corrected)

    def _readNext(self) -> None:
        """Read the files of the next tomogram that nobody has begun with, while this one is on the GPU."""
        tsId = self._nextWaiting(self._readAhead)
        if tsId is not None:
            self._readAhead.add(tsId)
            tomogram = self._tomograms[tsId][0]
            for path in (tomogram.getFileName(), *halfMaps(tomogram)):
                read_through(plainPath(path))

    def _impossibleHalves(self, tomogram: Tomogram) -> str | None:
        """Why the engine would refuse the voxels of a tomogram's halves, without a remedy; None where it would not."""
        tsId, rate, halves = tomogram.getTsId(), tomogram.getSamplingRate(), halfMaps(tomogram)
        if not halves:
            return None
        files = zip((fileName(tsId), *halfNames(tsId)), (fileOf(tomogram), *halves))
        try:
            whole, *opened = (open_volume(asMrc(path, self._getTmpPath(f"{name}.mrc"), rate)) for name, path in files)
            require_halves(opened, whole)
            require_alike_halves(whole.path, [half.path for half in opened], self._ctfStates.get(tsId))
        except EngineError as error:
            return f"{error.what}: {error.why}"
        return None

    def _appendConfidence(self, tomogram: Tomogram, path: str) -> None:
        """Append a confidence volume to its set; there is none of a tomogram that is too small."""
        with self._lock:  # looking opens the set anew, which another thread may be writing
            known = getattr(self, self.CONFIDENCE, None)
            # in the set, but not done: the run ended between the two
            has = hasItems(known) and tomogram.getTsId() in known.getTSIds()
        if os.path.exists(path) and not has:
            self._append()  # the set of tomograms: Scipion fills in the next form with the first output of its kind
            setMRCSamplingRate(path, tomogram.getSamplingRate())
            self._append(processedTomogram(tomogram, path, tomogram.ctfCorrected()), name=self.CONFIDENCE)

    def _runHere(self, words: Sequence[str], environ: dict[str, str]) -> int:
        """In a process that goes on for further tomograms; each GPU has its own."""
        gpus = ",".join(map(str, self._stepsExecutor.getGpuList())) if self.usesGpu() else ""
        command = shlex.split(Plugin.engineCommand())
        words = [*words, *(["--gpuID", gpus] if gpus else [])]
        self.info(f"** Running command: **\n{shlex.join([*command, *words])}")
        with self._workers.lent(gpus, [*command, SERVE, self.workingDir.get()], environ) as worker:
            return worker.run(words)

    def _stepsCheck(self) -> None:
        super()._stepsCheck()
        self._workers.endIdle(IDLE_SECONDS)

    def closeStep(self) -> None:
        """As elsewhere; the engines are needed no more."""
        self._workers.endIdle()
        super().closeStep()

    def _awaitsCtfAware(self) -> bool:
        """Whether the model is linked but not there yet, and its training is to make a CTF-aware one."""
        return bool(getattr(self.model.getObjValue(), "ctfAware", False))

    def _metadata(self) -> ModelMetadata:
        """What the model's file says, for example whether it learned from halves, which are then taken."""
        return read_metadata(self._modelFile())

    def _modelFile(self) -> str:
        """The model's file, or that of the chosen iteration beside it; the builtin model's name where none is given."""
        if self.model.get() is None:
            return BUILTIN
        path = self.model.get().getFileName()
        if self.iteration.get() is None:
            return path
        stem = os.path.join(os.path.dirname(os.path.realpath(path)), model_name(self.iteration.get()))
        files = [f"{stem}.{suffix}" for suffix in sorted(MODEL_SUFFIXES, key=path.endswith, reverse=True)]
        return next(filter(os.path.exists, files), files[0])

    def _optics(self, tomogram: Tomogram) -> Optics:
        return super()._optics(tomogram).withTilts(self.tiltMin.get(), self.tiltMax.get())

    def _sources(self) -> list[Pointer]:
        return [self.inputTomograms, self.model, *([self.inputCtfs] if self._metadata().ctf_aware else [])]

    # ---------------------------------------------------------------- checks and texts

    def _inputErrors(self) -> list[str]:
        errors = super()._inputErrors() + unfinishedErrors(self)
        model = self.model.get()
        if model is None and self.iteration.get() is not None:
            other = labelOf(self, "model")
            errors.append(f"*Iteration*: the builtin model has only one. Leave it empty, or fill in *{other}*.")
        if not model_path(self._modelFile()).exists():
            return [*errors, f"The model's file is missing: {self._modelFile()}."]
        try:
            metadata = self._metadata()
            divisor = max(metadata.network.divisor)
        except EngineError as error:
            return [*errors, f"*{labelOf(self, 'model')}*: {error}"]
        errors += ctfErrors(self, metadata) if metadata.ctf_aware else []
        errors += tileErrors(self, divisor)
        return errors + self._tomogramErrors(self._tomogramsById())

    def _remadeErrors(self) -> list[str]:
        """Also of the model, as where its training was restarted since, and of version 1.0.0's results."""
        if not self.tomograms.getFirstItem().hasAttribute(SCALE_ATTRIBUTE):  # as all of this version have
            return [OF_FORMER_VERSION]
        errors = super()._remadeErrors()
        own = content_digest(model_path(self._modelFile()), "model")
        tables, _ = self._tables()
        others = [tsId for tsId, digest in cells(tables, CORRECTED_BY).items() if digest not in (None, own)]
        if not others:
            return errors
        return [
            *errors,
            f"*{labelOf(self, 'model')}*: its file has changed since {named(others)} were corrected with it. *Restart* "
            "corrects all anew.",
        ]

    def _warnings(self) -> list[str]:
        tomograms = self._tomogramsById()
        warnings = super()._warnings()
        with suppress(EngineError):  # of the model, told where that is checked
            metadata = self._metadata()
            warnings += tiltWarnings(self, metadata, tomograms) + ctfWarnings(self, metadata, tomograms)
        isTold = self._needsHalves()  # that it will fail
        wrong = {} if isTold else {tsId: halvesError(tomogram) for tsId, tomogram in tomograms.items()}
        lines = [f"{tsId}: {WITHOUT_HALVES}: {error}." for tsId, error in wrong.items() if error]
        return warnings + firstLines(lines, f"{WITHOUT_HALVES}, too.")

    def _results(self, output: SetOfTomograms, tables: Mapping[str, Star]) -> list[str]:
        labels = DEFOCUS_SOURCE_LABEL, "rlnDefocus", CTF_STATE
        sources, defoci, states = (cells(tables, label).values() for label in labels)
        lines, (reports, damaged) = super()._results(output, tables), self._reports()
        lines.append(f"Network: {self._usedModel(reports)}.")
        lines += self._usedHalves(reports)
        lines += remarkLines(output)
        if any(sources):
            lines.append(usedDefocus(defoci, sources))
            lines.append(statesInWords(states, self._toldState()))
        numbers = {tomogram.getTsId(): reportNumbers(tomogram) for tomogram in output}
        lines += restoredLines(numbers)
        if self._isBuiltin():
            lines.append(worthTraining(numbers.values()))
        elif reports and not self._appliesBuiltin():
            lines.append(STRICTER_TEST)
        page = os.path.abspath(self._getExtraPath(REPORT_PAGE))
        if not os.path.exists(page):
            lines.append(f"*Missing*: the report of the run, {page}, was deleted or not written.")
        else:  # Scipion's links hold no such characters
            lines.append(f"Report: {page}" if "]" in page else f"[[{page}][Open the report]]")
        return lines + damagedLines(damaged)

    def _methods(self) -> list[str]:
        if not self._hasResults():
            return []
        if self._appliesBuiltin():
            how = "a network that was trained on simulated tomograms (the builtin model of the plugin)"
        else:
            cited = ", ".join(f"[{key}]" for key in self._citations())
            reports, _ = self._reports()
            how = f"a trained network {cited} ({self._usedModel(reports)})"
        return [f"The missing wedge of the tomograms was filled with {how}."]

    def _citations(self) -> list[str]:
        """What the network was trained by; the builtin model by nothing that is published."""
        if self._appliesBuiltin():
            return []
        training = self.model.getObjValue()
        if self.model.get() is None:  # it is linked but not there yet, or its link was removed
            return training._citations() if isinstance(training, ProtIsoNetTraining) else super()._citations()
        try:
            metadata = self._metadata()
        except EngineError:
            return super()._citations()
        return methodCitations(metadata.kept_beyond is not None, metadata.ctf_aware)

    def _isBuiltin(self) -> bool:
        return self._used("model") is None

    def _appliesBuiltin(self) -> bool:
        """Whether the network is the builtin one, or a copy that no training has changed."""
        if self._isBuiltin() or self.model.get() is None:
            return self._isBuiltin()
        try:
            return self._metadata().simulated
        except EngineError:
            return False

    def _usedModel(self, reports: Sequence[TomogramReport]) -> str:
        """The model's file name that the reports say, and its iteration; without a report, what the link says."""
        if not reports:
            if self._isBuiltin():
                return BUILTIN_IN_WORDS
            return (
                "a model that is no longer there" if self.model.get() is None else os.path.basename(self._modelFile())
            )
        report = reports[0]
        if report.model == BUILTIN:
            return BUILTIN_IN_WORDS
        # that of iteration 0 says itself what it is
        return report.model + (f", iteration {report.iteration}" if report.iteration else "")

    def _toldState(self) -> str | None:
        """What the training of the model was told of the CTF of its tomograms; None also where its file is gone."""
        try:
            return self._metadata().ctf_state
        except EngineError:
            return None

    def _reports(self) -> tuple[list[TomogramReport], list[str]]:
        """Those of the output, and why others can't be read; none that are gone."""
        output = getattr(self, self.OUTPUT, None)
        paths = [] if output is None else [str(report_path(tomogram.getFileName())) for tomogram in output]
        reports, errors = readAll(read_report, paths)
        return list(reports.values()), errors

    def _usedHalves(self, reports: Sequence[TomogramReport]) -> list[str]:
        """What was made of the half tomograms, in one line; none where they were not corrected."""
        lines = halvesLines([report.of_halves for report in reports])
        return lines + ([HALVES_THEMSELVES] if self._used("processHalves") and lines else [])
