"""Correction of whole tomograms with a trained network."""

from __future__ import annotations

import os

from pyworkflow.object import Pointer
from pyworkflow.protocol import Form
from pyworkflow.protocol.constants import LEVEL_ADVANCED
from pyworkflow.protocol.params import EnumParam, PointerParam
from tomo.objects import SetOfTomograms, Tomogram

from isonet_scipion import convert
from isonet_scipion.engine.model_file import read_metadata
from isonet_scipion.engine.report import wedge_power_ratio
from isonet_scipion.engine.settings import PredictSettings
from isonet_scipion.engine.tiling import ISONET_RAMP
from isonet_scipion.engine.volume import open_volume
from isonet_scipion.engine.wedge import TILT_TOLERANCE, TiltRange
from isonet_scipion.protocols.base import EngineFailure
from isonet_scipion.protocols.form import addOption, addTiltRange, optionValues, tiltErrors
from isonet_scipion.protocols.tomograms import ProtIsoNetTomograms, sameSampling

NORMALIZATIONS = ("as in training", "percentiles", "mean and deviation")


class ProtIsoNetPredict(ProtIsoNetTomograms):
    """Fill the missing wedge of whole tomograms, and remove noise, with a trained network.

    The result is for looking, picking and segmenting. Compare every feature with the tomogram before correction.
    """

    _label = "correct tomograms"
    _possibleOutputs = {"tomograms": SetOfTomograms}
    NEEDS_GPU = True

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        self._addGpuParams(form)
        self._addTomogramsParam(form, "Tomograms to correct, of the kind that the network was trained on.")
        form.addParam(
            "model",
            PointerParam,
            pointerClass="IsoNetModel",
            important=True,
            label="Model",
            help="The trained network.",
        )
        self._addHalvesParam(form, "Correct")
        addTiltRange(form, "each tomogram's")
        group = form.addGroup("Tiles")
        addOption(group, PredictSettings, "cube_size", "Step between tiles (voxels)", expert=True)
        addOption(
            group,
            PredictSettings,
            "crop_size",
            "Tile size (voxels)",
            "Larger tiles give the network more surroundings and need more memory.",
            expert=True,
        )
        addOption(
            group,
            PredictSettings,
            "batch_size",
            "Tiles at once",
            "Fewer if the memory of the GPU does not suffice.",
            expert=True,
        )
        form.addParam(
            "normalizePercentile",
            EnumParam,
            choices=list(NORMALIZATIONS),
            default=0,
            expertLevel=LEVEL_ADVANCED,
            label="Normalise by",
            help="How grey values are brought to the network's scale. Models of IsoNet 0.2 do not say how they were "
            "trained: for them 'as in training' means percentiles.",
        )
        addOption(
            form,
            PredictSettings,
            "normalized_output",
            "IsoNet 0.2's grey scale?",
            "No: the corrected tomogram has the grey scale of the input.",
            expert=True,
        )
        addOption(form, PredictSettings, "precision", "Precision", expert=True)
        self._addRunningParams(form)

    def _process(self, tomogram: Tomogram, partner: None) -> None:
        tsId = tomogram.getTsId()
        if not self._optics(tomogram).hasTilts:  # it came after the validation
            raise EngineFailure("Neither its acquisition nor the form has a tilt range.")
        table = self._writeTable(tomogram, halves=self.processHalves.get(), ownHalves=self._learnedFromHalves())
        options = {"output_dir": self._getExtraPath(), **optionValues(self, PredictSettings)}
        options.pop("normalize_percentile")
        if self.normalizePercentile.get():
            options["normalize_percentile"] = self.normalizePercentile.get() == NORMALIZATIONS.index("percentiles")
        self._runEngine("predict", [table, self.model.get().getFileName()], options, name=tsId)
        halves = self._halfFiles("rlnCorrectedTomoName", tsId)
        path = self._outputFile(tsId, "rlnCorrectedTomoName", tsId)
        corrected = convert.processedTomogram(tomogram, path, tomogram.ctfCorrected(), halves)
        convert.setWedgePower(corrected, *self._wedgePower(tomogram, path))
        self._append(corrected)

    def _learnedFromHalves(self) -> bool:
        """Whether the model corrects the two halves of a tomogram, whose mean is the result."""
        return bool(read_metadata(self.model.get().getFileName()).get("halves"))

    def _wedgePower(self, tomogram: Tomogram, corrected: str) -> tuple[float, float]:
        """Power in the missing wedge before and after, as a share of that outside it."""
        optics = self._optics(tomogram)
        tilt = TiltRange(optics.tiltMin, optics.tiltMax)
        before = convert.asMrc(tomogram.getFileName(), self._getTmpPath(f"{tomogram.getTsId()}.mrc"), 1.0)
        return wedge_power_ratio(open_volume(before).data, tilt), wedge_power_ratio(open_volume(corrected).data, tilt)

    def _optics(self, tomogram: Tomogram) -> convert.Optics:
        return super()._optics(tomogram).withTilts(self.tiltMin.get(), self.tiltMax.get())

    def _sources(self) -> list[Pointer]:
        return [self.inputTomograms, self.model]

    # ---------------------------------------------------------------- checks and texts

    def _validate(self) -> list[str]:
        errors = super()._validate()
        model, rate = self.model.get(), self.inputTomograms.get().getSamplingRate()
        if not os.path.exists(model.getFileName()):
            errors.append(f"The model's file is missing: {model.getFileName()}.")
        if model.getSamplingRate() and not sameSampling(model.getSamplingRate(), rate):
            errors.append(
                f"The model was trained at {model.getSamplingRate():.2f} Å/px, but the tomograms have {rate:.2f}: "
                "bring the tomograms to the model's voxel size, or train on them."
            )
        cube, crop = self.cubeSize.get(), self.cropSize.get()
        if cube and crop and crop < cube + ISONET_RAMP:
            errors.append(f"*Tile size* must be at least *Step between tiles* + {ISONET_RAMP}.")
        if cube and cube < ISONET_RAMP:
            errors.append(f"*Step between tiles* must be at least {ISONET_RAMP}.")
        unknown = [tsId for tsId, tomogram in self._tomogramsById().items() if not self._optics(tomogram).hasTilts]
        return errors + tiltErrors(self, ", ".join(unknown)) + self._halvesErrors()

    def _warnings(self) -> list[str]:
        tomograms = self._tomogramsById()
        return super()._warnings() + self._tiltWarnings(tomograms) + self._ctfWarnings(tomograms)

    def _tiltWarnings(self, tomograms: dict[str, Tomogram]) -> list[str]:
        low, high = self.model.get().getTiltRange()
        if low is None or high is None:
            return []
        other = []
        for tsId, tomogram in tomograms.items():
            optics = self._optics(tomogram)
            if optics.hasTilts and max(abs(optics.tiltMin - low), abs(optics.tiltMax - high)) > TILT_TOLERANCE:
                other.append(f"{tsId} ({optics.tiltMin:g} to {optics.tiltMax:g})")
        if not other:
            return []
        return [
            f"The model was trained for tilts of {low:g} to {high:g} degrees, but these tomograms have others: "
            f"{', '.join(other)}."
        ]

    def _ctfWarnings(self, tomograms: dict[str, Tomogram]) -> list[str]:
        trained = self.model.get().ctfCorrected()
        other = [tsId for tsId, tomogram in tomograms.items() if bool(tomogram.ctfCorrected()) != trained]
        if trained is None or not other:
            return []
        kinds = {True: "with", False: "without"}
        return [
            f"The model was trained on tomograms {kinds[trained]} CTF correction, but these are {kinds[not trained]}: "
            f"{', '.join(other)}."
        ]

    def _results(self, output: SetOfTomograms) -> list[str]:
        lines = super()._results(output)
        for tomogram in output:
            before, after = convert.wedgePower(tomogram)
            lines.append(
                f"{tomogram.getTsId()}: the power in the missing wedge was {100 * before:.0f} % of that around it, now "
                f"it is {100 * after:.0f} %. Picture: {os.path.splitext(tomogram.getFileName())[0]}.png"
            )
        return lines

    def _methods(self) -> list[str]:
        return ["The missing wedge of the tomograms was filled with a trained network as in IsoNet [Liu2022]."]
