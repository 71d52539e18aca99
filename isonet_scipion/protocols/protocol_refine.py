"""Training of the network."""

from __future__ import annotations

import glob
import os

from pyworkflow.protocol import Form
from pyworkflow.protocol.params import FloatParam, IntParam, PointerParam
from tomo.objects import SubTomogram

from isonet_scipion import convert
from isonet_scipion.constants import CUBE_SIZE_ATTRIBUTE
from isonet_scipion.engine.extraction import usual_cube_size
from isonet_scipion.engine.model_file import read_metadata
from isonet_scipion.engine.settings import RefineSettings
from isonet_scipion.objects import IsoNetModel
from isonet_scipion.protocols.base import EngineFailure, ProtIsoNetBase
from isonet_scipion.protocols.form import addOption, numbers, optionValues


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
        form.addParam(
            "inputSubtomograms",
            PointerParam,
            pointerClass="SetOfSubTomograms",
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
            "cubeSize",
            IntParam,
            allowsNull=True,
            label="Cube size (voxels)",
            help="The network sees cubes of this side, cut out of the rotated subtomograms. A multiple of 2^depth of "
            "the network. Empty: as chosen in the extraction; for other subtomograms the largest multiple of 16 that "
            "is not above their size / 1.5 + 1.",
        )
        line = form.addLine(
            "Tilt range (degrees)",
            help="Smallest and largest tilt angle. Empty: each subtomogram's acquisition says it.",
        )
        line.addParam("tiltMin", FloatParam, allowsNull=True, label="from")
        line.addParam("tiltMax", FloatParam, allowsNull=True, label="to")

        form.addSection(label="Training")
        addOption(
            form,
            RefineSettings,
            "iterations",
            "Iterations",
            "The wedge fills in the first ones; the later ones, with added noise, remove noise.",
        )
        addOption(form, RefineSettings, "epochs", "Epochs per iteration")
        addOption(
            form,
            RefineSettings,
            "batch_size",
            "Batch size",
            "Smaller if the memory of the GPU does not suffice; a multiple of the number of GPUs.",
        )
        addOption(form, RefineSettings, "steps_per_epoch", "Steps per epoch", expert=True)
        addOption(form, RefineSettings, "learning_rate", "Learning rate", expert=True)
        addOption(form, RefineSettings, "select_subtomo_number", "Use only so many subtomograms", expert=True)
        addOption(form, RefineSettings, "normalize_percentile", "Normalise by percentiles?", expert=True)
        addOption(form, RefineSettings, "remove_intermediate", "Delete the estimates of the iterations?", expert=True)
        addOption(form, RefineSettings, "precision", "Precision", expert=True)
        addOption(form, RefineSettings, "seed", "Seed", expert=True)
        group = form.addGroup("Denoising")
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
        addOption(form, RefineSettings, "unet_depth", "Depth", "Deeper: more context, slower.")
        addOption(
            form, RefineSettings, "filter_base", "Channels at the first level", "Half as many: a quarter of the time."
        )
        addOption(form, RefineSettings, "convs_per_depth", "Convolutions per level", expert=True)
        addOption(form, RefineSettings, "kernel", "Kernel", expert=True)
        addOption(form, RefineSettings, "pool", "Pooling", expert=True)
        addOption(form, RefineSettings, "drop_out", "Dropout", expert=True)
        addOption(form, RefineSettings, "batch_normalization", "Batch normalisation?", expert=True)
        form.addParallelSection(threads=4, mpi=0)

    # ---------------------------------------------------------------- steps

    def _insertAllSteps(self) -> None:
        self._insertFunctionStep(self.convertInputStep, needsGPU=False)
        # with its number of iterations raised, a finished run goes on when it is continued
        self._insertFunctionStep(self.refineStep, self.iterations.get(), needsGPU=True)
        self._insertFunctionStep(self.createOutputStep, self.iterations.get(), needsGPU=False)

    def convertInputStep(self) -> None:
        """Link the subtomograms into one folder and write their table."""
        folder = self._getExtraPath("subtomograms")
        os.makedirs(folder, exist_ok=True)
        subtomograms = self.inputSubtomograms.get()
        # before the loop: another look at the set would start it again
        rate, cube, crop, rows = subtomograms.getSamplingRate(), self._cubeSize(), self._cropSize(), []
        for index, subtomogram in enumerate(subtomograms.iterItems(), 1):
            path = os.path.join(folder, f"subtomogram_{index:06d}.mrc")
            convert.linkSubtomogram(subtomogram, path, rate)
            optics = self._optics(subtomogram)
            rows.append(convert.subtomogramRow(index, path, subtomogram, cube, crop, rate, optics))
        convert.writeTable(self._table(), rows)

    def refineStep(self, iterations: int) -> None:
        """Train; started again in the same folder, the engine goes on where it stopped."""
        options = {
            "result_dir": self._resultFolder(),
            "preprocessing_ncpus": self.numberOfThreads.get(),
            **optionValues(self, RefineSettings),
        }
        model = self.pretrainedModel.get()
        if model is not None:
            options["pretrained_model"] = model.getFileName()
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
        self._defineSourceRelation(self.inputSubtomograms, model)
        if self.pretrainedModel.get() is not None:
            self._defineSourceRelation(self.pretrainedModel, model)

    # ---------------------------------------------------------------- helpers

    def lossesFile(self) -> str:
        """The table of the losses of all epochs so far."""
        return os.path.join(self._resultFolder(), "losses.csv")

    def _table(self) -> str:
        return self._getExtraPath("subtomo.star")

    def _resultFolder(self) -> str:
        return self._getExtraPath("results")

    def _cropSize(self) -> int:
        return self.inputSubtomograms.get().getDim()[0]

    def _cubeSize(self) -> int:
        stored = getattr(self.inputSubtomograms.get().getFirstItem(), CUBE_SIZE_ATTRIBUTE, None)
        if self.cubeSize.get():
            return self.cubeSize.get()
        return stored.get() if stored is not None else usual_cube_size(self._cropSize())

    def _optics(self, subtomogram: SubTomogram) -> convert.Optics:
        return convert.readOptics(subtomogram.getAcquisition(), self.inputSubtomograms.get().getAcquisition())

    def _losses(self) -> dict[str, float]:
        """Losses of training and validation of the last epoch so far; empty before the first."""
        records = convert.readLosses(self.lossesFile())
        return {"training": records[-1]["loss"], "validation": records[-1]["val_loss"]} if records else {}

    # ---------------------------------------------------------------- checks and texts

    def _validate(self) -> list[str]:
        errors = []
        subtomograms = self.inputSubtomograms.get()
        sides = subtomograms.getDim()
        if len(set(sides[:3])) > 1:
            return [f"The subtomograms are not cubic: {sides[0]} x {sides[1]} x {sides[2]} voxels."]
        crop, cube, step = self._cropSize(), self._cubeSize(), 2 ** self.unetDepth.get()
        if not 0 < cube < crop:
            errors.append(f"*Cube size* is {cube} voxels: it must be smaller than the subtomograms, which have {crop}.")
        if cube % step:
            errors.append(
                f"*Cube size* is {cube} voxels: for a network of depth {self.unetDepth} it must be "
                f"a multiple of {step}."
            )
        unknown = [
            self._optics(subtomogram).tiltMin is None or self._optics(subtomogram).tiltMax is None
            for subtomogram in subtomograms
        ]
        low, high = self.tiltMin.get(), self.tiltMax.get()
        if any(unknown) and (low is None or high is None):
            errors.append(
                f"*Tilt range*: the acquisition of {sum(unknown)} subtomograms does not have it, so give it here."
            )
        if low is not None and high is not None and low >= high:
            errors.append("*Tilt range*: 'from' must be smaller than 'to'.")
        errors += self._validateNoise()
        model = self.pretrainedModel.get()
        if model is not None and not os.path.exists(model.getFileName()):
            errors.append(f"The file of *Model to start from* is missing: {model.getFileName()}.")
        return errors

    def _validateNoise(self) -> list[str]:
        try:
            levels, starts = numbers(self.noiseLevel.get() or ""), numbers(self.noiseStartIter.get() or "", int)
        except ValueError:
            return ["*Noise levels* and *Noise starts at iteration* are lists such as 0.05,0.1 and 11,16."]
        if not levels:
            return ["*Noise levels* is empty: for no denoising give the level 0 from iteration 1."]
        if len(levels) != len(starts):
            return [f"There are {len(levels)} *Noise levels* but {len(starts)} iterations at which they start."]
        return []

    def _warnings(self) -> list[str]:
        warnings = []
        model = self.pretrainedModel.get()
        rate = self.inputSubtomograms.get().getSamplingRate()
        if model is not None and model.getSamplingRate() and abs(model.getSamplingRate() / rate - 1) > 0.05:
            warnings.append(
                f"The model to start from was trained at {model.getSamplingRate():.2f} Å/px; "
                f"the subtomograms have {rate:.2f}."
            )
        return warnings

    def _summary(self) -> list[str]:
        subtomograms = self.inputSubtomograms.get()
        lines = [f"{subtomograms.getSize()} subtomograms, cubes of {self._cubeSize()} voxels."] if subtomograms else []
        model = getattr(self, "model", None)
        if model is not None:
            lines.append(f"{model.getIteration()} iterations of {self.epochs} epochs.")
        lines += [f"Last {kind} loss: {loss:.4f}" for kind, loss in self._losses().items()]
        return lines or ["No output yet."]

    def _methods(self) -> list[str]:
        losses = self._losses()
        last = f" The last validation loss was {losses['validation']:.4f}." if losses else ""
        return [
            f"A U-Net (depth {self.unetDepth}, {self.filterBase} channels at the first level) was trained to fill the "
            f"missing wedge as in IsoNet [Liu2022], in {self.iterations} iterations of {self.epochs} epochs on "
            f"{self.inputSubtomograms.get().getSize()} subtomograms.{last}"
        ]
