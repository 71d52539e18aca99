"""The contrast transfer function and the Wiener filter that undoes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.errors import EngineError

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles

# least and most of what `CtfParameters` and those who ask for them take: kV, mm, a fraction
POSSIBLE = {"voltage": (1.0, 9999.0), "cs": (0.0, 100.0), "amplitude_contrast": (0.0, 1.0)}
MOST_DEFOCUS = 1e6  # A
LEAST_DEFOCUS = 5000.0  # A: half a micrometre; what is less is in another unit
UNITS = (("m", 1e10, 1e-3), ("µm", 1e4, 50.0), ("nm", 10.0, LEAST_DEFOCUS))  # name, in A, numbers below


@dataclass(frozen=True)
class CtfParameters:
    """What the contrast transfer function depends on.

    Examples
    --------
    >>> print(CtfParameters(voltage=200, defocus=30000))
    defocus 30000 A, 200 kV, Cs 2.7 mm
    """

    voltage: float = 300.0  # kV
    cs: float = 2.7  # mm
    amplitude_contrast: float = 0.07
    defocus: float = 0.0  # A, underfocus positive

    def __str__(self) -> str:
        return f"defocus {self.defocus:.0f} A, {self.voltage:g} kV, Cs {self.cs:g} mm"

    def __post_init__(self) -> None:
        impossible = [name for name, (least, most) in POSSIBLE.items() if not least <= getattr(self, name) <= most]
        if "voltage" in impossible:
            raise EngineError("voltage", f"{self.voltage:g} kV is impossible", "Give it in kV, such as 300.")
        if "cs" in impossible:
            raise EngineError("spherical aberration", f"{self.cs:g} mm is impossible", "Give it in mm, such as 2.7.")
        if not abs(self.defocus) <= MOST_DEFOCUS:
            raise EngineError("rlnDefocus", f"{self.defocus:g} A is impossible", "Give it in A, such as 20000.")
        if "amplitude_contrast" in impossible:
            raise EngineError(
                "rlnAmplitudeContrast", f"{self.amplitude_contrast:g} is not a fraction", "Give 0 to 1, such as 0.07."
            )


def require_plausible_defocus(defocus: float, what: str = "rlnDefocus", whose: str = "") -> float:
    """The defocus, if its size and sign are those of a defocus in A, underfocus positive.

    The unit is told by size: tomograms are recorded half a micrometre to some tens of them under focus. 5000 to 50000
    may be nm as well as A, and are taken as A.

    Parameters
    ----------
    defocus : float
        As it was given.
    what : str
        The column, parameter or file that it comes from.
    whose : str
        The tomogram that has it, for the message.

    Raises
    ------
    EngineError
        If it is 0, negative, or so small that it is in µm or nm; says what it would be in A. If it is impossibly large.
    """
    of = f" for {whose}" if whose else ""
    usual = "Give the defocus in A, such as 30000 for 3 µm."
    if defocus == 0:
        raise EngineError(what, f"it is 0{of}, which says nothing", usual)
    if not abs(defocus) <= MOST_DEFOCUS:
        raise EngineError(what, f"{defocus:g} A{of} is impossible: that is {defocus / 1e4:g} µm", usual)
    size = abs(defocus)
    unit, factor = next(((name, factor) for name, factor, most in UNITS if size < most), ("A", 1.0))
    if defocus > 0 and unit == "A":
        return defocus
    signs = "; underfocus is positive here" if defocus < 0 else ""
    why = f"{defocus:g}{of} is not a defocus in A{f' but looks like {unit}' if unit != 'A' else ''}{signs}"
    raise EngineError(what, why, f"Give it in A, underfocus positive: {size * factor:.0f}.")


def electron_wavelength(voltage: float) -> float:
    """Relativistic wavelength of the electron in A.

    lambda = 12.2643247 / sqrt(V (1 + 0.978466e-6 V)), V in volts (Reimer, Transmission Electron Microscopy).

    Parameters
    ----------
    voltage : float
        Acceleration voltage in kV.
    """
    volts = voltage * 1e3
    return 12.2643247 / np.sqrt(volts * (1 + 0.978466e-6 * volts))


def ctf(frequency: Doubles, ctf_parameters: CtfParameters) -> Doubles:
    """Contrast transfer function, A cos(w) - sqrt(1 - A^2) sin(w), by spatial frequency.

    Parameters
    ----------
    frequency : ndarray
        Spatial frequency k in 1/A, any shape.
    ctf_parameters : CtfParameters
        Voltage, spherical aberration, amplitude contrast A and defocus.

    Returns
    -------
    ndarray
        Same shape; w = pi/2 (lambda^3 Cs k^4 - 2 lambda defocus k^2).
    """
    wavelength = electron_wavelength(ctf_parameters.voltage)
    cs = ctf_parameters.cs * 1e7
    k2 = np.asarray(frequency, np.float64) ** 2
    phase = np.pi / 2 * (wavelength**3 * cs * k2**2 - 2 * wavelength * ctf_parameters.defocus * k2)
    contrast = ctf_parameters.amplitude_contrast
    return contrast * np.cos(phase) - np.sqrt(1 - contrast**2) * np.sin(phase)


def first_peak(ctf_parameters: CtfParameters) -> float:
    """Spatial frequency in 1/A of the first peak of the CTF; for underfocus.

    There w = -arccos(A), of A cos(w) - sqrt(1 - A^2) sin(w) = cos(w + arccos(A)); or, where the defocus is so small
    that w does not fall so low, its least value.
    """
    wavelength = electron_wavelength(ctf_parameters.voltage)
    fourth, square = wavelength**3 * ctf_parameters.cs * 1e7, 2 * wavelength * ctf_parameters.defocus
    depth = 2 / np.pi * np.arccos(ctf_parameters.amplitude_contrast)
    below = square**2 - 4 * fourth * depth
    # the smaller root k^2 of fourth k^4 - square k^2 + depth, in the form that also holds without Cs
    return float(np.sqrt(2 * depth / (square + np.sqrt(below)) if below > 0 else square / (2 * fourth)))


def wiener_filter(
    nyquist_fraction: Doubles,
    voxel_size: float,
    ctf_parameters: CtfParameters,
    snrfalloff: float = 1.0,
    deconvstrength: float = 1.0,
    highpassnyquist: float = 0.02,
    phase_flipped: bool = False,
) -> Doubles:
    """Wiener filter CTF / (CTF^2 + 1/SNR) with the falling signal-to-noise model of Tegunov's deconvolution.

    SNR(x) = exp(-100 x snrfalloff / voxel_size) 10^deconvstrength (1 - cos(pi min(1, x/highpassnyquist))) + 1e-6.

    Parameters
    ----------
    nyquist_fraction : ndarray
        Frequency x as a fraction of Nyquist, 0..1, any shape.
    voxel_size : float
        In A.
    ctf_parameters : CtfParameters
        Of the tilt series.
    snrfalloff, deconvstrength, highpassnyquist : float
        Fall of the signal-to-noise ratio, its decadic logarithm at low frequency, and the
        fraction of Nyquist below which signal is taken as lost (0: no high-pass).
    phase_flipped : bool
        Whether the tomogram's phases are flipped already, so that its CTF is positive everywhere.

    Returns
    -------
    ndarray
        Same shape, float64.
    """
    x = np.asarray(nyquist_fraction, np.float64)
    transfer = ctf(x / (2 * voxel_size), ctf_parameters)
    transfer = np.abs(transfer) if phase_flipped else transfer
    highpass = 1 - np.cos(np.pi * np.minimum(1, x / highpassnyquist)) if highpassnyquist > 0 else 2.0
    snr = np.exp(-100 * x * snrfalloff / voxel_size) * 10**deconvstrength * highpass + 1e-6
    return transfer / (transfer**2 + 1 / snr)
