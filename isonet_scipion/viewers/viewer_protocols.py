"""Analyze Results: a form for each protocol, with an eye for each thing to see."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.image
from pwem.viewers import EmPlotter
from pyworkflow import Config
from pyworkflow.protocol.params import EnumParam, LabelParam
from pyworkflow.viewer import DESKTOP_TKINTER, ProtocolViewer, View
from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import SubTomogram, Tomogram, TomoMask

from isonet_scipion.convert.sets import enabled, hasItems
from isonet_scipion.engine.conventions import REPORT_PAGE
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.protocols import ProtIsoNetDeconv, ProtIsoNetExtract, ProtIsoNetMask, ProtIsoNetPredict
from isonet_scipion.protocols.linked_inputs import hasEnded
from isonet_scipion.viewers.pictures import showSlice
from isonet_scipion.viewers.previews import (
    Preview,
    comparisonPreview,
    maskPreview,
    montagePreview,
    slicesPreview,
    subtomogramsById,
)

if TYPE_CHECKING:
    from pwem.objects import EMSet
    from pyworkflow.protocol import Form, Protocol
    from pyworkflow.viewer import Viewer

NONE_YET = "none yet"
# of an item, as where the protocol was restarted meanwhile
GONE, REOPEN = "it is no longer in the output", "Close this window and open it again."
WIDE, SQUARE = (10, 7), (7, 7)  # inches


class PageView(View):
    """A page or picture in the user's own browser."""

    def __init__(self, path: str) -> None:
        self.path = path

    def show(self) -> None:
        webbrowser.open_new_tab(Path(self.path).resolve().as_uri())


def itemOf(items: EMSet | None, tsId: str) -> Tomogram | TomoMask | None:
    """A copy of the item of a set with this tsId, of several the one that is not disabled; None where there is none."""
    ordered = chain(enabled(items), items or ())
    return next((item.clone() for item in ordered if item.getTsId() == tsId), None)


def plotPreview(preview: Preview, title: str, size: tuple[float, float] = WIDE) -> EmPlotter:
    """A preview in a window of its own; `size` in inches."""
    plotter = EmPlotter(windowTitle=title, figsize=size)
    preview.draw(plotter.getFigure(), {})
    return plotter


def installedViewers(output: EMSet) -> list[type[Viewer]]:
    """Scipion's viewers of an output (tomo's own, 3dmod ...) without those whose program is not installed."""

    def isInstalled(viewer: type) -> bool:
        plugin = getattr(getattr(viewer, "_package", None), "_pluginInstance", None)
        return plugin is None or not plugin.validateInstallation()

    return [viewer for viewer in Config.getDomain().findViewers(output, DESKTOP_TKINTER) if isInstalled(viewer)]


class StageViewer(ProtocolViewer):
    """What the forms of all stages over tomograms share: the choice of a tomogram, and other programs' viewers."""

    _environments = [DESKTOP_TKINTER]

    def _output(self) -> EMSet | None:
        output = getattr(self.protocol, self.protocol.OUTPUT, None)
        return output if hasItems(output) else None  # it is made before its first item

    def _names(self) -> list[str]:
        """tsIds to choose from."""
        output = self._output()
        return [] if output is None else [str(tsId) for tsId in output.getTSIds()]

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Results")
        # kept, since the choice is a place among them: those of a running protocol change
        self._choices = self._names()
        form.addParam(
            "tomogram",
            EnumParam,
            choices=self._choices or [NONE_YET],
            default=0,
            label="Tomogram",
            help="What the eyes show. Of a protocol that runs, those that were done when this window was opened.",
        )
        self._defineViews(form)
        group = form.addGroup("The whole set")
        output = self._output()
        self._viewers = [] if output is None else installedViewers(output)
        group.addParam(
            "program",
            EnumParam,
            choices=[viewer.getName() for viewer in self._viewers] or [NONE_YET],
            default=0,
            label="Viewer",
            help="The viewers of all installed plugins, such as tomo's own and IMOD's 3dmod.",
        )
        group.addParam("openSet", LabelParam, label="Open the set with this viewer")

    def _defineViews(self, form: Form) -> None:
        """Add what there is to see of one tomogram."""
        raise NotImplementedError

    def _views(self) -> dict[str, Callable[[str], View]]:
        """Parameter -> function of a tsId that makes what it shows; may raise an EngineError."""
        raise NotImplementedError

    def _getVisualizeDict(self) -> dict[str, Callable[[str], list[View]]]:
        return {**dict.fromkeys(self._views(), self._show), "openSet": self._openSet}

    def _show(self, param: str) -> list[View]:
        if not self._choices:
            return [self._noOutput()]
        try:
            return [self._views()[param](self._choices[self.tomogram.get()])]
        except EngineError as error:
            return [self.errorMessage(str(error), "This can't be shown")]

    def _openSet(self, param: str) -> list[View]:
        if not self._viewers:
            return [self._noOutput()]
        viewer = self._viewers[self.program.get()]
        viewer(project=self.getProject(), protocol=self.protocol, parent=self.formWindow).visualize(
            self._output(), protocol=self.protocol
        )
        return []

    def _noOutput(self) -> View:
        why = "There was no output yet when this window was opened: open it again."
        if self._output() is None and hasEnded(self.protocol):
            why = "The run has ended without output: its log says why."
        return self.infoMessage(why, "No output")

    def _item(self, tsId: str) -> Tomogram | TomoMask:
        item = itemOf(self._output(), tsId)
        if item is None:
            raise EngineError(tsId, GONE, REOPEN)
        return item

    def _input(self, tsId: str) -> Tomogram:
        item = itemOf(self.protocol.inputTomograms.get(), tsId)
        if item is None:
            why = "the tomogram before is no longer in the input, or the input's link was removed"
            raise EngineError(tsId, why, "Link the set that it was made from to see both.")
        return item

    def _compare(self, tsId: str) -> View:
        preview = comparisonPreview(self._input(tsId), self._item(tsId), self.getProject())
        return plotPreview(preview, f"{tsId}, before and after")


