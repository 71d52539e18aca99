"""Deconvolution of the CTF."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pyworkflow.protocol.params import BooleanParam

from isonet_scipion.constants import DEFOCUS_SOURCE_LABEL
from isonet_scipion.convert.files import halfMaps
from isonet_scipion.convert.outputs import processedTomogram
from isonet_scipion.engine.conventions import PHASE_FLIPPED
from isonet_scipion.engine.io.tomogram_entry import CTF_STATE
from isonet_scipion.engine.settings.preparation import DeconvSettings
from isonet_scipion.protocols.ctf_history import addCtfHistory, correctedErrors, ctfStates, statesInWords
from isonet_scipion.protocols.defocus import (
    Defoci,
    addCtfs,
    addDefocus,
    addMicroscope,
    ctfParameterErrors,
    defociById,
    defocusErrors,
    opticsWarnings,
    phaseRemarks,
    sourcedDefoci,
    usedDefocus,
    withoutCtf,
)
from isonet_scipion.protocols.form import addOption, optionValues
from isonet_scipion.protocols.listing import named, remarkLines
from isonet_scipion.protocols.set_checks import isOpen
from isonet_scipion.protocols.streaming import ProtIsoNetTomograms, cells

if TYPE_CHECKING:
    from pyworkflow.object import Pointer
    from pyworkflow.protocol import Form
    from tomo.objects import SetOfTomograms, Tomogram

    from isonet_scipion.engine.io.star import Star


class ProtIsoNetDeconv(ProtIsoNetTomograms):
    """Deconvolve the CTF from tomograms with a Wiener filter: much better contrast at low resolution.

    The first step of IsoNet for tomograms that were reconstructed without CTF correction. The network then learns from,
    and corrects, the deconvolved tomograms. Look at the result and change the two strength parameters until membranes
    and particles stand out without bright halos around them.
    """

    _label = "CTF deconvolution"
    MATCHED = ("inputCtfs",)
    FREE = ("chunkSize",)

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        self._addTomogramsParam(form, "Tomograms whose CTF was not corrected, or phase-flipped only.")
        addCtfHistory(form)
        addCtfs(form)
        form.addParam(
            "skipWithoutCtf",
            BooleanParam,
            default=True,
            condition="inputCtfs is not None",
            label="Skip tomograms without CTF?",
            help="No: they get the defocus below.",
        )
        addDefocus(form)
        self._addHalvesParam(
            form,
            True,
            "Yes: where a tomogram has an even and an odd half, they are deconvolved too, in the same way. *Train "
            "(one-pass)* learns from them to remove noise. It takes three times as long and as much disk space.",
        )
        group = form.addGroup("Filter")
        addOption(
            group,
            DeconvSettings,
            "snrfalloff",
            "SNR falloff",
            words="How fast the signal-to-noise ratio falls towards fine detail. Larger: smoother, less noise and less "
            "detail. Empty: a tenth of the voxel size in Å (1 at 10 Å, 2 at 20 Å). The wand shows what it does.",
        )
        addOption(
            group,
            DeconvSettings,
            "deconvstrength",
            "Deconvolution strength",
            words="Larger: more contrast of large structures. Try 0.5 to 1.5: if dark structures get bright halos, "
            "lower it. (It is the base-10 logarithm of the signal-to-noise ratio at low resolution.)",
            default=1.0,
        )
        addOption(
            group,
            DeconvSettings,
            "highpassnyquist",
            "High-pass (fraction of Nyquist)",
            words="Structures coarser than this fraction of the Nyquist frequency are removed: slow changes of grey "
            "value over the tomogram, such as those of ice thickness.",
            expert=True,
        )
        addMicroscope(group, DeconvSettings)
        addOption(
            group,
            DeconvSettings,
            "chunk_size",
            "Piece size (voxels)",
            words="Empty: the whole tomogram is kept in memory (about three times its size). If that is too much, "
            "enter 200 or so: the tomogram is then processed in pieces of this side, with the same result.",
            expert=True,
        )
        self._addRunningParams(form, binThreads=4)

    # ---------------------------------------------------------------- steps

    def _partners(self, tomograms: Mapping[str, Tomogram]) -> dict[str, tuple[float | None, str]]:
        """Defocus (A) and where it is from."""
        sourced = sourcedDefoci(self, tomograms, self._leavesOut())
        return {tsId: pair for tsId, pair in sourced.items() if pair[0] is not None}

    def _tomogramErrors(self, tomograms: Mapping[str, Tomogram]) -> list[str]:
        return ctfParameterErrors(self, map(self._optics, tomograms.values()))

    def _needsHalves(self) -> bool:
        return self.processHalves.get()

    def _process(self, tomogram: Tomogram, partner: tuple[float | None, str]) -> None:
        tsId, (defocus, source) = tomogram.getTsId(), partner
        table = self._writeTable(tomogram, halves=self.processHalves.get(), defocus=defocus, defocusSource=source)
        options = {
            "deconv_folder": self._getExtraPath(),
            "ncpu": self.getBinThreads(),
            "snrfalloff": self._falloff(tomogram.getSamplingRate()),
            **optionValues(self, DeconvSettings),
        }
        self._runEngine("deconv", [table], options, name=tsId)
        halves = self._halfFiles("rlnDeconvTomoName", tsId)
        path = self._outputFile("rlnDeconvTomoName", tsId)
        deconvolved = processedTomogram(tomogram, path, ctfCorrected=True, halves=halves)
        with self._lock:  # another thread may be reading the CTFs
            deconvolved.setObjComment("; ".join(phaseRemarks(self, tsId)))
        self._append(deconvolved)

    def _falloff(self, samplingRate: float) -> float:
        """The falloff that is given, else the one that suits the voxel size (A)."""
        given = self._used("snrFalloff")
        return suggestedFalloff(samplingRate) if given is None else given

    def _sources(self) -> list[Pointer]:
        return [self.inputTomograms, self.inputCtfs]

    def _defociById(self, tsIds: Iterable[str]) -> Defoci:
        """Defocus (A) of each tomogram; None for those to leave out, and those whose CTF may still come."""
        return defociById(self, tsIds, self._leavesOut())

    def _leavesOut(self) -> bool:
        return self.inputCtfs.get() is not None and (self.skipWithoutCtf.get() or isOpen(self.inputCtfs))

    # ---------------------------------------------------------------- checks and texts

    def _inputErrors(self) -> list[str]:
        errors = super()._inputErrors()
        if errors:
            return errors
        tomograms = self._tomogramsById()
        errors = correctedErrors(ctfStates(self), tomograms, "Tomograms")
        errors += defocusErrors(self, self._defociById(tomograms), self._leavesOut())
        return errors + self._tomogramErrors(tomograms)

    def _warnings(self) -> list[str]:
        warnings = super()._warnings()
        tomograms = self._tomogramsById()
        without = withoutCtf(self._defociById(tomograms))
        if without and not isOpen(self.inputCtfs):
            warnings.append(f"Left out, because they have no CTF: {named(without)}.")
        enough = "Such tomograms have contrast enough without deconvolution."
        return warnings + opticsWarnings(self, tomograms, enough)

    def _results(self, output: SetOfTomograms, tables: Mapping[str, Star]) -> list[str]:
        labels = "rlnDefocus", DEFOCUS_SOURCE_LABEL, CTF_STATE
        *used, states = (cells(tables, label).values() for label in labels)
        done = f"{statesInWords(states)} Filter: {self._strength(output)}."
        halves = sum(bool(halfMaps(tomogram)) for tomogram in output)
        more = [f"Half tomograms: {halves} of {output.getSize()}."] if halves else []
        more += remarkLines(output)
        return [*super()._results(output, tables), *more, usedDefocus(*used), done]

    def _methods(self) -> list[str]:
        output = getattr(self, self.OUTPUT, None)
        if output is None:
            return []
        tables, _ = self._tables()
        number = list(cells(tables, CTF_STATE).values()).count(PHASE_FLIPPED)
        flipped = f" Of {number} of them, which were phase-flipped already, only the strength." if number else ""
        return [
            "The contrast transfer function was deconvolved from the tomograms with a Wiener-like filter [Tegunov2019] "
            f"as in IsoNet [Liu2022] ({self._strength(output)}).{flipped}"
        ]

    def _strength(self, output: SetOfTomograms) -> str:
        falloff, strength = self._falloff(output.getSamplingRate()), self._used("deconvStrength")
        return f"falloff of the SNR {falloff:g}, strength {1.0 if strength is None else strength:g}"

    def _citations(self) -> list[str]:
        return ["Liu2022", "Tegunov2019"]


def suggestedFalloff(samplingRate: float) -> float:
    """The falloff with which the signal-to-noise ratio at Nyquist is that of 1 at 10 A, for a voxel size in A."""
    return round(samplingRate / 10, 2)
