"""One rule for headline, table, summary and JSON."""

import json
import re
from pathlib import Path

import pytest

from isonet_scipion.engine.measure.verdict import Verdict, is_far_above

# mean, half, above: what each place says of it, and what no place may say
CASES = {
    "invention": (Verdict(0.3, None, None), "poor", "no better than invention", "nowhere better", "invention"),
    "weak": (Verdict(0.3, None, 81.0), "fair", "larger than 81 Å", "above chance to 81 Å", "above chance to 81 Å"),
    "good": (Verdict(0.6, 52.0, 40.0), "good", "larger than 52 Å", "above chance to 40 Å", "correlation 0.5 at 52 Å"),
    "coarse": (Verdict(0.2, 181.0, 160.0), "fair", "larger than 181 Å", "above chance to 160 Å", "0.5 at 181 Å"),
    "small": (Verdict(None, None, None), "fair", "too small to tell", "too small to tell", "not known"),
    "few": (Verdict(0.3, None, None, False), "fair", "could be tested", "too small to tell", "not known"),
    "few, but": (Verdict(0.3, None, 81.0, False), "fair", "larger than 81 Å", "above chance to 81 Å", "to 81 Å"),
}


@pytest.mark.parametrize("case", CASES)
def test_headline_table_and_summary_say_the_same(case):
    verdict, kind, words, remark, summary = CASES[case]
    assert verdict.kind == kind
    assert words in verdict.words and remark in verdict.resolution[1] and summary in verdict.summary
    believes = [
        bool(re.search(r"a correlation above 0.5|correlation 0.5 at", text))
        for text in (verdict.words, verdict.summary)
    ]
    assert believes == [verdict.half is not None] * 2
    invents = ["no better than" in verdict.words, "nowhere" in verdict.resolution[1], "nowhere b" in verdict.summary]
    assert invents == [case == "invention"] * 3


def test_a_high_mean_alone_is_not_believed():
    assert Verdict(0.9, None, None).kind == "poor"


def test_nothing_is_said_of_what_is_finer_than_the_voxels_hold():
    said = [Verdict(0.6, 52.0, above, True, 20.0).words for above in (40.0, 20.001)]
    assert said[0].endswith("finer ones with less; finer than 40 Å is invention.")
    assert said[1].endswith("finer ones with less.")
    best = Verdict(0.8, 20.001, 20.001, True, 20.0).words
    assert (
        best
        == "Features larger than 20 Å along z, all that the voxels hold, are restored with a correlation above 0.5."
    )


def test_a_confidence_that_is_more_than_a_quarter_above_the_test_is_far_above():
    assert is_far_above(0.56, 0.3) and not is_far_above(0.54, 0.3) and not is_far_above(0.1, 0.9)


def test_no_other_module_words_a_verdict():
    engine = Path(__file__).resolve().parents[3]
    own = engine / "engine/measure/verdict.py"
    wording = re.compile(r"with a correlation above 0.5|better than chance: invention|hardly restored:")
    modules = [path for path in engine.rglob("*.py") if "tests" not in path.parts]
    assert [path for path in modules if wording.search(path.read_text(encoding="utf-8"))] == [own]


def test_a_pages_headline_is_the_files(tmp_path):
    from isonet_scipion.engine.io.report_file import read_report, write_report
    from isonet_scipion.tests.engine.io.test_report_file import CONTENT

    numbers = (
        (0.3, None, None, True),
        (0.3, None, 81.0, True),
        (0.6, 52.0, 40.0, True),
        (0.6, 52.0, 20.0, True),
        (0.3, None, None, False),
    )
    for mean, half, above, known in numbers:
        words = Verdict(mean, half, above, known, 2 * CONTENT["voxel_size_A"]).words
        content = {
            **CONTENT,
            "restored_wedge_correlation": mean,
            "restored_wedge_chance": 0.1,
            "restored_wedge_resolution_A": half,
            "restored_wedge_above_chance_A": above,
            "restored_wedge_known": known,
            "verdict": words,
        }
        write_report(tmp_path / "a_report.json", content)
        assert json.loads((tmp_path / "a_report.json").read_text(encoding="utf-8"))["verdict"] == words
        assert read_report(tmp_path / "a_report.json").verdict_of_numbers.words == words
