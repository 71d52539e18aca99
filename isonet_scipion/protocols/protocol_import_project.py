"""Import of an IsoNet project's folder."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING

from pyworkflow.protocol.constants import MODE_RESTART
from pyworkflow.protocol.params import FloatParam, PathParam
from pyworkflow.utils import getExt
from tomo.objects import SetOfCoordinates3D, SetOfSubTomograms, SetOfTomograms, SetOfTomoMasks, TomoAcquisition

from isonet_scipion.convert.files import placeFile
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.earlier_table import is_unusual
from isonet_scipion.engine.io.star import tomogram_names
from isonet_scipion.engine.io.tomogram_entry import DEFOCUS, INVERTED
from isonet_scipion.engine.network.model_file import read_metadata
from isonet_scipion.engine.physics.ctf import POSSIBLE, CtfParameters
from isonet_scipion.engine.physics.wedge import TiltRange, declared_range
from isonet_scipion.isonet_folder import VERSIONS, IsoNetFolder
from isonet_scipion.objects import IsoNetModel
from isonet_scipion.protocols.base import damagedLines
from isonet_scipion.protocols.form import Within, isFilledIn
from isonet_scipion.protocols.listing import named
from isonet_scipion.protocols.protocol_import_model import importedModel
from isonet_scipion.protocols.record import changeErrors, formValues, keepValues, recordErrors, usedValue
from isonet_scipion.protocols.refused import ProtIsoNetPlain

if TYPE_CHECKING:
    from pwem.objects import EMObject, EMSet
    from pyworkflow.protocol import Form

WHERE_MISSING = "Used where tomograms.star does not say it."
LEFT = (*DEFOCUS, "rlnSnrFalloff", "rlnDeconvStrength", "rlnMaskBoundary")  # columns that Scipion's sets can't hold


class ProtIsoNetImportProject(ProtIsoNetPlain):
    """Import the folder of an IsoNet project: tomograms, masks, subtomograms and the last model.

    Takes projects of IsoNet 0.2 and of this plugin's command line. The model is copied; the other files are linked, so
    they must stay where they are.
    """

    _label = "import IsoNet project"
    _possibleOutputs = {
        **dict.fromkeys(VERSIONS, SetOfTomograms),
        "tomoMasks": SetOfTomoMasks,
        "subtomograms": SetOfSubTomograms,
        "coordinates": SetOfCoordinates3D,
        "model": IsoNetModel,
    }

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Import")
        form.addParam(
            "projectFolder",
            PathParam,
            label="Project folder",
            help="The folder in which IsoNet's commands were called. It holds *tomograms.star* and, if these "
            "stages were run, *subtomo.star* and *results*.",
        )
        group = form.addGroup("Acquisition")
        line = group.addLine("Tilt range (degrees)", help=f"{WHERE_MISSING} IsoNet 0.2 assumes -60 to 60.")
        line.addParam("tiltMin", FloatParam, default=TiltRange.minimum, label="from", validators=[Within(-90, 90)])
        line.addParam("tiltMax", FloatParam, default=TiltRange.maximum, label="to", validators=[Within(-90, 90)])
        for name, label, field in (
            ("voltage", "Voltage (kV)", "voltage"),
            ("sphericalAberration", "Spherical aberration (mm)", "cs"),
            ("amplitudeContrast", "Amplitude contrast", "amplitude_contrast"),
        ):
            usual, legal = getattr(CtfParameters, field), Within(*POSSIBLE[field])
            group.addParam(name, FloatParam, default=usual, label=label, help=WHERE_MISSING, validators=[legal])

    def _insertAllSteps(self) -> None:
        self._insertFunctionStep(self.importStep, json.dumps(formValues(self)), needsGPU=False)

    def importStep(self, values: str) -> None:
        """Link the files and register what they are."""
        for name in self._possibleOutputs:
            if hasattr(self, name):  # of a run that was killed
                self.deleteOutput(getattr(self, name))
        keepValues(self)
        folder = self._folder()
        self.summaryVar.set("\n".join(folderWarnings(folder)))
        rate = folder.samplingRate
        for version in VERSIONS:
            tomograms = folder.tomograms(version, partial(self._link, version))
            if tomograms:
                output = self._newSet(SetOfTomograms, version, rate)
                output.setAcquisition(tomograms[0].getAcquisition())
                self._fill(version, output, tomograms)
        masks = folder.masks(partial(self._link, "masks"))
        if masks:
            self._fill("tomoMasks", self._newSet(SetOfTomoMasks, "tomoMasks", rate), masks)
        self._importSubtomograms(folder)
        model = folder.model()
        if model:
            self._defineOutputs(model=importedModel(model, self._getExtraPath(), copy=True))

    def _importSubtomograms(self, folder: IsoNetFolder) -> None:
        subtomograms = folder.subtomograms([item.clone() for item in self.tomograms], partial(self._link, "subtomo"))
        if not subtomograms:
            return
        rate = folder.samplingRate
        output = self._newSet(SetOfSubTomograms, "subtomograms", rate)
        output.setAcquisition(subtomograms[0].getAcquisition())
        if all(subtomogram.getCoordinate3D() is not None for subtomogram in subtomograms):
            centres = self._newSet(SetOfCoordinates3D, "coordinates", rate)
            centres.setPrecedents(self.tomograms)
            centres.setBoxSize(subtomograms[0].getDim()[0])
            self._fill("coordinates", centres, [subtomogram.getCoordinate3D().clone() for subtomogram in subtomograms])
            output.setCoordinates3D(self.coordinates)
        self._fill("subtomograms", output, subtomograms)

    def _newSet(self, setClass: type[EMSet], name: str, samplingRate: float) -> EMSet:
        output = setClass.create(self._getPath(), prefix=name)
        output.setSamplingRate(samplingRate)
        return output

    def _fill(self, name: str, output: EMSet, items: list[EMObject]) -> None:
        for item in items:
            output.append(item)
        output.write()
        self._defineOutputs(**{name: output})

    def _link(self, kind: str, path: str, name: str) -> str:
        target = self._getExtraPath(kind, name + getExt(path))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        placeFile(path, target)
        return target

    def _folder(self) -> IsoNetFolder:
        acquisition = TomoAcquisition(
            voltage=self.voltage.get(),
            sphericalAberration=self.sphericalAberration.get(),
            amplitudeContrast=self.amplitudeContrast.get(),
            angleMin=self.tiltMin.get(),
            angleMax=self.tiltMax.get(),
        )
        return IsoNetFolder(self.projectFolder.get(), acquisition)

    def _validate(self) -> list[str]:
        if not isFilledIn(self):
            return []
        if self.runMode != MODE_RESTART and any(hasattr(self, name) for name in self._possibleOutputs):
            changed = changeErrors(self)
            if changed:  # what the other folder lacks would stay: Scipion's window keeps outputs that are deleted
                return changed
        path = self.projectFolder.get()
        if not path:
            return ["Select the *Project folder*."]
        if not os.path.isdir(path):
            return [f"*Project folder* {'is a file' if os.path.isfile(path) else 'does not exist'}: {path}"]
        try:
            declared_range(self.tiltMin.get(), self.tiltMax.get())
            folder = self._folder()
            # reads every file's header
            tomograms = folder.tomograms("tomograms", lambda path, name: path)
            for version in list(VERSIONS)[1:]:
                folder.tomograms(version, lambda path, name: path)
            folder.masks(lambda path, name: path)
            folder.subtomograms(tomograms, lambda path, name: path)
            model = folder.model()
            if model:
                read_metadata(model)
        except EngineError as error:
            return [str(error)]
        return contrastErrors(folder)

    def _warnings(self) -> list[str]:
        return folderWarnings(self._folder())

    def _summary(self) -> list[str]:
        outputs = [(name, getattr(self, name)) for name in self._possibleOutputs if hasattr(self, name)]
        lines = [f"{name}: {output}" for name, output in outputs] or ["No output yet."]
        lines += [f"*Warning*: {line}" for line in self.summaryVar.get("").splitlines()]
        return lines + damagedLines(recordErrors(self))

    def _methods(self) -> list[str]:
        if not any(hasattr(self, name) for name in self._possibleOutputs):
            return []
        return [f"The IsoNet project {usedValue(self, 'projectFolder')} was imported."]

    def _citations(self) -> list[str]:
        return ["Liu2022"]


def contrastErrors(folder: IsoNetFolder) -> list[str]:
    """That protein is bright in some of a project's tomograms only, which no form can be told."""
    inverted = folder.invertedIds()
    dark = [tsId for tsId in folder.ids if tsId not in inverted]
    if not inverted or not dark:
        return []
    return [
        f"{folder.table.path}: protein is bright in {named(inverted)} and dark in {named(dark)}, by "
        f"its column _{INVERTED}. Split the table into one of each kind, and import them separately."
    ]


