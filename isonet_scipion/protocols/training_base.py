"""What the training protocols share."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING

from isonet_scipion import convert
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.losses import read_losses
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.network.model_file import BUILTIN, STATE_FILE, read_metadata
from isonet_scipion.objects import IsoNetModel
from isonet_scipion.protocols.base import EngineFailure, ProtIsoNetBase
from isonet_scipion.protocols.form import optionValues, tiltErrors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pwem.objects import EMObject
    from pyworkflow.object import Pointer
    from tomo.objects import SubTomogram, Tomogram

    from isonet_scipion.engine.io.star import Star
    from isonet_scipion.engine.settings import TrainingSettings


class ProtIsoNetTraining(ProtIsoNetBase):
    """Trains a network on a set of items; a subclass says which, and by which settings."""

    _possibleOutputs = {"model": IsoNetModel}
    FREE = ("iterations", "patience", "removeIntermediate")  # as the engine's run.FREE
    settings: type[TrainingSettings]  # of the method
    items: str  # what it learns from, in the plural
    table: str  # name of its table

    # ---------------------------------------------------------------- steps

    def _insertAllSteps(self) -> None:
        self._keepValues()
        self._insertFunctionStep(self.convertInputStep, needsGPU=False)
        # with its number of iterations raised, a finished run goes on when it is continued
        iterations = self._iterations()
        self._insertFunctionStep(self.refineStep, iterations, needsGPU=self._needsGpu())
        self._insertFunctionStep(self.createOutputStep, iterations, needsGPU=False)

    def convertInputStep(self) -> None:
        """Write the table of what is learned from."""
        convert.writeTable(self._table(), self._rows())

    def refineStep(self, iterations: int) -> None:
        """Train; started again in the same folder, the engine goes on where it stopped."""
        options = self._options()
        options.update({"result_dir": self._resultFolder(), "preprocessing_ncpus": self.numberOfThreads.get()})
        model = self.pretrainedModel.get()
        if model is not None:
            options["pretrained_model"] = model.getFileName()
        if self.startFromBuiltin:
            options["pretrained_model"] = BUILTIN
        self._runEngine("refine", [self._table()], options)

    def createOutputStep(self, iterations: int) -> None:
        """Register the network of the last iteration."""
        models = glob.glob(os.path.join(glob.escape(self._resultFolder()), "model_iter*.keras"))
        models.sort(key=lambda path: (len(path), path))  # model_iter100 comes after model_iter99
        if not models:
            raise EngineFailure("No model was written: see the log.")
        model = IsoNetModel()
        model.setFileName(models[-1])
        model.setMetadata(read_metadata(models[-1]))
        model.setHistoryFile(self.lossesFile())
        self._defineOutputs(model=model)
        self._defineSourceRelation(self._input(), model)
        if self.pretrainedModel.get() is not None:
            self._defineSourceRelation(self.pretrainedModel, model)

    # ---------------------------------------------------------------- of the method

    def _input(self) -> Pointer:
        """What the network learns from."""
        raise NotImplementedError

    def _rows(self) -> list[dict[str, str]]:
        """The table of it."""
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

    def _optics(self, item: SubTomogram | Tomogram) -> convert.Optics:
        return convert.readOptics(item.getAcquisition(), self._input().get().getAcquisition())

    def _learned(self) -> Iterator[EMObject]:
        """The items that it learns from; not clones."""
        return convert.enabled(self._input().get())

    def _losses(self) -> dict[str, float]:
        """Losses of training and validation of the last epoch so far; empty before the first."""
        history = read_losses(self.lossesFile())
        return {"training": history[-1].loss, "validation": history[-1].val_loss} if history else {}

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
        return errors + tiltErrors(self, f"{unknown} {self.items}" if unknown else "")

    def _modelErrors(self) -> list[str]:
        model = self.pretrainedModel.get()
        if model is None:
            return []
        if self.startFromBuiltin:
            return ["Choose either a *Model to start from* or the builtin model."]
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
        table, model = self._readTable(), getattr(self, "model", None)
        lines = [] if table is None else self._learnedFrom(table)
        if model is not None:
            lines.append(f"{model.getIteration()} iterations of {self._used('epochs')} epochs.")
        lines += [f"Last {kind} loss: {loss:.4f}" for kind, loss in self._losses().items()]
        return (lines or ["No output yet."]) + self._engineWarnings()
