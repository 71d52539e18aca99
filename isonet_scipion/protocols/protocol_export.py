"""Export of tables for the command line and for RELION 5."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import TYPE_CHECKING

from pyworkflow.protocol.params import FileParam, PointerParam
from pyworkflow.utils import cleanPath, cleanPattern
from tomo.objects import SetOfTomograms

from isonet_scipion.constants import CUBE_SIZE_ATTRIBUTE, ORIGIN_LABELS
from isonet_scipion.convert.acquisition import ownAcquisition, readOptics
from isonet_scipion.convert.files import (
    asMrc,
    cellName,
    fileName,
    fileOf,
    halfMaps,
    halfNames,
    halvesError,
    linkSubtomogram,
    readSizes,
)
from isonet_scipion.convert.outputs import scaleOf
from isonet_scipion.convert.rows import originCells, subtomogramRow, tomogramRow, writeTable
from isonet_scipion.convert.sets import enabled, enabledIds, filesById, sidesOf
from isonet_scipion.engine.conventions import TILT_RANGE
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.number_formats import SCALE
from isonet_scipion.engine.io.relion import NAME
from isonet_scipion.engine.io.star import read_star, write_star
from isonet_scipion.engine.io.tomogram_entry import HALF_LABELS
from isonet_scipion.engine.sampling.crops import usual_cube_size
from isonet_scipion.isonet_folder import tiltSeriesId
from isonet_scipion.protocols.base import ProtIsoNetBase
from isonet_scipion.protocols.ctf_history import ctfStates
from isonet_scipion.protocols.form import OPTIONAL, OptionalFloatParam, Within, addContrast, labelOf
from isonet_scipion.protocols.listing import named
from isonet_scipion.protocols.set_checks import averageErrors, idErrors, kindErrors, missingErrors, sameSampling

if TYPE_CHECKING:
    from pwem.objects import EMSet
    from pyworkflow.protocol import Form
    from tomo.objects import SetOfSubTomograms, SubTomogram, Tomogram

    from isonet_scipion.convert.acquisition import Optics
    from isonet_scipion.convert.files import Size

COUNTED = {
    "rlnMicrographName": "Tomograms",
    "rlnMaskName": "masks",
    "rlnCorrectedTomoName": "corrected",
    HALF_LABELS[0]: "with halves",
}
TOMOGRAMS, SUBTOMOGRAMS, RELION = "tomograms.star", "subtomo.star", "relion_tomograms.star"


class ProtIsoNetExport(ProtIsoNetBase):
    """Write the tables with which the command line isonet-engine, IsoNet 0.2 or RELION 5 go on with a project's data.

    tomograms.star and subtomo.star are IsoNet's; relion_tomograms.star is RELION 5's, with the corrected tomograms as
    the denoised ones. The tables name the files where they are: nothing is copied.
    """

    _label = "export tables"

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Export")
        for name, kind, label, help in (
            ("inputTomograms", "SetOfTomograms", "Tomograms", "As reconstructed, or deconvolved."),
            ("inputMasks", "SetOfTomoMasks", f"Masks{OPTIONAL}", "Masks of these tomograms."),
            (
                "inputCorrected",
                "SetOfTomograms",
                f"Corrected tomograms{OPTIONAL}",
                "The result of *correct tomograms*.",
            ),
            (
                "inputSubtomograms",
                "SetOfSubTomograms",
                f"Subtomograms{OPTIONAL}",
                "Written to subtomo.star, for a training on the command line.",
            ),
        ):
            isFirst = name == "inputTomograms"
            form.addParam(
                name, PointerParam, pointerClass=kind, label=label, help=help, important=isFirst, allowsNull=not isFirst
            )
        addContrast(form)
        group = form.addGroup("RELION 5")
        group.addParam(
            "relionStar",
            FileParam,
            allowsNull=True,
            label=f"RELION's tomograms.star{OPTIONAL}",
            help="The table of the RELION project that has the tilt series. It is not changed: "
            f"{RELION} is a copy of it with the corrected tomograms, matched by rlnTomoName and the tilt series ID "
            "(tsId) that it is, or that Scipion's import makes of it.",
        )
        group.addParam(
            "tiltSeriesPixelSize",
            OptionalFloatParam,
            condition="not relionStar",
            label="Pixel size of the tilt series (Å/px)",
            validators=[Within(least=0.01)],
            help="RELION counts in pixels of the tilt series. Empty: those of the tomograms.",
        )

    # ---------------------------------------------------------------- steps

    def _insertAllSteps(self) -> None:
        self._tellWarnings()
        # so that all is written anew when it is continued: whatever the tables are made from may have changed
        made = str(time.time_ns())
        self._insertFunctionStep(self.tomogramsStep, made, needsGPU=False)
        if self.inputSubtomograms.get() is not None:
            self._insertFunctionStep(self.subtomogramsStep, made, needsGPU=False)
        self._insertFunctionStep(self.relionStep, made, needsGPU=False)

    def tomogramsStep(self, made: str) -> None:
        """Write IsoNet's table of tomograms; what a run before that of the time `made` left is deleted."""
        for name in (TOMOGRAMS, SUBTOMOGRAMS, RELION):
            cleanPath(self._getExtraPath(name))
        cleanPattern(self._getExtraPath("*.mrc"))  # converted volumes
        masks, corrected = self._files("inputMasks"), self._files("inputCorrected")
        tomograms, states, rows = self.inputTomograms.get(), ctfStates(self), []
        scales = self._scales()
        for index, tomogram in enumerate([item.clone() for item in enabled(tomograms)], 1):
            tsId = tomogram.getTsId()
            row = tomogramRow(
                cellName(tsId),
                self._mrc(fileOf(tomogram), fileName(tsId)),
                tomogram.getSamplingRate(),
                _optics(tomogram, tomograms),
                index,
                ctfState=states.get(tsId),
                halves=self._halves(tomogram),
                isInverted=self.isInverted.get(),
            )
            row["rlnMaskName"] = masks.get(tsId, "None")
            row["rlnCorrectedTomoName"] = corrected.get(tsId, "None")
            if any(scale != 1 for scale in scales.values()):
                row[SCALE] = f"{scales.get(tsId, 1):.7g}"
            row.update(originCells(tomogram))
            rows.append({"rlnDeconvTomoName": "None", **row})
        writeTable(self._getExtraPath(TOMOGRAMS), rows)

    def subtomogramsStep(self, made: str) -> None:
        """Write IsoNet's table of subtomograms."""
        subtomograms = self.inputSubtomograms.get()
        rate, crop, rows = subtomograms.getSamplingRate(), sidesOf(subtomograms)[0], []
        folder = self._getExtraPath("subtomo")
        os.makedirs(folder, exist_ok=True)
        for index, subtomogram in enumerate(enabled(subtomograms), 1):
            path = os.path.abspath(os.path.join(folder, f"subtomogram_{index:06d}.mrc"))
            linkSubtomogram(subtomogram, path, rate)
            optics = _optics(subtomogram, subtomograms)
            cube = subtomogram.getAttributeValue(CUBE_SIZE_ATTRIBUTE) or usual_cube_size(crop)
            rows.append(subtomogramRow(index, path, subtomogram, cube, crop, rate, optics))
        writeTable(self._getExtraPath(SUBTOMOGRAMS), rows)

    def relionStep(self, made: str) -> None:
        """Write RELION's table of tomograms."""
        table, options = self._getExtraPath(TOMOGRAMS), {"output_star": self._getExtraPath(RELION)}
        if self.relionStar.get():
            options["relion_star"] = self.relionStar.get()
            table = self._withRelionsNames(table)
        elif self.tiltSeriesPixelSize.get():
            options["tilt_series_pixel_size"] = self.tiltSeriesPixelSize.get()
        self._runEngine("export_relion", [table], options)

    def _withRelionsNames(self, table: str) -> str:
        """A table, or a copy of it where RELION's table has other names than Scipion's IDs."""
        star, names = read_star(table), self._relionsNames()
        if not names:
            return table
        for row in star.rows:
            row[NAME] = names.get(row[NAME], row[NAME])
        os.makedirs(self._getTmpPath(), exist_ok=True)
        write_star(self._getTmpPath(TOMOGRAMS), star)
        return self._getTmpPath(TOMOGRAMS)

    def _relionsNames(self) -> dict[str, str]:
        """RELION's names of the tomograms whose tsId is another, as Scipion makes IDs of names: 12 becomes TS_12."""
        star = read_star(self.relionStar.get())
        names = [name for row in star.rows if (name := star.text(row, NAME))]
        ids = [tiltSeriesId(name) for name in names]
        counts = Counter(ids)
        byId = {tsId: name for tsId, name in zip(ids, names) if counts[tsId] == 1}
        return {tsId: byId[tsId] for tsId in enabledIds(self.inputTomograms.get()) if byId.get(tsId, tsId) != tsId}

    def _files(self, name: str) -> dict[str, str]:
        """Those of an input that go with the tomograms, as MRC, by tsId."""
        files, ids = filesById(getattr(self, name).get()), enabledIds(self.inputTomograms.get())
        return {tsId: self._mrc(files[tsId], f"{fileName(tsId)}_{name}") for tsId in ids if tsId in files}

    def _scales(self) -> dict[str, float]:
        """What the voxels of each corrected tomogram are multiplied by to get grey values."""
        return {item.getTsId(): scaleOf(item) for item in enabled(self.inputCorrected.get())}

    def _halves(self, tomogram: Tomogram) -> list[str]:
        """MRC files of a tomogram's halves; none where one can't be read."""
        if halvesError(tomogram):
            return []
        pairs = zip(halfMaps(tomogram), halfNames(tomogram.getTsId()))
        return [self._mrc(path, name) for path, name in pairs]

    def _mrc(self, path: str, name: str) -> str:
        rate = self.inputTomograms.get().getSamplingRate()
        return os.path.abspath(asMrc(path, self._getExtraPath(f"{name}.mrc"), rate))

    # ---------------------------------------------------------------- checks and texts

    def _inputErrors(self) -> list[str]:
        errors, rate = [], self.inputTomograms.get().getSamplingRate()
        sizes: dict[str, Size] = {}
        ids = set(enabledIds(self.inputTomograms.get()))
        if not ids:
            errors.append("*Tomograms* is empty.")
        for name in ("inputTomograms", "inputMasks", "inputCorrected"):
            items = getattr(self, name).get()
            if items is not None:
                errors += [] if name == "inputMasks" else kindErrors(labelOf(self, name), items)
                errors += idErrors(labelOf(self, name), items)
                found, unreadable = readSizes(enabled(items))
                errors += map(str, unreadable.values())
                sizes = sizes or found  # those of the tomograms
                other = [tsId for tsId, size in sizes.items() if found.get(tsId, size) != size]
                if other:
                    errors.append(f"*{labelOf(self, name)}*: of another size than its tomogram: {named(other)}.")
        for name in ("inputMasks", "inputCorrected", "inputSubtomograms"):
            other, label = getattr(self, name).get(), self.getParam(name).label
            if other is None:
                continue
            if not sameSampling(other.getSamplingRate(), rate):
                errors.append(f"*{label}* have {other.getSamplingRate():.2f} Å/px, the tomograms {rate:.2f}.")
            if isinstance(other, SetOfTomograms) and not ids & set(enabledIds(other)):
                errors.append(f"*{label}*: none has the tilt series ID (tsId) of one of the tomograms.")
        subtomograms = self.inputSubtomograms.get()
        if subtomograms is not None:
            errors += self._subtomogramErrors(subtomograms)
        if self.relionStar.get():
            try:
                read_star(self.relionStar.get()).require([NAME])
            except EngineError as error:
                errors.append(f"*RELION's tomograms.star*: {error}")
            if self.inputCorrected.get() is None:
                errors.append("*Corrected tomograms*: select those that RELION's table is to name.")
        return errors

    @staticmethod
    def _subtomogramErrors(subtomograms: SetOfSubTomograms) -> list[str]:
        if not any(True for _ in enabled(subtomograms)):
            return ["*Subtomograms* is empty, or all of the set are disabled."]
        errors = averageErrors(subtomograms) + missingErrors(subtomograms)
        try:
            sidesOf(subtomograms)
        except EngineError as error:
            return errors or [str(error)]
        return errors

    def _warnings(self) -> list[str]:
        errors = map(halvesError, enabled(self.inputTomograms.get()))
        warnings = [f"A tomogram is exported without its halves: {error}" for error in errors if error]
        for name in ("inputTomograms", "inputSubtomograms"):
            items = getattr(self, name).get()
            tilts = [] if items is None else [_optics(item, items).hasTilts for item in enabled(items)]
            if not all(tilts):
                warnings.append(
                    f"*{labelOf(self, name)}*: the acquisition of {tilts.count(False)} of {len(tilts)} has no possible "
                    "tilt range. Where the table has none, the command line takes "
                    f"{TILT_RANGE[0]:g} to {TILT_RANGE[1]:g} degrees: write the right ones into rlnTiltMin and "
                    "rlnTiltMax."
                )
        shifted = [item.getTsId() for item in enabled(self.inputTomograms.get()) if originCells(item)]
        if shifted:
            warnings.append(
                f"*{labelOf(self, 'inputTomograms')}*: the origin of {named(shifted)} is not the centre. {TOMOGRAMS} "
                f"tells it to *import IsoNet project* ({', '.join(ORIGIN_LABELS)}); {RELION} can't."
            )
        if self.relionStar.get() and (names := self._relionsNames()):
            pairs = named([f"{name} as {tsId}" for tsId, name in names.items()])
            warnings.append(f"*RELION's tomograms.star*: its names are taken for these tilt series IDs: {pairs}.")
        return warnings

    def _summary(self) -> list[str]:
        written = self._written()
        if not written:
            return ["No tables yet."]
        return [*written, *self._counts()]

    def _written(self) -> list[str]:
        """The tables that there are."""
        paths = [self._getExtraPath(name) for name in (TOMOGRAMS, SUBTOMOGRAMS, RELION)]
        return [os.path.abspath(path) for path in paths if os.path.exists(path)]

    def _counts(self) -> list[str]:
        """What the tables have of the optional inputs."""
        lines = []
        for name, labels in ((TOMOGRAMS, COUNTED), (SUBTOMOGRAMS, {"rlnImageName": "Subtomograms"})):
            if os.path.exists(self._getExtraPath(name)):
                star = read_star(self._getExtraPath(name))
                for label, what in labels.items():
                    lines.append(f"{what}: {sum(star.text(row, label) is not None for row in star.rows)}")
        return [", ".join(lines) + "."] if lines else []

    def _methods(self) -> list[str]:
        if not self._written():
            return []
        return ["Tables of tomograms were written for the command line and for RELION 5."]


def _optics(item: Tomogram | SubTomogram, items: EMSet) -> Optics:
    """How the tilt series of an item of a set was taken."""
    return readOptics(item.getAcquisition(), ownAcquisition(items))
