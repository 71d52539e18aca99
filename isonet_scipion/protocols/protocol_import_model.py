"""Import of a trained network."""

from __future__ import annotations

import glob
import os
import zipfile
from typing import TYPE_CHECKING

from pyworkflow.protocol.constants import LEVEL_ADVANCED
from pyworkflow.protocol.params import BooleanParam, FileParam

from isonet_scipion.convert.files import placeFile
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.refine_json import MODEL_SUFFIXES
from isonet_scipion.engine.network.model_file import read_metadata
from isonet_scipion.objects import IsoNetModel
from isonet_scipion.protocols.base import damagedLines
from isonet_scipion.protocols.form import OptionalFloatParam, Within
from isonet_scipion.protocols.record import keepValues, recordErrors, usedValue
from isonet_scipion.protocols.refused import ProtIsoNetPlain
from isonet_scipion.protocols.set_checks import sameSampling

if TYPE_CHECKING:
    from pyworkflow.protocol import Form


class ProtIsoNetImportModel(ProtIsoNetPlain):
    """Import a trained network: a model_iterNN.h5 of IsoNet 0.2, or a model_iterNN.keras of this plugin."""

    _label = "import model"
    _possibleOutputs = {"model": IsoNetModel}

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Import")
        form.addParam(
            "modelFile",
            FileParam,
            label="Model file",
            help="A file .h5 of IsoNet 0.2 or .keras of this plugin, out of its results folder.",
        )
        form.addParam(
            "samplingRate",
            OptionalFloatParam,
            label="Voxel size (Å/px)",
            validators=[Within(least=0.01)],
            help="Of the tomograms that the network was trained on. Empty: as the file says. Files of IsoNet 0.2 "
            "do not say it; without it, correction accepts tomograms of any voxel size.",
        )
        form.addParam(
            "copyFiles",
            BooleanParam,
            default=True,
            expertLevel=LEVEL_ADVANCED,
            label="Copy the file?",
            help="Yes: with those of the training's other iterations beside it, a few MB each. No: a link to it is "
            "made, so it must stay where it is, and where it is trained again, corrections here change too.",
        )

    def _insertAllSteps(self) -> None:
        values = self.modelFile.get(), self.samplingRate.get(), self.copyFiles.get()
        self._insertFunctionStep(self.importStep, *values, needsGPU=False)

    def importStep(self, source: str, samplingRate: float | None, copy: bool) -> None:
        """Link or copy the file and register it; done again if Continue finds other values."""
        keepValues(self)
        model = importedModel(source, self._getExtraPath(), copy)
        if samplingRate:
            model.setSamplingRate(samplingRate)
        self._defineOutputs(model=model)

    def _validate(self) -> list[str]:
        path = self.modelFile.get()
        if not path:
            return ["Select the *Model file*."]
        if not os.path.isfile(path):
            return [f"*Model file* {'is a folder' if os.path.isdir(path) else 'does not exist'}: {path}"]
        try:
            read_metadata(path)
        except EngineError as error:
            return [str(error)]
        return []

    def _warnings(self) -> list[str]:
        given, said = self.samplingRate.get(), read_metadata(self.modelFile.get()).voxel_size
        if not given or not said or sameSampling(given, said):
            return []
        return [
            f"*Voxel size*: {given:.2f} Å is given here, but the model's file says {said:.2f} Å. What is given counts: "
            f"*correct tomograms* will take tomograms of {given:.2f} Å only, at which the network may do worse. Leave "
            "it empty to take what the file says."
        ]

    def _summary(self) -> list[str]:
        model = getattr(self, "model", None)
        damaged = damagedLines(recordErrors(self))
        return ["No output yet." if model is None else f"{self._name()}: {model}", *damaged]

    def _methods(self) -> list[str]:
        return [f"The network {self._name()} was imported."] if hasattr(self, "model") else []

    def _name(self) -> str:
        return os.path.basename(usedValue(self, "modelFile") or "")

    def _citations(self) -> list[str]:
        return ["Liu2022"]


def importedModel(source: str, folder: str, copy: bool = False) -> IsoNetModel:
    """The model of a file, which is linked into a folder, or copied with the other iterations of its training."""
    # the kind of a file is told by its content, so a misnamed one gets the suffix that the engine goes by
    target = os.path.join(folder, os.path.splitext(os.path.basename(source))[0] + modelSuffix(source))
    placeFile(source, target, copy)
    if copy:  # a correction may ask for another iteration, by its name
        beside = os.path.join(glob.escape(os.path.dirname(os.path.realpath(source))), "model_iter*.")
        for path in [path for suffix in MODEL_SUFFIXES for path in glob.glob(beside + suffix)]:
            placeFile(path, os.path.join(folder, os.path.basename(path)), copy)
    model = IsoNetModel()
    model.setFileName(target)
    model.setMetadata(read_metadata(target))
    return model


def modelSuffix(path: str) -> str:
    """.keras or .h5, according to the file's content."""
    return ".keras" if zipfile.is_zipfile(path) else ".h5"
