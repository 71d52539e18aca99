"""The plugin in Scipion's project window, on a screen of the test's own: tree, forms, wizards, a run, viewers.

ISONET_SCREENSHOTS names a folder to keep the pictures of all windows in; the tomogram and its training are then those
of the demonstration (ten minutes).
"""

from __future__ import annotations

import importlib
import os
import shutil
import tkinter as tk
from pathlib import Path

import pytest
import pyworkflow
from pyworkflow.gui import form as forms
from pyworkflow.project import Manager
from pyworkflow.protocol import getProtocolFromDb
from pyworkflow.protocol.params import Group, LabelParam
from pyworkflow.utils import Message
from pyworkflow.viewer import DESKTOP_TKINTER

from isonet_scipion import demo, protocols
from isonet_scipion.engine.simulation.phantom import Example
from isonet_scipion.tests.protocols.desktop import (
    SIZE,
    answering,
    button,
    descendants,
    doubleClick,
    photograph,
    refuse,
    startScreen,
    waitFor,
)
from isonet_scipion.tests.protocols.scene import warmPython, write
from isonet_scipion.viewers import IsoNetModelViewer

pytestmark = pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed (Debian: xvfb)")

KEPT = os.environ.get("ISONET_SCREENSHOTS")
EXAMPLE = Example() if KEPT else Example((48, 72, 72))
SUBTOMOGRAMS = 60 if KEPT else 6
ITERATIONS = 5 if KEPT else 1
ONE_THREAD = {"numberOfThreads": 1}
# the pictures of the tutorial: a training that has learned something, on two cores
KEPT_VALUES = {
    "ProtIsoNetDeconv": ONE_THREAD,
    "ProtIsoNetMask": ONE_THREAD,
    "ProtIsoNetExtract": {**ONE_THREAD, "seed": 1},
    "ProtIsoNetRefine": {
        "epochs": 5,
        "stepsPerEpoch": 40,
        "batchSize": 4,
        "filterBase": 8,
        "learningRate": 0.002,
        "noiseLevel": "0.05",
        "noiseStartIter": "4",
        "seed": 1,
    },
    "ProtIsoNetPredict": ONE_THREAD,
}
TINY = {
    **KEPT_VALUES,
    "ProtIsoNetMask": {**ONE_THREAD, "patchSize": 2},
    "ProtIsoNetExtract": {**ONE_THREAD, "cropSize": 28, "seed": 1},
    "ProtIsoNetRefine": {
        **KEPT_VALUES["ProtIsoNetRefine"],
        "epochs": 1,
        "stepsPerEpoch": 2,
        "batchSize": 2,
        "noiseStartIter": "1",
        "filterBase": 4,
        "unetDepth": 2,
    },
}

CHAIN = ("ProtIsoNetDeconv", "ProtIsoNetMask", "ProtIsoNetExtract", "ProtIsoNetRefine", "ProtIsoNetPredict")
SECTIONS = {
    "Imports": ["ProtIsoNetImportModel", "ProtIsoNetImportProject"],
    "Exports": ["ProtIsoNetExport"],
    "Tomograms.Preprocess": ["ProtIsoNetDeconv"],
    "Tomograms.Segmentation": ["ProtIsoNetMask"],
    "Tomograms.Denoise": ["ProtIsoNetExtract", "ProtIsoNetRefine", "ProtIsoNetOnePass", "ProtIsoNetPredict"],
}


