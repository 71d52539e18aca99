"""What the viewers show, without windows: those are opened in test_gui."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import matplotlib
import numpy as np
import pytest
import pyworkflow
from matplotlib.figure import Figure
from PIL import Image
from pwem.viewers import EmPlotter
from pyworkflow.protocol import STATUS_ABORTED, STATUS_FAILED, STATUS_RUNNING, STATUS_SAVED
from pyworkflow.viewer import DESKTOP_TKINTER, MessageView
from tomo.objects import SetOfCoordinates3D, SetOfTomograms, SubTomogram, Tomogram

from isonet_scipion.engine.conventions import REPORT_PAGE
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.losses import read_losses, write_losses
from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.measure.history import EpochRecord
from isonet_scipion.engine.network.model_file import save_model
from isonet_scipion.engine.network.unet import build_unet
from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.objects import IsoNetModel
from isonet_scipion.protocols import (
    ProtIsoNetDeconv,
    ProtIsoNetExport,
    ProtIsoNetExtract,
    ProtIsoNetImportModel,
    ProtIsoNetImportProject,
    ProtIsoNetMask,
    ProtIsoNetOnePass,
    ProtIsoNetPredict,
    ProtIsoNetRefine,
)
from isonet_scipion.tests.protocols.scene import SHAPES, VOXEL_SIZE, IsoNetTest, read, scene, write
from isonet_scipion.tests.protocols.test_chain import CROP, CUBE, NUMBER, TRAINING
from isonet_scipion.viewers.previews import comparisonPreview, maskPreview, montagePreview, previews, slicesPreview
from isonet_scipion.viewers.viewer_model import IsoNetModelViewer, modelFacts, plotLosses
from isonet_scipion.viewers.viewer_protocols import PageView, installedViewers, itemOf
from isonet_scipion.viewers.viewer_sets import ViewerIsoNetSubtomograms, ViewerIsoNetTomograms

matplotlib.use("Agg")


def test_a_model_that_no_training_has_changed_is_not_described_as_trained(tmp_path, monkeypatch):
    network = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)
    model, training, predict = IsoNetModel(), ProtIsoNetOnePass(), ProtIsoNetPredict()
    model.setFileName(str(tmp_path / "model_iter00.keras"))
    for iteration, isCopy in ((0, True), (2, False)):
        metadata = ModelMetadata(network, iteration=iteration, simulated=isCopy, kept_beyond=48)
        save_model(model.getFileName(), build_unet(network), metadata)
        model.setMetadata(metadata)
        training.model = model
        for protocol in (training, predict):
            monkeypatch.setattr(protocol, "_used", lambda name: name)
            monkeypatch.setattr(protocol, "_getExtraPath", lambda *names: str(tmp_path / "none"))
        monkeypatch.setattr(predict, "_hasResults", lambda: True)
        predict.model.set(model)
        told = [
            any("a copy of the builtin model" in line for line in modelFacts(model)),
            "before the training" in str(model),
            "the network that it started from is the output" in training._methods()[0],
            "the builtin model of the plugin" in predict._methods()[0],
            predict._citations() == [],
        ]
        assert told == [isCopy] * 5


def test_a_model_is_shown_though_its_table_of_losses_is_damaged(tmp_path):
    model, losses = IsoNetModel(), tmp_path / "losses.csv"
    model.setFileName("lost.keras")
    losses.write_text("iteration,epoch,loss\n1,one,0.1\n")
    model.setHistoryFile(str(losses))
    (message,) = IsoNetModelViewer(project=mock.Mock())._visualize(model)
    assert message.getMessage().startswith(modelFacts(model)[0])
    assert f"The losses of its training can't be shown. {losses}: it is no table" in message.getMessage()


@pytest.fixture
def joined(tmp_path):
    """A set with two tomograms of one tsId, as one that was joined; the first is disabled."""
    tomograms = SetOfTomograms(filename=str(tmp_path / "joined.sqlite"))
    for name, tsId in (("raw", "TS_01"), ("deconvolved", "TS_01"), ("lone", None)):
        tomogram = Tomogram(tsId=tsId)
        tomogram.setLocation(str(tmp_path / f"{name}.mrc"))
        tomogram.setEnabled(name != "raw")
        write(tomogram.getFileName(), np.zeros((8, 8, 8), np.float32))
        tomogram.setSamplingRate(VOXEL_SIZE)
        tomograms.append(tomogram)
    tomograms.write()
    return tomograms


def test_before_is_the_tomogram_that_was_not_disabled(joined):
    assert Path(itemOf(joined, "TS_01").getFileName()).stem == "deconvolved"
    assert itemOf(joined, "TS_02") is None


def test_a_set_shows_each_of_its_items_though_several_have_one_id(joined):
    shown = {name: Path(make.args[0].getFileName()).stem for name, make in previews(joined, None).items()}
    assert shown == {"TS_01": "raw", "TS_01 (2)": "deconvolved", "no tsId": "lone"}


def test_a_tomogram_before_that_has_another_size_by_now_is_told(joined, tmp_path):
    before, after, _ = (item.clone() for item in joined)
    write(before.getFileName(), np.zeros((24, 8, 8), np.float32))  # made again, and thicker
    project = mock.Mock(getTmpPath=lambda name: str(tmp_path / name))
    with pytest.raises(EngineError, match=r"deconvolved.mrc: its shape \(8, 8, 8\) is not that of .*raw.mrc"):
        comparisonPreview(before, after, project)


def test_a_tomogram_whose_set_tells_no_voxel_size_is_told(joined):
    tomogram = joined.getFirstItem()
    for rate in (None, 0.0):
        tomogram.setSamplingRate(rate)
        with pytest.raises(EngineError, match=r"raw.mrc: its set does not tell the size of its voxels"):
            slicesPreview(tomogram, None)


def test_a_subtomogram_is_shown_however_deep_its_folder_lies(tmp_path):
    folder = tmp_path / ("a" * 150) / ("b" * 150)
    folder.mkdir(parents=True)
    subtomogram = SubTomogram()
    subtomogram.setLocation(1, str(folder / "1.mrc"))
    subtomogram.setSamplingRate(VOXEL_SIZE)
    write(folder / "1.mrc", np.full((8, 8, 8), 7, np.float32))
    project = mock.Mock(getTmpPath=lambda name: str(tmp_path / name))
    assert montagePreview([subtomogram], project).cubes[0].min() == 7


def test_losses_are_plotted_by_epoch(tmp_path):
    tested = {3: (0.2, 0.03), 6: (0.3, 0.02), 9: (0.25, 0.02)}
    history = [
        EpochRecord(
            1 + (epoch - 1) // 3, 1 + (epoch - 1) % 3, 1 / epoch, 1.1 / epoch, 0.1 if epoch > 6 else 0.0, 1.0,
            *tested.get(epoch, ()),
        )
        for epoch in range(1, 10)
    ]  # fmt: skip
    write_losses(tmp_path / "losses.csv", history)
    assert read_losses(tmp_path / "losses.csv") == history and read_losses(tmp_path / "none.csv") == []
    plotter = plotLosses(history)
    axes, restored = plotter.getFigure().axes
    curves = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(curves["training"], [record.loss for record in history])
    np.testing.assert_allclose(curves["validation"], [record.val_loss for record in history])
    np.testing.assert_allclose(restored.lines[0].get_xydata(), [(epoch, value) for epoch, (value, _) in tested.items()])
    starts = {line.get_xdata()[0]: line.get_color() for line in axes.lines if len(line.get_xdata()) == 2}
    assert starts == {3.5: "0.85", 6.5: "tab:red"}
    assert [text.get_text() for text in axes.texts] == ["noise 0.1"]
    plotter.savefig(str(tmp_path / "losses.png"))
    assert Image.open(tmp_path / "losses.png").size[0] > 300


class TestViewers(IsoNetTest):
    """The viewers of each protocol and object after a run of the chain."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        original = {"inputTomograms": (cls.tomograms, "Tomograms")}
        cls.deconv = cls.run_(ProtIsoNetDeconv, original, defocus=20000)
        cls.mask = cls.run_(ProtIsoNetMask, original, patchSize=2, densityPercentage=40)
        cls.extract = cls.run_(ProtIsoNetExtract, original, cubeSize=CUBE, cropSize=CROP, numberSubtomos=NUMBER, seed=1)
        subtomograms = {"inputSubtomograms": (cls.extract, "subtomograms")}
        cls.refine = cls.run_(
            ProtIsoNetRefine, subtomograms, **{**TRAINING, "iterations": 2, "removeIntermediate": False}
        )
        cls.predict = cls.run_(ProtIsoNetPredict, {**original, "model": (cls.refine, "model")}, useGpu=False)

    def viewerOf(self, protocol):
        """What Analyze Results opens, with its form defined."""
        viewerClass = pyworkflow.Config.getDomain().findViewers(protocol, DESKTOP_TKINTER)[0]
        viewer = viewerClass(project=self.proj, protocol=protocol)
        viewer.setProtocol(protocol)
        return viewer

    def show(self, protocol, param: str, tomogram: int = 0) -> list:
        """The views behind one eye of the form."""
        viewer = self.viewerOf(protocol)
        if viewer.hasAttribute("tomogram"):
            viewer.tomogram.set(tomogram)
        return viewer._getVisualizeDict()[param](param)

    def plot(self, protocol, param: str, tomogram: int = 0) -> Figure:
        (plotter,) = self.show(protocol, param, tomogram)
        self.assertIsInstance(plotter, EmPlotter)
        path = Path(self.proj.getTmpPath(f"{type(protocol).__name__}_{param}.png"))
        plotter.savefig(str(path))
        # a blank picture has next to no different grey values
        self.assertGreater(len(np.unique(np.asarray(Image.open(path).convert("L")))), 50)
        return plotter.getFigure()

    def test_every_eye_of_every_form_shows_something(self) -> None:
        for protocol in (self.deconv, self.mask, self.extract, self.refine, self.predict):
            viewer = self.viewerOf(protocol)
            self.assertTrue(type(viewer).__module__.startswith("isonet_scipion"), type(viewer))
            for param in viewer._getVisualizeDict():
                self.assertTrue(viewer.hasAttribute(param), param)
                if param not in ("openSet", "page"):
                    with self.subTest(type(protocol).__name__, param=param):
                        self.assertEqual(len(self.show(protocol, param)), 1)

    def test_before_and_after_are_the_files_voxels_on_one_grey_scale(self) -> None:
        for protocol in (self.deconv, self.predict):
            figure = self.plot(protocol, "compare", tomogram=1)
            shown = {axes.get_title(): axes.images[0] for axes in figure.axes}
            before, after = shown["xy, before"], shown["xy, after"]
            depth = SHAPES["TS_01"][0]
            np.testing.assert_array_equal(before.get_array(), scene(SHAPES["TS_01"], 1)[depth // 2])
            output = next(item.getFileName() for item in protocol.tomograms if item.getTsId() == "TS_01")
            np.testing.assert_array_equal(after.get_array(), read(output)[depth // 2])
            self.assertEqual(before.get_clim(), after.get_clim())

    def test_the_eye_shows_the_tomogram_that_was_chosen_though_others_came_before_it(self) -> None:
        """Outputs are in the order of the inputs, not in that in which they were done."""
        original = {"inputTomograms": (self.tomograms, "Tomograms")}
        running = self.prepare(ProtIsoNetDeconv, original, defocus=20000)
        self.proj.saveProtocol(running)
        running.makePathsAndClean()
        first, second = (item.clone() for item in self.deconv.tomograms)
        running._append(second)
        viewer = self.viewerOf(running)
        running._append(first)
        self.assertEqual(viewer.getParam("tomogram").choices, [second.getTsId()])
        self.assertEqual(viewer._names(), [first.getTsId(), second.getTsId()])
        with mock.patch.object(type(viewer), "_compare") as compare:
            viewer._getVisualizeDict()["compare"]("compare")
        compare.assert_called_once_with(second.getTsId())

    def test_eyes_say_that_the_tomogram_before_is_gone(self) -> None:
        other = SetOfTomograms.create(self.tomograms._getPath(), prefix="other")
        other.copyInfo(self.tomograms.Tomograms)
        other.append(next(item.clone() for item in self.tomograms.Tomograms if item.getTsId() == "TS_01"))
        other.write()
        self.tomograms._defineOutputs(other=other)
        for protocol, eye in ((self.deconv, "compare"), (self.predict, "compare"), (self.extract, "places")):
            for output in (None, "other"):
                changed = self.proj.getProtocol(protocol.getObjId())
                changed.inputTomograms.set(None if output is None else self.tomograms)
                changed.inputTomograms.setExtended(output or "")
                (message,) = self.show(changed, eye)
                self.assertIn("TS_02: the tomogram before is no longer in the input", message.getMessage())
            summary = " ".join(changed.summary())
            self.assertRegex(summary, r"1 of 1 tomogram[, ]")
            self.assertIn("Also done, but no longer in *Tomograms*: TS_02.", summary)
            self.assertNotIn("no longer in *Tomograms*", " ".join(protocol.summary()))

    def test_eyes_say_that_the_output_is_gone(self) -> None:
        """As where it was deleted, or the protocol restarted, while the window is open."""
        for protocol, eye in ((self.mask, "outline"), (self.extract, "montage"), (self.predict, "picture")):
            viewer = self.viewerOf(protocol)
            with mock.patch.object(type(viewer), "_output", return_value=None):
                (message,) = viewer._getVisualizeDict()[eye](eye)
            self.assertIn("TS_02: it is no longer in the output", message.getMessage())
        with mock.patch.object(ProtIsoNetExtract, "CENTRES", "deleted"):
            (message,) = self.show(self.extract, "places")
        self.assertIn("positions was deleted", message.getMessage())

    def test_of_a_run_that_has_ended_nothing_is_to_be_waited_for(self) -> None:
        original = {"inputTomograms": (self.tomograms, "Tomograms")}
        for protocolClass, eyes in (
            (ProtIsoNetOnePass, ("losses", "settings", "page")),
            (ProtIsoNetPredict, ("compare", "openSet")),
        ):
            protocol = self.prepare(protocolClass, original)
            self.proj.saveProtocol(protocol)
            for status, word in ((STATUS_RUNNING, "again|end"), (STATUS_FAILED, "has ended without")):
                protocol.setStatus(status)
                for eye in eyes:
                    (message,) = self.show(protocol, eye)
                    self.assertRegex(message.getMessage(), word)
                    self.assertEqual("has ended" in message.getMessage(), status == STATUS_FAILED)
        imported = self.newProtocol(ProtIsoNetImportModel)
        imported.setStatus(STATUS_FAILED)
        (message,) = IsoNetModelViewer(project=self.proj)._visualize(imported)
        self.assertIn("ended without a model", message.getMessage())

    def test_an_output_without_items_is_none_yet(self) -> None:
        """As of a run that was stopped, or looked at, between making the set and its first item."""
        original = {"inputTomograms": (self.tomograms, "Tomograms")}
        for protocolClass, eyes in (
            (ProtIsoNetDeconv, ("compare", "openSet")),
            (ProtIsoNetMask, ("outline", "openSet")),
            (ProtIsoNetExtract, ("montage", "places", "openSet")),
            (ProtIsoNetPredict, ("compare", "picture", "confidenceSlices", "openSet")),
        ):
            protocol = self.prepare(protocolClass, original)
            self.proj.saveProtocol(protocol)
            os.makedirs(protocol._getPath())
            if protocolClass is ProtIsoNetExtract:
                protocol._appendSubtomograms([])
            else:
                protocol._append()
            for status, word in ((STATUS_RUNNING, "no output yet"), (STATUS_ABORTED, "has ended without output")):
                protocol.setStatus(status)
                for eye in eyes:
                    (message,) = self.show(protocol, eye)
                    self.assertIn(word, message.getMessage(), (protocolClass, eye))

    def test_reports_and_positions_that_are_not_there_are_told(self) -> None:
        """As where a user deleted them, or a run was stopped before the positions were stored."""
        page = Path(self.predict._getExtraPath(REPORT_PAGE)).resolve()
        self.assertIn(f"[[{page}][Open the report]]", self.predict.summary())
        pictures = Path(self.predict._getExtraPath()).glob("*.png")
        for path in (page, *pictures):
            os.rename(path, f"{path}.away")
            self.addCleanup(os.replace, f"{path}.away", path)
        self.assertIn(f"*Missing*: the report of the run, {page}, was deleted or not written.", self.predict.summary())
        (message,) = self.show(self.predict, "picture")
        self.assertIn("its report was not written, or was deleted", message.getMessage())
        empty = SetOfCoordinates3D.create(self.extract._getPath(), prefix="empty")
        empty.setPrecedents(self.tomograms.Tomograms)
        empty.write()
        with mock.patch.object(self.extract, self.extract.CENTRES, empty):
            (message,) = self.show(self.extract, "places")
        self.assertIn("its positions are not stored yet", message.getMessage())

    def test_why_there_is_no_confidence_volume_is_told(self) -> None:
        (message,) = self.show(self.predict, "confidenceSlices")
        self.assertIn("Run the protocol with *Confidence volumes?* set to Yes", message.getMessage())
        # as of a run with it, in which the first tomogram was too small and the second's file is lost
        with mock.patch.object(self.predict, "_used", lambda name: name == "confidence"), mock.patch.object(
            ProtIsoNetPredict, "CONFIDENCE", "confidenceOfOne"
        ):
            self.predict.confidenceOfOne = [item.clone() for item in self.predict.tomograms][1:]
            self.addCleanup(delattr, self.predict, "confidenceOfOne")
            for number, why in (
                (0, "TS_02: it is too small"),
                (1, "TS_01: the file of its confidence volume is missing"),
            ):
                (message,) = self.show(self.predict, "confidenceSlices", number)
                self.assertIn(why, message.getMessage())

    def test_masks_are_outlined_on_their_tomograms(self) -> None:
        figure = self.plot(self.mask, "outline", tomogram=1)
        for axes in figure.axes:
            self.assertEqual(len(axes.collections), 1)
        np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), scene(SHAPES["TS_01"], 1)[24])

    def test_a_mask_of_another_size_is_refused(self) -> None:
        first, second = (item.clone() for item in self.mask.tomoMasks)
        first.setFileName(second.getFileName())
        with self.assertRaisesRegex(EngineError, r"its shape \(48, 64, 72\) is not that of"):
            maskPreview(first, self.proj)

    def test_subtomograms_and_their_places(self) -> None:
        figure = self.plot(self.extract, "montage")
        first = self.extract.subtomograms.getFirstItem()
        np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), read(first.getFileName())[:, CROP // 2])
        (points,) = self.plot(self.extract, "places").axes[0].lines
        self.assertEqual(len(points.get_xdata()), NUMBER)
        width = SHAPES["TS_02"][2] * VOXEL_SIZE / 10
        margin = CROP / 2 * VOXEL_SIZE / 10
        self.assertTrue(np.all((points.get_xdata() >= margin) & (points.get_xdata() <= width - margin)))

    def test_estimates_of_the_iterations_are_side_by_side(self) -> None:
        figure = self.plot(self.refine, "estimates")
        titles = [axes.get_title() for axes in figure.axes]
        self.assertEqual(titles[:2], ["subtomogram 1, at the start", "subtomogram 1, iteration 1"])
        folder = os.path.dirname(self.refine.lossesFile())
        expected = read(os.path.join(folder, "subtomogram_000001_iter01.mrc"))[:, CROP // 2]
        np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), expected)

    def test_estimates_are_offered_for_the_training_that_has_some(self) -> None:
        iterative, onePass = (
            set(self.viewerOf(training)._getVisualizeDict()) for training in (self.refine, ProtIsoNetOnePass())
        )
        self.assertEqual(iterative - onePass, {"estimates"})
        self.assertLessEqual(onePass, iterative)

    def test_losses_and_settings_of_the_training(self) -> None:
        losses, measure = self.plot(self.refine, "losses").axes
        for panel in (losses, measure):
            self.assertEqual(len(panel.lines[0].get_xdata()), 2)
        self.assertIn("withheld tilts", measure.get_ylabel())
        (message,) = self.show(self.refine, "settings")
        for fact in ("10.00 Å", "-57..51 degrees", "Iteration: 2", f"{CUBE} voxels", "level: 4"):
            self.assertIn(fact, message.getMessage())

    def test_models_show_losses_and_facts(self) -> None:
        viewer = IsoNetModelViewer(project=self.proj)
        plot, message = viewer._visualize(self.refine.model)
        self.assertIsInstance(plot, EmPlotter)
        self.assertEqual(message.getMessage().splitlines(), modelFacts(self.refine.model))
        imported = self.run_(ProtIsoNetImportModel, {}, modelFile=os.path.abspath(self.refine.model.getFileName()))
        (message,) = viewer._visualize(imported)
        self.assertIn("Cube size", message.getMessage())
        lost = IsoNetModel()
        lost.setFileName("lost.keras")
        self.assertIn("lost.keras", modelFacts(lost)[0])

    def test_both_voxel_sizes_of_an_imported_model_are_told(self) -> None:
        path = os.path.abspath(self.refine.model.getFileName())
        for given, isTold in ((None, False), (VOXEL_SIZE * 1.001, False), (20.0, True)):
            imported = self.newProtocol(ProtIsoNetImportModel, modelFile=path, samplingRate=given)
            self.assertEqual(imported.validate(), [])
            warnings = " ".join(imported.warnings())
            self.assertEqual("20.00 Å is given here, but the model's file says 10.00 Å" in warnings, isTold)
            self.assertEqual(bool(warnings), isTold)
        self.launchProtocol(imported)
        facts = modelFacts(imported.model)
        self.assertRegex(facts[0], "given at the import, which counts: 20.00 Å")
        self.assertRegex(facts[1], "its file says: 10.00 Å")
        self.assertEqual(facts[2:], modelFacts(self.refine.model)[1:])

    def test_report_page_opens_in_the_browser(self) -> None:
        for protocol, folder in (
            (self.predict, self.predict._getExtraPath()),
            (self.refine, os.path.dirname(self.refine.lossesFile())),
        ):
            page = Path(folder, "report.html")
            written = page.exists()
            if not written:
                (message,) = self.show(protocol, "page")
                self.assertIsInstance(message, MessageView)
                page.write_text("<html>")
            (view,) = self.show(protocol, "page")
            self.assertIsInstance(view, PageView)
            with mock.patch("webbrowser.open_new_tab") as opened:
                view.show()
            opened.assert_called_once_with(page.resolve().as_uri())

    def test_sets_have_the_plugins_viewer_besides_others(self) -> None:
        domain = pyworkflow.Config.getDomain()
        for output, own in (
            (self.predict.tomograms, "ViewerIsoNetTomograms"),
            (self.mask.tomoMasks, "ViewerIsoNetTomograms"),
            (self.extract.subtomograms, "ViewerIsoNetSubtomograms"),
        ):
            names = [viewer.__name__ for viewer in domain.findViewers(output, DESKTOP_TKINTER)]
            self.assertIn(own, names[1:], "it must not push itself before the viewers of other plugins")
            items = previews(output, self.proj)
            self.assertEqual(list(items), list(SHAPES))
            for make in items.values():
                figure = Figure()
                self.assertIn("voxels" if "Tomograms" in own else "subtomograms", make().draw(figure, {}))
                self.assertTrue(figure.axes)

    def test_an_empty_set_is_told(self) -> None:
        for output, viewerClass in (
            (self.predict.tomograms, ViewerIsoNetTomograms),
            (self.extract.subtomograms, ViewerIsoNetSubtomograms),
        ):
            empty = type(output).create(self.tomograms._getPath(), prefix=f"empty_{viewerClass.__name__}")
            empty.setStreamState(empty.STREAM_OPEN)
            empty.write()
            (message,) = viewerClass(project=self.proj)._visualize(empty)
            self.assertIn("nothing to show yet", message.getMessage())

    def test_masks_of_another_program_are_shown_alone(self) -> None:
        mask = self.mask.tomoMasks.getFirstItem().clone()
        mask.setVolName(None)
        preview = maskPreview(mask, self.proj)
        self.assertIn("The mask alone", preview.draw(Figure(), {}))
        np.testing.assert_array_equal(preview.voxels, read(mask.getFileName()))

    def test_texts_need_no_input(self) -> None:
        """That of a protocol whose tomograms are not selected yet, or no longer."""
        self.assertEqual(ProtIsoNetDeconv(project=self.proj)._methods(), [])
        for protocol, line in (
            (self.deconv, "2 tomograms done."),
            (self.mask, "2 tomograms done."),
            (self.extract, "voxels from 2 tomograms, for cubes"),
            (self.predict, "2 tomograms done."),
        ):
            unlinked = self.proj.getProtocol(protocol.getObjId())
            unlinked.inputTomograms.set(None)
            self.assertIn(line, " ".join(unlinked.summary()))
            self.assertTrue(unlinked.methods())

    def test_texts_tell_which_file_is_missing(self) -> None:
        mask = next(item.getFileName() for item in self.mask.tomoMasks)
        damaged = [item.getFileName() for item in self.mask.tomoMasks][1]
        model = self.refine.model.getFileName()
        for path in (mask, damaged, model):
            os.rename(path, path + ".away")
            self.addCleanup(os.replace, path + ".away", path)
        Path(damaged).write_bytes(b"no mask")
        lines = self.mask.summary()
        self.assertIn("2 of 2 tomograms done.", lines)
        self.assertIn(f"TS_02: *its file is missing*: {mask}.", lines)
        self.assertIn(f"TS_01: *its file can't be read*: {damaged}", " ".join(lines))
        told = "the results of TS_02 are listed, but their files are gone. *Restart* makes everything anew"
        self.assertIn(f"*Missing*: {told}.", lines)
        self.assertIn(f"T{told[1:]}; *Continue* does not.", self.mask.warnings())
        # that some are gone is said once for all subtomograms of a tomogram
        for item in [item.clone() for item in self.extract.subtomograms.iterItems()][:2]:
            os.rename(item.getFileName(), item.getFileName() + ".away")
            self.addCleanup(os.replace, item.getFileName() + ".away", item.getFileName())
        self.assertIn(f"*Missing*: {told}.", self.extract.summary())
        (methods, *_) = self.refine.methods()
        self.assertRegex(
            methods, rf"U-Net \(of unknown shape, as {model} can't be read.*in 2 iterations of 1 epochs on"
        )

    def test_methods_claim_nothing_that_was_not_done(self) -> None:
        """Of protocols that were not run, such as copies and loaded workflows, and of trainings that failed."""
        for protocol in (self.deconv, self.mask, self.extract, self.refine, self.predict):
            self.assertTrue(protocol._methods())
            copy = self.proj.copyProtocol(protocol)
            self.assertEqual(copy._methods(), [])
        for protocolClass in (ProtIsoNetOnePass, ProtIsoNetExport, ProtIsoNetImportModel, ProtIsoNetImportProject):
            protocol = self.newProtocol(protocolClass)
            for status in (STATUS_SAVED, STATUS_FAILED):
                protocol.setStatus(status)
                self.assertEqual(protocol._methods(), [])

    def test_a_linked_model_is_not_the_builtin_one(self) -> None:
        original = {"inputTomograms": (self.tomograms, "Tomograms")}
        onePass = self.prepare(ProtIsoNetOnePass, original, ctfAware=True)
        self.proj.saveProtocol(onePass)
        linked = self.prepare(ProtIsoNetPredict, {**original, "model": (onePass, "model")})
        self.assertEqual(linked._citations(), ["Wiedemann2024", "Liu2025"])
        self.assertEqual(self.prepare(ProtIsoNetPredict, original)._citations(), [])
        # of a correction that was run, whose reports were deleted and whose model was unlinked, or restarted
        linked.tomograms = self.predict.tomograms
        with mock.patch("isonet_scipion.protocols.protocol_predict.report_path", return_value="deleted"):
            self.assertIn("(a model that is no longer there)", linked._methods()[0])
            self.assertIn("Network: model_iter02.keras.", self.predict.summary())
            builtin = self.prepare(ProtIsoNetPredict, original)
            builtin.tomograms = self.predict.tomograms
            self.assertIn("Network: the builtin model.", builtin.summary())

    def test_tomos_own_viewer_is_offered(self) -> None:
        names = [viewer.__name__ for viewer in installedViewers(self.predict.tomograms)]
        self.assertIn("TomoDataViewer", names)

    def test_3dmod_is_offered_where_imod_is(self) -> None:
        found = pyworkflow.Config.getDomain().findViewers(self.predict.tomograms, DESKTOP_TKINTER)
        viewer = next((viewer for viewer in found if viewer.__name__ == "ImodViewer"), None)
        if viewer is None:
            self.skipTest("scipion-em-imod is not installed")
        plugin = type(viewer._package._pluginInstance)
        for problems, isOffered in (["3dmod is missing"], False), ([], True):
            with mock.patch.object(plugin, "validateInstallation", return_value=problems):
                self.assertEqual(viewer in installedViewers(self.predict.tomograms), isOffered)

    def test_without_output_the_form_says_so(self) -> None:
        protocol = self.prepare(ProtIsoNetMask, {"inputTomograms": (self.tomograms, "Tomograms")})
        (message,) = self.show(protocol, "outline")
        self.assertIn("no output yet", message.getMessage())
