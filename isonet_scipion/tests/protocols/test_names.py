"""Names that a shell would act on: of the project's place, of folders, of tomograms."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyworkflow
from pyworkflow.project import Manager
from tomo.objects import SetOfTomograms

from isonet_scipion.convert.rows import writeTable
from isonet_scipion.engine.io.star import read_star, tomogram_names
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.radial_filter import Deconvolution, deconvolve
from isonet_scipion.protocols import (
    ProtIsoNetDeconv,
    ProtIsoNetExtract,
    ProtIsoNetMask,
    ProtIsoNetOnePass,
    ProtIsoNetPredict,
    ProtIsoNetRefine,
)
from isonet_scipion.tests.protocols.scene import FOLDER, OPTICS, VOXEL_SIZE, IsoNetTest, read, scene, write
from isonet_scipion.tests.protocols.test_chain import TRAINING

# Scipion itself puts it between double quotes in a shell's command line, so it can't hold $ or `
LOCATION = "it's a place; 50% ü.v2"
NAME = "it's; $(touch injected) `touch injected` $HOME 50%d & ü|x"
BOTH_QUOTES = 'TS "1", it\'s'  # which no cell of a STAR table holds
SHAPE = (40, 56, 64)


class TestIsoNetNames(IsoNetTest):
    """The chain with names as hard as Scipion itself takes them."""

    @classmethod
    def setUpClass(cls) -> None:
        pyworkflow.Config.getDomain().getProtocols()
        location = Path(pyworkflow.Config.SCIPION_USER_DATA, LOCATION)
        location.mkdir()
        Path(Manager().PROJECTS).mkdir(exist_ok=True)  # Scipion links it from there
        cls.proj = Manager().createProject(cls.__name__, location=str(location))
        os.chdir(cls.proj.path)
        cls.raw = Path(cls.proj.path, FOLDER)
        cls.raw.mkdir()
        write(cls.raw / f"{NAME}.mrc", scene(SHAPE, 0))
        cls.tomograms = cls.importTomograms()

    def test_chain_with_hard_names(self) -> None:
        deconv = self.run_(ProtIsoNetDeconv, {"inputTomograms": (self.tomograms, "Tomograms")}, defocus=20000)
        deconvolved = {"inputTomograms": (deconv, "tomograms")}
        mask = self.run_(ProtIsoNetMask, deconvolved, patchSize=2)
        extract = self.run_(
            ProtIsoNetExtract,
            {**deconvolved, "inputMasks": (mask, "tomoMasks")},
            cubeSize=16,
            cropSize=24,
            numberSubtomos=4,
        )
        refine = self.run_(ProtIsoNetRefine, {"inputSubtomograms": (extract, "subtomograms")}, **TRAINING)
        predict = self.run_(ProtIsoNetPredict, {**deconvolved, "model": (refine, "model")}, useGpu=False)

        ctf_parameters = CtfParameters(
            OPTICS["voltage"], OPTICS["sphericalAberration"], OPTICS["amplitudeContrast"], 20000.0
        )
        (tomogram,) = [item.clone() for item in deconv.tomograms]
        self.assertEqual(tomogram.getTsId(), NAME)
        expected = deconvolve(scene(SHAPE, 0), Deconvolution(VOXEL_SIZE, ctf_parameters))
        np.testing.assert_allclose(read(tomogram.getFileName()), expected, atol=1e-3)
        for output in (mask.tomoMasks, predict.tomograms):
            (item,) = [item.clone() for item in output]
            self.assertEqual(item.getTsId(), NAME)
            self.assertEqual(read(item.getFileName()).shape, SHAPE)
        self.assertEqual([item.getVolName() for item in extract.subtomograms], [NAME] * 4)
        self.assertEqual(list(Path(self.proj.path).rglob("injected")), [])

    def test_one_pass_takes_a_name_that_no_table_holds(self) -> None:
        protocol = self.newProtocol(ProtIsoNetOnePass)
        self.proj.saveProtocol(protocol)
        protocol.makePathsAndClean()
        tomograms = SetOfTomograms.create(protocol._getPath(), prefix="quoted")
        tomograms.copyInfo(self.tomograms.Tomograms)
        tomogram = self.tomograms.Tomograms.getFirstItem().clone()
        tomogram.setTsId(BOTH_QUOTES)
        tomograms.append(tomogram)
        tomograms.write()
        protocol.inputTomograms.set(tomograms)
        path = protocol._getExtraPath("tomograms.star")
        writeTable(path, protocol._rows())
        (name,) = tomogram_names(read_star(path))
        self.assertRegex(name, "^TS__1___it_s_[0-9a-f]{10}$")
