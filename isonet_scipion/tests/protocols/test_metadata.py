"""Metadata that lack or are out of the ordinary: tilt range, amplitude contrast, phase plates, halves, single masks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from matplotlib.figure import Figure
from pyworkflow.protocol import MODE_RESUME
from pyworkflow.utils import weakImport
from tomo.objects import SetOfTomograms, TomoAcquisition

from isonet_scipion.convert.acquisition import ownAcquisition
from isonet_scipion.engine.conventions import REPORT_PAGE
from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.network.model_file import read_metadata, save_model
from isonet_scipion.engine.network.unet import build_unet
from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.protocols import (
    ProtIsoNetDeconv,
    ProtIsoNetExport,
    ProtIsoNetExtract,
    ProtIsoNetImportModel,
    ProtIsoNetMask,
    ProtIsoNetOnePass,
    ProtIsoNetPredict,
    ProtIsoNetRefine,
)
from isonet_scipion.protocols.predict_form import NORMALIZATIONS
from isonet_scipion.tests.protocols.scene import (
    ANGLES,
    OPTICS,
    SHAPES,
    VOXEL_SIZE,
    IsoNetTest,
    addCtfs,
    read,
    scene,
    write,
)
from isonet_scipion.viewers.previews import slicesPreview
from isonet_scipion.wizards.tilt_range import tiltPreviews

hasImod = False
with weakImport("imod"):
    import imod  # noqa: F401

    hasImod = True


class TestIsoNetMetadata(IsoNetTest):
    """Sets made from the imported tomograms, with a part of their metadata changed."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        network = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)
        path = cls.raw / "model_iter01.keras"
        save_model(path, build_unet(network), ModelMetadata(network, voxel_size=VOXEL_SIZE, normalize_percentile=True))
        cls.model = cls.run_(ProtIsoNetImportModel, {}, modelFile=str(path))

    @classmethod
    def changed(cls, name: str, change, tsIds=tuple(SHAPES)) -> dict[str, tuple]:
        """An input of those tomograms of which `change` has changed a copy; it is an output of the import."""
        source = cls.tomograms.Tomograms
        output = SetOfTomograms.create(cls.tomograms._getPath(), prefix=name)
        output.copyInfo(source)
        for tomogram in [item.clone() for item in source if item.getTsId() in tsIds]:
            change(tomogram, output)
            output.append(tomogram)
        output.write()
        cls.tomograms._defineOutputs(**{name: output})
        cls.proj.mapper.commit()
        return {"inputTomograms": (cls.tomograms, name)}

    def test_a_tilt_range_that_nobody_knows_is_asked_for_and_what_the_form_says_reaches_the_engine(self) -> None:
        def forget(tomogram, output):
            for item in (tomogram, output):
                item.getAcquisition().setAngleMin(None)
                item.getAcquisition().setAngleMax(None)

        inputs = {**self.changed("tiltless", forget), "model": (self.model, "model")}
        predict = self.prepare(ProtIsoNetPredict, inputs, useGpu=False)
        self.assertIn("the acquisition of TS_02, TS_01 does not have it", " ".join(predict.validate()))
        predict.tiltMin.set(-40)
        self.assertIn("the acquisition of TS_02, TS_01 does not have it", " ".join(predict.validate()))
        predict.tiltMax.set(-50)
        self.assertIn("'from' must be smaller", " ".join(predict.validate()))
        predict.tiltMax.set(44)
        self.assertEqual(predict.validate(), [])
        predict.normalizePercentile.set(NORMALIZATIONS.index("mean and standard deviation"))
        self.launchProtocol(predict)
        self.assertIn("--normalize_percentile False", Path(predict.getStdoutLog()).read_text())
        for tsId in SHAPES:
            (row,) = read_star(predict._getExtraPath(f"{tsId}.star")).rows
            self.assertEqual((float(row["rlnTiltMin"]), float(row["rlnTiltMax"])), (-40, 44))
        for tomogram in predict.tomograms:
            acquisition = tomogram.getAcquisition()
            self.assertEqual((acquisition.getAngleMin(), acquisition.getAngleMax()), (-40, 44))
            self.assertEqual(acquisition.getVoltage(), OPTICS["voltage"])
        again = self.prepare(ProtIsoNetPredict, {**inputs, "inputTomograms": (predict, "tomograms")}, useGpu=False)
        self.assertEqual(again.validate(), [])
        tables = self.prepare(ProtIsoNetExport, {"inputTomograms": inputs["inputTomograms"]})
        self.assertRegex(" ".join(tables.warnings()), r"\*Tomograms\*: .* 2 of 2 has no possible tilt range.*-60 to 60")
        tables = self.prepare(ProtIsoNetExport, {"inputTomograms": (predict, "tomograms")})
        self.assertNotIn("tilt range", " ".join(tables.warnings()))

    def test_a_tomogram_without_tilts_or_voltage_takes_them_of_its_set_never_of_another_tomogram(self) -> None:
        def mix(tomogram, output):
            isKnown = tomogram.getTsId() == "TS_01"
            acquisition = tomogram.getAcquisition().clone()
            acquisition.setAngleMin(-40.0 if isKnown else None)
            acquisition.setAngleMax(40.0 if isKnown else None)
            acquisition.setVoltage(120.0 if isKnown else None)
            acquisition.setSphericalAberration(2.7)
            tomogram.setAcquisition(acquisition)

        def mixUnknown(tomogram, output):
            mix(tomogram, output)
            output.setAcquisition(TomoAcquisition(amplitudeContrast=0.1))

        inputs = self.changed("mixed", mix)
        export = self.run_(ProtIsoNetExport, inputs)
        optics = ("rlnTomoName", "rlnVoltage", "rlnSphericalAberration", "rlnTiltMin", "rlnTiltMax")
        rows = [tuple(row[name] for name in optics) for row in read_star(export._getExtraPath("tomograms.star")).rows]
        self.assertEqual(rows, [("TS_02", "200.0", "2.7", "-57.0", "51.0"), ("TS_01", "120.0", "2.7", "-40.0", "40.0")])
        extract = self.run_(ProtIsoNetExtract, inputs, cubeSize=16, numberSubtomos=2)
        acquisition = ownAcquisition(extract.subtomograms)
        self.assertEqual((acquisition.getAngleMin(), acquisition.getVoltage()), (-57.0, 200.0))
        cubes = self.prepare(ProtIsoNetRefine, {"inputSubtomograms": (extract, "subtomograms")})
        tilts = {item.getVolName(): cubes._optics(item).tiltMax for item in cubes._learned()}
        self.assertEqual(tilts, {"TS_02": 51.0, "TS_01": 40.0})
        shown = tiltPreviews(self.prepare(ProtIsoNetOnePass, inputs))
        self.assertEqual({tsId: make().declared.tiltMax for tsId, make in shown.items()}, tilts)

        unknown = self.changed("unknown", mixUnknown)
        deconv = self.prepare(ProtIsoNetDeconv, unknown, defocus=20000)
        predict = self.prepare(ProtIsoNetPredict, {**unknown, "model": (self.model, "model")})
        train = self.prepare(ProtIsoNetOnePass, unknown, cubeSize=16)
        for protocol, words in (
            (deconv, r"\*Voltage\*: the tomograms' acquisition does not have it"),
            (predict, r"\*Tilt range\*: the acquisition of TS_02 does not have it"),
            (train, r"\*Tilt range\*: the acquisition of 1 tomogram does not have it"),
        ):
            for _ in range(2):  # Scipion asks again, with the same sets
                self.assertRegex(" ".join(protocol.validate()), words)

    def test_without_a_model_the_builtin_one_corrects(self) -> None:
        inputs = {"inputTomograms": (self.tomograms, "Tomograms")}
        chosen = self.prepare(ProtIsoNetPredict, inputs, iteration=3)
        self.assertIn("the builtin model has only one", " ".join(chosen.validate()))
        predict = self.run_(ProtIsoNetPredict, inputs, useGpu=False, confidence=True)
        self.assertIsLikeInput(predict.tomograms)
        summary = " ".join(predict.summary())
        self.assertIn("Network: the builtin model", summary)
        self.assertNotIn("gets a stricter test", summary)
        self.assertRegex(summary, r"a training on (these tomograms|them)")
        self.assertRegex(summary, r"\[\[/.*/extra/report\.html\]\[Open the report\]\]")
        self.assertEqual(predict.citations()[0].find("Liu"), -1)
        self.assertHasConfidence(predict)
        # Scipion fills in the next form with the first output of its kind
        self.assertEqual(next(iter(predict.iterOutputAttributes()))[0], "tomograms")
        confidence = {"inputTomograms": (predict, "confidenceVolumes")}
        for protocol in (ProtIsoNetExport, ProtIsoNetMask, ProtIsoNetOnePass, ProtIsoNetPredict):
            told = " ".join(self.prepare(protocol, confidence).validate())
            self.assertRegex(told, r"\*Tomograms\* holds confidence volumes, such as .*TS_01_corrected_confidence.mrc")
        corrected = {"inputTomograms": (predict, "tomograms")}
        for protocol in (ProtIsoNetDeconv, ProtIsoNetExtract, ProtIsoNetOnePass, ProtIsoNetPredict):
            told = " ".join(self.prepare(protocol, corrected).warnings())
            self.assertIn("*Tomograms*: a network corrected these before: TS_02, TS_01.", told)
        self.assertEqual(self.prepare(ProtIsoNetMask, corrected).warnings(), [])
        for tomogram in predict.tomograms:
            before = self.tomograms.Tomograms[{"_tsId": tomogram.getTsId()}]
            voxels = [read(one.getFileName()).ravel() for one in (before, tomogram)]
            self.assertTrue(0.3 < np.corrcoef(*voxels)[0, 1] < 0.999)

    def assertHasConfidence(self, predict: ProtIsoNetPredict) -> None:
        """A second set, without the tomogram that is too small, which the viewers lay over the slices."""
        self.assertFalse(predict.confidenceVolumes.isStreamOpen())
        (volume,) = (item.clone() for item in predict.confidenceVolumes)
        self.assertEqual((volume.getTsId(), volume.getSamplingRate()), ("TS_01", VOXEL_SIZE))
        voxels = read(volume.getFileName())
        self.assertEqual(voxels.shape, SHAPES["TS_01"])
        self.assertTrue(0 < voxels.min() < voxels.max() < 1)
        corrected = predict.tomograms[{"_tsId": "TS_01"}]
        self.assertEqual(volume.getShiftsFromOrigin(), corrected.getShiftsFromOrigin())
        figure = Figure()
        self.assertIn("Colour", slicesPreview(corrected, self.proj).draw(figure, {"cover": 20}))
        shown, layer = figure.axes[0].images
        np.testing.assert_array_equal(shown.get_array(), read(corrected.getFileName())[24])
        np.testing.assert_array_equal(layer.get_array(), voxels[24])
        self.assertEqual(layer.get_alpha(), 0.2)
        other = predict.tomograms[{"_tsId": "TS_02"}]
        self.assertIsNone(slicesPreview(other, self.proj).confidence)
        # as after a run that ended between the two sets
        predict._appendConfidence(corrected, volume.getFileName())
        self.assertEqual(predict.confidenceVolumes.getSize(), 1)

    def test_half_tomograms_are_corrected_too(self) -> None:
        folder = self.raw / "halves"
        folder.mkdir()

        def split(tomogram, output):
            tsId, whole = tomogram.getTsId(), read(tomogram.getFileName())
            halves = {"even": whole + scene(SHAPES[tsId], 8) / 50, "odd": scene(SHAPES[tsId], 9)}
            for half, voxels in halves.items():
                write(folder / f"{tsId}_{half}.mrc", voxels)
            tomogram.setHalfMaps([str(folder / f"{tsId}_{half}.mrc") for half in halves])

        inputs = {**self.changed("halved", split), "model": (self.model, "model")}
        predict = self.run_(ProtIsoNetPredict, inputs, processHalves=True, useGpu=False)
        self.assertIsLikeInput(predict.tomograms, hasOddEven=True, hasHalves=True)
        for tomogram in predict.tomograms:
            whole = read(tomogram.getFileName())
            even, odd = map(read, tomogram.getHalfMaps(asList=True))
            # the even half has nearly the voxels of the whole
            self.assertGreater(np.corrcoef(even.ravel(), whole.ravel())[0, 1], 0.99)
            self.assertLess(np.corrcoef(odd.ravel(), whole.ravel())[0, 1], 0.9)
        headings = re.findall(
            "<h2 id=.*?>(TS.*)</h2>", Path(predict._getExtraPath(REPORT_PAGE)).read_text(encoding="utf-8")
        )
        expected = [f"{tsId}{of}" for tsId in SHAPES for of in ("", ", even half", ", odd half")]
        self.assertEqual(sorted(headings), sorted(expected))

        self.check_a_lost_half(inputs, folder / "TS_01_odd.mrc")
        plain = {"inputTomograms": (self.tomograms, "Tomograms"), "model": (self.model, "model")}
        without = self.prepare(ProtIsoNetPredict, plain, processHalves=True)
        self.assertIn("no even and odd half of TS_02, TS_01", " ".join(without.validate()))

    def test_halves_that_were_replaced_or_lost_since(self) -> None:
        folder = self.raw / "replaced"
        folder.mkdir()

        def split(tomogram, output):
            files = [str(folder / f"{half}.mrc") for half in ("even", "odd")]
            for seed, path in enumerate(files):
                write(path, read(tomogram.getFileName()) + scene(SHAPES["TS_02"], seed) / 5)
            tomogram.setHalfMaps(files)

        inputs = {**self.changed("split", split, tsIds=("TS_02",)), "model": (self.model, "model")}
        predict = self.run_(ProtIsoNetPredict, inputs, useGpu=False)
        predict.runMode.set(MODE_RESUME)
        self.assertEqual(predict.validate(), [])
        write(folder / "odd.mrc", read(folder / "odd.mrc") + scene(SHAPES["TS_02"], 7))
        self.assertRegex(" ".join(predict.validate()), "What is done of TS_02 was made from other data")
        (folder / "odd.mrc").unlink()  # as what is no longer needed
        self.assertEqual(predict.validate(), [])

    def test_halves_that_are_none_are_done_without(self) -> None:
        def same(tomogram, output):
            tomogram.setHalfMaps([tomogram.getFileName()] * 2)

        inputs = {**self.changed("twice", same, tsIds=("TS_02",)), "model": (self.model, "model")}
        predict = self.run_(ProtIsoNetPredict, inputs, useGpu=False)
        told = "TS_02: worked on without its halves, .*: as halves of one tomogram .*: they are the same volume"
        self.assertRegex(" ".join(predict.summary()), told)

    def check_a_lost_half(self, inputs: dict[str, tuple], half: Path) -> None:
        """What works on it says so before; what only would be helped by it does without."""
        half.unlink()
        lost = f"{half.name}: the volume does not exist; it is a half of TS_01"
        both = self.prepare(ProtIsoNetPredict, inputs, processHalves=True)
        self.assertEqual(both.validate(), [])
        told = " ".join(both.warnings())
        self.assertRegex(told, f"TS_01 will fail: .*{lost}. Bring the right file, or work without")
        self.assertIn("No at *Also the half tomograms?*", told)
        self.assertIn("a model that did not learn from halves", told)
        tomograms = {"inputTomograms": inputs["inputTomograms"]}
        deconv = self.prepare(ProtIsoNetDeconv, tomograms, defocus=20000)
        self.assertIn(lost, " ".join(deconv.warnings()))
        deconv.processHalves.set(False)
        self.assertEqual(deconv.warnings(), [])
        self.assertIn(lost, " ".join(self.prepare(ProtIsoNetOnePass, tomograms).validate()))
        self.assertEqual(self.prepare(ProtIsoNetOnePass, tomograms, useHalves=False).validate(), [])
        predict = self.prepare(ProtIsoNetPredict, inputs, useGpu=False)
        told = rf"TS_01: worked on without its halves, by which noise is told from signal: .*{lost}\."
        self.assertRegex(" ".join(predict.warnings()), told)
        self.launchProtocol(predict)
        self.assertIsLikeInput(predict.tomograms)
        self.assertRegex(" ".join(predict.summary()), told)
        self.assertNotIn("TS_02: worked", " ".join(predict.summary()))

    def test_an_unknown_amplitude_contrast_is_told(self) -> None:
        def forget(tomogram, output):
            for item in (tomogram, output):
                item.getAcquisition().setAmplitudeContrast(None)

        deconv = self.prepare(ProtIsoNetDeconv, self.changed("contrastless", forget), defocus=20000)
        self.assertIn("TS_02, TS_01 has no amplitude contrast: 0.07 is used", " ".join(deconv.warnings()))

    def test_what_a_ctf_aware_correction_lacks_or_can_not_take_of_the_optics_is_told(self) -> None:
        def optics(voltage, contrast):
            def change(tomogram, output):
                for item in (tomogram, output):
                    item.getAcquisition().setVoltage(voltage)
                    item.getAcquisition().setSphericalAberration(None)
                    item.getAcquisition().setAmplitudeContrast(contrast)

            return change

        dark = self.prepare(ProtIsoNetPredict, self.changed("unknown", optics(None, None)), defocus=20000)
        wrong = self.prepare(ProtIsoNetPredict, self.changed("impossible", optics(0.0, 7.0)), defocus=20000)
        self.assertNotIn("voltage", " ".join([*dark.warnings(), *wrong.validate()]))
        aware = replace(read_metadata("builtin"), ctf_aware=True)
        with patch.object(ProtIsoNetPredict, "_metadata", lambda protocol: aware):
            self.assertEqual(dark.validate(), [])
            told = " ".join(dark.warnings())
            for words in ("voltage: 300 kV", "spherical aberration: 2.7 mm", "amplitude contrast: 0.07"):
                self.assertIn(f"The acquisition of TS_02, TS_01 has no {words} is used.", told)
            errors = " ".join(wrong.validate())
            self.assertIn("the voltage of their acquisition is impossible: 0 kV.", errors)
            self.assertIn("the amplitude contrast of their acquisition is impossible: 7.", errors)
        # which its training was told instead
        told = replace(aware, voltage=200.0, cs=2.7)
        with patch.object(ProtIsoNetPredict, "_metadata", lambda protocol: told):
            self.assertNotIn("voltage", " ".join([*dark.warnings(), *wrong.validate()]))

    def test_a_phase_plate_is_warned_of(self) -> None:
        if not hasImod:
            self.skipTest("scipion-em-imod is not installed")
        files = {}
        for tsId, phase in (("TS_01", 90.0), ("TS_02", 0.0)):
            path = self.raw / f"{tsId}.defocus"
            rows = [f"{i}\t{i}\t{angle}\t{angle}\t900.0\t{phase}" for i, angle in enumerate(ANGLES, 1)]
            path.write_text("4\t0\t0.0\t0.0\t0.0\t3\n" + "\n".join(rows) + "\n")
            files[tsId] = str(path)
        addCtfs(self.proj, self.tomograms, files)
        inputs = {"inputTomograms": (self.tomograms, "Tomograms"), "inputCtfs": (self.tomograms, "CTFs")}
        aware = replace(read_metadata("builtin"), ctf_aware=True)
        with patch.object(ProtIsoNetPredict, "_metadata", lambda protocol: aware):
            for protocol in (ProtIsoNetDeconv, ProtIsoNetPredict):
                self.assertIn("Phase plate: TS_01:", " ".join(self.prepare(protocol, inputs).warnings()))
        deconv = self.run_(ProtIsoNetDeconv, inputs)
        # who scheduled it has seen no form
        self.assertIn("Phase plate: TS_01:", Path(deconv.getStdoutLog()).read_text())
        remarks = [line for line in deconv.summary() if "phase plate" in line]
        told = "TS_01: its CTF has the phase shift of a phase plate, which was not taken into account."
        self.assertEqual(remarks, [told])

    def test_a_mask_goes_with_the_tomogram_of_its_tsid(self) -> None:
        whole = {"inputTomograms": (self.tomograms, "Tomograms")}
        mask = self.run_(ProtIsoNetMask, self.changed("single", lambda *_: None, tsIds=("TS_01",)), patchSize=2)
        inputs = {**whole, "inputMasks": (mask, "tomoMasks")}
        extract = self.prepare(ProtIsoNetExtract, inputs, cubeSize=16, cropSize=24, seed=1)
        self.assertEqual(extract.validate(), [])
        self.assertIn("they have no mask or coordinates: TS_02.", " ".join(extract.warnings()))
        train = self.prepare(ProtIsoNetOnePass, inputs, cubeSize=8)
        self.assertIn("*Masks*: there is none of TS_02: crops are taken anywhere", " ".join(train.warnings()))
        self.launchProtocol(extract)
        count = extract.subtomograms.getSize()
        self.assertEqual({item.getVolName() for item in extract.subtomograms}, {"TS_01"})
        self.assertIn(f"TS_01: {count}", extract.summary())
        told = "Not worked on: TS_02: there is nothing for them in *Masks*, or they came after this run"
        self.assertIn(told, " ".join(extract.summary()))
