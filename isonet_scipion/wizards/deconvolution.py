"""Preview of the CTF deconvolution: a central slice before and after, while its two strengths change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pyworkflow.wizard import Wizard

from isonet_scipion.convert.files import fileOf
from isonet_scipion.engine.conventions import CORRECTED, PHASE_FLIPPED
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.physics.borders import find_border
from isonet_scipion.engine.physics.ctf import CtfParameters, require_plausible_defocus
from isonet_scipion.engine.physics.radial_filter import Deconvolution, deconvolve
from isonet_scipion.protocols import ProtIsoNetDeconv
from isonet_scipion.protocols.ctf_history import ctfStates
from isonet_scipion.protocols.protocol_deconv import suggestedFalloff
from isonet_scipion.viewers.pictures import showSlice
from isonet_scipion.viewers.volumes import middle, openTomogram
from isonet_scipion.wizards.preview import showPreview

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pyworkflow.gui.form import FormWindow
    from tomo.objects import Tomogram

DEPTH = 64  # planes around the central one; the filter's kernel has faded there
THREADS = 2
USUAL_RATE = 10.0  # A; of a slider that is not shown, since there is no input, or one without a voxel size


@dataclass
class DeconvPreview:
    """The middle of a tomogram and all of its filter but the two strengths."""

    part: np.ndarray  # (z, y, x)
    deconvolution: Deconvolution

    def filtered(self, falloff: float, strength: float) -> np.ndarray:
        """The deconvolved part, (z, y, x) float32."""
        chosen = replace(self.deconvolution, snrfalloff=falloff, deconvstrength=strength)
        return deconvolve(self.part, chosen, threads=THREADS, border=find_border(self.part))

    def draw(self, figure: Figure, values: dict[str, float]) -> str:
        """Draw the central slice before and after; returns what there is to say about it."""
        after = self.filtered(values["snrFalloff"], values["deconvStrength"])
        plane, voxelSize = len(self.part) // 2, self.deconvolution.voxel_size
        for place, volume, title in ((1, self.part, "before"), (2, after, "deconvolved")):
            showSlice(figure.add_subplot(1, 2, place), volume[plane], voxelSize, title)
        ctf_parameters = self.deconvolution.ctf_parameters
        return f"Defocus {ctf_parameters.defocus:.0f} Å, {ctf_parameters.voltage:g} kV, Cs {ctf_parameters.cs:g} mm."


def deconvPreview(protocol: ProtIsoNetDeconv, tomogram: Tomogram) -> DeconvPreview:
    """The preview of one tomogram, with everything else as the form has it.

    Raises
    ------
    EngineError
        If the tomogram's CTF is corrected already, its defocus is unknown or impossible, or its file can't be read.
    """
    tsId = tomogram.getTsId()
    state = ctfStates(protocol).get(tsId)
    if state == CORRECTED:
        remedy = "Select it as it was before, or say what it is by *CTF correction so far*."
        raise EngineError(tsId, "its CTF is corrected already", remedy)
    defocus = protocol._defociById([tsId])[tsId]
    if defocus is None:
        raise EngineError(tsId, "its defocus is unknown", "Select CTFs or fill in the defocus, then open this again.")
    require_plausible_defocus(defocus, "*Defocus*", tsId)
    known, usual = protocol._optics(tomogram), CtfParameters()

    def chosen(*values: float | None) -> float:
        return next(value for value in values if value is not None)

    ctf_parameters = CtfParameters(
        chosen(protocol.voltage.get(), known.voltage, usual.voltage),
        chosen(protocol.cs.get(), known.sphericalAberration, usual.cs),
        chosen(known.amplitudeContrast, usual.amplitude_contrast),
        defocus,
    )
    voxels = openTomogram(fileOf(tomogram), tomogram.getSamplingRate(), protocol.getProject()).data
    part = np.asarray(voxels[middle(voxels.shape, DEPTH)], np.float32)
    highpass = protocol.highpassNyquist.get()
    # the faces of the part are no borders, so they must not bleed into each other
    filter_ = Deconvolution(
        tomogram.getSamplingRate(),
        ctf_parameters,
        highpassnyquist=highpass,
        pad_edges=True,
        phase_flipped=state == PHASE_FLIPPED,
    )
    return DeconvPreview(part, filter_)


def _suggested(protocol: ProtIsoNetDeconv) -> float:
    tomograms = protocol.inputTomograms.get()
    rate = None if tomograms is None else tomograms.getSamplingRate()
    return suggestedFalloff(rate or USUAL_RATE)


class IsoNetDeconvWizard(Wizard):
    """A central slice before and after, while SNR falloff and strength change."""

    _targets = [(ProtIsoNetDeconv, ["snrFalloff", "deconvStrength"])]

    def show(self, form: FormWindow, *params: str) -> None:
        from isonet_scipion.viewers.browser import Slider

        showPreview(
            form,
            "CTF deconvolution",
            "Raise the strength until membranes and particles stand out, but not so far that halos appear around them. "
            "Raise the falloff until the grain of the noise is gone, but not so far that detail is lost.",
            deconvPreview,
            ["ctfHistory", "defocus", "highpassNyquist", "voltage", "cs"],
            [
                Slider("snrFalloff", "SNR falloff (larger: smoother)", 0.0, 3.0, 0.05, _suggested(form.protocol)),
                Slider("deconvStrength", "Strength (larger: more contrast)", 0.0, 3.0, 0.05, 1.0),
            ],
            size=(9, 4.8),
        )
