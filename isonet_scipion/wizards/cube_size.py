"""Cube sizes that fit the tomograms' thickness and the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pyworkflow.gui.tree import TreeProvider
from pyworkflow.wizard import Wizard

from isonet_scipion.convert.files import readSizes
from isonet_scipion.convert.sets import enabled
from isonet_scipion.engine.conventions import CROP_MARGIN
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.sampling.training_positions import USUAL_CUBE
from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.engine.settings.option import options
from isonet_scipion.protocols import ProtIsoNetExtract, ProtIsoNetOnePass, ProtIsoNetRefine
from isonet_scipion.protocols.form import paramName, valueErrors
from isonet_scipion.protocols.linked_inputs import linkErrors
from isonet_scipion.protocols.training_errors import listError, network

if TYPE_CHECKING:
    from pyworkflow.gui.form import FormWindow

LARGEST = 128  # voxels; training on larger cubes does not fit into a GPU's memory
USUAL = 64  # voxels; larger cubes are for the long shadows of large, dense things


@dataclass
class CubeSize:
    """One choice; lengths in voxels."""

    side: int
    subtomogram: int
    fitting: tuple[str, ...]  # names of the volumes that are thick enough


def fittingSizes(thickness: Mapping[str, int], subtomogram: Callable[[int], int], divisor: int) -> list[CubeSize]:
    """All cube sizes up to 128 voxels that the network takes and at least one volume has room for.

    Parameters
    ----------
    thickness : mapping
        Name of each volume -> its smallest side in voxels.
    subtomogram : callable
        Side of the subtomogram (voxels) that a cube of a given side is cut from.
    divisor : int
        Of the network: a cube's side is a multiple of it.

    Returns
    -------
    list of CubeSize
        From small to large.
    """
    sizes = []
    for side in range(divisor, LARGEST + 1, divisor):
        fitting = tuple(name for name, room in thickness.items() if side < subtomogram(side) <= room)
        if fitting:
            sizes.append(CubeSize(side, subtomogram(side), fitting))
    return sizes


def suggested(sizes: list[CubeSize]) -> CubeSize:
    """The largest usual size (up to 64 voxels) among those that fit most volumes."""
    most = max(len(size.fitting) for size in sizes)
    best = [size for size in sizes if len(size.fitting) == most]
    return [size for size in best if size.side <= max(USUAL, best[0].side)][-1]


def sizesForExtraction(protocol: ProtIsoNetExtract) -> list[CubeSize]:
    """The sizes for tomograms, with the subtomogram size of the form and the network that training has by default.

    Raises
    ------
    EngineError
        If none of the tomograms can be read; the others are left out.
    """
    sizes, errors = readSizes(enabled(protocol.inputTomograms.get()))
    if not sizes:
        raise next(iter(errors.values()))
    thickness = {tsId: min(size) for tsId, size in sizes.items()}
    divisor = int(np.lcm.reduce(NetworkSettings().divisor))
    return fittingSizes(thickness, lambda side: protocol.cropSize.get() or side + CROP_MARGIN, divisor)


def sizesForTraining(protocol: ProtIsoNetRefine) -> list[CubeSize]:
    """The sizes for subtomograms that are cut already, with the network of the form, or of its model."""
    crop = protocol._cropSize()
    return fittingSizes({"subtomograms": crop}, lambda side: crop, int(np.lcm.reduce(network(protocol).divisor)))


class CubeSizeList(TreeProvider):
    """Rows of the dialog."""

    def __init__(self, sizes: list[CubeSize], voxelSize: float, total: int) -> None:
        super().__init__()
        self._sizes, self._voxelSize, self._total = sizes, voxelSize, total

    def getColumns(self) -> list[tuple[str, int]]:
        names = ("Cube (voxels)", "Cube (Å)", "Subtomogram (voxels)", "Tomograms thick enough", "")
        return [(name, 180) for name in names]

    def getObjects(self) -> list[CubeSize]:
        return self._sizes

    def getObjectInfo(self, size: CubeSize) -> dict[str, object]:
        isBest = size is suggested(self._sizes)
        values = (
            f"{size.side * self._voxelSize:.0f}",
            str(size.subtomogram),
            f"{len(size.fitting)} of {self._total}",
            "suggested" if isBest else "",
        )
        return {"key": str(size.side), "text": str(size.side), "values": values, "selected": isBest}


class IsoNetCubeSizeWizard(Wizard):
    """Offers the cube sizes that the tomograms have room for and the network takes."""

    _targets = [(protocol, ["cubeSize"]) for protocol in (ProtIsoNetExtract, ProtIsoNetRefine, ProtIsoNetOnePass)]

    def show(self, form: FormWindow, *params: str) -> None:
        from pyworkflow.gui.dialog import ListDialog

        protocol = form.protocol
        isExtraction = isinstance(protocol, ProtIsoNetExtract)
        isOnePass = isinstance(protocol, ProtIsoNetOnePass)
        volumes = (protocol.inputTomograms if isExtraction or isOnePass else protocol.inputSubtomograms).get()
        if volumes is None:
            form.showInfo("Select the input first: the sizes depend on it.")
            return
        if isOnePass:
            form.showInfo(f"Leave it empty: one-pass takes cubes of {USUAL_CUBE}, or less in thin tomograms.")
            return
        fields = ["cropSize"] if isExtraction else map(paramName, options(NetworkSettings))
        errors = linkErrors(protocol) or valueErrors(protocol, fields)
        if errors:
            form.showInfo("\n".join(errors))
            return
        number = sum(True for _ in enabled(volumes))
        if not number:
            form.showInfo("The input is empty, or all is disabled: the sizes depend on its items.")
            return
        try:
            sizes = sizesForExtraction(protocol) if isExtraction else sizesForTraining(protocol)
        except EngineError as error:
            form.showInfo(str(error))
            return
        except ValueError as error:
            form.showInfo(listError(error))
            return
        if not sizes:
            form.showInfo("No cube size fits: the volumes are too thin for the subtomograms and the network.")
            return
        rows = CubeSizeList(sizes, volumes.getSamplingRate(), number if isExtraction else 1)
        dialog = ListDialog(
            form.root,
            "Cube size",
            rows,
            "A larger cube shows the network more surroundings, but takes more memory and time.",
            selectmode="browse",
            selectOnDoubleClick=True,
        )
        if dialog.resultYes():
            form.setVar("cubeSize", dialog.values[0].side)
