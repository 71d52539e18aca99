"""Training of the network."""

from __future__ import annotations

import glob
import os

from pyworkflow.object import Pointer
from pyworkflow.protocol import Form
from pyworkflow.protocol.params import LEVEL_ADVANCED, BooleanParam, IntParam, PointerParam
from tomo.objects import SubTomogram, Tomogram

from isonet_scipion import convert
from isonet_scipion.constants import CUBE_SIZE_ATTRIBUTE
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.extraction import usual_cube_size
from isonet_scipion.engine.history import read_losses
from isonet_scipion.engine.model_file import BUILTIN, read_metadata
from isonet_scipion.engine.network import NetworkSettings
from isonet_scipion.engine.settings import METHODS, ONE_PASS_DEFAULTS, ONE_PASS_ITERATIONS_FROM_A_MODEL, RefineSettings
from isonet_scipion.objects import IsoNetModel
from isonet_scipion.protocols.base import EngineFailure, ProtIsoNetBase
from isonet_scipion.protocols.defocus import (
    addCtfs,
    addDefocus,
    addMicroscope,
    amplitudeWarnings,
    defociById,
    phaseWarnings,
)
from isonet_scipion.protocols.form import Within, addOption, addTiltRange, optionValues, tiltErrors
from isonet_scipion.protocols.training_errors import subtomogramErrors, tomogramErrors
from isonet_scipion.protocols.training_tables import subtomogramRows, tomogramRows

ITERATIVE, ONE_PASS = (f"method == {number}" for number in range(len(METHODS)))
CTF_AWARE = f"{ONE_PASS} and ctfAware"
NETWORK = tuple(NetworkSettings().as_dict())  # options of the network's shape
AT_LEAST_ONE = Within(least=1)
CTF_AWARE_HELP = (
    "Yes: give tomograms that were reconstructed without CTF correction and not deconvolved. The correction protocol "
    "then takes such tomograms too, and corrects CTF and missing wedge at once."
)


