"""Data of other programs: volumes that are no plain MRC files, subtomograms, models."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from pwem.emlib.image import ImageHandler
from pyworkflow.protocol import MODE_RESUME
from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import AverageSubTomogram, SetOfAverageSubTomograms, SetOfTomograms, SetOfTomoMasks
from tomo.protocols import ProtImportSubTomograms

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.protocols import (
    ProtIsoNetExport,
    ProtIsoNetExtract,
    ProtIsoNetImportModel,
    ProtIsoNetMask,
    ProtIsoNetOnePass,
    ProtIsoNetPredict,
    ProtIsoNetRefine,
)
from isonet_scipion.protocols.training_tables import tomogramRows
from isonet_scipion.tests.protocols.scene import SHAPES, VOXEL_SIZE, IsoNetTest, read, scene, write
from isonet_scipion.tests.protocols.test_chain import TRAINING
from isonet_scipion.viewers.previews import comparisonPreview, slicesPreview
from isonet_scipion.wizards import mask as mask_wizard

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference"


class TestIsoNetForeignData(IsoNetTest):
    """Two tomograms, and what other programs wrote."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.input = {"inputTomograms": (cls.tomograms, "Tomograms")}
        cls.mask = cls.run_(ProtIsoNetMask, cls.input, patchSize=2)

    def spiderFolder(self, name: str, volumes: dict[str, np.ndarray]) -> Path:
        """A new folder with volumes as SPIDER files; xmipp, which converts, takes no such name as that of self.raw."""
        folder = Path(self.proj.path, name)
        folder.mkdir()
        for tsId, data in volumes.items():
            write(folder / f"{tsId}.mrc", data)
            ImageHandler().convert(str(folder / f"{tsId}.mrc"), str(folder / f"{tsId}.spi"))
        return folder

    def test_what_is_converted_is_not_written_where_a_tilt_series_id_leads(self) -> None:
        folder = self.spiderFolder("spider escape", {"TS_01": scene(SHAPES["TS_01"], 0)})
        tomograms = SetOfTomograms.create(self.tomograms._getPath(), prefix="escape")
        tomograms.copyInfo(self.tomograms.Tomograms)
        tomogram = self.tomograms.Tomograms.getFirstItem().clone()
        tomogram.setTsId("../../escaped")
        tomogram.setLocation(str(folder / "TS_01.spi"))
        tomograms.append(tomogram)
        tomograms.write()
        self.tomograms._defineOutputs(escape=tomograms)
        self.proj.mapper.commit()
        inputs = {"inputTomograms": (self.tomograms, "escape")}
        export = self.run_(ProtIsoNetExport, inputs)
        (row,) = read_star(export._getExtraPath("tomograms.star")).rows
        extract = self.prepare(ProtIsoNetExtract, inputs)
        self.proj.saveProtocol(extract)  # which gives it a folder
        os.makedirs(extract._getTmpPath())
        for path, place in (
            (row["rlnMicrographName"], export._getExtraPath()),
            (extract._open(tomogram).path, extract._getTmpPath()),
        ):
            self.assertTrue(os.path.samefile(os.path.dirname(path), place))
            np.testing.assert_array_equal(read(path), scene(SHAPES["TS_01"], 0))

    def test_a_finished_training_on_tomograms_that_are_no_mrc_goes_on(self) -> None:
        folder = self.spiderFolder("spider", {tsId: scene(shape, 0) for tsId, shape in SHAPES.items()})
        foreign = self.importTomograms("{TS}.spi", filesPath=str(folder))
        small = dict(iterations=1, epochs=1, stepsPerEpoch=1, batchSize=2, cubeSize=8, useGpu=False, seed=1)
        small.update(startFromBuiltin=False, unetDepth=1, filterBase=4)
        refine = self.run_(ProtIsoNetOnePass, {"inputTomograms": (foreign, "Tomograms")}, **small)
        self.assertFalse(os.path.exists(refine._getTmpPath()))  # the converted ones were there
        refine.iterations.set(2)
        refine.runMode.set(MODE_RESUME)
        self.launchProtocol(refine)
        self.assertIn("2 of 2 iterations of 1 epochs.", refine.summary())

    def test_masks_that_are_no_plain_mrc_files_are_taken(self) -> None:
        inside = {tsId: np.zeros(shape, np.float32) for tsId, shape in SHAPES.items()}
        for mask in inside.values():
            mask[10:30, 10:40, 10:40] = 1
        folder = self.spiderFolder("spider masks", inside)
        (folder / "TS_01.mrc").rename(folder / "TS_01.map")
        masks = SetOfTomoMasks.create(self.mask._getPath(), prefix="foreign")
        masks.copyInfo(self.mask.tomoMasks)
        for mask, name in zip([item.clone() for item in self.mask.tomoMasks], ("TS_02.spi", "TS_01.map:mrc")):
            mask.setLocation(str(folder / name))
            masks.append(mask)
        masks.write()
        self.mask._defineOutputs(foreign=masks)
        self.proj.mapper.commit()
        inputs = {**self.input, "inputMasks": (self.mask, "foreign")}
        # with and without a number, which is told by the masks
        for number in (2, None):
            extract = self.run_(ProtIsoNetExtract, inputs, cubeSize=8, cropSize=12, numberSubtomos=number)
            self.assertEqual({item.getVolName() for item in extract.subtomograms}, set(SHAPES))
            for centre in extract.coordinates.iterCoordinates():
                place = tuple(round(value) for value in centre.getPosition(BOTTOM_LEFT_CORNER))[::-1]
                self.assertEqual(inside[centre.getTomoId()][place], 1)
        refine = self.prepare(ProtIsoNetOnePass, inputs, cubeSize=8)
        self.assertEqual(refine.validate(), [])
        self.proj.saveProtocol(refine)  # which gives it a folder
        os.makedirs(refine._getTmpPath())
        for row in tomogramRows(refine):
            np.testing.assert_array_equal(read(row["rlnMaskName"]), inside[row["rlnTomoName"]])

    def test_one_of_several_volumes_in_a_file_is_not_taken_for_the_whole_file(self) -> None:
        inputs = {}
        for name, parent, items in (
            ("inputTomograms", self.tomograms, self.tomograms.Tomograms),
            ("inputMasks", self.mask, self.mask.tomoMasks),
        ):
            stacked = type(items).create(parent._getPath(), prefix="stacked")
            stacked.copyInfo(items)
            for item in [one.clone() for one in items]:
                number = {"TS_02": 1, "TS_01": 2}[item.getTsId()]
                item.setLocation(number, item.getFileName())  # the first is all that its file holds
                stacked.append(item)
            stacked.write()
            parent._defineOutputs(stacked=stacked)
            inputs[name] = (parent, "stacked")
        self.proj.mapper.commit()
        tomograms, masks = {"inputTomograms": inputs["inputTomograms"]}, {"inputMasks": inputs["inputMasks"]}
        wrong = r"2@.*TS_01(_mask)?\.mrc: it is one of several images or volumes in a file.* to an MRC file of its own"
        for one, given in (
            (ProtIsoNetExport, tomograms),
            (ProtIsoNetOnePass, tomograms),
            (ProtIsoNetExtract, {**self.input, **masks}),
            (ProtIsoNetExport, {**self.input, **masks}),
        ):
            told = self.prepare(one, given, cubeSize=8).validate()
            self.assertRegex(" ".join(told), wrong)
            self.assertNotIn("TS_02", " ".join(told))
        mask = self.prepare(ProtIsoNetMask, tomograms, patchSize=2)
        self.assertRegex(" ".join(mask.warnings()), f"TS_01 will fail: .*{wrong}")
        self.launchProtocol(mask)
        self.assertEqual([item.getTsId() for item in mask.tomoMasks], ["TS_02"])
        self.assertRegex(mask.failedTomograms.getFirstItem().getObjComment(), wrong)
        second = next(item.clone() for item in self.tomograms.stacked if item.getTsId() == "TS_01")
        for preview in (
            lambda: slicesPreview(second, self.proj),
            lambda: mask_wizard.maskPreview(mask, second),
            lambda: comparisonPreview(second, second, self.proj),
        ):
            with self.assertRaisesRegex(EngineError, wrong):
                preview()

    def test_subtomograms_of_another_program_are_taken(self) -> None:
        # xmipp, which Scipion converts with, takes no such name as that of self.raw
        folder = Path(self.proj.path, "cubes")
        folder.mkdir(exist_ok=True)
        for number in range(4):
            write(folder / f"cube{number}.mrc", scene((24, 24, 24), number))
            ImageHandler().convert(str(folder / f"cube{number}.mrc"), str(folder / f"cube{number}.spi"))
        foreign = self.newProtocol(
            ProtImportSubTomograms,
            filesPath=str(folder),
            filesPattern="*.spi",
            samplingRate=VOXEL_SIZE,
            acquisitionAngleMin=-50,
            acquisitionAngleMax=48,
        )
        self.launchProtocol(foreign)
        inputs = {"inputSubtomograms": (foreign, "outputSubTomograms")}
        refine = self.run_(ProtIsoNetRefine, inputs, tiltMax=45, **TRAINING)
        table = read_star(refine._getExtraPath("subtomo.star"))
        self.assertEqual([(row["rlnTiltMin"], row["rlnCubeSize"]) for row in table.rows], [("-50.0", "16")] * 4)
        np.testing.assert_allclose(read(table.rows[0]["rlnImageName"]), scene((24, 24, 24), 0))
        self.assertEqual(refine.model.getTiltRange(), (-50.0, 45.0))
        first = refine._getExtraPath("results", "model_iter01.keras")
        time = os.path.getmtime(first)
        refine.iterations.set(2)
        refine.runMode.set(MODE_RESUME)
        self.launchProtocol(refine)
        self.assertTrue(os.path.exists(refine._getExtraPath("results", "model_iter02.keras")))
        chosen = json.loads(Path(refine._getExtraPath("results", "refine_iter02.json")).read_text())["chosen_iteration"]
        self.assertEqual(refine.model.getIteration(), chosen)
        self.assertTrue(refine.model.getFileName().endswith(f"model_iter{chosen:02d}.keras"))
        self.assertRegex(" ".join(refine.summary()), "The output is the network of .*correlation with the withheld")
        self.assertEqual(os.path.getmtime(first), time)

        odd = self.prepare(ProtIsoNetRefine, inputs, cubeSize=18, noiseLevel="0.1,0.2", noiseStartIter="1")
        errors = " ".join(odd.validate())
        self.assertIn("a multiple of 8", errors)
        self.assertIn("2 *Noise levels* but 1", errors)

        predict = self.prepare(ProtIsoNetPredict, {**self.input, "model": (refine, "model")}, cubeSize=32, cropSize=40)
        self.assertIn("at least *Step between tiles* + 18", " ".join(predict.validate()))
        self.assertIn("TS_01 (-57..51)", " ".join(predict.warnings()))
        fine = self.importTomograms(samplingRate=VOXEL_SIZE / 2)
        other = self.prepare(ProtIsoNetPredict, {"inputTomograms": (fine, "Tomograms"), "model": (refine, "model")})
        self.assertIn("trained at 10.00 Å/px", " ".join(other.validate()))

    def test_averages_are_no_subtomograms(self) -> None:
        average = AverageSubTomogram()
        average.setLocation(str(self.raw / "average.mrc"))
        write(average.getFileName(), scene((24, 24, 24), 0))
        average.setSamplingRate(VOXEL_SIZE)
        averages = SetOfAverageSubTomograms.create(self.tomograms._getPath())
        averages.setSamplingRate(VOXEL_SIZE)
        averages.append(average)
        averages.write()
        self.tomograms._defineOutputs(averages=averages)
        self.proj.mapper.commit()
        inputs = {"inputSubtomograms": (self.tomograms, "averages")}
        refine = self.prepare(ProtIsoNetRefine, inputs, tiltMin=-60, tiltMax=60, **TRAINING)
        for protocol in (refine, self.prepare(ProtIsoNetExport, {**self.input, **inputs})):
            (told,) = protocol.validate()
            self.assertRegex(told, r"\*Subtomograms\* holds averages.*Select subtomograms that were cut out")

    def test_what_is_no_model_is_refused(self) -> None:
        path = self.raw / "notes.h5"
        path.write_text("not a model")
        for modelFile in (str(path), str(self.raw / "TS_01.mrc"), str(self.raw / "missing.h5")):
            with self.subTest(modelFile):
                self.assertEqual(len(self.newProtocol(ProtIsoNetImportModel, modelFile=modelFile).validate()), 1)

    def test_a_model_of_isonet_is_imported(self) -> None:
        models = sorted(REFERENCE.glob("**/*.h5"))
        if not models:
            self.skipTest("no models of IsoNet 0.2 in ../shared/reference")
        imported = self.run_(ProtIsoNetImportModel, {}, modelFile=str(models[0]), samplingRate=VOXEL_SIZE)
        self.assertTrue(imported.model.getFileName().endswith(".h5"))
        self.assertEqual(imported.model.getSamplingRate(), VOXEL_SIZE)
        self.assertIsNone(imported.model.getTiltRange()[0])
