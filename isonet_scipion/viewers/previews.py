"""What there is to see of an item of a set, without windows: for the browser's picture and for plots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from tomo.objects import SetOfSubTomograms, SetOfTomograms, SetOfTomoMasks, SubTomogram, Tomogram, TomoMask

from isonet_scipion.convert.files import fileOf
from isonet_scipion.convert.outputs import scaleOf
from isonet_scipion.convert.sets import itemsOf
from isonet_scipion.engine.io.confidence_file import confidence_path
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.number_formats import grey_values
from isonet_scipion.engine.io.shown import open_mask
from isonet_scipion.engine.io.voxel_size import require_same_grid
from isonet_scipion.engine.wording import counted
from isonet_scipion.viewers.pictures import greyRange, showCentralSlices, showMontage, showSlice
from isonet_scipion.viewers.volumes import openSubtomogram, openTomogram

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from pyworkflow.project import Project

    from isonet_scipion.engine.sampling.mask_values import Mask

SHOWN = 25  # subtomograms of a tomogram
COVER = 35  # percent of a slice that the confidence's colour covers


class Preview(Protocol):
    """What is known of one item; a wizard's or a viewer's."""

    def draw(self, figure: Figure, values: dict[str, float]) -> str:
        """Draw it for these values of the sliders; returns one line to show below."""


@dataclass
class SlicesPreview:
    """Slices of a tomogram, with its mask or its confidence volume if there is one."""

    voxels: np.ndarray  # (z, y, x)
    voxelSize: float  # A
    mask: Mask | None = None
    confidence: np.ndarray | None = None  # (z, y, x), 0 to 1
    note: str = ""  # what else there is to say

    def draw(self, figure: Figure, values: dict[str, float]) -> str:
        """Draw the central slices.

        The value `height` (percent of the thickness) moves the one in xy, `cover` (percent) is how much the colour of
        the confidence covers them.
        """
        height, cover = (values.get(name, usual) / 100 for name, usual in (("height", 50), ("cover", COVER)))
        showCentralSlices(figure, self.voxels, self.voxelSize, self.mask, height, self.confidence, cover)
        depth, rows, columns = self.voxels.shape
        line = f"{columns} x {rows} x {depth} voxels of {self.voxelSize:.2f} Å."
        if self.mask is not None:
            line += f" Inside the yellow line: {100 * self.mask.share():.0f} % of the volume."
        if self.confidence is not None:
            line += " Colour: the filled wedge is expected to be wrong (red) or right (green)."
        return f"{line} {self.note}".rstrip()


@dataclass
class ComparisonPreview:
    """Slices of a tomogram before and after a stage."""

    before: np.ndarray  # (z, y, x)
    after: np.ndarray  # same shape
    voxelSize: float  # A

    def draw(self, figure: Figure, values: dict[str, float]) -> str:
        """Draw central slices in xy and xz, each pair on one grey scale."""
        depth, rows, _ = self.before.shape
        panels: Any = figure.subplots(2, 2, height_ratios=[rows, max(depth, rows // 4)])
        for column, volume, when in ((0, self.before, "before"), (1, self.after, "after")):
            showSlice(panels[0, column], volume[depth // 2], self.voxelSize, f"xy, {when}", "xy", self._grey())
            showSlice(panels[1, column], volume[:, rows // 2], self.voxelSize, f"xz, {when}", "xz", self._grey())
        return "Both on the grey scale of the tomogram before."

    def _grey(self) -> tuple[float, float]:
        return greyRange(self.before[len(self.before) // 2])


@dataclass
class MontagePreview:
    """Central slices of subtomograms."""

    cubes: Sequence[np.ndarray]  # (z, y, x)
    number: int  # of all

    def draw(self, figure: Figure, values: dict[str, float]) -> str:
        """Draw the central xz slice of each, where the missing wedge shows."""
        slices = [cube[:, cube.shape[1] // 2] for cube in self.cubes]
        showMontage(figure, slices, [str(place) for place in range(1, len(slices) + 1)])
        return f"Central xz slices of {len(slices)} of {counted(self.number, 'subtomograms')}."


def slicesPreview(tomogram: Tomogram, project: Project) -> SlicesPreview:
    """Of a tomogram, with the confidence volume that the engine wrote beside it, if any.

    Raises
    ------
    EngineError
        If its file can't be read.
    """
    rate = tomogram.getSamplingRate()
    path = fileOf(tomogram)
    beside = confidence_path(path)
    confidence = open_volume(beside).data if beside.exists() else None
    return SlicesPreview(openTomogram(path, rate, project).data, rate, confidence=confidence)


def maskPreview(mask: TomoMask, project: Project) -> SlicesPreview:
    """Of a mask on its tomogram, or alone where it does not tell its tomogram.

    Raises
    ------
    EngineError
        If one of the files can't be read or they do not fit together.
    """
    rate = mask.getSamplingRate()
    outlined = openTomogram(fileOf(mask), rate, project)
    if not mask.getVolName():  # as other programs' masks
        return SlicesPreview(outlined.data, rate, note="The mask alone: its set does not tell of which tomogram it is.")
    tomogram = openTomogram(mask.getVolName(), rate, project)
    return SlicesPreview(tomogram.data, rate, open_mask(outlined.path, tomogram, rate))


def comparisonPreview(before: Tomogram, after: Tomogram, project: Project) -> ComparisonPreview:
    """Of a tomogram and what was made of it.

    Raises
    ------
    EngineError
        If one of the files can't be read, or they have other sizes, as where the one before was made again since.
    """
    rate = after.getSamplingRate()
    first, second = (openTomogram(fileOf(tomogram), rate, project) for tomogram in (before, after))
    require_same_grid(second, first, rate)
    one, other = (grey_values(volume.data, scaleOf(item)) for volume, item in ((first, before), (second, after)))
    return ComparisonPreview(one, other, rate)


def montagePreview(subtomograms: Sequence[SubTomogram], project: Project) -> MontagePreview:
    """Of the first 25 of some subtomograms.

    Raises
    ------
    EngineError
        If a file can't be read.
    """
    cubes = [openSubtomogram(subtomogram, project).data for subtomogram in subtomograms[:SHOWN]]
    return MontagePreview(cubes, len(subtomograms))


def subtomogramsById(subtomograms: Iterable[SubTomogram]) -> dict[str, list[SubTomogram]]:
    """Subtomograms by the tsId of the tomogram that they are from."""
    byId: dict[str, list[SubTomogram]] = {}
    for subtomogram in itemsOf(subtomograms):
        byId.setdefault(subtomogram.getVolName() or "subtomograms", []).append(subtomogram.clone())
    return byId


def previews(
    items: SetOfTomograms | SetOfTomoMasks | SetOfSubTomograms, project: Project
) -> dict[str, Callable[[], Preview]]:
    """What the list of a browser shows -> function that makes the preview, for any of the three kinds of set."""
    if isinstance(items, SetOfSubTomograms):
        return {name: partial(montagePreview, own, project) for name, own in subtomogramsById(items).items()}
    make = maskPreview if isinstance(items, SetOfTomoMasks) else slicesPreview
    found: dict[str, Callable[[], Preview]] = {}
    for item in items:
        tsId = item.getTsId() or "no tsId"
        # as in a joined set, where several have one tsId
        names = (f"{tsId} ({number})" if number > 1 else tsId for number in count(1))
        found[next(name for name in names if name not in found)] = partial(make, item.clone(), project)
    return found
