"""What the training protocols share."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from isonet_scipion.convert.acquisition import Optics, ownAcquisition, readOptics
from isonet_scipion.convert.rows import writeTable
from isonet_scipion.convert.sets import enabled
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.losses import read_losses
from isonet_scipion.engine.io.refine_json import chosen_model
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.measure.history import AT_CHANCE, stayed_at_chance
from isonet_scipion.engine.network.model_file import BUILTIN, STATE_FILE, read_metadata
from isonet_scipion.engine.process.progress import clock
from isonet_scipion.engine.wording import counted
from isonet_scipion.objects import IsoNetModel
from isonet_scipion.protocols.base import ProtIsoNetBase, damagedLines, readAll
from isonet_scipion.protocols.form import optionValues, tiltErrors
from isonet_scipion.protocols.record import identityOf, recordErrors
from isonet_scipion.protocols.refused import EngineFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pwem.objects import EMObject
    from pyworkflow.object import Pointer
    from pyworkflow.protocol import Form
    from tomo.objects import SubTomogram, Tomogram

    from isonet_scipion.engine.io.star import Star
    from isonet_scipion.engine.measure.history import EpochRecord
    from isonet_scipion.engine.settings.training import TrainingSettings


SECONDS_BETWEEN_LOOKS = 5.0  # for a new model


def methodCitations(isOnePass: bool, isCtfAware: bool) -> list[str]:
    """What a way of training is after."""
    if not isOnePass:
        return ["Liu2022"]
    return ["Wiedemann2024", *(["Liu2025"] if isCtfAware else [])]


class ProtIsoNetTraining(ProtIsoNetBase):
    """Trains a network on a set of items; a subclass says which, and by which settings."""

    _possibleOutputs = {"model": IsoNetModel}
    FREE = ("iterations", "patience", "removeIntermediate")  # as the engine's run.FREE
    settings: type[TrainingSettings]  # of the method
    items: str  # what it learns from, in the plural
    table: str  # name of its table

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        self._addGpuParams(form)
        self._addInput(form)
        form.addSection(label="Training")
        self._addTraining(form)
        form.addParallelSection(threads=4, mpi=0)

    # ---------------------------------------------------------------- steps

    def _insertAllSteps(self) -> None:
        self._tellWarnings()
        self._keepValues()
        # done again where a run without results is continued with other values or inputs
        self._insertFunctionStep(self.convertInputStep, identityOf(self._rows(isPlaced=False)), needsGPU=False)
        # with its number of iterations raised, a finished run goes on when it is continued
        iterations = self._iterations()
        self._insertFunctionStep(self.refineStep, iterations, needsGPU=self._needsGpu())
        self._insertFunctionStep(self.createOutputStep, iterations, needsGPU=False)

    def convertInputStep(self, rows: str) -> None:
        """Write the table of what is learned from; `rows` are digits that tell what is in it."""
        writeTable(self._table(), self._rows())

    def refineStep(self, iterations: int) -> None:
        """Train; started again in the same folder, the engine goes on where it stopped."""
        options = self._options()
        options.update(
            {
                "method": self.settings.method,
                "result_dir": self._resultFolder(),
                "preprocessing_ncpus": self.numberOfThreads.get(),
            }
        )
        model = self.pretrainedModel.get()
        if model is not None:
            options["pretrained_model"] = model.getFileName()
        elif self.startFromBuiltin:
            options["pretrained_model"] = BUILTIN
        with self._registering():
            self._runEngine("refine", [self._table()], options)

    def createOutputStep(self, iterations: int) -> None:
        """Register the network to correct with."""
        if not self._registerModel():
            raise EngineFailure("No model was written: see the log.")

    @contextmanager
    def _registering(self) -> Iterator[None]:
        """Register the network to correct with so far, so that a training that is stopped has one."""
        over = threading.Event()

        def follow() -> None:
            while not over.wait(SECONDS_BETWEEN_LOOKS):
                # what can't be read now, such as a table that is being written, is looked at again
                with suppress(EngineError, OSError, ValueError):
                    self._registerModel()

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _registerModel(self) -> bool:
        """Make the network to correct with so far the output, if it is not; False where there is none."""
        chosen = chosen_model(self._resultFolder())
        if chosen is None:
            return False
        path = str(chosen)
        model = getattr(self, "model", None)
        if model is not None and model.getFileName() == path:
            return True
        made = IsoNetModel() if model is None else model
        made.setMetadata(read_metadata(path))
        made.setFileName(path)
        made.setHistoryFile(self.lossesFile())
        with self._lock:
            if model is not None:
                self._store(made)
                return True
            self._defineOutputs(model=made)
            for source in self._sources():
                if source.get() is not None:
                    self._defineSourceRelation(source, made)
            self._store()
        return True

    def _sources(self) -> list[Pointer]:
        """The inputs that the network is made from."""
        return [self._input(), self.pretrainedModel]

    # ---------------------------------------------------------------- of the method

    def _addInput(self, form: Form) -> None:
        """Parameters of what the network learns from, and starts from."""
        raise NotImplementedError

    def _addTraining(self, form: Form) -> None:
        """Parameters of how it learns, and of the network where they are asked for."""
        raise NotImplementedError

    def _input(self) -> Pointer:
        """What the network learns from."""
        raise NotImplementedError

    def _rows(self, isPlaced: bool = True) -> list[dict[str, str]]:
        """The table of it, whose files are placed where it names them, unless it is only to be compared."""
        raise NotImplementedError

    def _setErrors(self) -> list[str]:
        """What is wrong with it."""
        raise NotImplementedError

    # ---------------------------------------------------------------- helpers

    def _options(self) -> dict[str, object]:
        """The engine's options that the form gives."""
        return optionValues(self, self.settings)

    def _iterations(self) -> int:
        return self.iterations.get()

    def _startsFromModel(self) -> bool:
        return bool(self.startFromBuiltin) or self.pretrainedModel.get() is not None

    def lossesFile(self) -> str:
        """The table of the losses of all epochs so far."""
        return os.path.join(self._resultFolder(), "losses.csv")

    def _table(self) -> str:
        return self._getExtraPath(self.table)

    def _readTable(self) -> Star | None:
        """The table that it learns from; None before there is one."""
        return read_star(self._table()) if os.path.exists(self._table()) else None

    def _number(self) -> int:
        """Of the items that it learns from."""
        table = self._readTable()
        return 0 if table is None else len(table.rows)

    def _hasResults(self) -> bool:
        return os.path.exists(os.path.join(self._resultFolder(), STATE_FILE)) or super()._hasResults()

    def _resultFolder(self) -> str:
        return self._getExtraPath("results")

    def _optics(self, item: SubTomogram | Tomogram) -> Optics:
        return readOptics(item.getAcquisition(), ownAcquisition(self._input().get()))

    def _learned(self) -> Iterator[EMObject]:
        """The items that it learns from; not clones."""
        return enabled(self._input().get())

    def _losses(self, history: list[EpochRecord] | None = None) -> dict[str, float]:
        """Losses of training and validation of the last epoch so far; empty before the first."""
        history = read_losses(self.lossesFile()) if history is None else history
        return {"training": history[-1].loss, "validation": history[-1].val_loss} if history else {}

    def _outcome(self) -> str:
        """A sentence for the methods' text, where the output is the model that the training started from."""
        model = getattr(self, "model", None)
        if model is None or model.getIteration() != 0:
            return ""
        return " As this brought no gain, the network that it started from is the output, unchanged."

    def _lastLoss(self) -> str:
        """A sentence about it, for the methods' text."""
        losses = self._losses()
        return f" The last validation loss was {losses['validation']:.4f}." if losses else ""

    # ---------------------------------------------------------------- checks and texts

    def _inputErrors(self) -> list[str]:
        items = self._input().get()
        if not any(True for _ in self._learned()):
            why = "" if items is None else ": the set is empty" if items.isEmpty() else ": all of the set are disabled"
            return [f"Select the *{self.items.capitalize()}*{why}."]
        errors = self._modelErrors()
        if errors:
            return errors
        errors = self._setErrors()
        given = self.tiltMin.get(), self.tiltMax.get()
        unknown = sum(not self._optics(item).withTilts(*given).hasTilts for item in self._learned())
        return errors + tiltErrors(self, counted(unknown, self.items) if unknown else "")

    def _remadeErrors(self) -> list[str]:
        tables, _ = readAll(read_star, [self._table()])
        if not tables:
            return []  # which the engine tells
        table = tables[self._table()]
        rows = self._rows(isPlaced=False)
        labels = dict.fromkeys([*table.labels, *rows[0]])
        other = [f"_{label}" for label in labels if columnOf(table, table.rows, label) != columnOf(table, rows, label)]
        if len(rows) != len(table.rows):
            other = [f"{counted(len(table.rows), self.items)}, now {len(rows)}"]
        if not other:
            return []
        return [
            f"What is trained so far learned from other data than the inputs hold now ({', '.join(other)}), as where a "
            "protocol before this one was restarted. *Restart* makes everything anew."
        ]

    def _modelErrors(self) -> list[str]:
        model = self.pretrainedModel.get()
        if model is None:
            return []
        try:
            read_metadata(model.getFileName())
        except EngineError as error:
            return [f"*Model to start from*: {error}"]
        return []

    def _warnings(self) -> list[str]:
        model, rate = self.pretrainedModel.get(), self._input().get().getSamplingRate()
        if model is not None and model.getSamplingRate() and abs(model.getSamplingRate() / rate - 1) > 0.05:
            return [
                f"The model to start from was trained at {model.getSamplingRate():.2f} Å/px; the input has {rate:.2f}."
            ]
        return []

    def _learnedFrom(self, table: Star) -> list[str]:
        """Lines of the summary on what it learns from."""
        raise NotImplementedError

    def _summary(self) -> list[str]:
        tables, damaged = readAll(read_star, [self._table()])
        histories, more = readAll(read_losses, [self.lossesFile()])
        lines = damagedLines([*damaged, *more, *recordErrors(self)])
        lines += [line for table in tables.values() for line in self._learnedFrom(table)]
        history = histories.get(self.lossesFile(), [])
        lines += self._progress(history)
        lines += [f"Last {kind} loss: {loss:.4f}" for kind, loss in self._losses(history).items()]
        # which `_progress` tells
        warnings = [line for line in self._engineWarnings() if AT_CHANCE not in line]
        return (lines or ["No output yet."]) + warnings

    def _progress(self, history: list[EpochRecord]) -> list[str]:
        """Lines of the summary on how far the training has come, and the measure after each iteration."""
        total = self._iterations()
        if not history:
            return [f"*Iteration 1 of {total}*, first epoch: *Output Log* shows its steps."] if self.isRunning() else []
        last, epochs = history[-1], self._used("epochs")
        if self.isActive():
            left = (total * epochs - (last.iteration - 1) * epochs - last.epoch) * last.seconds
            lines = [f"*Iteration {last.iteration} of {total}*, epoch {last.epoch} of {epochs}; {clock(left)} left."]
        else:
            done = last.iteration - (last.epoch < epochs)
            lines = [f"{done} of {total} iterations of {epochs} epochs."]
        finished = [record for record in history if record.epoch == epochs]
        ends = {record.iteration: record.withheld_correlation for record in finished}
        if not self.isActive() and stayed_at_chance(finished):
            lines.append(f"*{AT_CHANCE}*")
        model = chosen_model(self._resultFolder())
        if not ends or model is None:
            return lines
        chosen = int(model.stem.rpartition("_iter")[2])
        latest = max(*ends, chosen)  # a kill may leave a model whose losses are not written
        now = "not known" if ends.get(latest) is None else f"{ends[latest]:.3f}"
        if chosen == latest:
            lines.append(f"The output is the network of the last iteration: correlation with the withheld tilts {now}.")
        else:
            known = "" if ends.get(chosen) is None else f" {ends[chosen]:.3f}"
            whose, how = f"iteration {chosen}", "clearly above"
            if chosen < min(ends):
                whose, how = "*the model that the training started from*", "not below"
            lines.append(
                f"The output is the network of {whose}, whose correlation with the withheld tilts{known} is {how} that "
                f"of the last iteration, {now}."
            )
        return lines


def columnOf(table: Star, rows: list[dict[str, str]], label: str) -> list[str | None]:
    """What rows of a table, or that might be of it, have in a column."""
    return [table.text(row, label) for row in rows]
