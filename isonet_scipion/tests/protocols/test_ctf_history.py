"""What was done to the CTF before: found out in the project, told by the form, and made the right thing of.

IMOD's programs are not needed: its protocols' own code registers files as if the programs had written them.
"""

from __future__ import annotations

from unittest import SkipTest

import numpy as np
from pwem.protocols import ProtSubSet, ProtUnionSet
from pyworkflow.object import Pointer
from tomo.objects import SetOfTiltSeries, TiltSeries, TomoAcquisition

from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.radial_filter import Deconvolution, PhaseFlip, deconvolve
from isonet_scipion.protocols import (
    ProtIsoNetDeconv,
    ProtIsoNetExport,
    ProtIsoNetExtract,
    ProtIsoNetMask,
    ProtIsoNetOnePass,
)
from isonet_scipion.protocols.ctf_history import CHOICES, ctfStates
from isonet_scipion.protocols.form import optionValues
from isonet_scipion.protocols.training_tables import tomogramRows
from isonet_scipion.tests.protocols.scene import OPTICS, SHAPES, TILTS, VOXEL_SIZE, IsoNetTest, read, scene, write

try:
    from imod.protocols import ProtImodCtfCorrection, ProtImodTomoReconstruction
except ImportError as error:
    raise SkipTest("scipion-em-imod is not installed") from error

DEFOCUS = 45000.0  # A
CTF = CtfParameters(OPTICS["voltage"], OPTICS["sphericalAberration"], OPTICS["amplitudeContrast"], DEFOCUS)


