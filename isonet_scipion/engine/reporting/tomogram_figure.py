"""The picture of a tomogram's report: slices, spectra and the curves that tell how far to believe it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.measure.fourier_correlation import CERTAIN, Curve
from isonet_scipion.engine.measure.quality import THRESHOLD, Quality
from isonet_scipion.engine.reporting.confidence_figure import draw_confidence
from isonet_scipion.engine.reporting.picture import panels, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from isonet_scipion.engine.arrays import Reals
    from isonet_scipion.engine.measure.confidence import Confidence
    from isonet_scipion.engine.reporting.comparison_figure import Comparison

BEFORE, AFTER, NEUTRAL = "tab:gray", "tab:blue", "tab:orange"


def save_report(
    path: str | os.PathLike[str], compared: Comparison, after: Reals, quality: Quality, title: str,
    confidence: Confidence | None = None,
) -> None:  # fmt: skip
    """Draw a tomogram before and after its correction, and the curves of its report.

    Parameters
    ----------
    path : path
        PNG file to write.
    compared : Comparison
        The tomogram before and after.
    after : ndarray
        (z, y, x); may be a memory map.
    quality : Quality
        The numbers.
    title : str
        Of the picture.
    confidence : Confidence, optional
        Where to believe it: shown on the slices after.

    Raises
    ------
    EngineError
        If the file can't be written.
    """
    with picture(path, 16, 4.7 if confidence is None else 9, compared.pixels) as figure:
        axes = panels(figure, 1 if confidence is None else 2, 4)
        if confidence is not None:
            draw_confidence(axes[1], after, confidence, quality.voxel_size)
        for panel, draw in zip(axes[0], (_draw_restored, _draw_agreement, _draw_halves, _draw_resolutions)):
            draw(panel, quality)
        # a name may hold $; 0.1 inches from the top
        figure.suptitle(title, y=1 - 0.1 / figure.get_size_inches()[1], fontsize=16, parse_math=False)


def _draw_restored(panel: Axes, quality: Quality) -> None:
    panel.set_title("Is the filled wedge right?")
    if quality.restored is None:
        _absent(panel, "the tomogram is too small to tell")
        return
    restored, _ = quality.restored_wedge or (float("nan"), 0)
    shells = np.arange(len(quality.restored.values))
    panel.fill_between(
        shells, CERTAIN * quality.restored.chance, color="0.85", label="chance (3 deviations)", linewidth=0
    )
    panel.plot(shells, quality.restored.values, color=AFTER, label="network against hidden data")
    if quality.ceiling:
        known = quality.ceiling.values > CERTAIN * quality.ceiling.chance
        panel.plot(
            shells,
            np.where(known, quality.ceiling.values, np.nan),
            color=NEUTRAL,
            linestyle="--",
            label="most that noise allows",
        )
    _finish(panel, quality, f"restored wedge correlation {restored:.2f}")


def _draw_agreement(panel: Axes, quality: Quality) -> None:
    panel.set_title("Are the measured data kept?")
    if quality.agreement is None:
        _absent(panel, "the tomogram is too small to tell")
        return
    panel.plot(quality.agreement.values, color=AFTER, label="after against before, where measured")
    _finish(panel, quality, f"agreement {quality.agreement.mean:.2f}", "lower left")


def _draw_halves(panel: Axes, quality: Quality) -> None:
    panel.set_title("Do the two halves agree?")
    if quality.half_curves is None:
        _absent(panel, "no even and odd half tomograms given")
        return
    styles = (("measured", "before", BEFORE, "-"), ("measured", "after", AFTER, "-"), ("wedge", "after", AFTER, ":"))
    for region, when, color, line in styles:
        curve: Curve | None = quality.half_curves.curve(region, when)
        if curve:
            where = "where measured" if region == "measured" else "in the wedge"
            panel.plot(curve.values, color=color, linestyle=line, label=f"{where}, {when}")
    _finish(panel, quality, "Fourier shell correlation")


def _draw_resolutions(panel: Axes, quality: Quality) -> None:
    panel.set_title("Resolution")
    panel.set_axis_off()
    for column, text in ((0.5, "before"), (0.88, "after")):
        panel.text(column, 0.82, text, ha="center", fontsize=13, color="0.4")
    for height, axis in zip((0.66, 0.5, 0.34), "xyz"):
        panel.text(0.0, height, f"along {axis}", fontsize=13, color="0.4")
        for column, when in ((0.5, "before"), (0.88, "after")):
            panel.text(column, height, _angstrom(quality, axis, when), ha="center", fontsize=15)
    panel.text(0.0, 0.1, "x, y: where the halves agree\nz: where the filled wedge has correlation 0.5", color="0.4")


def _angstrom(quality: Quality, axis: str, when: str) -> str:
    value = quality.resolution(axis, when)
    if value is not None:
        return f"{value:.0f} Å"
    if axis == "z":
        if when == "before":
            return "not measured"
        if not quality.verdict.known:
            return "unknown"
        return "none" if quality.above_chance is None else f"none; chance\nfrom {quality.above_chance:.0f} Å"
    return "unknown"


def _absent(panel: Axes, why: str) -> None:
    panel.set_axis_off()
    panel.text(0.5, 0.5, why, ha="center", va="center", transform=panel.transAxes, color="0.4")


def _finish(panel: Axes, quality: Quality, label: str, legend: str = "upper right") -> None:
    nyquist = (quality.side or 0) // 2
    panel.axhline(THRESHOLD, color="0.7", linewidth=0.8, zorder=0)
    places = np.linspace(0, nyquist, 5)[1:]
    panel.set_xticks(places, [f"{2 * quality.voxel_size * nyquist / place:.0f}" for place in places])
    panel.set(xlim=(0, nyquist), ylim=(-0.05, 1.05), xlabel="resolution (Å)", ylabel=label)
    panel.legend(loc=legend, fontsize="small", framealpha=0.7)
