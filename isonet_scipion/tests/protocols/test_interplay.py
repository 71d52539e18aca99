"""Between other plugins' protocols: after IMOD's reconstruction and CTF estimation, before picking and extraction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pyworkflow.utils import weakImport
from tomo.objects import SetOfTomograms, Tomogram
from tomo.protocols import ProtTomoExtractCoords

from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.radial_filter import Deconvolution, deconvolve
from isonet_scipion.protocols import ProtIsoNetDeconv, ProtIsoNetExtract, ProtIsoNetMask
from isonet_scipion.tests.imod_model import SQUARE, write_model
from isonet_scipion.tests.protocols.scene import ANGLES, SHAPES, VOXEL_SIZE, IsoNetTest, addCtfs, positions, read

hasImod = False
with weakImport("imod"):
    import imod  # noqa: F401

    hasImod = True


class TestIsoNetInterplay(IsoNetTest):
    """Objects as other plugins make them, in and out."""

    def test_chain_after_imod(self) -> None:
        if not hasImod:
            self.skipTest("scipion-em-imod is not installed")
        # IMOD's reconstruction names its files ts.mrc.rec-like and keeps the tilt series' acquisition and tsId
        reconstruction = self.importTomograms()
        source = reconstruction.Tomograms
        tomograms = SetOfTomograms.create(reconstruction._getPath(), prefix="imod")
        tomograms.copyInfo(source)
        for item in source:
            tomogram = Tomogram(tsId=item.getTsId())
            tomogram.copyInfo(item)
            tomogram.setLocation(item.getFileName())
            tomogram.setOrigin(item.getOrigin().clone())
            tomograms.append(tomogram)
        tomograms.write()
        reconstruction._defineOutputs(**{"ImodTomograms": tomograms})
        files = {}
        for number, tsId in enumerate(SHAPES):
            defoci = f"{2000 + 500 * number}\t{1800 + 500 * number}"  # nm
            rows = [f"{i}\t{i}\t{a}\t{a}\t{defoci}\t20.0" for i, a in enumerate(ANGLES, 1)]
            files[tsId] = str(self.raw / f"{tsId}.defocus")
            Path(files[tsId]).write_text("1\t0\t0.0\t0.0\t0.0\t3\n" + "\n".join(rows) + "\n")
        addCtfs(self.proj, reconstruction, files)
        deconv = self.run_(
            ProtIsoNetDeconv,
            {"inputTomograms": (reconstruction, "ImodTomograms"), "inputCtfs": (reconstruction, "CTFs")},
        )
        self.assertIsLikeInput(deconv.tomograms, ctfCorrected=True)
        before = {item.getTsId(): read(item.getFileName()) for item in source}
        for number, tomogram in enumerate(deconv.tomograms):
            ctf_parameters = CtfParameters(200.0, 2.0, 0.08, 10 * (1900.0 + 500 * number))
            expected = deconvolve(before[tomogram.getTsId()], Deconvolution(VOXEL_SIZE, ctf_parameters))
            np.testing.assert_allclose(read(tomogram.getFileName()), expected, atol=1e-3)

        mask = self.run_(ProtIsoNetMask, {"inputTomograms": (deconv, "tomograms")}, patchSize=2)
        inputs = {"inputTomograms": (deconv, "tomograms"), "inputMasks": (mask, "tomoMasks")}
        extract = self.run_(ProtIsoNetExtract, inputs, cubeSize=16, cropSize=24, seed=1)
        # nobody gave a number: 300 in all, but no more than there is room for at half a cube's distance
        numbers = dict.fromkeys(SHAPES, 0)
        for subtomogram in extract.subtomograms:
            numbers[subtomogram.getVolName()] += 1
        for item in mask.tomoMasks:
            room = np.argwhere(read(item.getFileName())[12:-11, 12:-11, 12:-11])
            self.assertEqual(numbers[item.getTsId()], len({tuple(centre // 8) for centre in room}))

        # tomo's protocol takes the subtomograms back to the reconstruction, another set of tomograms
        taken = self.newProtocol(ProtTomoExtractCoords, boxSize=24)
        taken.inputSubTomos.set(extract)
        taken.inputSubTomos.setExtended("subtomograms")
        taken.inputTomos.set(reconstruction)
        taken.inputTomos.setExtended("ImodTomograms")
        self.launchProtocol(taken)
        (_, coordinates) = next(iter(taken.iterOutputAttributes()))
        self.assertSetSize(coordinates, sum(numbers.values()))

        self.assertEqual(positions(coordinates), positions(extract.coordinates))

    def test_boundaries_drawn_in_imod_bound_the_mask_of_their_own_tomogram(self) -> None:
        folder = self.raw / "boundaries; of $HOME"
        folder.mkdir()
        write_model(folder / "TS_01.mod", [SQUARE], size=SHAPES["TS_01"])
        inputs = {"inputTomograms": (self.tomograms, "Tomograms")}
        plain = self.run_(ProtIsoNetMask, inputs, patchSize=2)
        bounded = self.prepare(ProtIsoNetMask, inputs, patchSize=2, boundaryFolder=str(folder))
        self.assertIn("No boundary model for TS_02", " ".join(bounded.warnings()))
        self.launchProtocol(bounded)
        masks = {item.getTsId(): read(item.getFileName()) for item in plain.tomoMasks}
        inside = np.zeros(SHAPES["TS_01"], bool)
        inside[:, 20:50, 10:30] = True
        self.assertTrue(0 < masks["TS_01"][inside].mean() < 1)
        for item in bounded.tomoMasks:
            expected = masks[item.getTsId()] * (inside if item.getTsId() == "TS_01" else 1)
            np.testing.assert_array_equal(read(item.getFileName()), expected)
