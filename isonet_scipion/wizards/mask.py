"""Preview of the sample mask: slices with the mask outlined, while the percentages change."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pyworkflow.wizard import Wizard

from isonet_scipion.convert.files import fileOf
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.imod_model import read_boundary
from isonet_scipion.engine.physics.borders import find_border
from isonet_scipion.engine.sampling.boundary import boundary_mask
from isonet_scipion.engine.sampling.mask import BINNING, sample_mask
from isonet_scipion.protocols import ProtIsoNetMask
from isonet_scipion.viewers.pictures import showCentralSlices
from isonet_scipion.viewers.volumes import middle, openTomogram
from isonet_scipion.wizards.preview import showPreview

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pyworkflow.gui.form import FormWindow
    from tomo.objects import Tomogram

THREADS = 2


@dataclass
class MaskPreview:
    """The middle of a tomogram, in its whole thickness, and all that its mask depends on but the percentages."""

    part: np.ndarray  # (z, y, x)
    voxelSize: float  # A
    patchSize: int  # voxels
    boundary: np.ndarray | None  # of the part, halved
    isWhole: bool
    isInverted: bool = False

    def mask(self, density: float, deviation: float, crop: float) -> np.ndarray:
        """The mask of the part, (z, y, x) int8; percentages kept, and the fraction cropped at top and bottom."""
        border = find_border(self.part)
        return sample_mask(
            self.part, self.patchSize, density, deviation, crop, self.boundary, THREADS, border, self.isInverted
        )

    def draw(self, figure: Figure, values: dict[str, float]) -> str:
        """Draw the central slices with the mask outlined; returns what there is to say about it."""
        mask = self.mask(values["densityPercentage"], values["stdPercentage"], values["zCrop"])
        showCentralSlices(figure, self.part, self.voxelSize, mask)
        where = "the volume" if self.isWhole else "this middle part (the mask itself is made of the whole)"
        return f"Inside the yellow line: {100 * mask.mean():.0f} % of {where}."


def maskPreview(protocol: ProtIsoNetMask, tomogram: Tomogram) -> MaskPreview:
    """The preview of one tomogram, with everything else as the form has it.

    Raises
    ------
    EngineError
        If the tomogram or its boundary can't be read, or the folder of boundaries is missing.
    """
    folder = protocol.boundaryFolder.get()
    if folder and not os.path.isdir(folder):
        raise EngineError(folder, "the *Folder of boundaries* does not exist", "Choose another, or leave it empty.")
    voxels = openTomogram(fileOf(tomogram), tomogram.getSamplingRate(), protocol.getProject()).data
    place = middle(voxels.shape)
    part = np.asarray(voxels[place], np.float32)
    model, boundary = protocol._boundary(tomogram.getTsId()), None
    if model is not None:
        halved = tuple(-(-length // BINNING) for length in voxels.shape)
        whole = boundary_mask(read_boundary(model, voxels.shape), halved, BINNING)
        boundary = whole[tuple(slice(axis.start // BINNING, -(-axis.stop // BINNING)) for axis in place)]
    isWhole = part.shape == voxels.shape
    return MaskPreview(
        part, tomogram.getSamplingRate(), protocol.patchSize.get(), boundary, isWhole, protocol.isInverted.get()
    )


class IsoNetMaskWizard(Wizard):
    """Central slices with the mask outlined, while the percentages change."""

    _targets = [(ProtIsoNetMask, ["densityPercentage", "stdPercentage", "zCrop"])]

    def show(self, form: FormWindow, *params: str) -> None:
        from isonet_scipion.viewers.browser import Slider

        showPreview(
            form,
            "Sample mask",
            "Lower the percentages until the line encloses the sample and leaves out empty ice, and raise the crop "
            "until no carbon, ice crystals or empty space is left at the top and at the bottom.",
            maskPreview,
            ["patchSize"],
            [
                Slider("densityPercentage", "Kept by density (%)", 1, 100, 1, 50),
                Slider("stdPercentage", "Kept by local contrast (%)", 1, 100, 1, 50),
                Slider("zCrop", "Cropped at top and bottom (fraction)", 0.0, 0.45, 0.01, 0.0),
            ],
        )
