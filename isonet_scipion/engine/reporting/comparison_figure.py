"""A picture of what was gained: slices and power spectra of a tomogram before and after."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isonet_scipion.engine.arrays import upright_plane
from isonet_scipion.engine.measure.wedge_power import power_ratio, xz_power
from isonet_scipion.engine.reporting.picture import (
    GREY_PERCENTILES,
    TITLE_ROWS,
    drawn,
    empty_canvas,
    panels,
    write_picture,
)

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Reals
    from isonet_scipion.engine.physics.wedge import TiltRange


MOST_SPREAD = 20  # times: of spreads that differ by more, one is a single grey in the other's greys


@dataclass(frozen=True)
class Comparison:
    """A tomogram before and after its correction, drawn."""

    pixels: Reals  # (rows, columns, 4) uint8, without the title
    spectra: tuple[Doubles, Doubles]  # of the xz-planes, by `xz_power`, before and after


def save_comparison(
    path: str | os.PathLike[str], before: Reals, after: Reals, voxel_size: float, tilt: TiltRange, title: str
) -> Comparison:
    """As `compare`, with a title, and write the picture to a PNG file; an EngineError if it can't be written."""
    pixels, spectra = _drawn(before, after, voxel_size, tilt, title)
    write_picture(path, pixels)
    return Comparison(pixels[TITLE_ROWS:], spectra)


def compare(before: Reals, after: Reals, voxel_size: float, tilt: TiltRange) -> Comparison:
    """Draw central slices and xz power spectra of a tomogram before and after its correction.

    Parameters
    ----------
    before, after : ndarray
        (z, y, x); may be memory maps. Where `before`'s greys would show `after` as a single one, it has its own.
    voxel_size : float
        In A.
    tilt : TiltRange
        Of the tilt series.
    """
    pixels, spectra = _drawn(before, after, voxel_size, tilt, "")
    return Comparison(pixels[TITLE_ROWS:], spectra)


def _drawn(
    before: Reals, after: Reals, voxel_size: float, tilt: TiltRange, title: str
) -> tuple[Reals, tuple[Doubles, Doubles]]:
    spectra = xz_power(before), xz_power(after)
    with empty_canvas(16, 9) as canvas:
        axes = panels(canvas.figure, 2, 4)
        _draw_slices(axes[:, :3], before, after, voxel_size)
        for panel, spectrum, when in zip(axes[:, 3], spectra, ("before", "after")):
            _draw_spectrum(panel, spectrum, voxel_size, tilt, when)
        canvas.figure.suptitle(title, parse_math=False)  # a name may hold $
        return drawn(canvas), spectra


def _draw_slices(axes: Reals, before: Reals, after: Reals, voxel_size: float) -> None:
    depth, height, width = before.shape
    limits, own = (np.percentile(np.asarray(one[depth // 2], np.float32), GREY_PERCENTILES) for one in (before, after))
    after_limits, after_when = (limits, "after") if _are_alike(limits, own) else (own, "after, in its own greys")
    rows = (axes[0], before, "before", limits), (axes[1], after, after_when, after_limits)
    for row, volume, when, (low, high) in rows:
        slices = (
            ("XY", volume[depth // 2], "x", "y"),
            ("XZ", upright_plane(volume, 1, height // 2), "x", "z"),
            ("YZ", upright_plane(volume, 2, width // 2), "y", "z"),
        )
        for panel, (name, image, horizontal, vertical) in zip(row, slices):
            extent = [0, image.shape[1] * voxel_size / 10, 0, image.shape[0] * voxel_size / 10]
            grey = {"cmap": "gray", "vmin": low, "vmax": high, "origin": "lower", "extent": extent}
            panel.imshow(np.asarray(image, np.float32), **grey)
            panel.set(title=f"{name} {when}", xlabel=f"{horizontal} (nm)", ylabel=f"{vertical} (nm)")


def _are_alike(limits: Doubles, others: Doubles) -> bool:
    """Whether slices within either pair of limits can be told in the greys of the first."""
    (low, high), (other_low, other_high) = limits, others
    spread, other_spread = high - low, other_high - other_low
    overlap = min(high, other_high) - max(low, other_low)
    return bool(overlap > 0 and spread <= MOST_SPREAD * other_spread and other_spread <= MOST_SPREAD * spread)


def _draw_spectrum(panel: Any, spectrum: Doubles, voxel_size: float, tilt: TiltRange, when: str) -> None:
    power = np.log10(spectrum + np.finfo(float).tiny)
    nyquist = 10 / (2 * voxel_size)  # 1/nm
    low, high = np.percentile(power, (5, 99.8))
    pixel = 2 * nyquist / len(power)
    first = -(len(power) // 2 + 0.5) * pixel  # the pixel of frequency 0 has its middle at 0
    extent = [first, first + len(power) * pixel] * 2
    panel.imshow(power, cmap="viridis", vmin=max(low, high - 6), vmax=high, origin="lower", extent=extent)
    for angle in np.radians((tilt.minimum, tilt.maximum)):
        reach = nyquist / max(abs(np.cos(angle)), abs(np.sin(angle)))
        line = np.array([-reach, reach])
        panel.plot(line * np.cos(angle), line * np.sin(angle), "w--", linewidth=1)
    ratio = power_ratio(spectrum, tilt)
    panel.set(
        title=f"xz power {when}, wedge/rest {ratio:.2g}",
        xlabel="kx (1/nm)",
        ylabel="kz (1/nm)",
        xlim=(-nyquist, nyquist),
        ylim=(-nyquist, nyquist),
    )
