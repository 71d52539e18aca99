"""Tomograms are processed as they come in, several at once, each GPU step with a GPU of its own."""

from __future__ import annotations

import numpy as np
from pyworkflow.object import Set

from isonet_scipion.engine.ctf import Microscope
from isonet_scipion.engine.deconvolution import Deconvolution, deconvolve
from isonet_scipion.protocols import ProtIsoNetDeconv, ProtIsoNetExtract, ProtIsoNetMask
from isonet_scipion.tests.protocols.live import LiveTest, waitFor
from isonet_scipion.tests.protocols.scene import OPTICS, SHAPES, VOXEL_SIZE, read, scene

STREAMING = {"numberOfThreads": 3, "streamingSleepOnWait": 1}


class TestIsoNetStreaming(LiveTest):
    """Inputs that grow while protocols run."""

    def test_a_chain_works_while_its_input_grows(self) -> None:
        first, last = [tomogram.clone() for tomogram in self.tomograms.Tomograms]
        growing = self.openSet("growing", [first])
        deconv = self.start(
            self.prepare(ProtIsoNetDeconv, {"inputTomograms": (self.tomograms, "growing")}, defocus=20000, **STREAMING)
        )
        waitFor(lambda: self.size(deconv, "tomograms") == 1)
        self.assertTrue(deconv.isRunning() and deconv.tomograms.isStreamOpen())
        deconvolved = {"inputTomograms": (deconv, "tomograms")}
        mask = self.start(self.prepare(ProtIsoNetMask, deconvolved, patchSize=2, **STREAMING))
        waitFor(lambda: self.size(mask, "tomoMasks") == 1)
        extract = self.start(
            self.prepare(
                ProtIsoNetExtract,
                {**deconvolved, "inputMasks": (mask, "tomoMasks")},
                cubeSize=16,
                cropSize=24,
                numberSubtomos=4,
                seed=1,
                **STREAMING,
            )
        )
        waitFor(lambda: self.size(extract, "subtomograms") == 4)
        self.assertEqual(self.size(deconv, "tomograms"), 1)

        self.append(growing, [last], Set.STREAM_CLOSED)
        for protocol in (deconv, mask, extract):
            self.assertTrue(self.end(protocol).isFinished(), protocol.getErrorMessage())
            for _, output in protocol.iterOutputAttributes():
                self.assertFalse(output.isStreamOpen())
        self.assertIsLikeInput(deconv.tomograms, ctfCorrected=True)
        microscope = Microscope(OPTICS["voltage"], OPTICS["sphericalAberration"], OPTICS["amplitudeContrast"], 20000.0)
        for number, tomogram in enumerate(deconv.tomograms):
            expected = deconvolve(scene(SHAPES[tomogram.getTsId()], number), Deconvolution(VOXEL_SIZE, microscope))
            np.testing.assert_allclose(read(tomogram.getFileName()), expected, atol=1e-3)
        self.assertEqual([item.getTsId() for item in mask.tomoMasks], list(SHAPES))
        self.assertEqual([item.getVolName() for item in extract.subtomograms], [ts for ts in SHAPES for _ in range(4)])
        self.assertSetSize(extract.coordinates, 8)
