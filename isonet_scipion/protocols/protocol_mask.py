"""Masks of the sample."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import mrcfile
from pyworkflow.protocol.params import PathParam
from tomo.objects import SetOfTomograms, SetOfTomoMasks, Tomogram

from isonet_scipion.convert.outputs import tomoMask
from isonet_scipion.engine.settings.preparation import MakeMaskSettings
from isonet_scipion.engine.wording import spread_in_words
from isonet_scipion.protocols.form import OPTIONAL, Within, addOption, optionValues
from isonet_scipion.protocols.listing import MOST, named
from isonet_scipion.protocols.set_checks import isOpen
from isonet_scipion.protocols.streaming import FAILED_OUTPUT, ProtIsoNetTomograms, cells

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyworkflow.protocol import Form

    from isonet_scipion.engine.io.star import Star

WITHOUT_BOUNDARY = "No boundary model for {}: their whole volume is used."
KEPT = 50.0  # percent, where the form says nothing


class ProtIsoNetMask(ProtIsoNetTomograms):
    """Mark where the sample is in each tomogram, so that the network learns from it and not from empty ice.

    A voxel belongs to the sample if both its density and its local contrast are among the highest of the tomogram.
    """

    _label = "sample mask"
    _possibleOutputs = {"tomoMasks": SetOfTomoMasks, FAILED_OUTPUT: SetOfTomograms}
    OUTPUT = "tomoMasks"
    OUTPUT_CLASS = SetOfTomoMasks

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        self._addTomogramsParam(form, "Tomograms to make masks of: best those with the CTF deconvolved.")
        form.addParam(
            "boundaryFolder",
            PathParam,
            allowsNull=True,
            label=f"Folder of boundaries{OPTIONAL}",
            help="A folder with IMOD models named TSID.mod, drawn on the tomograms. Each contour is a polygon in xy "
            "that applies to all z; several contours are combined. To limit a contour in z, end it with two points at "
            "least 10 voxels apart in z. Tomograms without a model have no boundary.",
        )
        group = form.addGroup("Mask")
        addOption(
            group,
            MakeMaskSettings,
            "density_percentage",
            "Kept by density (%)",
            words="How much of the volume is kept because it is dense. Smaller: a tighter mask. Try 30 (single "
            "particles in ice) to 70 (crowded cells). Over 99.8: density does not count.",
            default=KEPT,
        )
        addOption(
            group,
            MakeMaskSettings,
            "std_percentage",
            "Kept by local contrast (%)",
            words="How much of the volume is kept because it has texture. Smaller: a tighter mask. What is kept by "
            "both is the mask. Over 99.8: local contrast does not count.",
            default=KEPT,
        )
        addOption(
            group,
            MakeMaskSettings,
            "z_crop",
            "Cropped at top and bottom (fraction)",
            words="Empty: nothing. 0.1 leaves out a tenth of the thickness at the top and another one at the bottom.",
        )
        addOption(
            group,
            MakeMaskSettings,
            "patch_size",
            "Patch size (voxels)",
            words="Half the side of the neighbourhood in which density and contrast are measured, in voxels of the "
            "tomogram binned by 2. Smaller: the mask follows fine structures more closely.",
            expert=True,
            validators=[Within(least=1)],
        )
        addOption(form, MakeMaskSettings, "check_axes", "Check the axes?", expert=True)
        self._addRunningParams(form)

    def _partners(self, tomograms: Mapping[str, Tomogram]) -> dict[str, str | None]:
        """The boundary's file of those that have one."""
        return {tsId: self._boundary(tsId) for tsId in tomograms}

    def _sourceOf(self, tomogram: Tomogram, partner: str | None, halves: bool) -> list[object]:
        return super()._sourceOf(tomogram, None if partner is None else Path(partner), halves)

    def _process(self, tomogram: Tomogram, partner: str | None) -> None:
        tsId = tomogram.getTsId()
        table = self._writeTable(tomogram, boundary=partner)
        options = {"mask_folder": self._getExtraPath(), **optionValues(self, MakeMaskSettings)}
        self._runEngine("make_mask", [table], options, name=tsId)
        self._append(tomoMask(tomogram, self._outputFile("rlnMaskName", tsId)))

    def _boundary(self, tsId: str) -> str | None:
        folder = self.boundaryFolder.get()
        path = os.path.join(folder, f"{tsId}.mod") if folder and os.path.basename(tsId) == tsId else None
        return path if path and os.path.exists(path) else None

    def _inputErrors(self) -> list[str]:
        errors = super()._inputErrors()
        for name in ("densityPercentage", "stdPercentage"):
            value = getattr(self, name).get()
            if value is not None and not 0 < value <= 100:
                errors.append(f"*{self.getParam(name).label}* must be over 0 and not over 100.")
        if self.zCrop.get() is not None and not 0 <= self.zCrop.get() < 0.5:
            errors.append("*Cropped at top and bottom* must be at least 0 and less than 0.5.")
        if self.boundaryFolder.get() and not os.path.isdir(self.boundaryFolder.get()):
            errors.append(f"*Folder of boundaries* does not exist: {self.boundaryFolder.get()}")
        known = self._tomogramsById()
        isEmpty = not known and isOpen(self.inputTomograms)  # the first are still to come
        if not errors and self.boundaryFolder.get() and not isEmpty and not any(map(self._boundary, known)):
            errors.append(
                "*Folder of boundaries* has no model named after the tilt series ID of a tomogram (TSID.mod)."
            )
        return errors

    def _correctedWarnings(self) -> list[str]:
        """None: the sample is where it was."""
        return []

    def _warnings(self) -> list[str]:
        warnings = super()._warnings()
        without = [tsId for tsId in self._tomogramsById() if self._boundary(tsId) is None]
        if self.boundaryFolder.get() and without:
            warnings.append(WITHOUT_BOUNDARY.format(named(without)))
        return warnings

    def _results(self, output: SetOfTomoMasks, tables: Mapping[str, Star]) -> list[str]:
        lines = super()._results(output, tables)
        if self._used("boundaryFolder"):
            drawn = cells(tables, "rlnMaskBoundary")
            if without := [tsId for tsId, boundary in drawn.items() if boundary is None]:
                lines.append(WITHOUT_BOUNDARY.format(named(without)))
        return lines + keptLines({mask.getTsId(): mask.getFileName() for mask in output})

    def _methods(self) -> list[str]:
        if not self._hasResults():
            return []
        density, deviation = (self._used(name) or KEPT for name in ("densityPercentage", "stdPercentage"))
        return [
            f"Sample masks were made with IsoNet's method [Liu2022], keeping {density:g} % of the "
            f"volume by density and {deviation:g} % by local standard deviation."
        ]


def keptLines(masks: Mapping[str, str]) -> list[str]:
    """How much of the volume each mask, by tsId, keeps; of many, all together. Files that can't be read are named."""
    shares, wrong = {}, []
    for tsId, path in masks.items():
        try:
            shares[tsId] = 100 * maskShare(path)
        except FileNotFoundError:
            wrong.append(f"{tsId}: *its file is missing*: {path}.")
        except (OSError, ValueError) as error:
            wrong.append(f"{tsId}: *its file can't be read*: {path} ({error}).")
    if len(shares) > MOST:
        return [f"Of the volume kept: {spread_in_words(shares, '{:.0f} %')}.", *wrong]
    return [f"{tsId}: {share:.0f} % of the volume kept." for tsId, share in shares.items()] + wrong


def maskShare(path: str) -> float:
    """Share of the voxels that are 1, by the mean in the header, of a mask that the engine wrote."""
    with mrcfile.open(path, header_only=True, permissive=True) as mrc:
        return float(mrc.header.dmean)