class Desk:
    """The project's window and what is open besides it."""

    def __init__(self, window, pictures: Path, opened: list) -> None:
        self.window, self.root, self.project = window, window.root, window.project
        self.view = window.getViewWidget()
        self.pictures, self.opened = pictures, opened
        self.protocols = {}

    def photograph(self, window: tk.Misc, name: str) -> None:
        photograph(window, self.pictures / f"{name}.png")

    def openForm(self, protocol):
        """Open the form of a protocol in the graph."""
        self.view._openProtocolForm(protocol)
        return self.opened[-1]

    def use(self, form, param: str, answer) -> None:
        """Click the wand of a parameter; `answer` gets the wizard's window."""
        widgets = form.widgetDict.values()
        # the parameters of a line share the line's wand
        widget = next(w for w in widgets if getattr(w, "wizParamName", None) == param and w.btnFrame is not None)
        with answering(self.root, answer):
            button(widget.btnFrame, Message.LABEL_BUTTON_WIZ).invoke()
            self.root.update()

    def execute(self, form) -> None:
        """Click Execute, run this protocol alone and wait for its end."""
        protocol = form.protocol

        def alone(dialog) -> None:
            button(dialog, "Single").invoke()

        hasFollowers = len(self.project._getSubworkflow(protocol)[0]) > 1
        with answering(self.root, alone if hasFollowers else refuse, isOptional=not hasFollowers):
            form.btnExecute.invoke()

        def isOver() -> bool:
            run = getProtocolFromDb(self.project.path, protocol.getDbPath(), protocol.getObjId())
            return run.isFinished() or run.isFailed()

        waitFor(self.root, f"{protocol} is over", isOver, seconds=3600 if KEPT else 300, pause=0.5)
        # a run that ends while Scipion's window reads its state stays running there, then counts as dead: read it anew
        protocol.lastUpdateTimeStamp.set(None)
        self.project._updateProtocol(protocol)
        assert protocol.isFinished(), protocol.getErrorMessage()

    def analyze(self, protocol):
        """Click Analyze Results; returns the viewer's form."""
        self.view._selectItemProtocol(protocol)
        before = len(self.opened)
        self.view.btnAnalyze.event_generate("<Button-1>")
        waitFor(self.root, "the viewer's form is open", lambda: len(self.opened) > before)
        return self.opened[-1]

    def look(self, form, param: str) -> None:
        """Click an eye."""
        button(form.widgetDict[param].btnFrame, Message.LABEL_BUTTON_VIS).invoke()

    def plot(self, form, param: str) -> None:
        """Click an eye that opens a plot, not a message."""
        with answering(self.root, refuse, isOptional=True):
            self.look(form, param)
            self.root.update()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = Path(KEPT or tmp_path_factory.mktemp("pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def desk(tmp_path_factory, pictures):
    """A project with the template's workflow, in its window."""
    import matplotlib.pyplot as plt
    from pyworkflow.gui import matplotlib_image
    from pyworkflow.gui.plotter import Plotter
    from pyworkflow.gui.project import viewprotocols
    from pyworkflow.gui.project.project import ProjectWindow

    folder = tmp_path_factory.mktemp("tomograms")
    write(folder / "TS_01.mrc", EXAMPLE.make()[1])
    pyworkflow.Config.getDomain().getProtocols()
    project = Manager().createProject("gui")
    values = {"folder": folder, "subtomograms": SUBTOMOGRAMS, "cube": 32, "iterations": ITERATIONS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", startScreen())
        importlib.reload(matplotlib_image)  # imported earlier, without a screen, it has no canvas for windows
        patch.chdir(project.path)
        if not KEPT:  # which trains for long
            patch.setattr(pyworkflow, "PYTHON", warmPython())
        template = demo.TEMPLATES / "isonet_iterative.json.template"
        for protocol in demo.loadWorkflow(project, values, template, KEPT_VALUES if KEPT else TINY):
            if protocol.getClassName() == "ProtIsoNetRefine":
                protocol.removeIntermediate.set(False)  # there are estimates to see
            project.saveProtocol(protocol)
        project.getSettings().setProtocolView("Tomography")
        project.getSettings().write()
        opened = []

        class RecordedForm(forms.FormWindow):
            def __init__(self, *args, **kwargs) -> None:
                super().__init__(*args, **kwargs)
                opened.append(self)

        patch.setattr(forms, "FormWindow", RecordedForm)
        patch.setattr(viewprotocols, "FormWindow", RecordedForm)
        # windows start the main loop when they open; here the test goes on
        patch.setattr(tk.Misc, "mainloop", lambda self, n=0: self.update())
        window = ProjectWindow(project.path)
        window.root.geometry("{}x{}+0+0".format(*SIZE))
        window.show(center=False)
        desk = Desk(window, pictures, opened)
        panes = next(widget for widget in descendants(desk.root) if isinstance(widget, tk.PanedWindow))
        panes.sash_place(0, 390, 0)  # so that names are not cut off
        desk.view.updateRunsGraph(True)
        desk.protocols = {run.getClassName(): run for run in window.project.getRuns()}
        yield desk
        plt.close("all")
        window.root.master.destroy()
        Plotter.setBackend("Agg")


def rows(tree, parent: str = "") -> list[str]:
    """All rows of a tree."""
    children = tree.get_children(parent)
    return [row for child in children for row in (child, *rows(tree, child))]


def test_protocols_are_in_the_tomography_tree(desk):
    own = [row for row in rows(desk.view.protTree) if row.split(".")[-1] in protocols.__all__]
    expected = [f".Tomography.{section}.{name}" for section, names in SECTIONS.items() for name in names]
    assert sorted(own) == sorted(expected)
    for row in own:
        desk.view.protTree.see(row)
    desk.photograph(desk.root, "project")


@pytest.mark.parametrize("name", [name for names in SECTIONS.values() for name in names])
def test_form_opens_from_the_tree_with_nothing_cut_off(desk, name):
    tree = desk.view.protTree
    doubleClick(tree, next(row for row in rows(tree) if row.endswith(f".{name}")))
    form = desk.opened[-1]
    assert form.protocol.getClassName() == name
    desk.photograph(form.root, f"form_{name}")
    if form.protocol.hasExpert():
        choices = (widget for widget in descendants(form.root) if isinstance(widget, tk.Radiobutton))
        next(choice for choice in choices if choice.cget("text") == "Advanced").invoke()
        form.root.update()
        desk.photograph(form.root, f"form_{name}_advanced")
    for param, widget in form.widgetDict.items():
        label = getattr(widget, "label", None)
        if label is None or not label.winfo_ismapped():
            continue
        assert label.winfo_width() >= label.winfo_reqwidth(), f"the label of {param} is cut off"
        # labels are explanations themselves
        if widget.btnFrame is not None and not isinstance(form.protocol.getParam(param), (Group, LabelParam)):
            print(param)  # of which a missing button is
            assert button(widget.btnFrame, Message.LABEL_BUTTON_HELP)
    form.close()


@pytest.fixture(scope="module")
def ran(desk):
    """The workflow, run protocol by protocol from its forms, with values that the wizards filled in."""

    def slide(**values: float):
        def move(dialog) -> None:
            before = dialog.status()
            for name, value in values.items():
                dialog.scales[name].var.set(value)
            waitFor(desk.root, "the picture follows", lambda: dialog._pending is None)
            # the line tells the share of the mask; that of the deconvolution does not depend on the sliders
            assert (before == dialog.status()) != ("Inside" in before)
            desk.photograph(dialog, "wizard_" + "_".join(values))
            button(dialog, "Select").invoke()

        return move

    def pickCube(dialog) -> None:
        desk.photograph(dialog, "wizard_cubeSize")
        (chosen,) = dialog.tree.getSelectedObjects()
        assert chosen.side == (48 if KEPT else 24)
        button(dialog, "Select").invoke()

    def seeTilts(dialog) -> None:
        desk.photograph(dialog, "wizard_tiltMin")
        assert "The acquisition says -60 to 60" in dialog.status()
        button(dialog, "Select").invoke()

    run = desk.protocols
    for name in ("ProtImportTomograms", *CHAIN):
        form = desk.openForm(run[name])
        if name == "ProtIsoNetDeconv":
            desk.use(form, "deconvStrength", slide(snrFalloff=0.7, deconvStrength=1.2))
        elif name == "ProtIsoNetMask":
            desk.use(form, "densityPercentage", slide(densityPercentage=45, stdPercentage=60, zCrop=0.1))
        elif name == "ProtIsoNetExtract":
            form.setVar("cubeSize", 8)
            desk.use(form, "cubeSize", pickCube)
        elif name == "ProtIsoNetRefine":
            desk.use(form, "tiltMin", seeTilts)
        desk.photograph(form.root, f"filled_{name}")
        desk.execute(form)
    return run


def test_wizards_fill_in_the_forms_and_the_workflow_runs(desk, ran):
    assert (ran["ProtIsoNetDeconv"].snrFalloff.get(), ran["ProtIsoNetDeconv"].deconvStrength.get()) == (0.7, 1.2)
    mask = ran["ProtIsoNetMask"]
    assert (mask.densityPercentage.get(), mask.stdPercentage.get(), mask.zCrop.get()) == (45, 60, 0.1)
    assert ran["ProtIsoNetExtract"].cubeSize.get() == (48 if KEPT else 24)
    refine = ran["ProtIsoNetRefine"]
    assert (refine.tiltMin.get(), refine.tiltMax.get()) == refine.model.getTiltRange() == (-60, 60)
    for name in CHAIN:
        assert ran[name].isFinished()
    desk.view.refreshRuns()
    desk.view._selectItemProtocol(ran["ProtIsoNetPredict"])
    desk.photograph(desk.root, "finished")
    summary = desk.view.summaryText.getText()
    assert "1 of 1 tomogram " in summary


@pytest.mark.parametrize(
    ("name", "eyes"),
    [
        ("ProtIsoNetDeconv", ["compare"]),
        ("ProtIsoNetMask", ["outline"]),
        ("ProtIsoNetExtract", ["montage", "places"]),
        ("ProtIsoNetRefine", ["losses", "estimates"]),
        ("ProtIsoNetPredict", ["compare", "picture"]),
    ],
)
@pytest.mark.filterwarnings("ignore:This figure includes Axes")  # pyworkflow lays out any figure
def test_analyze_results_opens_plots(desk, ran, name, eyes):
    import matplotlib.pyplot as plt

    form = desk.analyze(ran[name])
    desk.photograph(form.root, f"viewer_{name}")
    for eye in eyes:
        before = set(plt.get_fignums())
        desk.plot(form, eye)
        (number,) = set(plt.get_fignums()) - before
        window = plt.figure(number).canvas.manager.window
        desk.photograph(window, f"viewer_{name}_{eye}")
        assert window.winfo_viewable()
        plt.close(number)
    form.close()


def test_other_programs_viewers_open_from_the_form(desk, ran):
    form = desk.analyze(ran["ProtIsoNetPredict"])
    viewer = form.protocol
    names = [choice.getName() for choice in viewer._viewers]
    form.setVar("program", names.index("Tomo viewer"))

    def see(dialog) -> None:
        desk.photograph(dialog, "viewer_tomo")
        assert any("TS_01" in str(dialog.tree.item(row)) for row in rows(dialog.tree))

    with answering(desk.root, see):
        desk.look(form, "openSet")
    form.close()


@pytest.mark.parametrize(
    ("name", "output", "viewerName", "line"),
    [
        ("ProtIsoNetPredict", "tomograms", "ViewerIsoNetTomograms", "{2} x {1} x {0} voxels".format(*EXAMPLE.shape)),
        ("ProtIsoNetMask", "tomoMasks", "ViewerIsoNetTomograms", "Inside the yellow line"),
        ("ProtIsoNetExtract", "subtomograms", "ViewerIsoNetSubtomograms", f"of {SUBTOMOGRAMS} subtomograms"),
    ],
)
def test_sets_open_in_a_browser_of_slices(desk, ran, name, output, viewerName, line):
    items = getattr(ran[name], output)
    found = pyworkflow.Config.getDomain().findViewers(items, DESKTOP_TKINTER)
    viewerClass = next(viewer for viewer in found if viewer.__name__ == viewerName)

    def see(dialog) -> None:
        for scale in dialog.scales.values():
            scale.var.set(75)
        waitFor(desk.root, "the picture follows", lambda: dialog._pending is None)
        desk.photograph(dialog, f"browser_{output}")
        assert line in dialog.status()

    with answering(desk.root, see):
        viewerClass(project=desk.project, protocol=ran[name], parent=desk.window).visualize(items)


def test_model_shows_its_facts(desk, ran):
    def see(dialog) -> None:
        desk.photograph(dialog, "viewer_model")
        assert dialog.winfo_viewable()

    with answering(desk.root, see):
        IsoNetModelViewer(project=desk.project, parent=desk.window).visualize(ran["ProtIsoNetRefine"].model)