class IsoNetDeconvViewer(StageViewer):
    """Tomograms before and after the deconvolution."""

    _label = "results of the deconvolution"
    _targets = [ProtIsoNetDeconv]

    def _defineViews(self, form: Form) -> None:
        form.addParam(
            "compare",
            LabelParam,
            important=True,
            label="Slices before and after",
            help="Membranes and particles should stand out. Halos around them: lower the strength.",
        )

    def _views(self) -> dict[str, Callable[[str], View]]:
        return {"compare": self._compare}


class IsoNetMaskViewer(StageViewer):
    """Masks, outlined on their tomograms."""

    _label = "results of the mask"
    _targets = [ProtIsoNetMask]

    def _defineViews(self, form: Form) -> None:
        form.addParam(
            "outline",
            LabelParam,
            important=True,
            label="Mask outlined on the tomogram",
            help="The line should enclose the sample. Empty ice inside it: lower the percentages.",
        )

    def _views(self) -> dict[str, Callable[[str], View]]:
        return {
            "outline": lambda tsId: plotPreview(
                maskPreview(self._item(tsId), self.getProject()), f"Mask of {tsId}", SQUARE
            )
        }


class IsoNetExtractViewer(StageViewer):
    """Subtomograms, and where they are from."""

    _label = "results of the extraction"
    _targets = [ProtIsoNetExtract]

    def _names(self) -> list[str]:
        output = self._output()
        return [] if output is None else list(output.getUniqueValues(SubTomogram.VOL_NAME_FIELD))

    def _defineViews(self, form: Form) -> None:
        form.addParam(
            "montage",
            LabelParam,
            important=True,
            label="Central slices of subtomograms",
            help="They should show the sample. Mostly empty ice: make a tighter mask.",
        )
        form.addParam(
            "places",
            LabelParam,
            label="Their positions in the tomogram",
            help="Centres of all subtomograms, on the central slice.",
        )

    def _views(self) -> dict[str, Callable[[str], View]]:
        return {"montage": self._montage, "places": self._places}

    def _montage(self, tsId: str) -> View:
        output = self._output()
        own = [] if output is None else subtomogramsById(output).get(tsId)
        if not own:
            raise EngineError(tsId, GONE, REOPEN)
        return plotPreview(montagePreview(own, self.getProject()), f"Subtomograms of {tsId}", SQUARE)

    def _places(self, tsId: str) -> View:
        preview = slicesPreview(self._input(tsId), self.getProject())
        coordinates = getattr(self.protocol, self.protocol.CENTRES, None)
        if coordinates is None:
            raise EngineError(tsId, "the output with its positions was deleted", "Run the protocol again.")
        centres = [
            coordinate.getPosition(BOTTOM_LEFT_CORNER)[:2]
            for coordinate in coordinates.iterCoordinates()
            if coordinate.getTomoId() == tsId
        ]
        if not centres:
            why = "its positions are not stored yet, or the run was stopped before that"
            raise EngineError(tsId, why, "*Continue* stores those that a stopped run lacks.")
        plotter = EmPlotter(windowTitle=f"Positions in {tsId}", figsize=SQUARE)
        axes = plotter.getFigure().subplots()
        showSlice(axes, preview.voxels[len(preview.voxels) // 2], preview.voxelSize, f"{tsId}, central slice")
        nanometres = [[value * preview.voxelSize / 10 for value in axis] for axis in zip(*centres)]
        axes.plot(*nanometres, "+", color="yellow")
        return plotter


class IsoNetPredictViewer(StageViewer):
    """Tomograms before and after the correction, and the report on it."""

    _label = "results of the correction"
    _targets = [ProtIsoNetPredict]

    def _defineViews(self, form: Form) -> None:
        form.addParam(
            "compare",
            LabelParam,
            important=True,
            label="Slices before and after",
            help="In xz, features should no longer be drawn out along z.",
        )
        form.addParam(
            "picture",
            LabelParam,
            label="Report of this tomogram",
            help="Slices, power spectra with the missing wedge, and how far to trust what was filled in.",
        )
        form.addParam(
            "confidenceSlices",
            LabelParam,
            label="Confidence (where to trust it)",
            help="The confidence volume as a colour on the slices: green where the data filled into the missing "
            "wedge are expected to be right, red where not.",
        )
        form.addParam("page", LabelParam, label="Report of the run", help="A page on all tomograms, in your browser.")

    def _views(self) -> dict[str, Callable[[str], View]]:
        return {
            "compare": self._compare,
            "picture": self._picture,
            "confidenceSlices": self._confidence,
            "page": self._page,
        }

    def _confidence(self, tsId: str) -> View:
        preview = slicesPreview(self._item(tsId), self.getProject())
        if preview.confidence is None:
            raise self._withoutConfidence(tsId)
        return plotPreview(preview, f"Confidence of {tsId}", SQUARE)

    def _withoutConfidence(self, tsId: str) -> EngineError:
        """Why a corrected tomogram has no confidence volume."""
        if not self.protocol._used("confidence"):
            remedy = "Run the protocol with *Confidence volumes?* set to Yes."
            return EngineError(tsId, "it has no confidence volume", remedy)
        if itemOf(getattr(self.protocol, self.protocol.CONFIDENCE, None), tsId) is None:
            return EngineError(
                tsId, "it is too small for a confidence volume", "Its report says how good the whole is."
            )
        return EngineError(tsId, "the file of its confidence volume is missing", "*Restart* makes it again.")

    def _picture(self, tsId: str) -> View:
        stem = os.path.splitext(self._item(tsId).getFileName())[0]
        path = next((p for p in (f"{stem}_report.png", f"{stem}.png") if os.path.exists(p)), None)
        if path is None:
            remedy = "The run's log says why, if it could not be written. *Restart* makes it again."
            raise EngineError(stem, "its report was not written, or was deleted", remedy)
        return plotImage(path, f"Report of {tsId}")

    def _page(self, tsId: str) -> View:
        return reportPage(self.protocol, self.protocol._getExtraPath())


def plotImage(path: str, title: str) -> EmPlotter:
    """A picture from a file in a window of its own."""
    picture = matplotlib.image.imread(path)
    plotter = EmPlotter(windowTitle=title, figsize=(12, 12 * picture.shape[0] / picture.shape[1]))
    axes = plotter.getFigure().add_axes([0, 0, 1, 1])
    axes.imshow(picture)
    axes.set_axis_off()
    return plotter


def reportPage(protocol: Protocol, folder: str) -> PageView:
    """The report's page in the folder of a protocol's run.

    Raises
    ------
    EngineError
        If there is none.
    """
    path = os.path.join(folder, REPORT_PAGE)
    if not os.path.exists(path):
        raise notWritten(protocol, path, "the run has no report yet", "It is written at the run's end.")
    return PageView(path)


def notWritten(protocol: Protocol, what: str, why: str, remedy: str) -> EngineError:
    """That a run has not written something yet; where it has ended, that it did not write it at all."""
    if hasEnded(protocol):
        return EngineError(what, "the run has ended without it, or it was deleted", "The run's log says how it ended.")
    return EngineError(what, why, remedy)