def folderWarnings(folder: IsoNetFolder) -> list[str]:
    """What of a project is taken otherwise than its files say, or not at all."""
    return contrastWarnings(folder) + nameWarnings(folder) + leftWarnings(folder) + modelWarnings(folder)


def nameWarnings(folder: IsoNetFolder) -> list[str]:
    """The tomograms whose tsId is not the name that the table gives them."""
    pairs = zip(tomogram_names(folder.table), folder.ids)
    renamed = [f"{name} as {tsId}" for name, tsId in pairs if name != tsId]
    if not renamed:
        return []
    return [
        "Not all names of tomograms.star can be tilt series IDs. As by Scipion's own import, these are taken "
        f"otherwise: {named(renamed)}. *export tables* writes the IDs."
    ]


def leftWarnings(folder: IsoNetFolder) -> list[str]:
    """The columns of the table that have something to say, but no place in Scipion's sets."""
    table = folder.table
    left = [label for label in LEFT if any(is_unusual(table, row, label) for row in table.rows)]
    if not left:
        return []
    return [
        f"Not taken from tomograms.star, as Scipion's sets can't hold it: {', '.join(left)}. Give it in the forms of "
        "*CTF deconvolution*, *sample mask* and others that ask for it."
    ]


def modelWarnings(folder: IsoNetFolder) -> list[str]:
    """Which of several trainings' models is taken."""
    taken, *others = folder.models() or [""]
    if not others:
        return []
    return [f"The model is {taken}. Those of other trainings can be imported by *import model*: {', '.join(others)}."]


def contrastWarnings(folder: IsoNetFolder) -> list[str]:
    """That protein is bright in a project's tomograms, which Scipion's sets can't hold."""
    if not folder.invertedIds():
        return []
    return [
        "Protein is bright in these tomograms, as tomograms.star says, but Scipion's sets can't hold that: set *Is "
        "protein bright?* to Yes (expert level) in each protocol that takes them."
    ]
