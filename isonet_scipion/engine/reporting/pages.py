"""The report of a run as one HTML page that needs no network: pictures are inside, names are escaped."""

from __future__ import annotations

import base64
import html
import logging
import os
from pathlib import Path

from isonet_scipion.engine.conventions import REPORT_PAGE, REPORT_SUFFIX
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import in_turn, read_own_file, write_whole
from isonet_scipion.engine.io.report_file import TomogramReport, read_report
from isonet_scipion.engine.measure.verdict import is_far_above

log = logging.getLogger(__name__)
MOST_PAGE = 1 << 30  # bytes
MOST_PICTURE = 64 << 20  # bytes

STYLE = """
body { font: 16px/1.5 sans-serif; color: #222; max-width: 1250px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; } h2 { margin-top: 2em; border-top: 1px solid #ccc; padding-top: 1em; }
.cards { display: flex; flex-wrap: wrap; gap: 1em; margin: 1em 0; }
.card { background: #f2f5f8; border-radius: 8px; padding: .7em 1.1em; flex: 1 1 13em; }
.card b { display: block; font-size: 1.9em; line-height: 1.25; } .card small { color: #555; }
.verdict { font-size: 1.15em; padding: .6em 1em; border-left: 6px solid #888; background: #f7f7f7; }
.good { border-color: #2a8c4a; } .fair { border-color: #d9a400; } .poor { border-color: #c0392b; }
img { width: 100%; } table { border-collapse: collapse; } td, th { padding: .2em .8em; text-align: left; }
tr:nth-child(even) { background: #f2f5f8; }
h1, h2, p small { white-space: pre-wrap; }
"""

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

    Raises
    ------
    EngineError
        If the page can't be written.
    """
    folder = Path(folder)
    paths = sorted(folder.glob(f"*{REPORT_SUFFIX}"))
    sections = []
    for path in paths:
        try:
            sections.append(_tomogram_section(read_report(path), path.with_suffix(".png")))
        except EngineError as error:  # of another run: that of this one is whole
            log.warning("%s Left out of the page.", error)
    return write_page(folder / REPORT_PAGE, "Missing wedge correction: what was gained", [*sections, EXPLANATION])


def require_own_page(folder: str | os.PathLike[str]) -> None:
    """Raise an EngineError if a folder holds a page of another program's, which would be replaced."""
    path = Path(folder) / REPORT_PAGE
    if os.path.lexists(path) and not has_own_page(folder):
        raise EngineError(str(path), "it is there already, and no page of this program", "Give another folder.")


def has_own_page(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a page that this program wrote."""
    path = Path(folder) / REPORT_PAGE
    # the style is in each of ours
    return os.path.lexists(path) and STYLE.strip().splitlines()[0].encode() in read_own_file(path, MOST_PAGE)


def write_page(path: Path, title: str, sections: list[str]) -> Path:
    """Write a page of HTML sections; several processes may write it at once."""
    body = "\n".join(sections)
    text = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n"
    )
    with in_turn(path.parent):
        write_whole(path, text, since=False)
    return path


def image(path: Path, description: str) -> str:
    """A PNG file as an HTML element with the picture inside."""
    data = base64.b64encode(read_own_file(path, MOST_PICTURE)).decode()
    return f'<img alt="{html.escape(description)}" src="data:image/png;base64,{data}">'


def card(label: str, value: str, note: str) -> str:
    """A number with its name and a remark."""
    label, value, note = (html.escape(text) for text in (label, value, note))
    return f'<div class="card">{label}<b>{value}</b><small>{note}</small></div>'


def _tomogram_section(report: TomogramReport, picture: Path) -> str:
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
        f'<h2>{html.escape(report.name)}</h2>\n<p class="verdict {verdict.kind}">{html.escape(verdict.words)}</p>\n'
        f'<div class="cards">{"".join(cards)}</div>\n{image(picture, "report of " + report.name)}\n'
        f"<p><small>{html.escape(facts)}</small></p>"
    )


def _number(value: float | None, layout: str = "{:.2f}", unit: float = 1.0) -> str:
    return "?" if value is None else layout.format(unit * value)
