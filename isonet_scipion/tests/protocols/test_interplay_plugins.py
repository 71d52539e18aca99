"""With other plugins' protocols: after IMOD's reconstruction and CTF estimation, and before tomo's own protocols.

IMOD's programs are not needed: its protocols' own code registers files as if the programs had written them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from unittest import SkipTest

import numpy as np
from tomo.objects import SetOfTiltSeries, TiltImage, TiltSeries, TomoAcquisition
from tomo.protocols import (
    ProtExportCoordinates3D,
    ProtImportCoordinates3DFromScipion,
    ProtImportSubTomograms,
    ProtMaskCoordinates,
    ProtSplitEvenOddTomoSet,
    ProtTomoApplyTomoMask,
    ProtTomoExtractCoords,
)

from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.radial_filter import Deconvolution, deconvolve
from isonet_scipion.protocols import ProtIsoNetDeconv, ProtIsoNetExtract, ProtIsoNetMask
from isonet_scipion.tests.protocols.scene import SHAPES, IsoNetTest, positions, read, scene, write

try:
    from imod.constants import OUTPUT_CTF_SERIE
    from imod.protocols import ProtImodAutomaticCtfEstimation, ProtImodTomoReconstruction
except ImportError as error:
    raise SkipTest("scipion-em-imod is not installed") from error

PIXEL = 2.5  # A
ANGLES = (-40, -20, 0, 20, 40)
# nm, by image
DEFOCI = {"TS_02": (3100, 3050, 3000, 2950, 2900), "TS_01": (4100, 4050, 4000, 3950, 3900)}
CROP = 24


class TestIsoNetAfterImod(IsoNetTest):
    """Tilt series are "reconstructed" and given CTFs; our stages and tomo's protocols follow."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.addTiltSeries()
        tiltSeries = {"inputSetOfTiltSeries": (cls.tomograms, "TiltSeries")}
        cls.reconstruction = cls.registered(ProtImodTomoReconstruction, tiltSeries, cls.reconstruct)
        cls.estimation = cls.registered(ProtImodAutomaticCtfEstimation, tiltSeries, cls.estimate)
        inputs = {
            "inputTomograms": (cls.reconstruction, "Tomograms"),
            "inputCtfs": (cls.estimation, OUTPUT_CTF_SERIE),
        }
        cls.deconv = cls.run_(ProtIsoNetDeconv, inputs)
        deconvolved = {"inputTomograms": (cls.deconv, "tomograms")}
        cls.mask = cls.run_(ProtIsoNetMask, deconvolved, patchSize=2)
        cls.extract = cls.run_(
            ProtIsoNetExtract,
            {**deconvolved, "inputMasks": (cls.mask, "tomoMasks")},
            cubeSize=16,
            cropSize=CROP,
            numberSubtomos=4,
        )

    @classmethod
    def addTiltSeries(cls) -> None:
        """Give the import the output TiltSeries, one for each tomogram, as ProtImportTs makes them."""
        output = SetOfTiltSeries.create(cls.tomograms._getPath())
        acquisition = TomoAcquisition(
            angleMin=min(ANGLES),
            angleMax=max(ANGLES),
            step=20,
            tiltAxisAngle=84.1,
            voltage=200,
            sphericalAberration=2.0,
            amplitudeContrast=0.08,
            magnification=50000,
        )
        output.setSamplingRate(PIXEL)
        output.setAcquisition(acquisition)
        for tsId in SHAPES:
            tiltSeries = TiltSeries(tsId=tsId)
            tiltSeries.setSamplingRate(PIXEL)
            tiltSeries.setAcquisition(acquisition.clone())
            output.append(tiltSeries)
            for order, angle in enumerate(ANGLES, 1):
                image = TiltImage(tsId=tsId, tiltAngle=angle, acquisitionOrder=order)
                image.setLocation(order, f"{tsId}.mrcs")
                image.setSamplingRate(PIXEL)
                tiltSeries.append(image)
            tiltSeries.write()
            output.update(tiltSeries)
        output.write()
        cls.tomograms._defineOutputs(TiltSeries=output)

    @classmethod
    def registered(cls, protocolClass: type, inputs: dict[str, tuple], register: Callable):
        """A protocol of IMOD whose outputs its own code registers, as after its program."""
        protocol = cls.prepare(protocolClass, inputs)
        cls.proj.saveProtocol(protocol)
        protocol.makePathsAndClean()
        for tiltSeries in [item.clone(ignoreAttrs=[]) for item in cls.tomograms.TiltSeries]:
            os.makedirs(protocol._getExtraPath(tiltSeries.getTsId()))
            register(protocol, tiltSeries)
        protocol._closeOutputSet()
        protocol.setStatus("finished")
        cls.proj._storeProtocol(protocol)
        return protocol

    @staticmethod
    def reconstruct(protocol: ProtImodTomoReconstruction, tiltSeries) -> None:
        tsId = tiltSeries.getTsId()
        path = protocol.getExtraOutFile(tsId, ext="mrc")
        write(path, scene(SHAPES[tsId], list(SHAPES).index(tsId)), PIXEL)
        protocol._registerOutput(tiltSeries, path)

    @staticmethod
    def estimate(protocol: ProtImodAutomaticCtfEstimation, tiltSeries) -> None:
        tsId = tiltSeries.getTsId()
        path = protocol.getExtraOutFile(tsId, ext="defocus")
        lines = [f"{i}\t{i}\t{a}\t{a}\t{d}" for i, (a, d) in enumerate(zip(ANGLES, DEFOCI[tsId]), 1)]
        Path(path).write_text("\n".join([lines[0] + "\t2", *lines[1:]]) + "\n")
        protocol._registerOutput(tiltSeries, path, OUTPUT_CTF_SERIE)

    # ---------------------------------------------------------------- after IMOD

    def test_each_tomogram_is_deconvolved_with_imods_defocus_at_zero_tilt(self) -> None:
        number = {tsId: place for place, tsId in enumerate(SHAPES)}
        self.assertSetSize(self.deconv.tomograms, len(SHAPES))
        for tomogram in self.deconv.tomograms:
            tsId = tomogram.getTsId()
            row = read_star(self.deconv._getExtraPath(f"{tsId}.star")).rows[0]
            self.assertAlmostEqual(float(row["rlnDefocus"]), 10 * DEFOCI[tsId][2])
            ctf_parameters = CtfParameters(200.0, 2.0, 0.08, 10.0 * DEFOCI[tsId][2])
            expected = deconvolve(
                scene(SHAPES[tsId], number[tsId]), Deconvolution(PIXEL, ctf_parameters, snrfalloff=PIXEL / 10)
            )
            np.testing.assert_allclose(read(tomogram.getFileName()), expected, atol=1e-3)

    def test_what_imod_knows_stays_with_the_outputs(self) -> None:
        for output in (self.deconv.tomograms, self.mask.tomoMasks):
            for item, source in zip(output, self.reconstruction.Tomograms):
                self.assertEqual(item.getTsId(), source.getTsId())
                self.assertEqual(item.getOrigin().getShifts(), source.getOrigin().getShifts())
                acquisition = item.getAcquisition()
                self.assertEqual((acquisition.getAngleMin(), acquisition.getAngleMax()), (min(ANGLES), max(ANGLES)))
                self.assertAlmostEqual(acquisition.getTiltAxisAngle(), 84.1)
                self.checkHeaderSRate(item, PIXEL)
        for subtomogram in self.extract.subtomograms.iterSubtomos():
            self.assertEqual(subtomogram.getAcquisition().getAngleMax(), max(ANGLES))

    # ---------------------------------------------------------------- before tomo's protocols

    def test_tomo_takes_coordinates_from_our_subtomograms(self) -> None:
        extracted = self.run_(
            ProtTomoExtractCoords,
            {
                "inputSubTomos": (self.extract, "subtomograms"),
                "inputTomos": (self.reconstruction, "Tomograms"),
            },
        )
        self.assertEqual(positions(extracted.coordinates3d), positions(self.extract.coordinates))
        self.assertEqual(extracted.coordinates3d.getBoxSize(), CROP)

    def test_tomo_finds_our_coordinates_inside_our_masks(self) -> None:
        inputs = {"inputCoordinates": (self.extract, "coordinates"), "inputSegmentations": (self.mask, "tomoMasks")}
        masked = self.run_(ProtMaskCoordinates, inputs, segmentationLabel=1)
        ((_, coordinates),) = masked.iterOutputAttributes()
        self.assertEqual(positions(coordinates), positions(self.extract.coordinates))

    def test_tomo_applies_our_masks_to_our_tomograms(self) -> None:
        inputs = {"inTomoSet": (self.deconv, "tomograms"), "inMaskSet": (self.mask, "tomoMasks")}
        applied = self.run_(ProtTomoApplyTomoMask, inputs, sigmaGaussian=0)
        masks = {mask.getTsId(): read(mask.getFileName()) for mask in self.mask.tomoMasks}
        tomograms = {tomogram.getTsId(): read(tomogram.getFileName()) for tomogram in self.deconv.tomograms}
        ((_, output),) = applied.iterOutputAttributes()
        self.assertSetSize(output, len(SHAPES))
        for tomogram in output:
            tsId = tomogram.getTsId()
            np.testing.assert_allclose(read(tomogram.getFileName()), tomograms[tsId] * masks[tsId], rtol=1e-6)

    def test_tomo_splits_our_subtomograms(self) -> None:
        split = self.run_(ProtSplitEvenOddTomoSet, {"inputSet": (self.extract, "subtomograms")})
        self.assertEqual((split.outputset_even.getSize(), split.outputset_odd.getSize()), (4, 4))

    def test_tomo_imports_our_subtomograms(self) -> None:
        imported = self.run_(
            ProtImportSubTomograms,
            {},
            filesPath=os.path.abspath(self.extract._getExtraPath("TS_01")),
            filesPattern="*.mrc",
            samplingRate=PIXEL,
        )
        ours = [read(s.getFileName()) for s in self.extract.subtomograms.iterItems() if s.getVolName() == "TS_01"]
        theirs = [read(s.getFileName()) for s in imported.outputSubTomograms.iterItems()]
        np.testing.assert_array_equal(sorted(v.sum() for v in ours), sorted(v.sum() for v in theirs))

    def test_tomo_exports_our_coordinates(self) -> None:
        exported = self.run_(ProtExportCoordinates3D, {"inputCoordinates": (self.extract, "coordinates")})
        for tsId in SHAPES:
            (path,) = Path(exported._getExportPath()).glob(f"*{tsId}*")
            written = sorted(tuple(map(int, line.split())) for line in path.read_text().splitlines())
            self.assertEqual(written, [place[1:] for place in positions(self.extract.coordinates) if place[0] == tsId])

    def test_scipions_own_file_of_coordinates_comes_back(self) -> None:
        path = os.path.abspath(self.extract.coordinates.getFileName())
        protocol = self.run_(
            ProtImportCoordinates3DFromScipion,
            {"importTomograms": (self.deconv, "tomograms")},
            sqliteFile=path,
            boxSize=CROP,
        )
        ((_, coordinates),) = protocol.iterOutputAttributes()
        self.assertEqual(positions(coordinates), positions(self.extract.coordinates))

    def test_our_extraction_takes_coordinates_of_another_protocol(self) -> None:
        extracted = self.run_(
            ProtTomoExtractCoords,
            {"inputSubTomos": (self.extract, "subtomograms"), "inputTomos": (self.deconv, "tomograms")},
        )
        again = self.run_(
            ProtIsoNetExtract,
            {"inputTomograms": (self.deconv, "tomograms"), "inputCoordinates": (extracted, "coordinates3d")},
            cubeSize=16,
            cropSize=CROP,
        )
        self.assertEqual(positions(again.coordinates), positions(self.extract.coordinates))
        for ours, theirs in zip(sortedVoxels(self.extract), sortedVoxels(again)):
            np.testing.assert_array_equal(ours, theirs)


def sortedVoxels(extraction: ProtIsoNetExtract) -> list[np.ndarray]:
    """The subtomograms' voxels, in an order that does not depend on that of the set."""
    return sorted((read(item.getFileName()) for item in extraction.subtomograms.iterItems()), key=lambda v: v[0, 0, 0])
