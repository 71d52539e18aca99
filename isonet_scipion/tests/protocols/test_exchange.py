"""Exchange with the command line, with IsoNet 0.2 and with RELION 5."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyworkflow
import starfile
from pyworkflow.project import Project
from pyworkflow.protocol import MODE_RESTART, MODE_RESUME
from pyworkflow.protocol.protocol import getUpdatedProtocol
from tomo.constants import BOTTOM_LEFT_CORNER

from isonet_scipion.engine.io.number_formats import SCALE
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.io.tomogram_entry import CTF_STATE, HALF_LABELS, INVERTED
from isonet_scipion.protocols import (
    ProtIsoNetDeconv,
    ProtIsoNetExport,
    ProtIsoNetExtract,
    ProtIsoNetImportProject,
    ProtIsoNetMask,
    ProtIsoNetPredict,
)
from isonet_scipion.protocols.ctf_history import ctfStates
from isonet_scipion.tests.protocols.scene import SHAPES, VOXEL_SIZE, IsoNetTest, read, scene, write

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference"
ENGINE = [sys.executable, "-m", "isonet_scipion.engine"]
SMALL = [
    "--iterations=1",
    "--epochs=1",
    "--steps_per_epoch=2",
    "--batch_size=2",
    "--unet_depth=2",
    "--filter_base=2",
    "--seed=1",
]


class TestIsoNetExchange(IsoNetTest):
    """Out of a project, through the command line, and into a project again."""

    def engine(self, *arguments: object) -> None:
        done = subprocess.run([*ENGINE, *map(str, arguments)], cwd=self.folder, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_tables_go_to_the_command_line_and_its_folder_comes_back(self) -> None:
        deconv = self.run_(ProtIsoNetDeconv, {"inputTomograms": (self.tomograms, "Tomograms")}, defocus=20000)
        deconvolved = {"inputTomograms": (deconv, "tomograms")}
        mask = self.run_(ProtIsoNetMask, deconvolved, patchSize=2)
        extract = self.run_(ProtIsoNetExtract, deconvolved, cubeSize=16, cropSize=24, numberSubtomos=4, seed=3)
        export = self.run_(
            ProtIsoNetExport,
            {**deconvolved, "inputMasks": (mask, "tomoMasks"), "inputSubtomograms": (extract, "subtomograms")},
        )
        self.folder = Path(self.proj.path, "by hand; $HOME")
        self.folder.mkdir()
        for name in ("tomograms.star", "subtomo.star"):
            shutil.copy(export._getExtraPath(name), self.folder / name)
        self.engine("refine", "subtomo.star", *SMALL)
        self.engine("extract", "tomograms.star", "--cube_size=16", "--crop_size=24", "--seed=4")
        self.engine("predict", "tomograms.star", "results/model_iter01.keras")

        back = self.run_(ProtIsoNetImportProject, {}, projectFolder=str(self.folder))
        self.assertEqual([item.getTsId() for item in back.tomograms], list(SHAPES))
        for output, column in (("correctedTomograms", "rlnCorrectedTomoName"), ("tomoMasks", "rlnMaskName")):
            table = {row["rlnTomoName"]: row[column] for row in read_star(self.folder / "tomograms.star").rows}
            items = [item.clone() for item in getattr(back, output)]
            self.assertEqual([item.getTsId() for item in items], list(SHAPES))
            for item in items:
                self.assertTrue(os.path.samefile(item.getFileName(), self.folder / table[item.getTsId()]))
                self.assertEqual(item.getDim(), SHAPES[item.getTsId()][::-1])
                self.assertAlmostEqual(item.getSamplingRate(), VOXEL_SIZE)
                acquisition = item.getAcquisition()
                self.assertEqual((acquisition.getAngleMin(), acquisition.getAngleMax()), (-57, 51))
                self.assertEqual((acquisition.getVoltage(), acquisition.getAmplitudeContrast()), (200, 0.08))
        self.assertTrue(back.correctedTomograms.getFirstItem().ctfCorrected())
        self.assertTrue(back.tomograms.getFirstItem().ctfCorrected())  # the table has the deconvolved ones
        volumes = {item.getTsId(): read(item.getFileName()) for item in deconv.tomograms}
        self.assertSetSize(back.subtomograms, 200)
        for subtomogram in list(back.subtomograms.iterSubtomos())[::50]:
            place = subtomogram.getCoordinate3D().getPosition(BOTTOM_LEFT_CORNER)
            box = tuple(slice(round(c) - 12, round(c) + 12) for c in place[::-1])
            np.testing.assert_array_equal(read(subtomogram.getFileName()), volumes[subtomogram.getVolName()][box])
        self.assertEqual((back.model.getIteration(), back.model.getTiltRange()), (1, (-57, 51)))
        # what is imported can be worked with
        again = self.run_(
            ProtIsoNetPredict,
            {"inputTomograms": (back, "deconvolvedTomograms"), "model": (back, "model")},
            useGpu=False,
        )
        for mine, theirs in zip(again.tomograms, back.correctedTomograms):
            np.testing.assert_allclose(read(mine.getFileName()), read(theirs.getFileName()), atol=1e-4)

    def test_a_project_of_isonet_is_taken_in(self) -> None:
        if not REFERENCE.is_dir():
            self.skipTest("no project of IsoNet 0.2 in ../shared/reference")
        folder = Path(self.proj.path, "isonet 0.2")
        for source, target in (
            ("cell.mrc", "tomoset/cell.mrc"),
            ("cell_deconv.mrc", "deconv/cell.mrc"),
            ("cell_mask.mrc", "mask/cell_mask.mrc"),
            ("cell_corrected.mrc", "corrected_tomos/cell_corrected.mrc"),
            ("model_fb8.h5", "results/model_iter03.h5"),
            ("tomograms.star", "tomograms.star"),
            ("subtomo.star", "subtomo.star"),
        ):
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REFERENCE / source, folder / target)
        (folder / "subtomo").mkdir()
        for number in range(5):
            write(folder / f"subtomo/cell_{number:06d}.mrc", scene((48, 48, 48), number), 0.0)
        taken = self.run_(ProtIsoNetImportProject, {}, projectFolder=str(folder))
        shape = read(REFERENCE / "cell.mrc").shape
        for name, isCorrected in (("tomograms", False), ("deconvolvedTomograms", True), ("correctedTomograms", True)):
            self.checkTomograms(
                getattr(taken, name),
                expectedSetSize=1,
                expectedSRate=20.0,
                expectedDimensions={"cell": list(shape[::-1])},
                expectedOriginShifts=[-10.0 * side for side in shape[::-1]],
                ctfCorrected=isCorrected,
            )
            tomogram = getattr(taken, name).getFirstItem()
            self.assertEqual((tomogram.getTsId(), tomogram.getAcquisition().getAngleMin()), ("cell", -60))
        self.assertEqual(taken.tomoMasks.getFirstItem().getTsId(), "cell")
        self.assertSetSize(taken.subtomograms, 5)
        self.assertEqual({item.getVolName() for item in taken.subtomograms}, {"cell"})
        self.assertEqual(taken.subtomograms.getDim(), (48, 48, 48))
        self.assertTrue(taken.model.getFileName().endswith("model_iter03.h5"))

        (folder / "deconv" / "cell.mrc").unlink()
        errors = self.newProtocol(ProtIsoNetImportProject, projectFolder=str(folder)).validate()
        self.assertEqual(len(errors), 1)
        self.assertIn("deconv/cell.mrc", errors[0])

    def test_table_for_relion_names_the_corrected_tomograms(self) -> None:
        # any set of tomograms may be the corrected one
        inputs = {"inputTomograms": (self.tomograms, "Tomograms"), "inputCorrected": (self.tomograms, "Tomograms")}
        scratch = self.run_(ProtIsoNetExport, inputs, tiltSeriesPixelSize=2.5)
        rows = starfile.read(scratch._getExtraPath("relion_tomograms.star"), always_dict=True)["global"]
        self.assertEqual(list(rows["rlnTomoName"]), list(SHAPES))
        self.assertEqual(list(rows["rlnTomoSizeX"]), [4 * shape[2] for shape in SHAPES.values()])
        self.assertEqual(list(rows["rlnTomoTomogramBinning"]), [4, 4])
        for tomogram, path in zip(self.tomograms.Tomograms, rows["rlnTomoReconstructedTomogramDenoised"]):
            self.assertTrue(os.path.samefile(path, tomogram.getFileName()))

        own = self.raw / "relion.star"
        own.write_text("data_global\n\nloop_\n_rlnTomoName\n_rlnTomoHand\nTS_01 -1\nTS_02 -1\n")
        added = self.run_(ProtIsoNetExport, inputs, relionStar=str(own))
        rows = starfile.read(added._getExtraPath("relion_tomograms.star"), always_dict=True)["global"]
        self.assertEqual(list(rows["rlnTomoHand"]), [-1, -1])
        self.assertTrue(rows["rlnTomoReconstructedTomogramDenoised"][0].endswith("TS_01.mrc"))
        own.write_text("data_global\n\nloop_\n_rlnTomoName\nposition_1\n")
        self.assertIn(
            "it has no rlnTomoName TS_01", self.errorOf(self.prepare(ProtIsoNetExport, inputs, relionStar=str(own)))
        )

    def project(self, name: str, **columns: tuple) -> Path:
        """A folder with a table of the imported tomograms, with further columns; file names get links to volumes."""
        folder = Path(self.proj.path, name)
        folder.mkdir()
        rows = {"rlnMicrographName": [f"{tsId}.mrc" for tsId in SHAPES], **columns}
        labels = ["rlnIndex", "rlnPixelSize", *rows]
        cells = [[str(place), f"{VOXEL_SIZE:g}", *map(str, own)] for place, own in enumerate(zip(*rows.values()), 1)]
        for tsId, own in zip(SHAPES, cells):
            for file in (cell for cell in own if cell.endswith(".mrc")):
                (folder / file).symlink_to(self.raw / f"{tsId}.mrc")
        table = ["data_", "", "loop_", *(f"_{label}" for label in labels), *map(" ".join, cells)]
        (folder / "tomograms.star").write_text("\n".join(table) + "\n")
        return folder

    def test_what_a_project_says_of_its_tomograms_is_kept(self) -> None:
        halves = {label: tuple(f"{tsId}_{label[-1]}.mrc" for tsId in SHAPES) for label in HALF_LABELS}
        columns = {CTF_STATE: ("phase-flipped", "raw"), INVERTED: (1, 1), **halves}
        deconvolved = {"rlnDeconvTomoName": ("TS_02_deconv.mrc", "None")}
        corrected = {"rlnCorrectedTomoName": tuple(f"{tsId}_corrected.mrc" for tsId in SHAPES)}
        folder = self.project("told", **columns, **deconvolved, **corrected)
        taken = self.prepare(ProtIsoNetImportProject, {}, projectFolder=str(folder))
        self.assertEqual(taken.validate(), [])
        self.assertIn("Protein is bright in these tomograms", " ".join(taken.warnings()))
        self.launchProtocol(taken)
        self.assertIn("*Is protein bright?* to Yes", " ".join(taken.summary()))
        for tomogram in taken.tomograms:
            for number, half in enumerate(tomogram.getHalfMaps(asList=True), 1):
                self.assertTrue(os.path.samefile(half, folder / f"{tomogram.getTsId()}_{number}.mrc"))
                self.assertTrue(os.path.islink(half))
        self.assertFalse(any(item.hasHalfMaps() for item in taken.deconvolvedTomograms))
        self.check_halves_are_exported(taken, folder)
        for name, marks, states in (
            ("tomograms", [True, False], ["phase-flipped", "raw"]),
            ("deconvolvedTomograms", [True], ["corrected"]),
            ("correctedTomograms", [True, False], ["corrected", "raw"]),  # each by its own row
        ):
            self.assertEqual([item.ctfCorrected() for item in getattr(taken, name)], marks)
            deconv = self.prepare(ProtIsoNetDeconv, {"inputTomograms": (taken, name)})
            self.assertEqual(list(ctfStates(deconv).values()), states)

    def test_subtomograms_of_one_name_in_two_folders_stay_two(self) -> None:
        folder = self.project("merged")
        lines = ["data_", "", "loop_", "_rlnTomoName", "_rlnImageName", "_rlnCubeSize", "_rlnCropSize"]
        for number, tsId in enumerate(SHAPES):
            (folder / f"of_{tsId}").mkdir()
            write(folder / f"of_{tsId}" / "p_000000.mrc", scene((24, 24, 24), number))
            lines.append(f"{tsId} of_{tsId}/p_000000.mrc 16 24")
        (folder / "subtomo.star").write_text("\n".join(lines) + "\n")
        taken = self.run_(ProtIsoNetImportProject, {}, projectFolder=str(folder))
        found = {item.getVolName(): read(item.getFileName()) for item in taken.subtomograms.iterItems()}
        for number, tsId in enumerate(SHAPES):
            np.testing.assert_array_equal(found[tsId], scene((24, 24, 24), number))
        lines[3:] = [line + ending for line, ending in zip(lines[3:], (*[""] * 4, " 20", " 20"))]
        (folder / "subtomo.star").write_text("\n".join([*lines[:7], "_rlnPixelSize", *lines[7:]]) + "\n")
        again = self.prepare(ProtIsoNetImportProject, {}, projectFolder=str(folder))
        self.assertRegex(" ".join(again.validate()), "subtomo.star: its rlnPixelSize is 20 A, that of .* is 10 A")

    def test_a_project_whose_volumes_do_not_go_together_is_refused(self) -> None:
        folder = self.project("unlike", rlnDeconvTomoName=("a.mrc", "b.mrc"), rlnMaskName=("c.mrc", "None"))
        table, other = (folder / "tomograms.star").read_text(), scene((20, 28, 32), 1)
        taken = self.prepare(ProtIsoNetImportProject, {}, projectFolder=str(folder))
        self.assertEqual(taken.validate(), [])
        for name in ("a.mrc", "c.mrc"):
            (folder / name).rename(folder / "kept")
            write(folder / name, other)
            self.assertRegex(" ".join(taken.validate()), rf"{name}: its shape \(20, 28, 32\) is not that of")
            (folder / "kept").rename(folder / name)
        (folder / "tomograms.star").write_text(table.replace(" TS_02.mrc", " None"))
        self.assertIn("row 1 has no rlnMicrographName", " ".join(taken.validate()))
        (folder / "tomograms.star").write_text(table.replace(" 10 ", " 1 "))
        self.assertIn("one of them is in nm", " ".join(taken.validate()))

    def check_halves_are_exported(self, taken: ProtIsoNetImportProject, folder: Path) -> None:
        """But for those of a tomogram that has lost one."""
        odd = {item.getTsId(): item.getHalfMaps(asList=True)[1] for item in taken.tomograms}
        os.unlink(odd["TS_01"])
        export = self.prepare(ProtIsoNetExport, {"inputTomograms": (taken, "tomograms")}, isInverted=True)
        self.assertEqual(export.validate(), [])
        (warning,) = export.warnings()
        self.assertRegex(warning, "without its halves: .*TS_01.mrc: the volume does not exist; it is a half of TS_01")
        self.launchProtocol(export)
        self.assertIn("Tomograms: 2, masks: 0, corrected: 0, with halves: 1.", export.summary())
        table = read_star(export._getExtraPath("tomograms.star"))
        self.assertEqual([row[INVERTED] for row in table.rows], ["1", "1"])
        for label in HALF_LABELS:
            first, second = (table.text(row, label) for row in table.rows)
            self.assertTrue(os.path.samefile(first, folder / f"TS_02_{label[-1]}.mrc"))
            self.assertIsNone(second)

    def test_a_shifted_origin_comes_back(self) -> None:
        shifts = {"isonetOriginX": (-150.5, "None"), "isonetOriginY": (0, "None"), "isonetOriginZ": (20, "None")}
        masks = {"rlnMaskName": tuple(f"{tsId}_mask.mrc" for tsId in SHAPES)}
        first = self.run_(ProtIsoNetImportProject, {}, projectFolder=str(self.project("shifted", **shifts, **masks)))
        export = self.prepare(ProtIsoNetExport, {"inputTomograms": (first, "tomograms")})
        (told,) = export.warnings()
        self.assertIn("*Tomograms*: the origin of TS_02 is not the centre", told)
        self.launchProtocol(export)
        folder = os.path.dirname(export._getExtraPath("tomograms.star"))
        back = self.run_(ProtIsoNetImportProject, {}, projectFolder=os.path.abspath(folder))
        centre = tuple(side / -2 * VOXEL_SIZE for side in SHAPES["TS_01"][::-1])
        for items in (first.tomograms, first.tomoMasks, back.tomograms):
            places = {item.getTsId(): item.getShiftsFromOrigin() for item in items}
            self.assertEqual(places, {"TS_02": (-150.5, 0, 20), "TS_01": centre})

    def test_masks_and_results_of_another_size_are_refused(self) -> None:
        columns = ("rlnMaskName", "rlnCorrectedTomoName")
        files = {label: tuple(f"{tsId}_{label}.mrc" for tsId in SHAPES) for label in columns}
        folder = self.project("sizes", **files)
        own = [folder / names[1] for names in files.values()]
        for path in own:  # else links lead to the tomogram's file
            path.unlink()
            shutil.copy(self.raw / "TS_01.mrc", path)
        taken = self.run_(ProtIsoNetImportProject, {}, projectFolder=str(folder))
        inputs = {"inputMasks": (taken, "tomoMasks"), "inputCorrected": (taken, "correctedTomograms")}
        export = self.prepare(ProtIsoNetExport, {"inputTomograms": (self.tomograms, "Tomograms"), **inputs})
        self.assertEqual(export.validate(), [])
        for path in own:
            write(path, scene((20, 28, 24), 1))
        self.assertEqual(
            export.validate(),
            [f"*{name}*: of another size than its tomogram: TS_01." for name in ("Masks", "Corrected tomograms")],
        )

    def test_the_scale_of_corrected_tomograms_is_exported(self) -> None:
        corrected = tuple(f"{tsId}_corrected.mrc" for tsId in SHAPES)
        folder = self.project("scaled", **{"rlnCorrectedTomoName": corrected, SCALE: (0.25, 1)})
        taken = self.run_(ProtIsoNetImportProject, {}, projectFolder=str(folder))
        inputs = {"inputTomograms": (taken, "tomograms")}
        export = self.run_(ProtIsoNetExport, {**inputs, "inputCorrected": (taken, "correctedTomograms")})
        table = read_star(export._getExtraPath("tomograms.star"))
        self.assertEqual([row[SCALE] for row in table.rows], ["0.25", "1"])

    def test_relions_names_are_known_though_scipion_changed_them(self) -> None:
        folder = self.project("names", rlnTomoName=("12", "lamella-1"))
        taken = self.run_(ProtIsoNetImportProject, {}, projectFolder=str(folder))
        inputs = {"inputTomograms": (taken, "tomograms"), "inputCorrected": (taken, "tomograms")}
        own = folder / "relion.star"
        own.write_text("data_global\n\nloop_\n_rlnTomoName\n12\nlamella-1\n")
        export = self.prepare(ProtIsoNetExport, inputs, relionStar=str(own))
        self.assertIn("tilt series IDs: 12 as TS_12, lamella-1 as lamella_1.", " ".join(export.warnings()))
        self.launchProtocol(export)
        rows = read_star(export._getExtraPath("relion_tomograms.star")).rows
        self.assertEqual([row["rlnTomoName"] for row in rows], ["12", "lamella-1"])
        for row, tomogram in zip(rows, taken.tomograms):
            self.assertTrue(os.path.samefile(row["rlnTomoReconstructedTomogramDenoised"], tomogram.getFileName()))
        self.assertEqual(read_star(export._getExtraPath("tomograms.star")).rows[0]["rlnTomoName"], "TS_12")
        # two that would be one ID are no longer told apart
        own.write_text("data_global\n\nloop_\n_rlnTomoName\n12\nlamella-1\nlamella.1\n")
        error = self.errorOf(self.prepare(ProtIsoNetExport, inputs, relionStar=str(own)))
        self.assertIn("it has no rlnTomoName lamella_1", error)

    def test_what_scipion_can_not_hold_of_a_project_is_told(self) -> None:
        told = {"rlnDefocus": (25000, 0), "rlnMaskBoundary": ("None", "None"), "rlnSnrFalloff": ("None", 0.7)}
        folder = self.project("renamed", rlnTomoName=("12", "lamella-1.b"), **told)
        taken = self.run_(ProtIsoNetImportProject, {}, projectFolder=str(folder))
        self.assertEqual([item.getTsId() for item in taken.tomograms], ["TS_12", "lamella_1_b"])
        for lines in (taken.warnings(), taken.summary()):
            self.assertIn("taken otherwise: 12 as TS_12, lamella-1.b as lamella_1_b.", " ".join(lines))
            self.assertIn("as Scipion's sets can't hold it: rlnDefocus, rlnSnrFalloff. Give it", " ".join(lines))
        plain = self.prepare(ProtIsoNetImportProject, {}, projectFolder=str(self.project("plain", rlnDefocus=(0, 0))))
        self.assertEqual(plain.warnings(), [])

    def test_one_contrast_is_asked_for(self) -> None:
        mixed = self.newProtocol(
            ProtIsoNetImportProject, projectFolder=str(self.project("mixed", **{INVERTED: (0, 1)}))
        )
        (error,) = mixed.validate()
        self.assertRegex(error, "tomograms.star: protein is bright in TS_01 and dark in TS_02.*Split the table")

    def test_tables_are_exported_again_where_the_project_was_moved(self) -> None:
        export = self.run_(ProtIsoNetExport, {"inputTomograms": (self.tomograms, "Tomograms")})
        moved, home = Path(f"{self.proj.path}_moved"), Path.cwd()
        self.addCleanup(shutil.rmtree, moved)
        self.addCleanup(os.chdir, home)
        shutil.copytree(self.proj.path, moved, symlinks=True)
        project = Project(pyworkflow.Config.getDomain(), str(moved))
        project.load(chdir=True)
        again = project.getProtocol(export.getObjId())
        again.runMode.set(MODE_RESUME)
        project.launchProtocol(again, wait=True)
        for row in read_star(again._getExtraPath("tomograms.star")).rows:
            self.assertTrue(row["rlnMicrographName"].startswith(f"{moved}/"), row["rlnMicrographName"])

    def test_tables_are_exported_again_where_an_item_was_disabled_since(self) -> None:
        tomograms = self.importTomograms()
        export = self.run_(ProtIsoNetExport, {"inputTomograms": (tomograms, "Tomograms")})
        items = tomograms.Tomograms
        item = next(item.clone() for item in items if item.getTsId() == "TS_01")
        item.setEnabled(False)
        items.update(item)
        items.write()
        export.runMode.set(MODE_RESUME)
        self.launchProtocol(export)
        self.assertEqual(
            [row["rlnTomoName"] for row in read_star(export._getExtraPath("tomograms.star")).rows], ["TS_02"]
        )

    def test_another_folder_leaves_nothing_of_the_first(self) -> None:
        first = self.project("first", rlnDeconvTomoName=tuple(f"{tsId}_deconv.mrc" for tsId in SHAPES))
        taken = self.run_(ProtIsoNetImportProject, {}, projectFolder=str(first))
        taken.projectFolder.set(f"{first}/")
        taken.runMode.set(MODE_RESUME)
        self.assertEqual(taken.validate(), [])
        taken.projectFolder.set(str(self.project("second")))
        taken.runMode.set(MODE_RESUME)
        self.assertRegex(" ".join(taken.validate()), r"\*Project folder.* was .*first, now it is .*second.*\*Restart\*")
        taken.runMode.set(MODE_RESTART)
        self.launchProtocol(taken)
        stored = getUpdatedProtocol(taken)
        self.assertEqual([name for name, _ in stored.iterOutputAttributes()], ["tomograms"])
        for tomogram in stored.tomograms:
            path = os.path.realpath(tomogram.getFileName())
            self.assertTrue(os.path.samefile(path, self.raw / f"{tomogram.getTsId()}.mrc"))
        self.assertEqual(len(stored.summary()), 1)
