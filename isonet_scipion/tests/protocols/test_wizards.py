"""What the wizards compute and fill in; their windows are opened in test_gui."""

from __future__ import annotations

from unittest import mock

import mrcfile
import numpy as np
import pyworkflow
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from pyworkflow.viewer import DESKTOP_TKINTER
from tomo.objects import SetOfSubTomograms, SetOfTomograms

from isonet_scipion import wizards
from isonet_scipion.convert.acquisition import Optics
from isonet_scipion.engine.conventions import CORRECTED
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.radial_filter import Deconvolution, deconvolve
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.sampling.mask import bin_by_two, sample_mask
from isonet_scipion.engine.simulation.phantom import Example
from isonet_scipion.protocols import (
    ProtIsoNetDeconv,
    ProtIsoNetExtract,
    ProtIsoNetMask,
    ProtIsoNetOnePass,
    ProtIsoNetRefine,
)
from isonet_scipion.protocols.ctf_history import CHOICES
from isonet_scipion.tests.protocols.scene import OPTICS, SHAPES, TILTS, VOXEL_SIZE, IsoNetTest, scene, write
from isonet_scipion.viewers.previews import subtomogramsById
from isonet_scipion.viewers.volumes import middle
from isonet_scipion.wizards import cube_size, deconvolution, mask, tilt_range

WEDGE = TiltRange(-36, 66)
thicknesses = st.dictionaries(st.text(min_size=1), st.integers(8, 300), min_size=1, max_size=4)


@given(thicknesses, st.sampled_from([4, 8, 16]), st.integers(1, 40))
def test_cube_sizes_fit_thickness_and_network(thickness, divisor, margin):
    sizes = cube_size.fittingSizes(thickness, lambda side: side + margin, divisor)
    for size in sizes:
        assert size.side % divisor == 0 and size.subtomogram == size.side + margin
        assert size.fitting == tuple(name for name, room in thickness.items() if room >= size.side + margin)
    # none is left out: the next one fits nowhere, or is too large for a GPU
    following = (sizes[-1].side if sizes else 0) + divisor
    assert following > cube_size.LARGEST or following + margin > max(thickness.values())
    if sizes:
        best = cube_size.suggested(sizes)
        assert len(best.fitting) == max(len(size.fitting) for size in sizes)
        assert best.side <= cube_size.USUAL or all(
            size.side >= best.side for size in sizes if size.fitting == best.fitting
        )


@given(st.tuples(*[st.integers(2, 60)] * 3), st.integers(2, 40), st.integers(2, 40))
def test_middle_is_central_and_halves_as_the_whole_does(shape, depth, side):
    part = middle(shape, depth, side)
    for axis, length, most in zip(part, shape, (depth, side, side)):
        assert axis.start % 2 == 0 and axis.stop <= length and axis.stop - axis.start == min(length, most)
        assert abs(axis.start - (length - axis.stop)) <= 3
    assert middle(shape, None, side)[0] == slice(0, shape[0])


