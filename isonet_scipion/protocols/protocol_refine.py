"""Training of the network."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING

from isonet_scipion import convert
from isonet_scipion.constants import CUBE_SIZE_ATTRIBUTE, DEFOCUS_SOURCE_LABEL
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.losses import read_losses
from isonet_scipion.engine.io.star import Star, read_star
from isonet_scipion.engine.io.tomogram_table import CTF_STATE
from isonet_scipion.engine.network.model_file import BUILTIN, STATE_FILE, read_metadata
from isonet_scipion.engine.network.unet import NetworkSettings
from isonet_scipion.engine.sampling.crops import usual_cube_size
from isonet_scipion.engine.settings import (
    ITERATIVE_ALONE,
    ONE_PASS_ALONE,
    ONE_PASS_DEFAULTS,
    ONE_PASS_FROM_A_MODEL,
    RefineSettings,
)
from isonet_scipion.objects import IsoNetModel
from isonet_scipion.protocols.base import EngineFailure, ProtIsoNetBase
from isonet_scipion.protocols.ctf_history import statesInWords
from isonet_scipion.protocols.defocus import (
    amplitudeWarnings,
    defociById,
    phaseWarnings,
    usedDefocus,
)
from isonet_scipion.protocols.form import optionValues, tiltErrors
from isonet_scipion.protocols.training_errors import subtomogramErrors, tomogramErrors
from isonet_scipion.protocols.training_form import addInputs, addNetwork, addTraining
from isonet_scipion.protocols.training_tables import subtomogramRows, tomogramRows

if TYPE_CHECKING:
    from pyworkflow.object import Pointer
    from pyworkflow.protocol import Form
    from tomo.objects import SubTomogram, Tomogram

TOMOGRAMS_TABLE, SUBTOMOGRAMS_TABLE = "tomograms.star", "subtomo.star"
NETWORK = tuple(NetworkSettings().as_dict())  # options of the network's shape


class ProtIsoNetRefine(ProtIsoNetBase):
    """Train a network that fills the missing wedge, on subtomograms of the data themselves.

    Each iteration estimates the missing information of every subtomogram with the network so far, and trains on rotated
    copies from which the information of the missing wedge is taken away again. The losses should fall quickly at first
    and then slowly; where noise is added (iterations 11, 16, 21 and 26 by default) they rise once.
    """

    _label = "train the network"
    _possibleOutputs = {"model": IsoNetModel}
    FREE = ("iterations", "onePassIterations", "patience", "removeIntermediate")  # as the engine's run.FREE

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        self._addGpuParams(form)
        addInputs(form)
        form.addSection(label="Training")
        addTraining(form)
        form.addSection(label="Network")
        addNetwork(form)
        form.addParallelSection(threads=4, mpi=0)

    # ---------------------------------------------------------------- steps

    def _insertAllSteps(self) -> None:
        self._keepValues()
        self._insertFunctionStep(self.convertInputStep, needsGPU=False)
        # with its number of iterations raised, a finished run goes on when it is continued
        iterations = self._onePassIterations() if self._isOnePass() else self.iterations.get()
        self._insertFunctionStep(self.refineStep, iterations, needsGPU=self._needsGpu())
        self._insertFunctionStep(self.createOutputStep, iterations, needsGPU=False)

    def convertInputStep(self) -> None:
        """Write the table of what is learned from."""
        rows = tomogramRows(self) if self._isOnePass() else subtomogramRows(self, self._cubeSize(), self._cropSize())
        convert.writeTable(self._table(), rows)

    def refineStep(self, iterations: int) -> None:
        """Train; started again in the same folder, the engine goes on where it stopped."""
        options = optionValues(self, RefineSettings)
        if self._isOnePass():
            others = (*ONE_PASS_DEFAULTS, *NETWORK, *ITERATIVE_ALONE)
            options = {name: value for name, value in options.items() if name not in others}
            options["iterations"] = iterations
            options["steps_per_epoch"] = max(1, self.onePassSteps.get() // ONE_PASS_DEFAULTS["epochs"])
            own = {"learning_rate": self.onePassLearningRate.get(), "drop_out": self.onePassDropOut.get()}
            options.update({name: value for name, value in own.items() if value is not None})
            options["ctf_aware"] = self._isCtfAware()
        else:
            others = (*ONE_PASS_ALONE, *(NETWORK if self.startFromBuiltin else ()))
            options = {name: value for name, value in options.items() if name not in others}
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

    # ---------------------------------------------------------------- helpers

    def _hasResults(self) -> bool:
        return os.path.exists(os.path.join(self._resultFolder(), STATE_FILE)) or super()._hasResults()

    def _isOnePass(self) -> bool:
        return self.getEnumText("method") == "one-pass"

    def _onePassIterations(self) -> int:
        fromModel = self.startFromBuiltin or self.pretrainedModel.get() is not None
        return self.onePassIterations.get((ONE_PASS_FROM_A_MODEL if fromModel else ONE_PASS_DEFAULTS)["iterations"])

    def _isCtfAware(self) -> bool:
        return self._isOnePass() and self.ctfAware.get()

    def _input(self) -> Pointer:
        """What the network learns from."""
        return self.inputTomograms if self._isOnePass() else self.inputSubtomograms

    def lossesFile(self) -> str:
        """The table of the losses of all epochs so far."""
        return os.path.join(self._resultFolder(), "losses.csv")

    def _table(self) -> str:
        return self._getExtraPath(TOMOGRAMS_TABLE if self._isOnePass() else SUBTOMOGRAMS_TABLE)

    def _resultFolder(self) -> str:
        return self._getExtraPath("results")

    def _cropSize(self) -> int:
        return self.inputSubtomograms.get().getDim()[0]

    def _cubeSize(self) -> int:
        stored = getattr(self.inputSubtomograms.get().getFirstItem(), CUBE_SIZE_ATTRIBUTE, None)
        if self.cubeSize.get():
            return self.cubeSize.get()
        return stored.get() if stored is not None else usual_cube_size(self._cropSize())

    def _optics(self, item: SubTomogram | Tomogram) -> convert.Optics:
        return convert.readOptics(item.getAcquisition(), self._input().get().getAcquisition())

    def _losses(self) -> dict[str, float]:
        """Losses of training and validation of the last epoch so far; empty before the first."""
        history = read_losses(self.lossesFile())
        return {"training": history[-1].loss, "validation": history[-1].val_loss} if history else {}

    def _citations(self) -> list[str]:
        return [*super()._citations(), *(["Wiedemann2024"] if self._isOnePass() else [])]

    # ---------------------------------------------------------------- checks and texts

    def _inputErrors(self) -> list[str]:
        items = self._input().get()
        what = "tomograms" if self._isOnePass() else "subtomograms"
        if not any(True for _ in convert.enabled(items)):
            why = "" if items is None else ": the set is empty" if items.isEmpty() else ": all of the set are disabled"
            return [f"Select the *{what.capitalize()}*{why}."]
        errors = tomogramErrors(self) if self._isOnePass() else subtomogramErrors(self, self._cubeSize())
        given = self.tiltMin.get(), self.tiltMax.get()
        unknown = sum(not self._optics(item).withTilts(*given).hasTilts for item in convert.enabled(items))
        errors += tiltErrors(self, f"{unknown} {what}" if unknown else "")
        model = self.pretrainedModel.get()
        if model is not None and self.startFromBuiltin:
            errors.append("Choose either a *Model to start from* or the builtin model.")
        if model is not None:
            try:
                read_metadata(model.getFileName())
            except EngineError as error:
                errors.append(f"*Model to start from*: {error}")
        return errors

    def _warnings(self) -> list[str]:
        warnings = self._ctfWarnings() if self._isCtfAware() else []
        model = self.pretrainedModel.get()
        rate = self._input().get().getSamplingRate()
        if model is not None and model.getSamplingRate() and abs(model.getSamplingRate() / rate - 1) > 0.05:
            warnings.append(
                f"The model to start from was trained at {model.getSamplingRate():.2f} Å/px; the input has {rate:.2f}."
            )
        return warnings

    def _ctfWarnings(self) -> list[str]:
        tomograms = {tomogram.getTsId(): tomogram.clone() for tomogram in convert.enabled(self.inputTomograms.get())}
        warnings = phaseWarnings(self, defociById(self, tomograms), "Train without CTF-awareness on such tomograms.")
        return warnings + amplitudeWarnings(tomograms, map(self._optics, tomograms.values()))

    def _summary(self) -> list[str]:
        lines, model = self._learnedFrom(), getattr(self, "model", None)
        if model is not None:
            epochs = "" if self._usedOnePass() else f" of {self._used('epochs')} epochs"
            lines.append(f"{model.getIteration()} iterations{epochs}.")
        lines += [f"Last {kind} loss: {loss:.4f}" for kind, loss in self._losses().items()]
        return (lines or ["No output yet."]) + self._engineWarnings()

    def _learnedFrom(self) -> list[str]:
        """What its table says that it learns from; before there is one, nothing."""
        table = self._readTable()
        if table is None:
            return []
        number = len(table.rows)
        if not self._usedOnePass():
            return [f"{number} subtomograms, cubes of {table.rows[0]['rlnCubeSize']} voxels."]

        def column(label: str) -> list[str | None]:
            return [table.text(row, label) for row in table.rows]

        halves = ", with their halves" if self._used("useHalves") else ""
        aware = "CTF-aware, " if self._used("ctfAware") else ""
        masks = sum(mask is not None for mask in column("rlnMaskName"))
        lines = [f"One-pass, {aware}on {number} tomograms{halves}.", f"Masks: {masks} of {number}."]
        if aware:
            lines += [usedDefocus(column("rlnDefocus"), column(DEFOCUS_SOURCE_LABEL)), statesInWords(column(CTF_STATE))]
        return lines

    def _readTable(self) -> Star | None:
        """The table that it learns from; None before there is one."""
        tables = (self._getExtraPath(name) for name in (TOMOGRAMS_TABLE, SUBTOMOGRAMS_TABLE))
        path = next((path for path in tables if os.path.exists(path)), None)
        return None if path is None else read_star(path)

    def _usedOnePass(self) -> bool:
        return self._used("method") == "one-pass"

    def _methods(self) -> list[str]:
        losses, table = self._losses(), self._readTable()
        number = 0 if table is None else len(table.rows)
        last = f" The last validation loss was {losses['validation']:.4f}." if losses else ""
        if self._usedOnePass():
            ctf = " They were phase-flipped, its output multiplied by their CTFs." if self._used("ctfAware") else ""
            start = "another model" if self._used("pretrainedModel") else "random weights"
            start = "the builtin model" if self._used("startFromBuiltin") else start
            return [
                "A U-Net was trained to fill the missing wedge, its own estimates being made within each training step "
                f"as in DeepDeWedge [Wiedemann2024], from {start} on {number} tomograms.{ctf}{last}"
            ]
        model = getattr(self, "model", None)
        facts = {} if model is None else read_metadata(model.getFileName())
        depth = facts.get("unet_depth", self._used("unetDepth"))
        channels = facts.get("filter_base", self._used("filterBase"))
        iterations = self.iterations if model is None else model.getIteration()
        return [
            f"A U-Net (depth {depth}, {channels} channels at the first level) was trained to fill the missing wedge as "
            f"in IsoNet [Liu2022], in {iterations} iterations of {self._used('epochs')} epochs on "
            f"{number} subtomograms.{last}"
        ]