class TestIsoNetCtfHistory(IsoNetTest):
    """Tilt series, phase-flipped by IMOD or not, and tomograms from them, which lose the mark."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        raw = SetOfTiltSeries.create(cls.tomograms._getPath())
        cls.fill(raw, [TiltSeries(tsId=tsId) for tsId in SHAPES])
        cls.tomograms._defineOutputs(TiltSeries=raw)
        cls.proj.mapper.commit()
        cls.flipping = cls.made(ProtImodCtfCorrection, (cls.tomograms, "TiltSeries"))
        flipped = SetOfTiltSeries.create(cls.flipping._getPath())
        series = [item.clone(ignoreAttrs=[]) for item in cls.tomograms.TiltSeries]
        cls.fill(flipped, [ProtImodCtfCorrection._createOutputTiltSeries(item, {1}) for item in series])
        cls.flipping._defineOutputs(TiltSeries=flipped)
        cls.fromRaw = cls.reconstructed((cls.tomograms, "TiltSeries"), lambda volume: volume)
        flip = PhaseFlip(VOXEL_SIZE, CTF, pad_edges=False)
        cls.fromFlipped = cls.reconstructed((cls.flipping, "TiltSeries"), lambda volume: deconvolve(volume, flip))

    @classmethod
    def fill(cls, output: SetOfTiltSeries, series: list[TiltSeries]) -> None:
        acquisition = TomoAcquisition(
            angleMin=TILTS["acquisitionAngleMin"], angleMax=TILTS["acquisitionAngleMax"], tiltAxisAngle=84.1, **OPTICS
        )
        output.setSamplingRate(VOXEL_SIZE)
        output.setAcquisition(acquisition)
        for item in series:
            item.setSamplingRate(VOXEL_SIZE)
            item.setAcquisition(acquisition.clone())
            output.append(item)
            item.write()
            output.update(item)
        output.write()

    @classmethod
    def made(cls, protocolClass: type, source: tuple):
        """A protocol of IMOD that has been through, but for its outputs."""
        protocol = cls.prepare(protocolClass, {"inputSetOfTiltSeries": source})
        cls.proj.saveProtocol(protocol)
        protocol.makePathsAndClean()
        protocol.setStatus("finished")
        cls.proj._storeProtocol(protocol)
        return protocol

    @classmethod
    def reconstructed(cls, source: tuple, change):
        protocol = cls.made(ProtImodTomoReconstruction, source)
        for number, item in enumerate([item.clone(ignoreAttrs=[]) for item in getattr(*source)]):
            path = protocol._getExtraPath(f"{item.getTsId()}.mrc")
            write(path, change(scene(SHAPES[item.getTsId()], number)))
            protocol._registerOutput(item, path)
        protocol._closeOutputSet()
        cls.proj._storeProtocol(protocol)
        cls.proj.mapper.commit()
        return protocol

    def joined(self, parts: list) -> tuple:
        """The output of *join sets*, with its name, and the protocol."""
        union = self.newProtocol(ProtUnionSet)
        names = [next(iter(part.iterOutputAttributes()))[0] for part in parts]
        union.inputSets.set([Pointer(part, extended=name) for part, name in zip(parts, names)])
        self.launchProtocol(union)
        (output,) = union.iterOutputAttributes()
        return output, union

    def states(self, source: tuple, **values: object) -> set:
        """The states that a deconvolution of these tomograms finds, which are the same for all."""
        return set(ctfStates(self.prepare(ProtIsoNetDeconv, {"inputTomograms": source}, **values)).values())

    def test_the_state_is_that_of_the_tilt_series_that_the_tomograms_are_from(self) -> None:
        marks = [tomogram.ctfCorrected() for tomogram in self.fromFlipped.Tomograms]
        self.assertFalse(any(marks))  # IMOD's reconstruction does not hand the mark on
        self.assertEqual(self.states((self.fromFlipped, "Tomograms")), {"phase-flipped"})
        self.assertEqual(self.states((self.fromRaw, "Tomograms")), {"raw"})
        self.assertEqual(self.states((self.tomograms, "Tomograms")), {None})
        flipped = CHOICES.index("phase-flipped")
        self.assertEqual(self.states((self.tomograms, "Tomograms"), ctfHistory=flipped), {"phase-flipped"})
        # also where only a relation tells what a set was made from
        other = self.importTomograms()
        other._defineSourceRelation(Pointer(self.flipping, extended="TiltSeries"), other.Tomograms)
        self.proj.mapper.commit()
        self.assertEqual(self.states((other, "Tomograms")), {"phase-flipped"})

    def test_phase_flipped_tomograms_are_deconvolved_like_raw_ones_and_not_twice(self) -> None:
        runs = {}
        for kind, source in (("raw", self.fromRaw), ("flipped", self.fromFlipped)):
            runs[kind] = self.run_(ProtIsoNetDeconv, {"inputTomograms": (source, "Tomograms")}, defocus=DEFOCUS)
        for number, (right, ours) in enumerate(zip(runs["raw"].tomograms, runs["flipped"].tomograms)):
            expected = deconvolve(scene(SHAPES[ours.getTsId()], number), Deconvolution(VOXEL_SIZE, CTF))
            np.testing.assert_allclose(read(right.getFileName()), expected, atol=1e-3)
            # beyond Nyquist the filter has the sign that it has there, and little strength
            np.testing.assert_allclose(read(ours.getFileName()), expected, atol=0.02 * expected.std())
        self.assertIn("CTF correction before: 2 phase-flipped.", " ".join(runs["flipped"].summary()))
        self.assertIn("Of 2 of them, which were phase-flipped already", runs["flipped"].methods()[0])
        self.assertIn("CTF correction before: 2 raw.", " ".join(runs["raw"].summary()))
        # what is deconvolved is not deconvolved again, also behind a further protocol
        deconvolved = {"inputTomograms": (runs["flipped"], "tomograms")}
        twice = self.prepare(ProtIsoNetDeconv, deconvolved, defocus=DEFOCUS)
        self.assertIn("the CTF of TS_02, TS_01 is corrected already", " ".join(twice.validate()))
        twice.ctfHistory.set(CHOICES.index("raw"))
        self.assertEqual(twice.validate(), [])
        mask = self.run_(ProtIsoNetMask, deconvolved, patchSize=2)
        self.assertEqual(self.column(mask._getExtraPath("TS_01.star"), "isonetCtfState"), ["corrected"])

    def test_raw_tomograms_stay_raw_beside_deconvolved_ones(self) -> None:
        raw = {"inputTomograms": (self.fromRaw, "Tomograms")}
        path = next(item.getFileName() for item in self.fromRaw.Tomograms if item.getTsId() == "TS_02")
        with open(path, "rb+") as file:
            whole = file.read()
            file.truncate(5000)
        deconv = self.run_(ProtIsoNetDeconv, raw, defocus=DEFOCUS)
        with open(path, "wb") as file:
            file.write(whole)
        self.assertEqual(self.states((deconv, "tomograms")), {"corrected"})
        self.assertEqual(self.states((deconv, "failedTomograms")), {"raw"})
        # chosen by the deconvolved ones, not made from them
        chosen = {"inputFullSet": (self.fromRaw, "Tomograms"), "inputSubSet": (deconv, "tomograms")}
        subset = self.run_(ProtSubSet, chosen)
        ((name, _),) = subset.iterOutputAttributes()
        self.assertEqual(self.states((subset, name)), {"raw"})
        chosen = {"inputFullSet": (deconv, "tomograms"), "inputSubSet": (self.fromRaw, "Tomograms")}
        subset = self.run_(ProtSubSet, chosen)
        ((name, _),) = subset.iterOutputAttributes()
        self.assertEqual(self.states((subset, name)), {"corrected"})
        # what was chosen for a CTF-aware network, and is hidden without one, says nothing
        inputs = {"inputTomograms": (deconv, "tomograms")}
        hidden = {"ctfHistory": CHOICES.index("raw"), "defocus": DEFOCUS, "cubeSize": 8}
        plain, aware = (
            self.prepare(ProtIsoNetOnePass, inputs, ctfAware=isAware, **hidden) for isAware in (False, True)
        )
        self.assertEqual([set(ctfStates(form).values()) for form in (plain, aware)], [{"corrected"}, {"raw"}])
        self.assertEqual([row["isonetCtfState"] for row in tomogramRows(plain)], ["corrected"])
        self.assertNotIn("bfactor", optionValues(plain, plain.settings))

    def test_tomograms_that_are_not_taken_may_be_corrected_already(self) -> None:
        """They come after the first ones that a training takes, or are disabled in the set."""
        deconv = self.run_(ProtIsoNetDeconv, {"inputTomograms": (self.fromRaw, "Tomograms")}, defocus=DEFOCUS)
        parts = []
        for source, number in (((self.fromRaw, "Tomograms"), 1), ((deconv, "tomograms"), 2)):
            parts.append(self.run_(ProtSubSet, {"inputFullSet": source}, selectIds=True, range=str(number)))
        (name, mixed), union = self.joined(parts)
        inputs = {"inputTomograms": (union, name)}
        first = self.prepare(ProtIsoNetOnePass, inputs, ctfAware=True, defocus=DEFOCUS, cubeSize=8, firstTomograms=1)
        self.assertEqual(first.validate(), [])
        again = self.prepare(ProtIsoNetDeconv, inputs, defocus=DEFOCUS)
        corrected = mixed[2].clone()
        self.assertIn(f"the CTF of {corrected.getTsId()} is corrected already", " ".join(again.validate()))
        corrected.setEnabled(False)
        mixed.update(corrected)
        mixed.write()
        self.assertEqual(again.validate(), [])

    def test_what_is_brought_together_again_keeps_its_state(self) -> None:
        deconv = self.run_(ProtIsoNetDeconv, {"inputTomograms": (self.fromRaw, "Tomograms")}, defocus=DEFOCUS)
        parts = []
        for number in (1, 2):
            full = {"inputFullSet": (deconv, "tomograms")}
            parts.append(self.run_(ProtSubSet, full, selectIds=True, range=str(number)))
        (name, both), union = self.joined(parts)
        self.assertEqual(both.getSize(), 2)
        self.assertEqual(self.states((union, name)), {"corrected"})

    def test_other_stages_know_it_too(self) -> None:
        flipped = {"inputTomograms": (self.fromFlipped, "Tomograms")}
        aware = self.prepare(ProtIsoNetOnePass, flipped, ctfAware=True, defocus=DEFOCUS, cubeSize=8)
        self.assertEqual(aware.validate(), [])
        self.assertEqual([row["isonetCtfState"] for row in tomogramRows(aware)], ["phase-flipped"] * 2)
        extract = self.run_(ProtIsoNetExtract, flipped, cubeSize=16, cropSize=24, numberSubtomos=2)
        self.assertEqual({item.getAttributeValue("_isonetDeconvolved") for item in extract.subtomograms}, {0})
        export = self.run_(ProtIsoNetExport, flipped)
        table = export._getExtraPath("tomograms.star")
        self.assertEqual(self.column(table, "isonetCtfState"), ["phase-flipped"] * 2)
        self.assertEqual(self.column(table, "rlnDeconvTomoName"), [None] * 2)

    def test_what_nothing_tells_is_assumed_and_said(self) -> None:
        deconv = self.run_(ProtIsoNetDeconv, {"inputTomograms": (self.tomograms, "Tomograms")}, defocus=DEFOCUS)
        self.assertIn(
            "CTF correction before: 2 assumed to be raw (the project does not say).", " ".join(deconv.summary())
        )

    @staticmethod
    def column(path: str, label: str) -> list[str | None]:
        table = read_star(path)
        return [table.text(row, label) for row in table.rows]
