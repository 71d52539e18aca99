"""Deconvolution of the CTF."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyworkflow.protocol import Form
from pyworkflow.protocol.params import BooleanParam, FloatParam, PointerParam
from tomo.objects import SetOfTomograms, Tomogram

from isonet_scipion import convert
from isonet_scipion.engine.ctf import Microscope
from isonet_scipion.engine.settings import DeconvSettings
from isonet_scipion.protocols.form import Within, addOption, optionValues
from isonet_scipion.protocols.tomograms import ProtIsoNetTomograms, isOpen


class ProtIsoNetDeconv(ProtIsoNetTomograms):
    """Deconvolve the CTF from tomograms with a Wiener filter: much better contrast at low resolution.

    The first step of IsoNet for tomograms that were reconstructed without CTF correction. The network then learns from,
    and corrects, the deconvolved tomograms. Look at the result and change the two strength parameters until membranes
    and particles stand out without dark halos around them.
    """

    _label = "CTF deconvolution"
    _possibleOutputs = {"tomograms": SetOfTomograms}
    MATCHED = ("inputCtfs",)
    CORRECTS_CTF = True

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        self._addTomogramsParam(form, "Tomograms whose CTF was not corrected.")
        form.addParam(
            "inputCtfs",
            PointerParam,
            pointerClass="SetOfCTFTomoSeries",
            allowsNull=True,
            label="CTFs",
            help="Each tomogram takes its defocus from the CTF with its tilt series ID (tsId), at the image nearest to "
            "zero tilt. Empty: all tomograms have the defocus below.",
        )
        form.addParam(
            "skipWithoutCtf",
            BooleanParam,
            default=True,
            condition="inputCtfs is not None",
            label="Leave out tomograms without CTF?",
            help="No: they get the defocus below.",
        )
        form.addParam(
            "defocus",
            FloatParam,
            allowsNull=True,
            label="Defocus (Å)",
            help="Defocus at zero tilt, underfocus positive: 2 µm is 20000. For tomograms that have no CTF.",
            validators=[Within()],
        )
        self._addHalvesParam(form, "Deconvolve")
        group = form.addGroup("Filter")
        addOption(
            group,
            DeconvSettings,
            "snrfalloff",
            "SNR falloff",
            "Larger: smoother, less noise and less detail. Try 0.5 to 1.5.",
            default=1.0,
            validators=[Within(0, 99)],
        )
        addOption(
            group,
            DeconvSettings,
            "deconvstrength",
            "Deconvolution strength",
            "Larger: more contrast at low resolution. Try 0.5 to 1.5.",
            default=1.0,
            validators=[Within(0, 99)],
        )
        addOption(
            group,
            DeconvSettings,
            "highpassnyquist",
            "High-pass (fraction of Nyquist)",
            "Removes slow changes of grey value over the tomogram, such as those of ice thickness.",
            expert=True,
            validators=[Within(0, 1)],
        )
        inAcquisition = "Empty: that of each tomogram's acquisition."
        kiloVolts, millimetres = [Within(1, 9999)], [Within(0, 99)]
        addOption(group, DeconvSettings, "voltage", "Voltage (kV)", inAcquisition, expert=True, validators=kiloVolts)
        addOption(
            group, DeconvSettings, "cs", "Spherical aberration (mm)", inAcquisition, expert=True, validators=millimetres
        )
        addOption(
            group,
            DeconvSettings,
            "chunk_size",
            "Piece size (voxels)",
            "Give 200 or so if the memory does not suffice.",
            expert=True,
        )
        addOption(group, DeconvSettings, "overlap_rate", "Overlap of the pieces", expert=True)
        self._addRunningParams(form, binThreads=4)

    # ---------------------------------------------------------------- steps

    def _partners(self, tomograms: Mapping[str, Tomogram]) -> dict[str, float]:
        return {tsId: defocus for tsId, defocus in self._defociById(tomograms).items() if defocus is not None}

    def _process(self, tomogram: Tomogram, defocus: float) -> None:
        tsId = tomogram.getTsId()
        table = self._writeTable(tomogram, halves=self.processHalves.get(), defocus=defocus)
        options = {
            "deconv_folder": self._getExtraPath(),
            "ncpu": self.getBinThreads(),
            **optionValues(self, DeconvSettings),
        }
        self._runEngine("deconv", [table], options, name=tsId)
        halves = self._halfFiles("rlnDeconvTomoName", tsId)
        path = self._outputFile(tsId, "rlnDeconvTomoName", tsId)
        self._append(convert.processedTomogram(tomogram, path, ctfCorrected=True, halves=halves))

    def _defociById(self, tsIds: Iterable[str]) -> dict[str, float | None]:
        """Defocus (A) of each tomogram; None for those to leave out, and those whose CTF may still come."""
        ctfs = self.inputCtfs.get()
        known = {} if ctfs is None else {ctf.getTsId(): convert.zeroTiltDefocus(ctf) for ctf in ctfs.iterItems()}
        isLeftOut = ctfs is not None and (self.skipWithoutCtf or isOpen(self.inputCtfs))
        rest = None if isLeftOut else self.defocus.get()
        return {tsId: rest if known.get(tsId) is None else known[tsId] for tsId in tsIds}

    # ---------------------------------------------------------------- checks and texts

    def _inputErrors(self) -> list[str]:
        errors = super()._inputErrors()
        if errors:
            return errors
        tomograms = self._tomogramsById()
        defoci = self._defociById(tomograms)
        ctfs = self.inputCtfs.get()
        if ctfs is None and self.defocus.get() is None:
            return ["*Defocus*: select CTFs or give the defocus of the tomograms."]
        if ctfs is not None and not (self.skipWithoutCtf or isOpen(self.inputCtfs)) and None in defoci.values():
            errors.append(f"*Defocus* is needed for the tomograms without CTF: {self._without(defoci)}.")
        if not isOpen(self.inputCtfs) and defoci and all(defocus is None for defocus in defoci.values()):
            errors.append("None of the tomograms has a CTF with its tilt series ID (tsId).")
        negative = [tsId for tsId, defocus in defoci.items() if defocus is not None and defocus < 0]
        if negative:
            errors.append(f"Underfocus is positive here, but the defocus of {', '.join(negative)} is negative.")
        optics = [self._optics(tomogram) for tomogram in tomograms.values()]
        if self.voltage.get() is None and any(o.voltage is None for o in optics):
            errors.append("*Voltage*: the tomograms' acquisition does not have it, so give it here (expert level).")
        if self.cs.get() is None and any(o.sphericalAberration is None for o in optics):
            errors.append(
                "*Spherical aberration*: the tomograms' acquisition does not have it, so give it here (expert level)."
            )
        return errors + self._halvesErrors()

    def _warnings(self) -> list[str]:
        warnings = super()._warnings()
        tomograms = self._tomogramsById()
        corrected = [tsId for tsId, tomogram in tomograms.items() if tomogram.ctfCorrected()]
        if corrected:
            warnings.append(
                f"The CTF of {', '.join(corrected)} is already corrected: the deconvolution would correct it twice. "
                "Give such tomograms straight to the mask and extraction."
            )
        defoci = self._defociById(tomograms)
        without = [tsId for tsId, defocus in defoci.items() if defocus is None]
        if without and not isOpen(self.inputCtfs):
            warnings.append(f"Left out, because they have no CTF: {', '.join(without)}.")
        ctfs = self.inputCtfs.get()
        shifted = [] if ctfs is None else [ctf.getTsId() for ctf in ctfs.iterItems() if convert.hasPhaseShift(ctf)]
        if shifted or 0 in defoci.values():
            warnings.append(
                f"Phase plate or zero defocus{': ' + ', '.join(shifted) if shifted else ''}: "
                "the filter knows no phase shift. Such tomograms have contrast enough without deconvolution."
            )
        unknown = [tsId for tsId, item in tomograms.items() if self._optics(item).amplitudeContrast is None]
        if unknown:
            warnings.append(
                f"The acquisition of {', '.join(unknown)} has no amplitude contrast: "
                f"{Microscope.amplitude_contrast:g} is used."
            )
        return warnings

    @staticmethod
    def _without(defoci: dict[str, float | None]) -> str:
        return ", ".join(tsId for tsId, defocus in defoci.items() if defocus is None)

    def _results(self, output: SetOfTomograms) -> list[str]:
        used = [value for value in self._defociById(self._tomogramsById()).values() if value is not None]
        return super()._results(output) + [
            f"Defocus {min(used):.0f} to {max(used):.0f} Å, SNR falloff {self.snrFalloff.get():g}, "
            f"strength {self.deconvStrength.get():g}."
        ]

    def _methods(self) -> list[str]:
        return [
            "The contrast transfer function was deconvolved from the tomograms with a Wiener-like filter [Tegunov2019] "
            f"as in IsoNet [Liu2022] (SNR falloff {self.snrFalloff.get():g}, strength {self.deconvStrength.get():g})."
        ]

    def _citations(self) -> list[str]:
        return ["Liu2022", "Tegunov2019"]
