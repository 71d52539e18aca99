"""Training of the network on tomograms."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from isonet_scipion.constants import DEFOCUS_SOURCE_LABEL
from isonet_scipion.convert.sets import enabledIds
from isonet_scipion.engine.io.tomogram_entry import CTF_STATE, HALF_LABELS
from isonet_scipion.engine.settings.option import options
from isonet_scipion.engine.settings.training import OnePassSettings
from isonet_scipion.engine.wording import counted
from isonet_scipion.protocols.ctf_history import statesInWords
from isonet_scipion.protocols.defocus import opticsWarnings, usedDefocus
from isonet_scipion.protocols.linked_inputs import growingErrors
from isonet_scipion.protocols.listing import named
from isonet_scipion.protocols.set_checks import correctedWarnings, isOpen
from isonet_scipion.protocols.training_base import ProtIsoNetTraining, columnOf, methodCitations
from isonet_scipion.protocols.training_errors import tomogramErrors
from isonet_scipion.protocols.training_form import addOnePassTraining, addTomograms
from isonet_scipion.protocols.training_tables import tomogramRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pwem.objects import EMObject
    from pyworkflow.object import Pointer
    from pyworkflow.protocol import Form

    from isonet_scipion.engine.io.star import Star


class ProtIsoNetOnePass(ProtIsoNetTraining):
    """Train a network that fills the missing wedge, on the tomograms themselves, without extraction.

    Recommended: it restored more than the iterative method in the same time wherever both were tested. If the tomograms
    have even and odd halves, the network also learns to remove noise. It can learn to correct the CTF too (CTF-aware).
    """

    _label = "train (one-pass)"
    settings = OnePassSettings
    items = "tomograms"
    table = "tomograms.star"

    def _addInput(self, form: Form) -> None:
        addTomograms(form)

    def _addTraining(self, form: Form) -> None:
        addOnePassTraining(form)

    def _input(self) -> Pointer:
        return self.inputTomograms

    def _rows(self, isPlaced: bool = True) -> list[dict[str, str]]:
        return tomogramRows(self, isPlaced)

    def refineStep(self, iterations: int) -> None:
        """Train, as elsewhere; a run that is continued after it was finished has lost what was converted to MRC."""
        tomogramRows(self)
        super().refineStep(iterations)

    def _stepsCheck(self) -> None:
        """Nothing: by having it a protocol tells Scipion that it may start on sets that grow."""

    def _learned(self) -> Iterator[EMObject]:
        return islice(super()._learned(), self.firstTomograms.get() or None)

    def _growingErrors(self) -> list[str]:
        number = self.firstTomograms.get()
        if not number:
            return growingErrors(self)
        ids = enabledIds(self._learned())
        if isOpen(self.inputTomograms) and len(ids) < number:
            return [f"*Tomograms*: {len(ids)} of the first {number} are there. Wait for them (*Schedule* does)."]
        without = set(ids) - set(enabledIds(self.inputMasks.get()))
        if isOpen(self.inputMasks) and without:
            return [f"*Masks*: those of {named(sorted(without))} are not there yet. Wait for them (*Schedule* does)."]
        return []

    def _iterations(self) -> int:
        usual = options(OnePassSettings)["iterations"]
        return self.iterations.get(usual.from_model if self._startsFromModel() else usual.default)

    def _setErrors(self) -> list[str]:
        return tomogramErrors(self)

    def _warnings(self) -> list[str]:
        corrected = correctedWarnings("Tomograms", self.inputTomograms.get())
        return corrected + self._maskWarnings() + (self._ctfWarnings() if self.ctfAware else []) + super()._warnings()

    def _maskWarnings(self) -> list[str]:
        masks = self.inputMasks.get()
        masked = set(enabledIds(masks))
        without = [tomogram.getTsId() for tomogram in self._learned() if tomogram.getTsId() not in masked]
        if masks is None or not without:
            return []
        return [f"*Masks*: there is none of {named(without)}: crops are taken anywhere in them, also in empty ice."]

    def _ctfWarnings(self) -> list[str]:
        tomograms = {tomogram.getTsId(): tomogram.clone() for tomogram in self._learned()}
        return opticsWarnings(self, tomograms, "Train without CTF-awareness on such tomograms.")

    def _citations(self) -> list[str]:
        return methodCitations(isOnePass=True, isCtfAware=bool(self._used("ctfAware")))

    def _sources(self) -> list[Pointer]:
        return [*super()._sources(), self.inputMasks, *([self.inputCtfs] if self.ctfAware else [])]

    def _learnedFrom(self, table: Star) -> list[str]:
        labels = (HALF_LABELS[0], "rlnMaskName", "rlnDefocus", DEFOCUS_SOURCE_LABEL, CTF_STATE)
        even, masked, defoci, sources, states = (columnOf(table, table.rows, label) for label in labels)
        halves = ", with their halves" if any(even) else ""
        aware = "CTF-aware, " if self._used("ctfAware") else ""
        masks = sum(mask is not None for mask in masked)
        number = len(table.rows)
        lines = [f"One-pass, {aware}on {counted(number, 'tomograms')}{halves}.", f"Masks: {masks} of {number}."]
        if aware:
            lines += [usedDefocus(defoci, sources), statesInWords(states)]
        return lines

    def _methods(self) -> list[str]:
        if not hasattr(self, "model"):
            return []
        ctf = (
            " They were phase-flipped, its output multiplied by their CTFs as in IsoNet2 [Liu2025]."
            if self._used("ctfAware")
            else ""
        )
        start = "another model" if self._used("pretrainedModel") else "random weights"
        start = "the builtin model" if self._used("startFromBuiltin") else start
        return [
            "A U-Net was trained to fill the missing wedge, its own estimates being made within each training step "
            f"as in DeepDeWedge [Wiedemann2024], from {start} on {self._number()} "
            f"tomograms.{ctf}{self._lastLoss()}{self._outcome()}"
        ]
