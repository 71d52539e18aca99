"""Small tomograms in a real project, shared by the tests of the protocols."""

from __future__ import annotations

import functools
import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import mrcfile
import numpy as np
import pyworkflow
from pyworkflow.tests import setupTestProject
from scipy.ndimage import gaussian_filter
from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import (
    CTFTomoSeries,
    SetOfCoordinates3D,
    SetOfCTFTomoSeries,
    SetOfSubTomograms,
    SetOfTiltSeries,
    TiltImage,
    TiltSeries,
)
from tomo.protocols import ProtImportTomograms
from tomo.tests.test_base_centralized_layer import TestBaseCentralizedLayer

from isonet_scipion.tests.protocols import warm

if TYPE_CHECKING:
    from pyworkflow.protocol import Protocol

VOXEL_SIZE = 10.0  # A
# (z, y, x): different shapes, so that a mix-up of tomograms shows
SHAPES = {"TS_02": (40, 56, 64), "TS_01": (48, 64, 72)}
ORIGIN = (11.0, 22.0, 33.0)  # A, from the corner of the volume to its origin
OPTICS = {"voltage": 200.0, "sphericalAberration": 2.0, "amplitudeContrast": 0.08}
TILTS = {"acquisitionAngleMin": -57.0, "acquisitionAngleMax": 51.0}
ANGLES = [-60, 0, 20, 40, 60]  # degrees; of the tilt series that CTFs belong to
# characters that a shell would act on, but that Scipion's own import takes
FOLDER = "raw data; it's 50% ü"

# what processes of protocols and of the engine have imported when they start. Scipion would wait 3 s before it looks
# again whether a step has ended; tiny trainings need no graphs, and nobody looks at the engine's pictures
SCIPION = """
import pyworkflow; pyworkflow.Config.getDomain().getProtocols()
import time, types
from pyworkflow.protocol import executor
executor.time = types.SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, 0.2)))
"""