class ProtIsoNetRefine(ProtIsoNetBase):
    """Train a network that fills the missing wedge, on subtomograms of the data themselves.

    Each iteration estimates the missing information of every subtomogram with the network so far, and trains on rotated
    copies from which the information of the missing wedge is taken away again. The losses should fall quickly at first
    and then slowly; where noise is added (iterations 11, 16, 21 and 26 by default) they rise once.
    """

    _label = "train the network"
    _possibleOutputs = {"model": IsoNetModel}

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        self._addGpuParams(form)
        addOption(form, RefineSettings, "method", "Method", "One-pass needs no extraction, and less time.")
        form.addParam(
            "inputTomograms",
            PointerParam,
            pointerClass="SetOfTomograms",
            condition=ONE_PASS,
            allowsNull=True,
            important=True,
            label="Tomograms",
            help="Tomograms to learn from: protein dark, tilt axis along y.",
        )
        form.addParam(
            "inputMasks",
            PointerParam,
            pointerClass="SetOfTomoMasks",
            condition=ONE_PASS,
            allowsNull=True,
            label="Masks",
            help="Crops are taken inside the mask with the tomogram's tilt series ID (tsId). Empty: anywhere.",
        )
        form.addParam(
            "useHalves",
            BooleanParam,
            default=False,
            condition=ONE_PASS,
            label="Learn from the half tomograms?",
            help="Yes: the network sees one half and is compared with the other, so that it learns to remove noise; "
            "the correction is then the mean of the corrected halves. Start from the builtin model with it: from "
            "scratch the default number of iterations was measured to be too few (benchmarks/ONE_PASS.md).",
        )
        addOption(form, RefineSettings, "ctf_aware", "CTF-aware?", CTF_AWARE_HELP, condition=ONE_PASS)
        addCtfs(form, CTF_AWARE)
        addDefocus(form, CTF_AWARE)
        addMicroscope(form, RefineSettings, CTF_AWARE)
        positive = [Within(least=0)]
        addOption(
            form, RefineSettings, "bfactor", "B-factor (Å²)", expert=True, condition=CTF_AWARE, validators=positive
        )
        form.addParam(
            "inputSubtomograms",
            PointerParam,
            pointerClass="SetOfSubTomograms",
            condition=ITERATIVE,
            allowsNull=True,
            important=True,
            label="Subtomograms",
            help="Subtomograms to learn from, as cut from the tomograms (protein dark, not rotated, tilt axis along "
            "y): those of the extraction protocol, or of any other.",
        )
        form.addParam(
            "pretrainedModel",
            PointerParam,
            pointerClass="IsoNetModel",
            allowsNull=True,
            label="Model to start from",
            help="Optional: go on with a network trained on similar data. It must have the shape chosen below.",
        )
        form.addParam(
            "startFromBuiltin",
            BooleanParam,
            default=False,
            label="Start from the builtin model?",
            help="Yes: go on with the network that comes with the plugin, whose shape is then taken. It is a prior "
            "learned from simulated tomograms of proteins, filaments and membranes: what it fills in before it has "
            "learned from your data is what such objects look like. In simulations, one-pass needs "
            "less time with it, and removes more noise (benchmarks/ONE_PASS.md).",
        )
        form.addParam(
            "cubeSize",
            IntParam,
            allowsNull=True,
            validators=[Within(least=2)],
            label="Cube size (voxels)",
            help="The network sees cubes of this side, cut out of the rotated subtomograms. A multiple of 2^depth of "
            "the network. Empty: as chosen in the extraction; for other subtomograms the largest multiple of 16 that "
            "is not above their size / 1.5 + 1. One-pass: cut out of rotated crops of the tomograms; empty: "
            "48, less in thin tomograms.",
        )
        addTiltRange(form, "each item's")

        form.addSection(label="Training")
        addOption(
            form,
            RefineSettings,
            "iterations",
            "Iterations",
            "The wedge fills in the first ones; the later ones, with added noise, remove noise.",
            condition=ITERATIVE,
            validators=[AT_LEAST_ONE],
        )
        form.addParam(
            "onePassIterations",
            IntParam,
            allowsNull=True,
            condition=ONE_PASS,
            validators=[AT_LEAST_ONE],
            label="Iterations of one-pass",
            help="After each one a model is written. The learning rate falls over all of them. Empty: "
            f"{ONE_PASS_DEFAULTS['iterations']}, or {ONE_PASS_ITERATIONS_FROM_A_MODEL} from a model: with more, it may "
            "learn the noise of a single tomogram.",
        )
        form.addParam(
            "onePassSteps",
            IntParam,
            default=ONE_PASS_DEFAULTS["epochs"] * ONE_PASS_DEFAULTS["steps_per_epoch"],
            condition=ONE_PASS,
            expertLevel=LEVEL_ADVANCED,
            validators=[AT_LEAST_ONE],
            label="Steps per iteration",
            help="Training steps of one iteration.",
        )
        for option, label, expert, legal in (
            ("patience", "Stop after iterations without gain", False, [AT_LEAST_ONE]),
            ("filled_weight", "Weight of estimates", True, [Within(least=0)]),
            ("any_angle", "Share of any rotations", True, [Within(0, 1)]),
        ):
            addOption(form, RefineSettings, option, label, expert=expert, condition=ONE_PASS, validators=legal)
        addOption(
            form, RefineSettings, "epochs", "Epochs per iteration", condition=ITERATIVE, validators=[AT_LEAST_ONE]
        )
        addOption(
            form,
            RefineSettings,
            "batch_size",
            "Batch size",
            "Smaller if the memory of the GPU does not suffice; a multiple of the number of GPUs.",
            validators=[AT_LEAST_ONE],
        )
        for option, label, legal in (
            ("steps_per_epoch", "Steps per epoch", [AT_LEAST_ONE]),
            ("learning_rate", "Learning rate", [Within(1e-9, 0.99)]),
            ("select_subtomo_number", "Use only so many subtomograms", [AT_LEAST_ONE]),
        ):
            addOption(form, RefineSettings, option, label, expert=True, validators=legal)
        addOption(form, RefineSettings, "normalize_percentile", "Normalise by percentiles?", expert=True)
        addOption(form, RefineSettings, "remove_intermediate", "Delete the estimates of the iterations?", expert=True)
        addOption(form, RefineSettings, "precision", "Precision", expert=True)
        addOption(form, RefineSettings, "seed", "Seed", expert=True)
        group = form.addGroup("Denoising", condition=ITERATIVE)
        addOption(
            group,
            RefineSettings,
            "noise_level",
            "Noise levels",
            "More noise: a smoother result, with less detail. 0: no denoising, the wedge is filled only.",
        )
        addOption(
            group,
            RefineSettings,
            "noise_start_iter",
            "Noise starts at iteration",
            "As many numbers as there are levels.",
        )
        addOption(group, RefineSettings, "noise_mode", "Noise filter", expert=True)

        form.addSection(label="Network")
        addOption(
            form,
            RefineSettings,
            "unet_depth",
            "Depth",
            "Deeper: more context, slower. The network of one-pass has a shape of its own.",
            validators=[Within(1, 8)],
        )
        addOption(
            form,
            RefineSettings,
            "filter_base",
            "Channels at the first level",
            "Half as many: a quarter of the time.",
            validators=[AT_LEAST_ONE],
        )
        least = [Within(least=2)]
        addOption(form, RefineSettings, "convs_per_depth", "Convolutions per level", expert=True, validators=least)
        addOption(form, RefineSettings, "kernel", "Kernel", expert=True)
        addOption(form, RefineSettings, "pool", "Pooling", expert=True)
        addOption(form, RefineSettings, "drop_out", "Dropout", expert=True, validators=[Within(0, 0.99)])
        addOption(form, RefineSettings, "batch_normalization", "Batch normalisation?", expert=True)
        form.addParallelSection(threads=4, mpi=0)

    # ---------------------------------------------------------------- steps

    def _insertAllSteps(self) -> None:
        self._insertFunctionStep(self.convertInputStep, needsGPU=False)
        # with its number of iterations raised, a finished run goes on when it is continued
        iterations = self._onePassIterations() if self._isOnePass() else self.iterations.get()
        self._insertFunctionStep(self.refineStep, iterations, needsGPU=True)
        self._insertFunctionStep(self.createOutputStep, iterations, needsGPU=False)

    def convertInputStep(self) -> None:
        """Write the table of what is learned from."""
        rows = tomogramRows(self) if self._isOnePass() else subtomogramRows(self, self._cubeSize(), self._cropSize())
        convert.writeTable(self._table(), rows)

    def refineStep(self, iterations: int) -> None:
        """Train; started again in the same folder, the engine goes on where it stopped."""
        options = optionValues(self, RefineSettings)
        if self._isOnePass():
            own = {name: value for name, value in options.items() if name not in ONE_PASS_DEFAULTS}
            options = {name: value for name, value in own.items() if name not in NETWORK}
            options["iterations"] = iterations
            options["steps_per_epoch"] = max(1, self.onePassSteps.get() // ONE_PASS_DEFAULTS["epochs"])
        options["ctf_aware"] = self._isCtfAware()
        options |= {"result_dir": self._resultFolder(), "preprocessing_ncpus": self.numberOfThreads.get()}
        model = self.pretrainedModel.get()
        if model is not None:
            options["pretrained_model"] = model.getFileName()
        if self.startFromBuiltin:
            options["pretrained_model"] = BUILTIN
            options = {name: value for name, value in options.items() if name not in NETWORK}
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

    def _isOnePass(self) -> bool:
        return self.getEnumText("method") == "one-pass"

    def _onePassIterations(self) -> int:
        fromModel = self.startFromBuiltin or self.pretrainedModel.get() is not None
        usual = ONE_PASS_ITERATIONS_FROM_A_MODEL if fromModel else ONE_PASS_DEFAULTS["iterations"]
        return self.onePassIterations.get(usual)

    def _isCtfAware(self) -> bool:
        return self._isOnePass() and self.ctfAware.get()

    def _input(self) -> Pointer:
        """What the network learns from."""
        return self.inputTomograms if self._isOnePass() else self.inputSubtomograms

    def lossesFile(self) -> str:
        """The table of the losses of all epochs so far."""
        return os.path.join(self._resultFolder(), "losses.csv")

    def _table(self) -> str:
        return self._getExtraPath("tomograms.star" if self._isOnePass() else "subtomo.star")

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

    # ---------------------------------------------------------------- checks and texts

    def _inputErrors(self) -> list[str]:
        items = self._input().get()
        what = "tomograms" if self._isOnePass() else "subtomograms"
        if items is None or items.isEmpty():
            return [f"Select the *{what.capitalize()}*{'' if items is None else ': the set is empty'}."]
        errors = tomogramErrors(self) if self._isOnePass() else subtomogramErrors(self, self._cubeSize())
        given = self.tiltMin.get(), self.tiltMax.get()
        unknown = sum(not self._optics(item).withTilts(*given).hasTilts for item in items)
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
        tomograms = {tomogram.getTsId(): tomogram.clone() for tomogram in self.inputTomograms.get()}
        warnings = phaseWarnings(self, defociById(self, tomograms), "Train without CTF-awareness on such tomograms.")
        return warnings + amplitudeWarnings(tomograms, map(self._optics, tomograms.values()))

    def _summary(self) -> list[str]:
        lines, items, model = [], self._input().get(), getattr(self, "model", None)
        if items is not None and self._isOnePass():
            halves = ", with their halves" if self.useHalves else ""
            aware = "CTF-aware, " if self.ctfAware else ""
            lines.append(f"One-pass, {aware}on {items.getSize()} tomograms{halves}.")
        elif items is not None:
            lines.append(f"{items.getSize()} subtomograms, cubes of {self._cubeSize()} voxels.")
        if model is not None:
            epochs = "" if self._isOnePass() else f" of {self.epochs} epochs"
            lines.append(f"{model.getIteration()} iterations{epochs}.")
        lines += [f"Last {kind} loss: {loss:.4f}" for kind, loss in self._losses().items()]
        return lines or ["No output yet."]

    def _methods(self) -> list[str]:
        losses = self._losses()
        last = f" The last validation loss was {losses['validation']:.4f}." if losses else ""
        if self._isOnePass():
            ctf = " They were phase-flipped, its output multiplied by their CTFs." if self.ctfAware else ""
            start = "the builtin model" if self.startFromBuiltin else "random weights"
            return [
                "A U-Net was trained to fill the missing wedge, its own estimates being made within each training step "
                f"as in DeepDeWedge [Wiedemann2024], from {start} on {self.inputTomograms.get().getSize()} "
                f"tomograms.{ctf}{last}"
            ]
        return [
            f"A U-Net (depth {self.unetDepth}, {self.filterBase} channels at the first level) was trained to fill the "
            f"missing wedge as in IsoNet [Liu2022], in {self.iterations} iterations of {self.epochs} epochs on "
            f"{self.inputSubtomograms.get().getSize()} subtomograms.{last}"
        ]
