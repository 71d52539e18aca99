"""The page of a folder of corrected tomograms: an overview, then each with its numbers and picture."""

from __future__ import annotations

import html
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from isonet_scipion.engine.conventions import REPORT_PAGE, REPORT_SUFFIX
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.report_file import TomogramReport, read_report
from isonet_scipion.engine.measure.verdict import is_far_above
from isonet_scipion.engine.reporting.pages import card, image, image_beside, table, write_page

log = logging.getLogger(__name__)
# whose pictures are inside the page: it is written anew after each tomogram, and a browser has to hold it
MOST_INSIDE = 20

EXPLANATION = """
<h2>What the numbers mean</h2>
<p><b>Restored wedge correlation.</b> Part of what the microscope did measure is hidden from the network, which fills it
in. What it puts there is compared with what was measured: 1 is perfect; 0 means the filled-in data are unrelated to
what was measured. If the tomogram has two halves, noise in the data is allowed for, unless the model learned from
whole tomograms, whose noise it then knows. Without that the number is lower: the data's noise cannot be restored.</p>
<p><b>How far to trust it.</b> The number describes how well the network works on this tomogram, averaged over the
whole sample. It says nothing about a single feature: check each one against the tomogram before correction. The
hidden data are absent from the network's input, but not from its training, which saw copies of the same data in other
rotations: a network that has overfitted a small data set may score too high. Therefore a network that was trained on
the tomograms is tested in directions that it has not seen, which is harder: do not compare its number with that of the
builtin model. The hidden part lies along other directions than the missing wedge: if all objects lie the same way, such
as flat membranes, the wedge itself may be restored better or worse.</p>
<p><b>What next.</b> If the correlation is above 0.5 to a resolution that you need, go on: look, pick and segment in the
corrected tomogram, but average subtomograms from uncorrected ones. If it is lower, train (one-pass) on your tomograms,
from the builtin model; after a training of your own, try more or better tomograms, half tomograms or another
deconvolution, and check the tilt range. If nothing is better than chance, do not use what is in the wedge.</p>
<p><b>Measured data kept.</b> Correlation of the tomogram before and after, where it was measured. Near 1, the network
has changed the measured data little; it is lower if noise was removed. What a CTF-aware network makes is compared with
the phase-flipped tomogram, in this as in the first number: how strong a frequency is does not count.
<b>Power in the wedge</b> says how strongly the wedge is filled, not whether it is right.
<b>Confidence</b>, if it was requested: the expected correlation with the truth in the missing wedge, at each position,
averaged over about 48 voxels and for waves down to three voxels. It was calibrated on simulated tomograms and the
builtin model; for other samples, trust its order rather than its values. For a model that you trained, its level comes
from the first number's test, and its order says little after a short training.
<b>Halves</b>: two halves corrected by one network share what the network invents, so their agreement in the wedge is
an upper bound.</p>
"""


def write_tomograms_page(folder: str | os.PathLike[str]) -> Path:
    """Write the page of a folder of corrected tomograms, from all the reports (`*_report.json`, .png) in it.

    The pictures of more than 20 tomograms stay files beside the page.

    Raises
    ------
    EngineError
        If the page can't be written.
    """
    folder = Path(folder)
    paths = sorted(folder.glob(f"*{REPORT_SUFFIX}"))
    show = image if len(paths) <= MOST_INSIDE else image_beside
    reports: list[TomogramReport] = []
    sections = []
    for path in paths:
        try:
            report = read_report(path)
            shown = show(path.with_suffix(".png"), f"report of {report.name}")
        except EngineError as error:  # of another run: that of this one is whole
            log.warning("%s Left out of the page.", error)
            continue
        sections.append(_tomogram_section(report, _anchor(len(reports)), shown))
        reports.append(report)
    first = [_overview(reports)] if len(reports) > 1 else []
    if show is image_beside:
        first.append("<p><small>The pictures are files beside this page: copy them with it.</small></p>")
    title = "Missing wedge correction: what was gained"
    return write_page(folder / REPORT_PAGE, title, [*first, *sections, EXPLANATION])


def _anchor(number: int) -> str:
    return f"tomogram{number}"


def _overview(reports: Sequence[TomogramReport]) -> str:
    """A table of the tomograms, the least restored first."""
    with_confidence = any(report.confidence is not None for report in reports)
    titles = ["Tomogram", "Restored wedge correlation", "Above 0.5 to", "Above chance to", "Measured data kept"]
    rows = []
    for number in sorted(range(len(reports)), key=lambda number: reports[number].restored_wedge_correlation or 0):
        report = reports[number]
        verdict = report.verdict_of_numbers
        nowhere = "nowhere" if verdict.known else "?"
        finest = [nowhere if one is None else f"{one:.0f} Å" for one in (verdict.half, verdict.above)]
        kept, confidence = _number(report.agreement_with_measured), _number(report.confidence)
        name = f'<a class="mark {verdict.kind}" href="#{_anchor(number)}">{html.escape(report.name)}</a>'
        cells = [name, _number(report.restored_wedge_correlation), *finest, kept]
        rows.append([*cells, confidence] if with_confidence else cells)
    return table([*titles, "Confidence"] if with_confidence else titles, rows)


def _tomogram_section(report: TomogramReport, anchor: str, picture: str) -> str:
    verdict = report.verdict_of_numbers
    kept = "noise allowed for" if report.restored_wedge_allows_for_noise else "noise not allowed for"
    powers = [
        _number(power, "{:.2g}" if power is None or power < 0.995 else "{:.0f}", 100)
        for power in (report.wedge_power_before, report.wedge_power_after)
    ]
    far = is_far_above(report.confidence, report.restored_wedge_correlation)
    of_confidence = "above what the test says: only its order counts" if far else "mean over the sample"
    cards = [
        card(
            "Restored wedge correlation",
            _number(report.restored_wedge_correlation),
            f"chance {_number(report.restored_wedge_chance)}; {kept}",
        ),
        card("Resolution in the wedge", *verdict.resolution),
        card("Measured data kept", _number(report.agreement_with_measured), "1: unchanged"),
        *([] if report.confidence is None else [card("Confidence", _number(report.confidence), of_confidence)]),
        card("Power in the wedge", f"{powers[0]} → {powers[1]} %", "of that around it"),
    ]
    boxes = f"{report.boxes} box{'es' if report.boxes > 1 else ''} of {report.box_side} voxels"
    facts = f"{report.corrected}, model {report.model}, {boxes if report.boxes else 'no box to test'}"
    facts += ", compared with the phase-flipped tomogram" if report.phase_flipped else ""
    facts += f"; the tomogram was taken as {report.ctf}" if report.ctf else ""
    return (
        f'<h2 id="{anchor}">{html.escape(report.name)}</h2>\n'
        f'<p class="verdict {verdict.kind}">{html.escape(verdict.words)}</p>\n'
        f'<div class="cards">{"".join(cards)}</div>\n{picture}\n'
        f"<p><small>{html.escape(facts)}</small></p>"
    )


def _number(value: float | None, layout: str = "{:.2f}", unit: float = 1.0) -> str:
    return "?" if value is None else layout.format(unit * value)