@functools.lru_cache
def warmEngine() -> str:
    """Runs the engine as its Python does, by processes that are ready."""
    folder = Path(os.environ["SCIPION_HOME"], "warm_engine")
    return str(warm.start(folder, warm.ENGINE, KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3"))


@functools.lru_cache
def warmPython() -> str:
    """Runs protocols as Scipion's Python does, and their engine, by processes that are ready."""
    folder, checks = Path(os.environ["SCIPION_HOME"], "warm_scipion"), {"SCIPION_STEPS_CHECK_SEC": "1"}
    return str(warm.start(folder, SCIPION, ISONET_ENGINE_PYTHON=warmEngine(), **checks))


def scene(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Dark blobs in noise, (z, y, x) float32."""
    rng = np.random.default_rng(seed)
    particles = np.zeros(shape, np.float32)
    particles[tuple(rng.integers(8, side - 8, 40) for side in shape)] = -200
    return (gaussian_filter(particles, 2) + rng.normal(0, 1, shape)).astype(np.float32)


def write(path: str | os.PathLike, data: np.ndarray, voxelSize: float = VOXEL_SIZE) -> None:
    """Write an MRC volume with a voxel size (A)."""
    with mrcfile.new(path, data, overwrite=True) as mrc:
        mrc.voxel_size = voxelSize


def read(path: str) -> np.ndarray:
    """The voxels of an MRC file, (z, y, x)."""
    with mrcfile.open(path, permissive=True) as mrc:
        return mrc.data.copy()


def positions(items: SetOfCoordinates3D | SetOfSubTomograms) -> list[tuple]:
    """tsId and array indices (x, y, z) of all coordinates, or of those of subtomograms, sorted."""
    found = items.iterCoordinates()
    return sorted((item.getTomoId(), *map(round, item.getPosition(BOTTOM_LEFT_CORNER))) for item in found)


def addCtfs(project, protocol, defocusFiles: dict[str, str]) -> None:
    """Give a protocol the output CTFs, as IMOD's protocols make them from IMOD's files (tsId -> file)."""
    from imod.convert.dataimport import ImodCtfParser

    allTilts = SetOfTiltSeries.create(protocol._getPath())
    allTilts.setSamplingRate(2.5)
    for tsId in defocusFiles:
        tilts = TiltSeries(tsId=tsId)
        allTilts.append(tilts)
        for order, angle in enumerate(ANGLES, 1):
            image = TiltImage(tsId=tsId, tiltAngle=angle, acquisitionOrder=order)
            image.setLocation(order, f"{tsId}.mrc")
            tilts.append(image)
        allTilts.update(tilts)
    allTilts.write()
    protocol._defineOutputs(TiltSeries=allTilts)
    allCtfs = SetOfCTFTomoSeries.create(protocol._getPath())
    allCtfs.setSetOfTiltSeries(protocol.TiltSeries)
    for tilts in [item.clone(ignoreAttrs=[]) for item in allTilts]:
        series = CTFTomoSeries(tsId=tilts.getTsId())
        series.setTiltSeries(tilts)
        series.setIMODDefocusFileFlag(None)
        series.setNumberOfEstimationsInRange(None)
        allCtfs.append(series)
        ImodCtfParser(protocol).parseTSDefocusFile(tilts, defocusFiles[tilts.getTsId()], series)
        allCtfs.update(series)
    allCtfs.write()
    protocol._defineOutputs(CTFs=allCtfs)
    project.mapper.commit()


class IsoNetTest(TestBaseCentralizedLayer):
    """A project with the tomograms TS_02 and TS_01 imported, in that order."""

    isQuick = False  # under pytest: protocols run in processes forked from ones that have imported what they need

    @classmethod
    def setUpClass(cls) -> None:
        pyworkflow.Config.getDomain().getProtocols()
        setupTestProject(cls)
        cls.raw = Path(cls.proj.path, FOLDER)
        shutil.rmtree(cls.raw, ignore_errors=True)
        cls.raw.mkdir()
        for number, (tsId, shape) in enumerate(SHAPES.items()):
            path = cls.raw / f"{tsId}.mrc"
            write(path, scene(shape, number))
            # Scipion imports in the order of the files' times
            os.utime(path, (1e9 + number, 1e9 + number))
        cls.tomograms = cls.importTomograms()

    @classmethod
    def quickStart(cls) -> AbstractContextManager:
        """Protocols launched within are quick, but those that a test gives an engine of its own."""
        isQuick = cls.isQuick and "ISONET_ENGINE_PYTHON" not in os.environ
        return patch.object(pyworkflow, "PYTHON", warmPython()) if isQuick else nullcontext()

    @classmethod
    def launchProtocol(cls, prot: Protocol, **options: object) -> None:
        with cls.quickStart():
            super().launchProtocol(prot, **options)

    @classmethod
    def importTomograms(cls, pattern: str = "{TS}.mrc", **params: object) -> ProtImportTomograms:
        """Import tomograms of the folder; returns the protocol."""
        settings = dict(
            filesPath=str(cls.raw),
            filesPattern=pattern,
            samplingRate=VOXEL_SIZE,
            setOrigCoord=True,
            x=ORIGIN[0],
            y=ORIGIN[1],
            z=ORIGIN[2],
            **OPTICS,
            **TILTS,
        )
        settings.update(params)
        protocol = cls.newProtocol(ProtImportTomograms, **settings)
        cls.launchProtocol(protocol)
        return protocol

    @classmethod
    def run_(cls, protocolClass: type, inputs: dict[str, tuple], **params: object):
        """Run a protocol; `inputs` are parameter -> (protocol, name of its output)."""
        protocol = cls.prepare(protocolClass, inputs, **params)
        cls.launchProtocol(protocol)
        return protocol

    @classmethod
    def prepare(cls, protocolClass: type, inputs: dict[str, tuple], **params: object):
        """A protocol with its inputs set, not yet run; with one thread, since Scipion waits seconds for several."""
        protocol = cls.newProtocol(protocolClass, **{"numberOfThreads": 1, **params})
        for name, (parent, output) in inputs.items():
            pointer = getattr(protocol, name)
            pointer.set(parent)
            pointer.setExtended(output)
        return protocol

    @classmethod
    def errorOf(cls, protocol) -> str:
        """Launch a protocol that is to fail; returns its error message."""
        with cls.quickStart():
            cls.proj.launchProtocol(protocol, wait=True)
        assert protocol.isFailed()
        return protocol.getErrorMessage()

    def assertIsLikeInput(self, tomograms, **kwargs: object) -> None:
        """tsIds, sizes, voxel size (object and header), origin and acquisition are those of the imported tomograms."""
        self.checkTomograms(
            tomograms,
            expectedSetSize=len(SHAPES),
            expectedSRate=VOXEL_SIZE,
            expectedDimensions={tsId: list(shape[::-1]) for tsId, shape in SHAPES.items()},
            expectedOriginShifts=[-value for value in ORIGIN],
            isHeterogeneousSet=True,
            **kwargs,
        )
        self.assertEqual([tomogram.getTsId() for tomogram in tomograms], list(SHAPES))
        for tomogram in tomograms:
            acquisition = tomogram.getAcquisition()
            self.assertAlmostEqual(acquisition.getVoltage(), OPTICS["voltage"])
            self.assertAlmostEqual(acquisition.getSphericalAberration(), OPTICS["sphericalAberration"])
            self.assertAlmostEqual(acquisition.getAmplitudeContrast(), OPTICS["amplitudeContrast"])
            self.assertAlmostEqual(acquisition.getAngleMin(), TILTS["acquisitionAngleMin"])
            self.assertAlmostEqual(acquisition.getAngleMax(), TILTS["acquisitionAngleMax"])
