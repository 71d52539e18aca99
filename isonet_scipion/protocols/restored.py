"""What the reports on corrected tomograms say, in the lines of a summary; of many tomograms, altogether."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isonet_scipion.engine.measure.verdict import WELL_RESTORED, Verdict
from isonet_scipion.engine.wording import spread_in_words
from isonet_scipion.protocols.listing import MOST, named

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

# what a report says of a tomogram's halves, for the summary
OF_HALVES = {
    "mean": "The mean of the half tomograms was corrected, as the network learned from halves",
    "each": "Each half tomogram was corrected, and the results averaged",
}


def restoredLines(reports: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """What the reports, by tsId, say of the filled wedges."""
    if len(reports) <= MOST:
        return [f"{tsId}: {_gain(report)}" for tsId, report in reports.items()]
    known = {tsId: report["restored_wedge_correlation"] for tsId, report in reports.items()}
    means = {tsId: mean for tsId, mean in known.items() if mean is not None}
    lines = [f"*Restored wedge correlation* of {len(means)}: {spread_in_words(means)}."] if means else []
    invented = [tsId for tsId in means if _verdict(reports[tsId]).kind == "poor"]
    if invented:
        lines.append(f"*Nowhere better than chance, so invention*: {len(invented)} ({named(invented)}).")
    if len(means) < len(reports):
        unknown = [tsId for tsId in reports if tsId not in means]
        lines.append(f"Restored wedge correlation *not known*: {len(unknown)} ({named(unknown)}).")
    return [*lines, "The report has a table of all."]


def halvesLines(made: Sequence[str]) -> list[str]:
    """What was made of the halves of tomograms, as the report on each says: a line for each kind."""
    lines = []
    for kind in sorted(set(made) & set(OF_HALVES)):
        number = made.count(kind)
        some = "" if number == len(made) else f" ({number} of {len(made)} tomograms; the others were taken whole)"
        lines.append(f"{OF_HALVES[kind]}{some}.")
    return lines


def worthTraining(reports: Collection[Mapping[str, float | None]]) -> str:
    """What the numbers of the builtin model say of a training on these tomograms."""
    known = [report for report in reports if report["restored_wedge_correlation"] is not None]
    if known and all(map(_isWellRestored, known)):
        return "The builtin model restores these tomograms well; a training on them may still add detail."
    return (
        f"Where the restored wedge correlation is below {WELL_RESTORED:g}, or nowhere better than chance, a "
        "training on these tomograms (train, one-pass, from the builtin model) is worth trying."
    )


def restoredInWords(report: Mapping[str, float | None]) -> str:
    """Restored wedge correlation and to what resolution it is one.

    By the rule of the report's verdict: what is nowhere better than chance is invention, whatever the mean says.
    """
    mean, verdict = report["restored_wedge_correlation"], _verdict(report)
    # reports of the first version do not tell where it is above chance
    return f"{mean:.2f}" if mean is not None and not verdict.known else verdict.summary


def _verdict(report: Mapping[str, float | None]) -> Verdict:
    mean, half = report["restored_wedge_correlation"], report["restored_wedge_resolution_A"]
    above = "restored_wedge_above_chance_A"
    return Verdict(mean, half, report.get(above, half), tells=above in report)


def _gain(report: Mapping[str, float | None]) -> str:
    before, after = (_percentage(report[f"wedge_power_{when}"]) for when in ("before", "after"))
    return (
        f"*restored wedge correlation {restoredInWords(report)}*. The power in the missing wedge was {before} % of "
        f"that around it, now it is {after} %."
    )


def _percentage(share: float | None) -> str:
    """A share in per cent, with two digits at least."""
    if share is None:
        return "?"
    return f"{100 * share:.0f}" if share > 0.1 else f"{100 * share:.2g}"


def _isWellRestored(report: Mapping[str, float | None]) -> bool:
    """Whether a report with a known correlation says that a training is not needed."""
    return (report["restored_wedge_correlation"] or 0) >= WELL_RESTORED and _verdict(report).kind != "poor"
