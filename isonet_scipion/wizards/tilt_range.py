"""The tilt range that the data themselves show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pyworkflow.wizard import Wizard
from tomo.objects import SetOfSubTomograms, SetOfTomograms, SubTomogram, Tomogram

from isonet_scipion.convert.files import fileOf
from isonet_scipion.convert.sets import enabled
from isonet_scipion.engine.arrays import extremes, require_contrast
from isonet_scipion.engine.io.subtomograms import side_of_cube
from isonet_scipion.engine.physics.tilt_check import power_by_angle, shown_range, tilt_warning
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.sampling.even_boxes import choose_boxes, cut
from isonet_scipion.engine.sampling.training_positions import USUAL_CUBE
from isonet_scipion.protocols import ProtIsoNetOnePass, ProtIsoNetRefine
from isonet_scipion.protocols.linked_inputs import linkErrors
from isonet_scipion.protocols.set_checks import idErrors
from isonet_scipion.viewers.previews import subtomogramsById
from isonet_scipion.viewers.volumes import openSubtomogram, openTomogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pyworkflow.gui.form import FormWindow

    from isonet_scipion.convert.acquisition import Optics
    from isonet_scipion.protocols.training_base import ProtIsoNetTraining

ENOUGH = 30  # subtomograms or boxes of one tomogram


@dataclass
class TiltPreview:
    """Power by direction of one tomogram."""

    angles: np.ndarray  # degrees
    power: np.ndarray
    declared: Optics

    @property
    def said(self) -> TiltRange | None:
        """What the acquisition says; None where it says nothing that is possible."""
        low, high = self.declared.tiltMin, self.declared.tiltMax
        return TiltRange(low, high) if low is not None and high is not None and self.declared.hasTilts else None

    @property
    def shown(self) -> TiltRange | None:
        """What the data say, to a few degrees; None where no direction is clearly empty."""
        return shown_range(self.angles, self.power)

    @property
    def suggested(self) -> TiltRange | None:
        """The acquisition's range, which is exact, unless the data contradict it."""
        if self.said is None or self.shown is None:
            return self.shown
        return self.shown if tilt_warning(self.said, self.shown) else self.said

    def draw(self, figure: Figure, values: dict[str, float]) -> str:
        """Draw power by direction; returns what there is to say about it."""
        axes = figure.add_subplot()
        axes.plot(self.angles, self.power, color="black")
        axes.set(xlabel="direction in xz (degrees from x)", ylabel="power, relative to its shell", xlim=(-90, 90))
        axes.set(ylim=(0, None))
        if self.shown is not None:
            axes.axvspan(self.shown.minimum, self.shown.maximum, color="tab:blue", alpha=0.2, label="data")
        if self.said is not None:
            axes.axvline(self.said.minimum, color="tab:red", linestyle="--", label="acquisition")
            axes.axvline(self.said.maximum, color="tab:red", linestyle="--")
        axes.legend(loc="upper left")
        return " ".join(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.said is None:
            yield "The acquisition has no tilt range."
        else:
            yield f"The acquisition says {self.said.minimum:g} to {self.said.maximum:g} degrees."
        if self.shown is None:
            yield "No direction is clearly empty, so the data do not show a range."
            return
        yield f"The data show about {self.shown.minimum:.0f} to {self.shown.maximum:.0f} degrees."
        if self.said is not None:
            yield "They agree." if self.suggested == self.said else "They differ: Select takes that of the data."


def tiltPreview(protocol: ProtIsoNetRefine, subtomograms: list[SubTomogram]) -> TiltPreview:
    """The preview of one tomogram's subtomograms.

    Raises
    ------
    EngineError
        If one can't be read, is no cube, or of another size than the first.
    """
    project = protocol.getProject()
    volumes = [openSubtomogram(item, project) for item in subtomograms[:ENOUGH]]
    first = side_of_cube(volumes[0])
    for volume in volumes:
        side_of_cube(volume, first)
    cubes = (np.asarray(volume.data, np.float32) for volume in volumes)
    return TiltPreview(*power_by_angle(cubes), protocol._optics(subtomograms[0]))


def tomogramTiltPreview(protocol: ProtIsoNetOnePass, tomogram: Tomogram) -> TiltPreview:
    """The preview of a tomogram, from boxes all over it.

    Raises
    ------
    EngineError
        If it can't be read, or its voxels show nothing: all are equal, or some are no numbers.
    """
    opened = openTomogram(fileOf(tomogram), tomogram.getSamplingRate(), protocol.getProject())
    volume = opened.data
    require_contrast(*extremes(volume), opened.path)
    side = min(USUAL_CUBE, *volume.shape)
    cubes = (cut(volume, corner, side) for corner in choose_boxes(volume, side, ENOUGH))
    return TiltPreview(*power_by_angle(cubes), protocol._optics(tomogram))


def tiltPreviews(protocol: ProtIsoNetTraining) -> dict[str, Callable[[], TiltPreview]]:
    """tsId -> function that makes the preview; empty where no input is selected."""
    items = protocol._input().get()
    if items is None:
        return {}
    if isinstance(items, SetOfSubTomograms):
        return {name: partial(tiltPreview, protocol, own) for name, own in subtomogramsById(enabled(items)).items()}
    return {item.getTsId(): partial(tomogramTiltPreview, protocol, item.clone()) for item in enabled(items)}


def rangesOf(protocol: ProtIsoNetTraining) -> list[str]:
    """The tilt ranges that acquisitions say, each once and in words; those of items without one are not there."""
    optics = map(protocol._optics, enabled(protocol._input().get()))
    ranges = {(one.tiltMin, one.tiltMax) for one in optics if one.hasTilts}
    return [f"{minimum:g} to {maximum:g}" for minimum, maximum in sorted(ranges)]


class IsoNetTiltRangeWizard(Wizard):
    """Shows in which directions the data hold power, and fills in the tilt range that follows."""

    _targets = [(protocol, ["tiltMin", "tiltMax"]) for protocol in (ProtIsoNetRefine, ProtIsoNetOnePass)]

    def show(self, form: FormWindow, *params: str) -> None:
        from isonet_scipion.viewers.browser import BrowserDialog

        protocol = form.protocol
        errors = linkErrors(protocol)
        if not errors and isinstance(protocol._input().get(), SetOfTomograms):
            errors = idErrors("Tomograms", protocol._input().get())
        if errors:
            form.showInfo("\n".join(errors))
            return
        items = tiltPreviews(protocol)
        if not items:
            form.showInfo("Select the input first; a set that is empty, or disabled as a whole, has nothing to show.")
            return
        hint = (
            "A tomogram holds power only in the directions that the tilt series measured. Outside the blue range it "
            "should be empty, and the red lines, from the acquisition, should be at its ends."
        )
        dialog = BrowserDialog(form.root, "Tilt range", hint, items, canSelect=True)
        suggested: TiltRange | None = getattr(dialog.preview, "suggested", None) if dialog.resultYes() else None
        if suggested is not None:
            form.setVar("tiltMin", suggested.minimum)
            form.setVar("tiltMax", suggested.maximum)
            ranges = rangesOf(protocol)
            if len(ranges) > 1:
                form.showInfo(
                    f"What was filled in is now the tilt range of all, but the acquisitions say {' and '.join(ranges)} "
                    "degrees. Empty both fields if each is to keep its own."
                )
