"""A picture of what was gained: slices and power spectra of a tomogram before and after."""

from __future__ import annotations

import os

import numpy as np
import scipy.fft
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from isonet_scipion.engine.files import replacing
from isonet_scipion.engine.wedge import TiltRange, measured

SPECTRUM_PLANES = 64  # xz-planes that a spectrum is averaged over
BAND = (0.08, 0.6)  # fractions of Nyquist between which the wedge's power is compared
GUARD = 5.0  # degrees on both sides of the wedge's edge that count neither as measured nor as missing
GREY_PERCENTILES = (1, 99)


def xz_power(volume: np.ndarray) -> np.ndarray:
    """Mean power spectrum of the xz-planes.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) of any real type; may be a memory map.

    Returns
    -------
    ndarray
        (n, n) float64, n the larger of depth and width; zero frequency in the centre.
    """
    depth, height, width = volume.shape
    size = max(depth, width)
    window = np.hanning(depth + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    power = np.zeros((size, size))
    planes = np.unique(np.linspace(0, height - 1, min(height, SPECTRUM_PLANES)).astype(int))
    for y in planes:
        plane = np.asarray(volume[:, y, :], np.float32)
        power += np.abs(scipy.fft.fft2((plane - plane.mean()) * window, (size, size))) ** 2
    return scipy.fft.fftshift(power) / len(planes)


def wedge_power_ratio(volume: np.ndarray, tilt: TiltRange) -> float:
    """Power per Fourier component inside the missing wedge over that outside, in the same resolution shells.

    About 0 for a back-projection, 1 where the wedge is filled as strongly as the rest.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) of any real type.
    tilt : TiltRange
        Of the tilt series.

    Returns
    -------
    float
        Median over the shells from 0.08 to 0.6 of Nyquist; components within 5 degrees of the
        wedge's edge are left out.
    """
    power = xz_power(volume)
    k = scipy.fft.fftshift(scipy.fft.fftfreq(len(power))) * 2
    kz, kx = k[:, None], k[None, :]
    shell = np.floor(np.hypot(kz, kx) * 20)
    inner = TiltRange(tilt.minimum + GUARD, tilt.maximum - GUARD)
    outer = TiltRange(max(-89.9, tilt.minimum - GUARD), min(89.9, tilt.maximum + GUARD))
    seen, missing = measured(kz, kx, inner), ~measured(kz, kx, outer)
    ratios = []
    for number in range(round(BAND[0] * 20), round(BAND[1] * 20)):
        both = power[(shell == number) & missing], power[(shell == number) & seen]
        if all(len(values) > 4 for values in both):
            ratios.append(both[0].mean() / max(both[1].mean(), np.finfo(float).tiny))
    return float(np.median(ratios)) if ratios else float("nan")


def save_comparison(
    path: str | os.PathLike, before: np.ndarray, after: np.ndarray, voxel_size: float, tilt: TiltRange, title: str
) -> None:
    """Draw central slices and xz power spectra of a tomogram before and after its correction.

    Parameters
    ----------
    path : path
        PNG file to write.
    before, after : ndarray
        (z, y, x), the same grey scale; may be memory maps.
    voxel_size : float
        In A.
    tilt : TiltRange
        Of the tilt series.
    title : str
        Of the picture.

    Raises
    ------
    EngineError
        If the file can't be written.
    """
    figure = Figure(figsize=(16, 9), layout="constrained")
    FigureCanvasAgg(figure)
    draw_comparison(figure.subplots(2, 4), before, after, voxel_size, tilt)
    figure.suptitle(title, parse_math=False)  # a name may hold $
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def draw_comparison(
    axes: np.ndarray, before: np.ndarray, after: np.ndarray, voxel_size: float, tilt: TiltRange
) -> None:
    """Draw into (2, 4) axes what `save_comparison` draws."""
    depth, height, width = before.shape
    low, high = np.percentile(np.asarray(before[depth // 2], np.float32), GREY_PERCENTILES)
    for row, volume, when in ((axes[0], before, "before"), (axes[1], after, "after")):
        slices = (
            ("XY", volume[depth // 2], "x", "y"),
            ("XZ", volume[:, height // 2], "x", "z"),
            ("YZ", volume[:, :, width // 2], "y", "z"),
        )
        for panel, (name, image, horizontal, vertical) in zip(row, slices):
            extent = [0, image.shape[1] * voxel_size / 10, 0, image.shape[0] * voxel_size / 10]
            grey = {"cmap": "gray", "vmin": low, "vmax": high, "origin": "lower", "extent": extent}
            panel.imshow(np.asarray(image, np.float32), **grey)
            panel.set(title=f"{name} {when}", xlabel=f"{horizontal} (nm)", ylabel=f"{vertical} (nm)")
        _draw_spectrum(row[3], volume, voxel_size, tilt, when)


def _draw_spectrum(panel, volume: np.ndarray, voxel_size: float, tilt: TiltRange, when: str) -> None:
    power = np.log10(xz_power(volume) + np.finfo(float).tiny)
    nyquist = 10 / (2 * voxel_size)  # 1/nm
    low, high = np.percentile(power, (5, 99.8))
    extent = [-nyquist, nyquist, -nyquist, nyquist]
    panel.imshow(power, cmap="viridis", vmin=max(low, high - 6), vmax=high, origin="lower", extent=extent)
    for angle in np.radians((tilt.minimum, tilt.maximum)):
        reach = nyquist / max(abs(np.cos(angle)), abs(np.sin(angle)))
        line = np.array([-reach, reach])
        panel.plot(line * np.cos(angle), line * np.sin(angle), "w--", linewidth=1)
    ratio = wedge_power_ratio(volume, tilt)
    panel.set(
        title=f"xz power {when}, wedge/rest {ratio:.2g}",
        xlabel="kx (1/nm)",
        ylabel="kz (1/nm)",
        xlim=(-nyquist, nyquist),
        ylim=(-nyquist, nyquist),
    )