def test_part_is_binned_as_the_whole():
    whole = np.random.default_rng(0).normal(size=(20, 30, 40)).astype(np.float32)
    place = middle(whole.shape, side=16)
    inner = bin_by_two(whole)[:, place[1].start // 2 + 1 : place[1].stop // 2 - 1, place[2].start // 2 + 1 :][:, :, :6]
    np.testing.assert_allclose(bin_by_two(whole[place])[:, 1:-1, 1:-1], inner, atol=1e-5)


def test_deconvolved_part_is_the_part_of_the_deconvolved_tomogram():
    whole = scene((120, 96, 96), 3)
    job = Deconvolution(VOXEL_SIZE, CtfParameters(defocus=20000.0), 0.8, 1.2)
    place = middle(whole.shape, deconvolution.DEPTH)
    part = deconvolution.DeconvPreview(whole[place], Deconvolution(VOXEL_SIZE, job.ctf_parameters, pad_edges=True))
    plane = part.filtered(0.8, 1.2)[deconvolution.DEPTH // 2][16:-16, 16:-16]
    expected = deconvolve(whole, job)[place][deconvolution.DEPTH // 2][16:-16, 16:-16]
    assert np.corrcoef(plane.ravel(), expected.ravel())[0, 1] > 0.99
    # and it follows the sliders
    other = part.filtered(2.5, 0.2)[deconvolution.DEPTH // 2][16:-16, 16:-16]
    assert np.corrcoef(plane.ravel(), other.ravel())[0, 1] < 0.97


def test_a_slider_that_is_not_moved_keeps_the_forms_value_between_two_steps():
    from isonet_scipion.viewers.browser import Slider  # without a screen, Tk would be left out for test_gui, too

    slider = Slider("snrFalloff", "SNR falloff", 0.0, 3.0, 0.05, 1.337)
    places = 0.0, 1.3, 1.35, 1.4  # the scale shows 1.35 for it
    assert [slider.at(place) for place in places] == [0.0, 1.3, 1.337, 1.4]


def test_scipion_finds_the_wizards_of_every_parameter():
    domain = pyworkflow.Config.getDomain()
    expected = {
        ProtIsoNetDeconv: {"snrFalloff": "IsoNetDeconvWizard", "deconvStrength": "IsoNetDeconvWizard"},
        ProtIsoNetMask: dict.fromkeys(["densityPercentage", "stdPercentage", "zCrop"], "IsoNetMaskWizard"),
        ProtIsoNetExtract: {"cubeSize": "IsoNetCubeSizeWizard"},
    }
    for training in (ProtIsoNetRefine, ProtIsoNetOnePass):
        expected[training] = {
            "cubeSize": "IsoNetCubeSizeWizard",
            "tiltMin": "IsoNetTiltRangeWizard",
            "tiltMax": "IsoNetTiltRangeWizard",
        }
    for protocolClass, names in expected.items():
        found = domain.findWizards(protocolClass(), DESKTOP_TKINTER)
        assert {name: found[name].__name__ for name in names} == names
        assert all(protocolClass().getParam(name) is not None for name in names)


class TestWizards(IsoNetTest):
    """Wizards on forms of a real project."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.input = {"inputTomograms": (cls.tomograms, "Tomograms")}
        write(cls.raw / "wedge_TS_09.mrc", Example((48, 96, 96), tilt=WEDGE).make()[1])
        cls.tilted = cls.importTomograms("wedge_{TS}.mrc", filesPath=str(cls.raw))
        cls.extract = cls.run_(
            ProtIsoNetExtract,
            {"inputTomograms": (cls.tilted, "Tomograms")},
            cubeSize=24,
            cropSize=40,
            numberSubtomos=12,
            seed=1,
        )
        cls.refine = cls.prepare(ProtIsoNetRefine, {"inputSubtomograms": (cls.extract, "subtomograms")})

    def test_cube_sizes_of_tomograms(self) -> None:
        extract = self.prepare(ProtIsoNetExtract, self.input)
        sizes = cube_size.sizesForExtraction(extract)
        # 40 and 48 voxels are the smallest sides, 16 of them the margin
        self.assertEqual([(size.side, size.fitting) for size in sizes], [
            (8, tuple(SHAPES)), (16, tuple(SHAPES)), (24, tuple(SHAPES)), (32, ("TS_01",)),
        ])  # fmt: skip
        self.assertEqual(cube_size.suggested(sizes).side, 24)
        extract.cropSize.set(44)
        self.assertEqual({size.subtomogram for size in cube_size.sizesForExtraction(extract)}, {44})
        self.assertEqual({size.fitting for size in cube_size.sizesForExtraction(extract)}, {("TS_01",)})
        extract.cropSize.set(100)
        self.assertEqual(cube_size.sizesForExtraction(extract), [])

    def test_cube_sizes_of_subtomograms(self) -> None:
        self.assertEqual([size.side for size in cube_size.sizesForTraining(self.refine)], [8, 16, 24, 32])
        deep = self.prepare(ProtIsoNetRefine, {"inputSubtomograms": (self.extract, "subtomograms")}, unetDepth=4)
        self.assertEqual([size.side for size in cube_size.sizesForTraining(deep)], [16, 32])
        pooled = self.prepare(
            ProtIsoNetRefine, {"inputSubtomograms": (self.extract, "subtomograms")}, pool="1,3,3", unetDepth=2
        )
        self.assertEqual([size.side for size in cube_size.sizesForTraining(pooled)], [9, 18, 27, 36])

    def test_tilt_range_is_that_of_the_data_not_of_the_acquisition(self) -> None:
        (subtomograms,) = subtomogramsById(self.refine.inputSubtomograms.get()).values()
        self.assertEqual(len(subtomograms), 12)
        preview = tilt_range.tiltPreview(self.refine, subtomograms)
        self.assertAlmostEqual(preview.shown.minimum, WEDGE.minimum, delta=7)
        self.assertAlmostEqual(preview.shown.maximum, WEDGE.maximum, delta=7)
        line = preview.draw(Figure(), {})
        self.assertIn(f"{TILTS['acquisitionAngleMin']:g} to {TILTS['acquisitionAngleMax']:g}", line)
        self.assertIn("They differ", line)
        self.assertEqual(preview.suggested, preview.shown)
        # where they agree, the acquisition is the more exact
        near = Optics(tiltMin=WEDGE.minimum + 1, tiltMax=WEDGE.maximum - 1)
        agreeing = tilt_range.TiltPreview(preview.angles, preview.power, near)
        self.assertEqual(agreeing.suggested, TiltRange(near.tiltMin, near.tiltMax))
        self.assertIn("They agree", agreeing.draw(Figure(), {}))

    def test_subtomograms_of_several_sizes_have_no_tilt_range_to_show(self) -> None:
        (subtomograms,) = subtomogramsById(self.refine.inputSubtomograms.get()).values()
        for name, shape, told in (("other", (8, 8, 8), "its side is 8 voxels"), ("flat", (8, 9, 10), "is not a cube")):
            odd = subtomograms[1].clone()
            write(self.raw / f"{name}.mrc", np.ones(shape, np.float32))
            odd.setLocation(str(self.raw / f"{name}.mrc"))
            with self.assertRaisesRegex(EngineError, told):
                tilt_range.tiltPreview(self.refine, [subtomograms[0], odd])

    def test_tilt_range_of_tomograms_for_one_pass(self) -> None:
        refine = self.prepare(ProtIsoNetOnePass, {"inputTomograms": (self.tilted, "Tomograms")})
        ((tsId, make),) = tilt_range.tiltPreviews(refine).items()
        self.assertEqual(tsId, "TS_09")
        shown = make().shown
        self.assertAlmostEqual(shown.minimum, WEDGE.minimum, delta=7)
        self.assertAlmostEqual(shown.maximum, WEDGE.maximum, delta=7)
        self.assertEqual(tilt_range.tiltPreviews(self.prepare(ProtIsoNetOnePass, {})), {})

    def test_a_tilt_range_that_is_not_that_of_all_is_told(self) -> None:
        for others, told in (((-50.0, 50.0), "-57 to 51 and -50 to 50 degrees"), ((-57.0, 51.0), None)):
            with self.subTest(others):
                second = self.tilted.Tomograms.getFirstItem().clone()
                second.setTsId("TS_10")
                second.cleanObjId()
                acquisition = second.getAcquisition().clone()
                acquisition.setAngleMin(others[0])
                acquisition.setAngleMax(others[1])
                second.setAcquisition(acquisition)
                inputs = self.setOf("ranges", [self.tilted.Tomograms.getFirstItem().clone(), second])
                form = mock.Mock(protocol=self.prepare(ProtIsoNetOnePass, inputs))
                with mock.patch("isonet_scipion.viewers.browser.BrowserDialog") as dialog:
                    dialog.return_value.preview.suggested = TiltRange(-50.0, 50.0)
                    wizards.IsoNetTiltRangeWizard().show(form)
                self.assertEqual([call[0] for call in form.setVar.call_args_list], [("tiltMin", -50), ("tiltMax", 50)])
                if told is None:
                    form.showInfo.assert_not_called()
                else:
                    self.assertIn(told, form.showInfo.call_args[0][0])

    def test_the_tilt_range_wizard_shows_nothing_of_voxels_that_are_no_numbers(self) -> None:
        refine = self.prepare(ProtIsoNetOnePass, {"inputTomograms": (self.tilted, "Tomograms")})
        tomogram = self.tilted.Tomograms.getFirstItem().clone()
        data = scene(SHAPES["TS_02"], 0)
        for value, told in ((np.nan, "holds NaN"), (1.0, "all its voxels are equal")):
            path = self.raw / "odd.mrc"
            write(path, data)
            with mrcfile.mmap(path, "r+") as mrc:
                mrc.data[:] = value
            tomogram.setFileName(str(path))
            with self.assertRaisesRegex(EngineError, f"odd.mrc: .*{told}"):
                tilt_range.tomogramTiltPreview(refine, tomogram)

    def setOf(self, name: str, items: list, rate: float | None = VOXEL_SIZE) -> dict[str, tuple]:
        """A set of these items as an input."""
        output = SetOfTomograms.create(self.tomograms._getPath(), prefix=name)
        output.copyInfo(self.tomograms.Tomograms)
        output.setSamplingRate(rate)
        for item in items:
            item.setSamplingRate(rate)
            output.append(item)
        output.write()
        output.close()
        self.tomograms._defineOutputs(**{name: output})
        return {"inputTomograms": (self.tomograms, name)}

    def test_of_sets_that_lack_voxel_sizes_or_ids_the_wizards_say_so(self) -> None:
        first, second = (item.clone() for item in self.tomograms.Tomograms)
        without = self.setOf("sizeless", [first.clone()], rate=None)
        second.setTsId(None)
        nameless = self.setOf("nameless", [first, second])
        for wizard in wizards.__all__:
            wizardClass = getattr(wizards, wizard)
            for protocolClass in {protocol for protocol, _ in wizardClass._targets} - {ProtIsoNetRefine}:
                isCubeSize = wizardClass is wizards.IsoNetCubeSizeWizard
                with self.subTest(wizard=wizard, protocol=protocolClass.__name__):
                    if not (isCubeSize and protocolClass is ProtIsoNetOnePass):  # which asks for none
                        told = self.told(wizardClass, self.prepare(protocolClass, without))
                        self.assertIn("the set has no voxel size", told)
                    if not isCubeSize:  # which counts them only
                        told = self.told(wizardClass, self.prepare(protocolClass, nameless))
                        self.assertIn("there is none (1 times)", told)

    def test_mask_preview_is_the_mask(self) -> None:
        protocol = self.prepare(ProtIsoNetMask, self.input, patchSize=2)
        tomogram = next(item.clone() for item in protocol.inputTomograms.get() if item.getTsId() == "TS_02")
        preview = mask.maskPreview(protocol, tomogram)
        expected = sample_mask(scene(SHAPES["TS_02"], 0), 2, 40, 60, 0.2)
        np.testing.assert_array_equal(preview.mask(40, 60, 0.2), expected)
        figure = Figure()
        line = preview.draw(figure, {"densityPercentage": 40, "stdPercentage": 60, "zCrop": 0.2})
        self.assertIn(f"{100 * expected.mean():.0f} % of the volume", line)
        self.assertTrue(all(len(axes.collections) == 1 for axes in figure.axes), "the mask is not outlined")

    def test_deconvolution_preview_has_the_forms_and_the_acquisitions_values(self) -> None:
        protocol = self.prepare(ProtIsoNetDeconv, self.input, cs=1.1)
        tomogram = protocol.inputTomograms.get().getFirstItem().clone()
        with self.assertRaisesRegex(EngineError, "TS_02: its defocus is unknown"):
            deconvolution.deconvPreview(protocol, tomogram)
        protocol.defocus.set(31000)
        preview = deconvolution.deconvPreview(protocol, tomogram)
        expected = CtfParameters(OPTICS["voltage"], 1.1, OPTICS["amplitudeContrast"], 31000.0)
        self.assertEqual(preview.deconvolution.ctf_parameters, expected)
        figure = Figure()
        self.assertIn("31000", preview.draw(figure, {"snrFalloff": 1.0, "deconvStrength": 1.0}))
        before, after = (axes.images[0].get_array() for axes in figure.axes)
        np.testing.assert_array_equal(before, scene(SHAPES["TS_02"], 0)[20])
        self.assertLess(np.corrcoef(before.ravel(), after.ravel())[0, 1], 0.95)

    def test_of_an_empty_set_the_wizards_say_so(self) -> None:
        empty = {}
        for kind, name in ((SetOfTomograms, "noTomograms"), (SetOfSubTomograms, "noSubtomograms")):
            output = kind.create(self.tomograms._getPath(), prefix=name)
            output.setSamplingRate(VOXEL_SIZE)
            output.setStreamState(output.STREAM_OPEN)
            output.write()
            self.tomograms._defineOutputs(**{name: output})
            empty[kind] = (self.tomograms, name)
        for wizard in wizards.__all__:
            wizardClass = getattr(wizards, wizard)
            for protocolClass, _ in wizardClass._targets:
                isRefine = protocolClass is ProtIsoNetRefine
                kind, name = (SetOfSubTomograms if isRefine else SetOfTomograms), "inputSubtomograms"
                form = mock.Mock(
                    protocol=self.prepare(protocolClass, {name if isRefine else "inputTomograms": empty[kind]})
                )
                wizardClass().show(form)
                if (wizard, protocolClass) != ("IsoNetCubeSizeWizard", ProtIsoNetOnePass):  # which asks for none
                    self.assertIn("empty", form.showInfo.call_args[0][0])

    def test_what_is_disabled_is_not_shown(self) -> None:
        output = SetOfTomograms.create(self.tomograms._getPath(), prefix="disabled")
        output.copyInfo(self.tomograms.Tomograms)
        for item in self.tomograms.Tomograms:
            for isEnabled in (True, False):  # each twice: once as it is to be taken, once as it is not
                copy = item.clone()
                copy.setObjId(None)
                copy.setEnabled(isEnabled and item.getTsId() == "TS_01")
                output.append(copy)
        output.write()
        self.tomograms._defineOutputs(disabled=output)
        inputs = {"inputTomograms": (self.tomograms, "disabled")}
        sizes = cube_size.sizesForExtraction(self.prepare(ProtIsoNetExtract, inputs))
        self.assertEqual({size.fitting for size in sizes}, {("TS_01",)})
        previews = tilt_range.tiltPreviews(self.prepare(ProtIsoNetOnePass, inputs))
        with mock.patch("isonet_scipion.viewers.browser.BrowserDialog") as dialog:
            dialog.return_value.resultYes.return_value = False
            wizards.IsoNetMaskWizard().show(mock.Mock(protocol=self.prepare(ProtIsoNetMask, inputs)))
        for shown in (previews, dialog.call_args[0][3]):
            self.assertEqual([(name, make.args[1].getObjId()) for name, make in shown.items()], [("TS_01", 3)])

    def test_cube_sizes_are_offered_where_a_tomogram_is_missing(self) -> None:
        folder = self.raw / "lost"
        folder.mkdir()
        for tsId, shape in SHAPES.items():
            write(folder / f"{tsId}.mrc", scene(shape, 1))
        lost = self.importTomograms(filesPath=str(folder))
        extract = self.prepare(ProtIsoNetExtract, {"inputTomograms": (lost, "Tomograms")})
        (folder / "TS_02.mrc").unlink()
        self.assertEqual({size.fitting for size in cube_size.sizesForExtraction(extract)}, {("TS_01",)})
        (folder / "TS_01.mrc").unlink()
        form = mock.Mock(protocol=extract)
        wizards.IsoNetCubeSizeWizard().show(form)
        self.assertIn("which is not there", form.showInfo.call_args[0][0])

    def told(self, wizardClass: type, protocol) -> str:
        """What a wizard says in place of its window."""
        form = mock.Mock(protocol=protocol)
        wizardClass().show(form)
        form.setVar.assert_not_called()
        return form.showInfo.call_args[0][0]

    def test_wizards_say_which_field_holds_what_is_not_legal(self) -> None:
        subtomograms = {"inputSubtomograms": (self.extract, "subtomograms")}
        lists = r"\*Kernel\* and the like are lists such as"
        for wizardClass, protocolClass, inputs, values, words in (
            (wizards.IsoNetDeconvWizard, ProtIsoNetDeconv, self.input, {"highpassNyquist": None}, "High-pass.*float"),
            (wizards.IsoNetDeconvWizard, ProtIsoNetDeconv, self.input, {"highpassNyquist": 2}, "High-pass.*at most 1"),
            (wizards.IsoNetDeconvWizard, ProtIsoNetDeconv, self.input, {"ctfHistory": 7}, "CTF correction.*one of"),
            (wizards.IsoNetMaskWizard, ProtIsoNetMask, self.input, {"patchSize": None}, "Patch size.*integer"),
            (wizards.IsoNetMaskWizard, ProtIsoNetMask, self.input, {"patchSize": -3}, "Patch size.*at least 1"),
            (
                wizards.IsoNetCubeSizeWizard,
                ProtIsoNetExtract,
                self.input,
                {"cropSize": -5},
                "Subtomogram size.*at least",
            ),
            (wizards.IsoNetCubeSizeWizard, ProtIsoNetRefine, subtomograms, {"kernel": "3 3 3"}, lists),
            (wizards.IsoNetCubeSizeWizard, ProtIsoNetRefine, subtomograms, {"pool": "a,b"}, lists),
            (wizards.IsoNetCubeSizeWizard, ProtIsoNetRefine, subtomograms, {"unetDepth": None}, "Depth.*integer"),
        ):
            with self.subTest(wizardClass.__name__, values=values):
                protocol = self.prepare(protocolClass, inputs)
                for name, value in values.items():
                    getattr(protocol, name).set(value)
                line = self.told(wizardClass, protocol)
                self.assertRegex(line, words)
                self.assertIn(line, protocol.validate())

    def test_sliders_start_at_their_own_value_where_the_forms_is_not_legal(self) -> None:
        for value, start in ((None, 1.0), (-5.0, 1.0), (float("nan"), 1.0), (2.5, 2.5)):
            protocol = self.prepare(ProtIsoNetDeconv, self.input, defocus=20000)
            protocol.deconvStrength.set(value)
            with mock.patch("isonet_scipion.viewers.browser.BrowserDialog") as dialog:
                dialog.return_value.resultYes.return_value = False
                wizards.IsoNetDeconvWizard().show(mock.Mock(protocol=protocol))
            self.assertEqual([slider.value for slider in dialog.call_args[0][4]], [1.0, start])

    def test_the_deconvolution_wizard_shows_nothing_that_is_refused(self) -> None:
        protocol = self.prepare(ProtIsoNetDeconv, self.input, defocus=2.5)
        tomogram = protocol.inputTomograms.get().getFirstItem().clone()
        for defocus in (2.5, 0, -20000):
            protocol.defocus.set(defocus)
            with self.assertRaisesRegex(EngineError, r"\*Defocus\*: .* for TS_02"):
                deconvolution.deconvPreview(protocol, tomogram)
            self.assertTrue(any(error.startswith("*Defocus*: ") for error in protocol.validate()))
        protocol.defocus.set(20000)
        protocol.ctfHistory.set(CHOICES.index(CORRECTED))
        with self.assertRaisesRegex(EngineError, "TS_02: its CTF is corrected already"):
            deconvolution.deconvPreview(protocol, tomogram)
        self.assertTrue(any("is corrected already" in error for error in protocol.validate()))

    def test_the_mask_wizard_shows_nothing_without_the_folder_of_boundaries(self) -> None:
        protocol = self.prepare(ProtIsoNetMask, self.input, boundaryFolder="/nowhere")
        with self.assertRaisesRegex(EngineError, "/nowhere: the .Folder of boundaries. does not exist"):
            mask.maskPreview(protocol, protocol.inputTomograms.get().getFirstItem())

    def test_a_file_of_another_format_that_is_gone_or_damaged_is_told(self) -> None:
        protocol = self.prepare(ProtIsoNetMask, self.input)
        tomogram = protocol.inputTomograms.get().getFirstItem().clone()
        damaged = self.raw / "damaged.em"
        damaged.write_bytes(b"no volume")
        for path, why in (("/nowhere/a.em", "does not exist"), (str(damaged), "can't read it as a volume")):
            tomogram.setFileName(path)
            with self.assertRaisesRegex(EngineError, f"{path}: .*{why}"):
                mask.maskPreview(protocol, tomogram)

    def test_without_input_the_wizards_say_so(self) -> None:
        for wizard in wizards.__all__:
            wizardClass = getattr(wizards, wizard)
            for protocolClass, _ in wizardClass._targets:
                form = mock.Mock(protocol=self.newProtocol(protocolClass))
                wizardClass().show(form)
                self.assertIn("Select the", form.showInfo.call_args[0][0])
                form.setVar.assert_not_called()

    def test_wizards_tell_an_input_of_another_kind(self) -> None:
        one = self.tomograms.Tomograms.getFirstItem().getObjId()
        for wizard in wizards.__all__:
            wizardClass = getattr(wizards, wizard)
            for protocolClass, _ in wizardClass._targets:
                isRefine = protocolClass is ProtIsoNetRefine
                name, asked = (
                    ("inputSubtomograms", "SetOfSubTomograms") if isRefine else ("inputTomograms", "SetOfTomograms")
                )
                if (wizard, protocolClass) == ("IsoNetCubeSizeWizard", ProtIsoNetOnePass):  # which asks for none
                    continue
                with self.subTest(wizard=wizard, protocol=protocolClass.__name__):
                    protocol = self.prepare(protocolClass, {name: (self.tomograms, f"Tomograms.{one}")})
                    said = self.told(wizardClass, protocol)
                    self.assertRegex(said, f"^\\*.*\\*: what is linked is a Tomogram, not a {asked}\\.$")
