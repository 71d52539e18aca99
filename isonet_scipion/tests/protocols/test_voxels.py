"""Masks, contrast, axes and units of other programs, from Scipion's forms to their results."""

from collections import Counter

import mrcfile
import numpy as np
from tomo.protocols import ProtImportTomomasks

from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.simulation.phantom import Example
from isonet_scipion.protocols import ProtIsoNetExtract, ProtIsoNetMask
from isonet_scipion.tests.protocols.scene import SHAPES, VOXEL_SIZE, IsoNetTest, read, write
from isonet_scipion.viewers.previews import maskPreview
from isonet_scipion.wizards.mask import maskPreview as wizardPreview

IMOD_STAMP = 1146047817
SMALL = dict(cubeSize=8, cropSize=12)


def inside(shape):
    marked = np.zeros(shape, bool)
    marked[10:-10, 12:-12, 12:-12] = True
    return marked


class TestVoxels(IsoNetTest):
    def importMasks(self, kind: str) -> ProtImportTomomasks:
        folder = self.raw / kind
        folder.mkdir(exist_ok=True)
        for tsId, shape in SHAPES.items():
            path, marked = folder / f"{tsId}.mrc", inside(shape)
            stored = {"plain": marked, "imod": marked - 128, "labels": marked * (1 + np.indices(shape)[0] // 4)}[kind]
            write(path, stored.astype(np.int8))
            with mrcfile.open(path, "r+") as mrc:
                # statistics that are not there, as some programs leave them
                mrc.header.dmin, mrc.header.dmax, mrc.header.dmean = (0, -1, -2) if kind == "labels" else (0, 0, 0)
            if kind == "imod":
                content = bytearray(path.read_bytes())
                content[152:160] = np.array([IMOD_STAMP, 1], "<i4").tobytes()
                path.write_bytes(content)
        imported = self.newProtocol(
            ProtImportTomomasks, filesPath=str(folder), filesPattern="*.mrc", inputTomos=self.tomograms.Tomograms
        )
        self.launchProtocol(imported)
        return imported

    def test_any_kind_of_mask_gives_the_subtomograms_of_the_plain_one(self):
        expected = None
        for kind in ("plain", "imod", "labels"):
            masks = self.importMasks(kind)
            name = next(name for name, _ in masks.iterOutputAttributes())
            inputs = {"inputTomograms": (self.tomograms, "Tomograms"), "inputMasks": (masks, name)}
            extraction = self.run_(ProtIsoNetExtract, inputs, **SMALL)
            counts = Counter(item.getVolName() for item in extraction.subtomograms)
            expected = expected or counts
            self.assertEqual(counts, expected)
            self.assertGreater(min(counts.values()), 20)
            for tsId, shape in SHAPES.items():
                star = read_star(extraction._getExtraPath(f"{tsId}_subtomo.star"))
                centres = np.array([[int(row[f"rlnCoordinate{axis}"]) for axis in "ZYX"] for row in star.rows])
                self.assertTrue(inside(shape)[tuple(centres.T)].all())
            for mask in getattr(masks, name):
                shown = maskPreview(mask, self.proj).mask
                self.assertEqual(shown.count(), inside(SHAPES[mask.getTsId()]).sum())

    def test_bright_protein_gives_the_mask_of_dark(self):
        for tsId in SHAPES:
            write(self.raw / f"bright_{tsId}.mrc", -read(str(self.raw / f"{tsId}.mrc")))
        bright = self.importTomograms("bright_{TS}.mrc")
        dark = self.run_(ProtIsoNetMask, {"inputTomograms": (self.tomograms, "Tomograms")})
        made = self.run_(ProtIsoNetMask, {"inputTomograms": (bright, "Tomograms")}, isInverted=True)
        for one, other in zip(dark.tomoMasks, made.tomoMasks):
            np.testing.assert_array_equal(read(one.getFileName()), read(other.getFileName()))
        tomogram = next(iter(bright.Tomograms)).clone()
        np.testing.assert_array_equal(
            wizardPreview(made, tomogram).mask(50, 50, 0), read(next(iter(made.tomoMasks)).getFileName())
        )

    def test_swapped_axes_and_units_are_told(self):
        swapped = np.swapaxes(Example((40, 56, 64)).make()[1], 0, 1)
        write(self.raw / "swapped_TS_03.mrc", np.ascontiguousarray(swapped))
        imported = self.importTomograms("swapped_{TS}.mrc")
        inputs = {"inputTomograms": (imported, "Tomograms")}
        error = self.errorOf(self.prepare(ProtIsoNetMask, inputs))
        self.assertIn("tilt axis along z and the beam along y", error)
        self.assertIn("clip rotx", error)
        self.assertIn("If it is right as it is, give *Check the axes?* No.", error)
        self.assertFalse(self.run_(ProtIsoNetMask, inputs, checkAxes=False).isFailed())

        nanometres = self.importTomograms("swapped_{TS}.mrc", samplingRate=VOXEL_SIZE / 10)
        told = self.prepare(ProtIsoNetMask, {"inputTomograms": (nanometres, "Tomograms")}).validate()
        self.assertIn("one of them is in nm", " ".join(told))
