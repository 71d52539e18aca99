"""What a summary says of how well wedges were filled."""

import pytest

from isonet_scipion.convert.outputs import reportNumbers, setReport
from isonet_scipion.engine.io.report_file import write_report
from isonet_scipion.protocols.listing import MOST
from isonet_scipion.protocols.restored import halvesLines, restoredInWords, restoredLines, worthTraining
from isonet_scipion.tests.engine.io.test_report_file import CONTENT


def report(mean, half, above):
    return {
        "restored_wedge_correlation": mean,
        "restored_wedge_resolution_A": half,
        "restored_wedge_above_chance_A": above,
        "wedge_power_before": 0.05,
        "wedge_power_after": None,
    }


def test_a_summary_tells_what_is_restored_by_the_rule_of_the_reports_verdict():
    report = {"restored_wedge_correlation": 0.12, "restored_wedge_resolution_A": None}
    assert restoredInWords(report) == "0.12"
    report["restored_wedge_above_chance_A"] = None
    assert restoredInWords(report) == "0.12, nowhere better than chance: invention"
    report["restored_wedge_above_chance_A"] = 81.0
    assert restoredInWords(report) == "0.12, above chance to 81 Å, nowhere 0.5"
    assert restoredInWords({**report, "restored_wedge_resolution_A": 95.0}) == "0.12, correlation 0.5 at 95 Å"
    assert restoredInWords({**report, "restored_wedge_correlation": None}) == "not known: too few voxels to tell"


@pytest.mark.parametrize(
    ("known", "words"),
    [(True, "0.30, nowhere better than chance: invention"), (False, "not known: too few voxels to tell")],
)
def test_a_summary_tells_no_invention_where_too_few_voxels_were_tested(tomogram, tmp_path, known, words):
    numbers = {"correlation": 0.3, "chance": 0.1, "resolution_A": None, "above_chance_A": None, "known": known}
    path = tmp_path / "t_report.json"
    write_report(path, {**CONTENT, **{f"restored_wedge_{name}": value for name, value in numbers.items()}})
    setReport(tomogram, str(path))
    assert restoredInWords(reportNumbers(tomogram)) == words


def test_invention_is_not_said_to_be_restored_well():
    def advice(*numbers):
        return worthTraining([report(mean, None, above) for mean, above in numbers])

    assert "restores these tomograms well" in advice((0.6, 40.0), (None, None))
    for poor in (0.6, None), (0.4, 40.0):
        assert "is worth trying" in advice((0.6, 40.0), poor)
    assert "is worth trying" in advice((None, None))
    first_version = {"restored_wedge_correlation": 0.6, "restored_wedge_resolution_A": None}
    assert "restores these tomograms well" in worthTraining([first_version])


def test_each_of_few_tomograms_has_a_line_and_many_are_told_altogether():
    lines = restoredLines({f"TS_{n}": report(0.1 * n, 50.0, 30.0) for n in range(MOST)})
    assert len(lines) == MOST
    assert lines[3] == (
        "TS_3: *restored wedge correlation 0.30, correlation 0.5 at 50 Å*. The power in the missing wedge was 5 % of "
        "that around it, now it is ? %."
    )
    many = {f"TS_{n:02d}": report(0.01 * n, None, 30.0 if n > 3 else None) for n in range(1, 40)}
    assert restoredLines({**many, "TS_40": report(None, None, None)}) == [
        "*Restored wedge correlation* of 39: median 0.20, from 0.01 (TS_01) to 0.39 (TS_39).",
        "*Nowhere better than chance, so invention*: 3 (TS_01, TS_02, TS_03).",
        "Restored wedge correlation *not known*: 1 (TS_40).",
        "The report has a table of all.",
    ]
    unknown = {f"TS_{n:02d}": report(None, None, None) for n in range(20)}
    assert restoredLines(unknown)[0].startswith("Restored wedge correlation *not known*: 20 (TS_00, ")
    assert "TS_09 and 10 more)" in restoredLines(unknown)[0]


def test_halves_that_only_some_tomograms_have_are_not_said_to_be_of_all():
    mean = "The mean of the half tomograms was corrected, as the network learned from halves"
    assert halvesLines(["mean", "mean"]) == [f"{mean}."]
    assert halvesLines(["mean", "", "mean"]) == [f"{mean} (2 of 3 tomograms; the others were taken whole)."]
    assert halvesLines(["", ""]) == []
