"""The contrast that forms are told, one after the other."""

from __future__ import annotations

from pwem.protocols import ProtSubSet

from isonet_scipion.protocols import ProtIsoNetDeconv, ProtIsoNetMask
from isonet_scipion.tests.protocols.scene import IsoNetTest


class TestIsoNetContrast(IsoNetTest):
    """Tomograms in which protein is said to be bright."""

    def test_a_contrast_that_was_told_otherwise_before_is_warned_of(self) -> None:
        imported = {"inputTomograms": (self.tomograms, "Tomograms")}
        bright = self.prepare(ProtIsoNetDeconv, imported, defocus=20000, isInverted=True)
        self.assertEqual(bright.warnings(), [])
        self.launchProtocol(bright)
        chosen = self.run_(ProtSubSet, {"inputFullSet": (bright, "tomograms")}, selectIds=True, range="1")
        ((name, _),) = chosen.iterOutputAttributes()
        for inputs in ((bright, "tomograms"), (chosen, name)):
            mask = self.prepare(ProtIsoNetMask, {"inputTomograms": inputs})
            (told,) = mask.warnings()
            self.assertRegex(told, r"\*Is protein bright\?\* is No here, but was Yes in \*.*CTF deconvolution\*")
            mask.isInverted.set(True)
            self.assertEqual(mask.warnings(), [])
        full = {"inputFullSet": (self.tomograms, "Tomograms"), "inputSubSet": (bright, "tomograms")}
        raw = self.run_(ProtSubSet, full)
        ((name, _),) = raw.iterOutputAttributes()
        self.assertEqual(self.prepare(ProtIsoNetMask, {"inputTomograms": (raw, name)}).warnings(), [])
