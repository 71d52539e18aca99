"""The report's JSON has one reader, which takes no wrong kind of value."""

import json
from dataclasses import fields

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.report_file import TomogramReport, read_report, report_path, write_report
from isonet_scipion.engine.reporting.tomograms_page import write_tomograms_page

CONTENT = {
    "name": "TS_1",
    "tomogram": "t.mrc",
    "corrected": "t_corrected.mrc",
    "model": "m.keras",
    "iteration": None,
    "of_halves": "mean",
    "phase_flipped": False,
    "ctf": "raw",
    "voxel_size_A": 10,
    "tilt_min": -60.0,
    "tilt_max": 60.0,
    "restored_wedge_correlation": 0.5,
    "restored_wedge_chance": 0.01,
    "restored_wedge_allows_for_noise": True,
    "restored_wedge_resolution_A": None,
    "restored_wedge_above_chance_A": 40.0,
    "restored_wedge_known": True,
    "verdict": "hardly restored",
    "confidence": 0.4,
    "agreement_with_measured": 1.0,
    "wedge_power_before": 0.1,
    "wedge_power_after": None,
    "resolution_A": {"x": {"before": None, "after": 20.0}},
    "boxes": 3,
    "box_side": 32,
    "shell_resolution_A": [20.0, 10.0],
    "curves": {"restored": {"values": [0.5, None], "chance": [0.1, 0.1]}},
}
WRONG = {
    "name": 3,
    "tomogram": None,
    "iteration": 1.5,
    "of_halves": True,
    "phase_flipped": "yes",
    "voxel_size_A": "10",
    "tilt_min": float("nan"),
    "restored_wedge_correlation": [0.5],
    "restored_wedge_chance": True,
    "wedge_power_after": {"a": 1},
    "resolution_A": {"x": {"before": "far"}},
    "boxes": -0.5,
    "shell_resolution_A": 20.0,
    "curves": {"restored": [0.5]},
}


@pytest.mark.parametrize(("confidence", "restored", "is_told"), [(0.61, 0.17, True), (0.53, 0.49, False)])
def test_a_confidence_far_above_the_test_is_told_on_the_page(tmp_path, confidence, restored, is_told):
    path = report_path(tmp_path / "t_corrected.mrc")
    write_report(path, {**CONTENT, "confidence": confidence, "restored_wedge_correlation": restored})
    path.with_suffix(".png").write_bytes(b"")
    page = write_tomograms_page(tmp_path).read_text()
    assert ("only its order counts" in page) is is_told and f"<b>{confidence}</b>" in page


def test_what_is_written_is_read(tmp_path):
    path = report_path(tmp_path / "t_corrected.mrc")
    write_report(path, CONTENT)
    report = read_report(path)
    assert report.restored_wedge == (0.5, 0.01)
    assert report.curves["restored"]["values"] == (0.5, None)
    assert {field.name for field in fields(TomogramReport)} == set(CONTENT)
    # those of the first version lack some
    newer = ("restored_wedge_known", "verdict", "ctf", "of_halves", "confidence")
    older = {name: value for name, value in CONTENT.items() if name not in newer}
    del older["restored_wedge_above_chance_A"]
    write_report(path, older)
    assert read_report(path).restored_wedge_above_chance_A is None and read_report(path).confidence is None


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_kind_of_value_is_one_line(tmp_path, name):
    path = tmp_path / "t_report.json"
    path.write_text(json.dumps({**CONTENT, name: WRONG[name]}))
    with pytest.raises(EngineError, match=rf"t_report\.json: it is not a whole report .*its {name} is"):
        read_report(path)


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 100_000, '{"name": "TS_1"}', "\udcff"])
def test_what_is_no_report_is_one_line(tmp_path, text):
    path = tmp_path / "t_report.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(EngineError, match=r"t_report\.json"):
        read_report(path)


def test_a_linked_picture_is_not_put_into_the_page(tmp_path, caplog):
    (tmp_path / "private").write_text("the user's own")
    write_report(tmp_path / "t_report.json", CONTENT)
    (tmp_path / "t_report.png").symlink_to(tmp_path / "private")
    assert "dGhlIHVzZXIncyBvd24" not in write_tomograms_page(tmp_path).read_text()
    assert "t_report.png: it is a link" in caplog.text
    (tmp_path / "t_report.png").unlink()
    (tmp_path / "t_report.png").write_bytes(b"a picture")
    assert "YSBwaWN0dXJl" in write_tomograms_page(tmp_path).read_text()
