"""The whole chain in a real project: import, deconvolution, mask, extraction, training, correction."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
from tomo.constants import BOTTOM_LEFT_CORNER

from isonet_scipion.convert.outputs import reportNumbers
from isonet_scipion.engine.io.report_file import report_path
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.measure.history import AT_CHANCE
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.radial_filter import Deconvolution, deconvolve
from isonet_scipion.protocols import (
    ProtIsoNetDeconv,
    ProtIsoNetExtract,
    ProtIsoNetImportModel,
    ProtIsoNetMask,
    ProtIsoNetPredict,
    ProtIsoNetRefine,
)
from isonet_scipion.protocols.record import RECORD
from isonet_scipion.tests.protocols.scene import OPTICS, SHAPES, VOXEL_SIZE, IsoNetTest, read, scene

CUBE, CROP, NUMBER = 16, 24, 6
TRAINING = dict(
    iterations=1,
    epochs=1,
    stepsPerEpoch=3,
    batchSize=2,
    noiseLevel="0.1",
    noiseStartIter="1",
    unetDepth=2,
    convsPerDepth=2,
    filterBase=4,
    useGpu=False,
    seed=1,
)


class TestIsoNetChain(IsoNetTest):
    """One run of everything; each test looks at one stage of it."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.deconv = cls.run_(ProtIsoNetDeconv, {"inputTomograms": (cls.tomograms, "Tomograms")}, defocus=20000)
        deconvolved = {"inputTomograms": (cls.deconv, "tomograms")}
        cls.mask = cls.run_(ProtIsoNetMask, deconvolved, patchSize=2, densityPercentage=40)
        cls.extract = cls.run_(
            ProtIsoNetExtract,
            {**deconvolved, "inputMasks": (cls.mask, "tomoMasks")},
            cubeSize=CUBE,
            cropSize=CROP,
            numberSubtomos=NUMBER,
            seed=1,
        )
        cls.refine = cls.run_(ProtIsoNetRefine, {"inputSubtomograms": (cls.extract, "subtomograms")}, **TRAINING)
        cls.predict = cls.run_(
            ProtIsoNetPredict,
            {**deconvolved, "model": (cls.refine, "model")},
            cubeSize=20,
            cropSize=40,
            useGpu=False,
        )

    def test_deconvolution_has_the_engines_voxels_and_the_inputs_metadata(self) -> None:
        self.assertIsLikeInput(self.deconv.tomograms, ctfCorrected=True)
        ctf_parameters = CtfParameters(
            OPTICS["voltage"], OPTICS["sphericalAberration"], OPTICS["amplitudeContrast"], 20000.0
        )
        for number, tomogram in enumerate(self.deconv.tomograms):
            self.assertFalse(tomogram.hasHalfMaps())
            expected = deconvolve(scene(SHAPES[tomogram.getTsId()], number), Deconvolution(VOXEL_SIZE, ctf_parameters))
            np.testing.assert_allclose(read(tomogram.getFileName()), expected, atol=1e-3)

    def test_masks_are_binary_and_belong_to_their_tomograms(self) -> None:
        masks = self.mask.tomoMasks
        self.checkTomoMasks(
            masks,
            expectedSetSize=2,
            expectedSRate=VOXEL_SIZE,
            expectedDimensions={tsId: list(shape[::-1]) for tsId, shape in SHAPES.items()},
        )
        files = {tomogram.getTsId(): tomogram.getFileName() for tomogram in self.deconv.tomograms}
        for mask in masks:
            voxels = read(mask.getFileName())
            self.assertEqual(set(np.unique(voxels)), {0, 1})
            self.assertTrue(0.05 < voxels.mean() <= 0.41)
            self.assertEqual(mask.getVolName(), files[mask.getTsId()])

    def test_subtomograms_are_the_voxels_at_their_coordinates(self) -> None:
        subtomograms = self.extract.subtomograms
        self.assertSetSize(subtomograms, 2 * NUMBER)
        self.assertAlmostEqual(subtomograms.getSamplingRate(), VOXEL_SIZE)
        self.assertEqual(subtomograms.getDim(), (CROP, CROP, CROP))
        volumes = {tomogram.getTsId(): read(tomogram.getFileName()) for tomogram in self.deconv.tomograms}
        masks = {mask.getTsId(): read(mask.getFileName()) for mask in self.mask.tomoMasks}
        for subtomogram in subtomograms.iterSubtomos():
            tsId = subtomogram.getVolName()
            coordinate = subtomogram.getCoordinate3D()
            self.assertEqual(coordinate.getTomoId(), tsId)
            centre = [round(value) for value in coordinate.getPosition(BOTTOM_LEFT_CORNER)][::-1]
            self.assertEqual(masks[tsId][tuple(centre)], 1)
            box = tuple(slice(c - CROP // 2, c - CROP // 2 + CROP) for c in centre)
            np.testing.assert_array_equal(read(subtomogram.getFileName()), volumes[tsId][box])
            self.assertAlmostEqual(subtomogram.getAcquisition().getAngleMax(), 51.0)
            self.checkHeaderSRate(subtomogram, VOXEL_SIZE)

    def test_coordinates_are_a_set_that_other_protocols_take(self) -> None:
        coordinates = self.extract.coordinates
        self.checkCoordinates(coordinates, expectedSetSize=2 * NUMBER, expectedBoxSize=CROP, expectedSRate=VOXEL_SIZE)
        self.assertEqual(set(coordinates.getTSIds()), set(SHAPES))

    def test_model_knows_its_training(self) -> None:
        model = self.refine.model
        self.assertTrue(os.path.exists(model.getFileName()))
        self.assertAlmostEqual(model.getSamplingRate(), VOXEL_SIZE)
        self.assertEqual(model.getTiltRange(), (-57.0, 51.0))
        self.assertEqual((model.getCubeSize(), model.getIteration()), (CUBE, 1))
        self.assertTrue(model.ctfCorrected())
        table = read_star(self.refine._getExtraPath("subtomo.star"))
        self.assertEqual(len(table.rows), 2 * NUMBER)
        self.assertEqual({row["rlnCropSize"] for row in table.rows}, {str(CROP)})
        with open(self.refine._getExtraPath("results", "refine_iter01.json"), encoding="utf-8") as file:
            losses = json.load(file)["losses"]
        self.assertTrue(np.isfinite(losses).all() and len(losses) == 1)

    def test_corrected_tomograms_keep_everything_but_their_voxels(self) -> None:
        self.assertIsLikeInput(self.predict.tomograms, ctfCorrected=True)
        before = {tomogram.getTsId(): read(tomogram.getFileName()) for tomogram in self.deconv.tomograms}
        for tomogram in self.predict.tomograms:
            after = read(tomogram.getFileName())
            self.assertTrue(np.isfinite(after).all())
            # a hardly trained network returns nearly its input
            own = before[tomogram.getTsId()]
            self.assertGreater(np.corrcoef(after.ravel(), own.ravel())[0, 1], 0.5)
            self.assertGreater(np.abs(after - own).max(), 1e-3 * own.std())
            stem = os.path.splitext(tomogram.getFileName())[0]
            self.assertTrue(os.path.exists(stem + ".png") and os.path.exists(stem + "_report.png"))
            with open(stem + "_report.json", encoding="utf-8") as file:
                report = json.load(file)
            self.assertEqual((report["tilt_min"], report["tilt_max"], report["voxel_size_A"]), (-57, 51, VOXEL_SIZE))
            self.assertAlmostEqual(reportNumbers(tomogram)["wedge_power_after"], report["wedge_power_after"])

    def test_iteration_of_the_training_can_be_chosen(self) -> None:
        inputs = {"inputTomograms": (self.deconv, "tomograms"), "model": (self.refine, "model")}
        chosen = self.prepare(ProtIsoNetPredict, inputs, iteration=1)
        self.assertTrue(os.path.samefile(chosen._modelFile(), self.refine.model.getFileName()))
        self.assertEqual(chosen.validate(), [])
        missing = self.prepare(ProtIsoNetPredict, inputs, iteration=2)
        self.assertIn("model_iter02.keras", " ".join(missing.validate()))

    def test_summaries_methods_and_citations(self) -> None:
        self.assertIn("20000", " ".join(self.deconv.summary()))
        self.assertRegex(" ".join(self.mask.summary()), r"TS_01: \d+ % of the volume kept")
        self.assertIn(
            f"{2 * NUMBER} subtomograms of {CROP} voxels from 2 of 2 tomograms", " ".join(self.extract.summary())
        )
        self.assertRegex(" ".join(self.refine.summary()), r"Last validation loss: \d\.\d+")
        self.assertLessEqual(" ".join(self.refine.summary()).count(AT_CHANCE), 1)
        self.assertEqual(" ".join(self.predict.summary()).count("gets a stricter test."), 1)
        self.assertRegex(
            " ".join(self.predict.summary()),
            r"2 of 2 tomograms.*TS_01: \*restored wedge correlation -?\d\.\d\d.*power .* was \d+ %.*report\.html",
        )
        for protocol in (self.deconv, self.mask, self.extract, self.refine, self.predict):
            self.assertIn("Liu2022", " ".join(protocol._methods()))
            self.assertIn("10.1038/s41467-022-33957-8", " ".join(protocol.citations()))

    def test_a_damaged_file_leaves_the_rest_of_a_summary(self) -> None:
        first = self.predict.tomograms.getFirstItem()
        tsIds = [tomogram.getTsId() for tomogram in self.predict.tomograms]
        files = {
            self.predict: [str(report_path(first.getFileName())), self.predict._table(tsIds[1])],
            self.refine: [self.refine.lossesFile()],
            self.mask: [self.mask._getExtraPath(RECORD)],
            self.extract: [self.extract._getExtraPath(RECORD)],
        }
        for protocol, paths in files.items():
            before, stored = protocol.summary(), [Path(path).read_bytes() for path in paths]
            for path in paths:
                Path(path).write_bytes(b"iteration\nx\n")
            lines = protocol.summary()
            for path, content in zip(paths, stored):
                self.assertEqual(sum(f"*Damaged*: {path}" in line for line in lines), 1, lines)
                Path(path).write_bytes(content)
            self.assertIn(before[0], lines)
            self.assertEqual(protocol.summary(), before)

    def test_a_summary_reads_no_file_twice(self) -> None:
        opened, plain = Counter(), open

        def counting(path: object, *arguments: object, **options: object) -> object:
            opened[str(path)] += 1
            return plain(path, *arguments, **options)

        report = str(report_path(self.predict.tomograms.getFirstItem().getFileName()))
        files = {
            self.predict: [report, *(self.predict._table(tsId) for tsId in SHAPES)],
            self.refine: [self.refine._table(), self.refine.lossesFile()],
        }
        for protocol, paths in files.items():
            with mock.patch("builtins.open", counting), mock.patch("io.open", counting):
                protocol.summary()
            self.assertEqual([opened[path] for path in paths], [1] * len(paths))

    def test_outputs_are_related_to_their_sources(self) -> None:
        children = {
            relation["object_child_id"] for relation in self.proj.mapper.getRelationsByName("relation_datasource")
        }
        for protocol, name in (
            (self.deconv, "tomograms"),
            (self.mask, "tomoMasks"),
            (self.extract, "subtomograms"),
            (self.refine, "model"),
            (self.predict, "tomograms"),
        ):
            self.assertIn(getattr(protocol, name).getObjId(), children)

    def test_nothing_is_written_outside_the_protocols_folders(self) -> None:
        self.assertEqual(sorted(os.listdir(self.raw)), ["TS_01.mrc", "TS_02.mrc"])
        known = {".config", "Runs", "Logs", "Tmp", "Uploads", self.raw.name}
        folders = {entry for entry in os.listdir(self.proj.path) if os.path.isdir(os.path.join(self.proj.path, entry))}
        self.assertLessEqual(folders, known)

    def test_a_model_can_be_imported_and_used(self) -> None:
        imported = self.run_(ProtIsoNetImportModel, {}, modelFile=os.path.abspath(self.refine.model.getFileName()))
        self.assertFalse(os.path.islink(imported.model.getFileName()))  # which another training would change
        self.assertAlmostEqual(imported.model.getSamplingRate(), VOXEL_SIZE)
        self.assertEqual(imported.model.getTiltRange(), (-57.0, 51.0))
        again = self.run_(
            ProtIsoNetPredict,
            {"inputTomograms": (self.deconv, "tomograms"), "model": (imported, "model")},
            cubeSize=20,
            cropSize=40,
            useGpu=False,
        )
        for first, second in zip(self.predict.tomograms, again.tomograms):
            np.testing.assert_allclose(read(first.getFileName()), read(second.getFileName()), atol=1e-4)
