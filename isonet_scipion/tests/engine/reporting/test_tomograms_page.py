"""The page of corrected tomograms: how many there are decides what it shows."""

import re

import numpy as np
import pytest

from isonet_scipion.engine.io.report_file import report_path, write_report
from isonet_scipion.engine.reporting.tomograms_page import MOST_INSIDE, write_tomograms_page
from isonet_scipion.tests.engine.io.test_report_file import CONTENT


def page_of(folder, restored, confidence=None):
    """That of tomograms with these restored wedge correlations, named by their number and with odd signs."""
    for number, correlation in enumerate(restored):
        path = report_path(folder / f"t {number:02d}#_corrected.mrc")
        write_report(
            path,
            {**CONTENT, "name": f"<{number}>", "restored_wedge_correlation": correlation, "confidence": confidence},
        )
        path.with_suffix(".png").write_bytes(b"a picture")
    return write_tomograms_page(folder).read_text(encoding="utf-8")


def test_several_tomograms_have_an_overview_with_the_least_restored_first(tmp_path):
    text = page_of(tmp_path, [0.61, 0.07, 0.33])
    linked = re.findall(r'<a class="mark \w+" href="#(\w+)">(.*?)</a></td><td>(.*?)</td>', text)
    assert [(name, number) for _, name, number in linked] == [
        ("&lt;1&gt;", "0.07"), ("&lt;2&gt;", "0.33"), ("&lt;0&gt;", "0.61")
    ]  # fmt: skip
    for anchor, name, _ in linked:
        assert f'<h2 id="{anchor}">{name}</h2>' in text
    assert "<th>Confidence</th>" not in text


def test_the_confidence_is_shown_where_there_is_one(tmp_path):
    assert "<th>Confidence</th>" in page_of(tmp_path, [0.61, 0.07], confidence=0.4)


def test_one_tomogram_needs_no_overview(tmp_path):
    assert "<a " not in page_of(tmp_path, [0.5])


@pytest.mark.parametrize(("number", "is_inside"), [(MOST_INSIDE, True), (MOST_INSIDE + 1, False)])
def test_pictures_of_many_tomograms_stay_beside_the_page(tmp_path, number, is_inside):
    text = page_of(tmp_path, np.linspace(0.1, 0.9, number))
    assert text.count("src=") == number
    assert text.count('src="data:image/png;base64,') == is_inside * number
    assert ("copy them with it" in text) is not is_inside
    assert is_inside or text.count('src="t%2003%23_corrected_report.png"') == 1


def test_without_its_picture_a_tomogram_is_left_out_and_told(tmp_path, caplog):
    page_of(tmp_path, [0.5] * (MOST_INSIDE + 2))
    report_path(tmp_path / "t 03#_corrected.mrc").with_suffix(".png").unlink()
    text = write_tomograms_page(tmp_path).read_text(encoding="utf-8")
    assert "&lt;3&gt;" not in text and "&lt;4&gt;" in text and "Left out of the page" in caplog.text
