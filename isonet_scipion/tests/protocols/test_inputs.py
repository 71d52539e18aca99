"""What the protocols make of their inputs: matching by tsId, missing and wrong metadata, halves, failures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from pwem.protocols import ProtSubSet
from pyworkflow.protocol import MODE_RESUME
from pyworkflow.utils import weakImport

from isonet_scipion.engine.io.report_file import read_report, report_path
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.network.model_file import read_metadata
from isonet_scipion.protocols import (
    ProtIsoNetDeconv,
    ProtIsoNetExport,
    ProtIsoNetExtract,
    ProtIsoNetMask,
    ProtIsoNetOnePass,
    ProtIsoNetPredict,
)
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

hasImod = False
with weakImport("imod"):
    import imod  # noqa: F401

    hasImod = True


class TestIsoNetInputs(IsoNetTest):
    """Two tomograms, fed to single protocols in many ways."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.input = {"inputTomograms": (cls.tomograms, "Tomograms")}
        cls.mask = cls.run_(ProtIsoNetMask, cls.input, patchSize=2)

    # ---------------------------------------------------------------- CTF

    def test_each_tomogram_has_the_defocus_of_its_own_ctf(self) -> None:
        if not hasImod:
            self.skipTest("scipion-em-imod is not installed")
        # nm in IMOD's file; only TS_01 has a CTF; zero tilt is neither first nor in the middle
        rows = [f"{i}\t{i}\t{a}\t{a}\t{4000 - 10 * i}\t{3800 - 10 * i}\t20.0" for i, a in enumerate(ANGLES, 1)]
        path = self.raw / "TS_01.defocus"
        path.write_text("1\t0\t0.0\t0.0\t0.0\t3\n" + "\n".join(rows) + "\n")
        addCtfs(self.proj, self.tomograms, {"TS_01": str(path)})
        path.unlink()
        inputs = {**self.input, "inputCtfs": (self.tomograms, "CTFs")}
        both = self.run_(ProtIsoNetDeconv, inputs, skipWithoutCtf=False, defocus=15000)
        defoci = {tsId: read_star(both._getExtraPath(f"{tsId}.star")).rows[0]["rlnDefocus"] for tsId in SHAPES}
        self.assertAlmostEqual(float(defoci["TS_01"]), 10 * (3980 + 3780) / 2)
        self.assertAlmostEqual(float(defoci["TS_02"]), 15000)
        only = self.prepare(ProtIsoNetDeconv, inputs)
        self.assertEqual(only.validate(), [])
        self.assertIn("Left out, because they have no CTF: TS_02", " ".join(only.warnings()))
        self.launchProtocol(only)
        self.assertEqual([tomogram.getTsId() for tomogram in only.tomograms], ["TS_01"])

    def test_missing_optics_and_defocus_are_asked_for(self) -> None:
        table = self.raw / "angles.txt"
        table.write_text("".join(f"{tsId}.mrc -57 51 3 0\n" for tsId in SHAPES))
        bare = self.importTomograms(importAcquisitionFrom=1, acquisitionData=str(table))
        deconv = self.prepare(ProtIsoNetDeconv, {"inputTomograms": (bare, "Tomograms")})
        self.assertIn("*Defocus*", " ".join(deconv.validate()))
        deconv.defocus.set(20000)
        errors = " ".join(deconv.validate())
        self.assertIn("*Voltage*", errors)
        self.assertIn("*Spherical aberration*", errors)
        deconv.voltage.set(300)
        deconv.cs.set(2.7)
        self.assertEqual(deconv.validate(), [])
        deconv.defocus.set(-20000)
        self.assertIn("underfocus is positive here", " ".join(deconv.validate()))

    def test_half_tomograms_are_deconvolved_too(self) -> None:
        halved = self.importTomograms()
        folder = self.raw / "halves"
        folder.mkdir()
        tomograms = halved.Tomograms
        for tomogram in [item.clone() for item in tomograms]:
            files = []
            for half in ("even", "odd"):
                files.append(str(folder / f"{tomogram.getTsId()}_{half}.mrc"))
                write(files[-1], scene(SHAPES[tomogram.getTsId()], 10 + len(files)))
            tomogram.setHalfMaps(files)
            tomograms.update(tomogram)
        tomograms.write()
        halved._store(tomograms)
        refine = self.check_one_pass_learns_from_halves(halved)
        deconv = self.run_(ProtIsoNetDeconv, {"inputTomograms": (halved, "Tomograms")}, defocus=20000)
        self.assertIsLikeInput(deconv.tomograms, ctfCorrected=True, hasOddEven=True, hasHalves=True)
        for tomogram in deconv.tomograms:
            for half, path in zip(("even", "odd"), tomogram.getHalfMaps(asList=True)):
                self.assertFalse(os.path.samefile(path, folder / f"{tomogram.getTsId()}_{half}.mrc"))
                self.assertIn(f"{tomogram.getTsId()}_{half}", path)
        self.assertIn("Half tomograms: 2 of 2.", deconv.summary())
        # what undoes the CTF takes no tomograms whose CTF is corrected
        corrected = {"inputTomograms": (deconv, "tomograms")}
        again = self.prepare(ProtIsoNetOnePass, corrected, ctfAware=True, defocus=20000)
        self.assertIn("the CTF of TS_02, TS_01 is corrected already", " ".join(again.validate()))
        predict = self.prepare(ProtIsoNetPredict, {**corrected, "model": (refine, "model")}, defocus=20000)
        self.assertIn("trained on tomograms without CTF correction", " ".join(predict.warnings()))
        self.check_only_some_have_halves(halved)

    def check_only_some_have_halves(self, halved) -> None:
        """Then deconvolution takes those there are, and training asks what is meant."""
        tomograms = halved.Tomograms
        for tomogram in [item.clone() for item in tomograms if item.getTsId() == "TS_02"]:
            tomogram.setHalfMaps([])
            tomograms.update(tomogram)
        tomograms.write()
        halved._store(tomograms)
        inputs = {"inputTomograms": (halved, "Tomograms")}
        refused = self.prepare(ProtIsoNetOnePass, inputs).validate()
        self.assertIn("only some tomograms have an even and an odd half, not TS_02. Select No", " ".join(refused))
        self.assertEqual(self.prepare(ProtIsoNetOnePass, inputs, useHalves=False).validate(), [])
        deconv = self.run_(ProtIsoNetDeconv, inputs, defocus=20000)
        halves = {
            item.getTsId(): list(item.getHalfMaps(asList=True)) for item in deconv.tomograms if item.hasHalfMaps()
        }
        self.assertEqual({tsId: len(paths) for tsId, paths in halves.items()}, {"TS_01": 2})
        self.assertIn("Half tomograms: 1 of 2.", deconv.summary())

    def check_one_pass_learns_from_halves(self, halved) -> ProtIsoNetOnePass:
        """In a CTF-aware training; returns it."""
        tomograms = {"inputTomograms": (halved, "Tomograms")}
        small = dict(iterations=1, epochs=1, stepsPerEpoch=5, batchSize=2, cubeSize=8, useGpu=False, seed=1)
        aware = dict(ctfAware=True, defocus=21000, bfactor=100, learningRate=0.02, dropOut=0.1)
        inputs = {**tomograms, "inputMasks": (self.mask, "tomoMasks")}
        refine = self.run_(ProtIsoNetOnePass, inputs, startFromBuiltin=True, **small, **aware)
        rows = read_star(refine._getExtraPath("tomograms.star")).rows
        self.assertEqual([row["rlnTomoName"] for row in rows], ["TS_02", "TS_01"])
        for row in rows:
            self.assertTrue(row["rlnTomoReconstructedTomogramHalf1"].endswith(f"{row['rlnTomoName']}_even.mrc"))
            self.assertTrue(row["rlnMaskName"].endswith(f"{row['rlnTomoName']}_mask.mrc"), row["rlnMaskName"])
            optics = [float(row[label]) for label in ("rlnDefocus", "rlnVoltage", "rlnSphericalAberration")]
            self.assertEqual(optics, [21000, OPTICS["voltage"], OPTICS["sphericalAberration"]])
        metadata = read_metadata(refine.model.getFileName())
        self.assertTrue(metadata.halves and metadata.corrects_mean and metadata.ctf_aware)
        self.assertTrue(refine.model.isCtfAware())
        settings = json.loads(Path(refine._getExtraPath("results", "refine_iter01.json")).read_text())
        self.assertEqual((settings["ctf_aware"], settings["bfactor"]), (True, 100))
        self.assertEqual((settings["learning_rate"], settings["drop_out"]), (0.02, 0.1))
        self.assertEqual(metadata.network.filter_base, read_metadata("builtin").network.filter_base)
        self.assertEqual(refine.model.getTiltRange(), (-57.0, 51.0))
        self.assertIn("CTF-aware, on 2 tomograms, with their halves", " ".join(refine.summary()))
        self.assertIn("the builtin model", " ".join(refine.methods()))
        self.assertIn("Wiedemann2024", refine._citations())
        self.assertIn("phase-flipped, its output multiplied by their CTFs", " ".join(refine.methods()))
        predict = self.prepare(
            ProtIsoNetPredict, {**tomograms, "model": (refine, "model")}, processHalves=True, useGpu=False
        )
        self.assertIn("*Defocus*: select CTFs or give the defocus", " ".join(predict.validate()))
        predict.defocus.set(0)
        self.assertIn("*Defocus*: it is 0 for TS_02, TS_01", " ".join(predict.validate()))
        predict.defocus.set(21000)
        self.launchProtocol(predict)
        self.assertIsLikeInput(predict.tomograms, ctfCorrected=True, hasOddEven=True, hasHalves=True)
        self.assertEqual(float(read_star(predict._getExtraPath("TS_01.star")).rows[0]["rlnDefocus"]), 21000)
        lines = " ".join(predict.summary())
        self.assertIn("The mean of the half tomograms was corrected", lines)
        self.assertIn("half tomograms of the output were corrected separately", lines)
        predict.processHalves.set(False)  # another value for the next run
        self.assertEqual(" ".join(predict.summary()), lines)
        for tomogram in predict.tomograms:
            even, odd = (read(path) for path in tomogram.getHalfMaps(asList=True))
            self.assertGreater(np.abs(even - odd).max(), 0.1)
            # the whole is not made of the halves' corrections, but of the halves' mean
            self.assertGreater(np.abs(read(tomogram.getFileName()) - (even + odd) / 2).max(), 1e-3)
            report = read_report(report_path(tomogram.getFileName()))
            self.assertEqual(report.of_halves, "mean")
        # without its tomograms it is refused
        self.assertIn("Select the *Tomograms*", " ".join(self.prepare(ProtIsoNetOnePass, {}, **small).validate()))
        # they are learned from where there are any, if nothing else is said
        self.assertEqual(self.prepare(ProtIsoNetOnePass, self.input, **small).validate(), [])
        two = {**tomograms, "pretrainedModel": (refine, "model")}
        other = self.prepare(ProtIsoNetOnePass, two, **small)
        other.model = refine.model  # as when it has run
        self.assertIn("from another model", " ".join(other.methods()))
        # a model of one's own comes before the builtin one
        self.assertEqual(self.prepare(ProtIsoNetOnePass, two, startFromBuiltin=True, **small).validate(), [])
        return refine

    # ---------------------------------------------------------------- failures

    def test_a_bad_tomogram_fails_alone_and_continue_mends_it(self) -> None:
        folder = self.raw / "bad"
        folder.mkdir()
        for number, (tsId, shape) in enumerate(SHAPES.items()):
            write(folder / f"{tsId}.mrc", scene(shape, number))
            os.utime(folder / f"{tsId}.mrc", (1e9 + number, 1e9 + number))
        bad = self.importTomograms(filesPath=str(folder))
        whole = (folder / "TS_02.mrc").read_bytes()
        (folder / "TS_02.mrc").write_bytes(whole[:5000])
        deconv = self.run_(ProtIsoNetDeconv, {"inputTomograms": (bad, "Tomograms")}, defocus=20000)
        self.assertEqual([tomogram.getTsId() for tomogram in deconv.tomograms], ["TS_01"])
        # Scipion's subset goes by ids
        subset = self.run_(ProtSubSet, {"inputFullSet": (bad, "Tomograms"), "inputSubSet": (deconv, "tomograms")})
        ((_, chosen),) = subset.iterOutputAttributes()
        self.assertEqual([tomogram.getTsId() for tomogram in chosen], ["TS_01"])
        failed = deconv.failedTomograms.getFirstItem()
        self.assertEqual(failed.getTsId(), "TS_02")
        self.assertRegex(failed.getObjComment(), "TS_02.mrc: .*5000 bytes")
        self.assertIn("TS_02 failed", " ".join(deconv.summary()))
        done = deconv.tomograms.getFirstItem().getFileName()
        time = os.path.getmtime(done)

        (folder / "TS_02.mrc").write_bytes(whole)
        deconv.runMode.set(MODE_RESUME)
        self.launchProtocol(deconv)
        self.assertEqual(os.path.getmtime(done), time)
        self.assertEqual([tomogram.getTsId() for tomogram in deconv.tomograms], list(SHAPES))
        # also in Scipion's window
        shown = next(run for run in self.proj.getRuns() if run.getObjId() == deconv.getObjId())
        self.assertEqual(
            {name: items.getSize() for name, items in shown.iterOutputAttributes()},
            {"tomograms": 2, "failedTomograms": 0},
        )
        self.assertEqual([item.getTsId() for item in shown.failedTomograms], [])
        self.assertNotIn("failed", " ".join(shown.summary()))

    def test_a_file_of_no_bytes_or_another_half_fails_alone(self) -> None:
        folder = self.raw / "halves that do not fit"
        (folder / "halves").mkdir(parents=True)
        for number, (tsId, shape) in enumerate(SHAPES.items()):
            for name in ("", "halves/even_", "halves/odd_"):
                write(folder / f"{name}{tsId}.mrc", scene(shape, number))
            os.utime(folder / f"{tsId}.mrc", (1e9 + number, 1e9 + number))
        halved = self.importTomograms(filesPath=str(folder))
        tomograms = halved.Tomograms
        for tomogram in [item.clone() for item in tomograms]:
            tomogram.setHalfMaps([str(folder / f"halves/{half}_{tomogram.getTsId()}.mrc") for half in ("even", "odd")])
            tomograms.update(tomogram)
        tomograms.write()
        halved._store(tomograms)
        inputs, whole, odd = (
            {"inputTomograms": (halved, "Tomograms")},
            folder / "TS_02.mrc",
            folder / "halves/odd_TS_02.mrc",
        )
        right = {path: path.read_bytes() for path in (whole, odd)}
        small, shape = scene((20, 28, 32), 3), SHAPES["TS_02"]
        for case, change, why in (
            ("no bytes", lambda: whole.write_bytes(b""), "is an empty file"),
            ("shape", lambda: write(odd, small), r"odd_TS_02.mrc: its shape \(20, 28, 32\) is not that of"),
            ("voxel size", lambda: write(odd, scene(shape, 3), 20.0), "its voxel size is 20.000 A, the tomogram's 10"),
        ):
            with self.subTest(case):
                for path, content in right.items():
                    path.write_bytes(content)
                change()
                deconv = self.run_(ProtIsoNetDeconv, inputs, defocus=20000)
                self.assertEqual([tomogram.getTsId() for tomogram in deconv.tomograms], ["TS_01"])
                (failed,) = [item.clone() for item in deconv.failedTomograms]
                self.assertRegex(failed.getObjComment(), why)
                train = self.prepare(ProtIsoNetOnePass, inputs, cubeSize=8)
                self.assertRegex(" ".join(train.validate()), why)
        # not asked for, they do not matter
        self.assertEqual(self.prepare(ProtIsoNetOnePass, inputs, cubeSize=8, useHalves=False).validate(), [])

    def test_if_all_fail_the_engines_line_is_the_error_message(self) -> None:
        empty = self.run_(ProtIsoNetMask, self.input, patchSize=2)
        for mask in empty.tomoMasks:
            write(mask.getFileName(), np.zeros(SHAPES[mask.getTsId()], np.int8))
        inputs = {**self.input, "inputMasks": (empty, "tomoMasks")}
        message = self.errorOf(self.prepare(ProtIsoNetExtract, inputs, cubeSize=16, cropSize=24))
        self.assertIn("TS_02_mask.mrc", message)
        self.assertIn("1 more failed", message)
        self.assertNotIn("Traceback", message)

    # ---------------------------------------------------------------- kinds and sizes

    def test_masks_are_no_tomograms(self) -> None:
        masks = self.mask, "tomoMasks"
        for one, inputs, label in (
            (ProtIsoNetDeconv, {"inputTomograms": masks}, "Tomograms"),
            (ProtIsoNetOnePass, {"inputTomograms": masks}, "Tomograms"),
            (ProtIsoNetExport, {"inputTomograms": masks}, "Tomograms"),
            (ProtIsoNetExport, {**self.input, "inputCorrected": masks}, "Corrected tomograms"),
        ):
            with self.subTest(one=one, label=label):
                values = {"defocus": 20000} if one is ProtIsoNetDeconv else {}
                told = self.prepare(one, inputs, **values).validate()
                self.assertEqual(told, [f"*{label}* holds masks. Select a set of tomograms."])
        self.assertEqual(self.prepare(ProtIsoNetExport, {**self.input, "inputMasks": masks}).validate(), [])

    def test_inputs_of_another_kind_are_refused(self) -> None:
        masked = self.prepare(ProtIsoNetExtract, {**self.input, "inputMasks": (self.tomograms, "Tomograms")})
        self.assertEqual(masked.validate(), ["*Masks*: what is linked is a SetOfTomograms, not a SetOfTomoMasks."])
        one = self.tomograms.Tomograms.getFirstItem().getObjId()
        for kind in (ProtIsoNetMask, ProtIsoNetOnePass, ProtIsoNetExport):
            single = self.prepare(kind, {"inputTomograms": (self.tomograms, f"Tomograms.{one}")})
            self.assertEqual(single.validate(), ["*Tomograms*: what is linked is a Tomogram, not a SetOfTomograms."])

    def test_sizes_that_do_not_fit_are_refused(self) -> None:
        extract = self.prepare(ProtIsoNetExtract, self.input, cubeSize=64)
        self.assertIn("thinner than the subtomograms of 80 voxels", " ".join(extract.validate()))
        extract.cubeSize.set(16)
        extract.cropSize.set(16)
        self.assertIn("must be larger", " ".join(extract.validate()))

    def test_masks_of_another_voxel_size_are_refused(self) -> None:
        other = self.importTomograms(samplingRate=2 * VOXEL_SIZE)
        inputs = {"inputTomograms": (other, "Tomograms"), "inputMasks": (self.mask, "tomoMasks")}
        extract = self.prepare(ProtIsoNetExtract, inputs, cubeSize=16, cropSize=24)
        self.assertIn("20.00", " ".join(extract.validate()))
