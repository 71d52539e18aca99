"""What is odd in a table of tomograms."""

from pathlib import Path

import pytest

from isonet_scipion.engine.io.star import Star, write_star
from isonet_scipion.engine.io.table_checks import tell_assumed_tilts, warn_of_lopsided_tilts
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.tests.engine.conftest import make_tomogram


@pytest.mark.parametrize(("cells", "level"), [("None", "WARNING"), ("-48", None)])
def test_a_tilt_range_that_is_assumed_is_told(caplog, cells, level):
    caplog.set_level("INFO")
    star = Star(["rlnTiltMin", "rlnTiltMax"], path="t.star")
    star.rows += [{"rlnTiltMin": "-52", "rlnTiltMax": "48"}, {"rlnTiltMin": cells, "rlnTiltMax": cells}]
    tell_assumed_tilts(star, star.rows, ["a", "b"])
    assert [record.levelname for record in caplog.records] == ([level] if level else [])
    if level:
        assert "t.star: no tilt range (rlnTiltMin and rlnTiltMax) of b: -60..60 degrees are assumed." in caplog.text
        caplog.clear()
        tell_assumed_tilts(star, star.rows[1:], ["b"])
        assert [record.levelname for record in caplog.records] == ["INFO"]


def test_a_file_in_two_rows_is_told(caplog, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("link.mrc").symlink_to("t.mrc")
    labels = ["rlnIndex", "rlnMicrographName", "rlnPixelSize"]
    names = ("t.mrc", "u.mrc", "./link.mrc", "v.mrc", "v.mrc")
    rows = [dict(zip(labels, (str(index), name, "10"))) for index, name in enumerate(names, 1)]
    write_star("t.star", Star(labels, rows))
    table = TomogramTable("t.star")
    table.select("1-2")
    assert not caplog.records
    table.select("1-3", tells=False)
    assert not caplog.records
    table.select("1-3")
    assert "other file" not in caplog.text
    table.select(None)
    assert "rlnIndex 1 and 3 (and 1 other file so), and is taken as several" in caplog.text
    assert "t.star: " in caplog.text and "t.mrc stands in the rows of rlnIndex 1 and 3, and is taken" in caplog.text


def test_a_tilt_range_without_zero_is_told(caplog, run, tmp_path):
    warn_of_lopsided_tilts("t.star", {"a": TiltRange(-60, 0), "b": TiltRange(40, 60)})
    assert (
        caplog.text.count("tilt range") == 1 and "t.star: the tilt range of b has no 0 degrees (40..60)" in caplog.text
    )
    make_tomogram(tmp_path / "tomo" / "t.mrc", (32, 32, 32))
    small = ("--unet_depth=2", "--filter_base=2")
    for command in ("prepare_star", "prepare_subtomo_star"):
        status, log = run(command, "tomo", "--tilt_min", 40, "--output_star", f"{command}.star")
        assert status == 0 and f"{command}.star: the tilt range of t has no 0 degrees (40..60)" in log, log
        # the training ends soon, of another reason
        status, log = run("refine", f"{command}.star", "--gpuID=99", "--check_axes=False", *small)
        assert status == 1 and "has no 0 degrees" in log, log
    for command in (("predict", "prepare_star.star", "builtin", "--gpuID=99"), ("extract", "prepare_star.star")):
        status, log = run(*command, "--check_axes=False", "--cube_size=8")
        assert "prepare_star.star: the tilt range of t has no 0 degrees (40..60)" in log, log


def test_tilts_that_were_changed_since_extract_are_told_by_the_training(run, tmp_path):
    for seed, name in enumerate("ab"):
        make_tomogram(tmp_path / "tomo" / f"{name}.mrc", (24, 24, 24), seed)
    assert run("prepare_star", "tomo", "--number_subtomos=1")[0] == 0
    assert run("extract", "tomograms.star", "--cube_size=8", "--crop_size=12")[0] == 0
    tables = Path("tomograms.star"), Path("subtomo.star")
    before, _ = (table.read_text() for table in tables)
    edited = before.replace("-60.000000 60.000000", "-57 48", 1)
    told = "subtomo.star: the tilt range of a is -60..60 degrees, but -57..48 in tomograms.star by now"
    for text, options, count in ((before, (), 0), (edited, (), 1), (edited, ("--tilt_min=-57",), 0), ("gone", (), 0)):
        tables[0].write_text(text)
        log = run("refine", "subtomo.star", "--gpuID=99", "--check_axes=False", "--unet_depth=2", *options)[1]
        assert log.count(told) == count and log.count("by now") == count, log


def test_masks_in_each_others_rows_are_told_in_a_table_of_another_name_too(run, tmp_path):
    for seed, name in enumerate("ab"):
        make_tomogram(tmp_path / "tomo" / f"{name}.mrc", (24, 24, 24), seed)
    assert run("prepare_star", "tomo", "--number_subtomos=2")[0] == 0
    assert run("make_mask", "tomograms.star", "--density_percentage=90", "--std_percentage=90")[0] == 0
    table = Path("tomograms.star").read_text()
    swapped = table.replace("a_mask", "c_mask").replace("b_mask", "a_mask").replace("c_mask", "b_mask")
    for text, names in ((table, ""), (swapped, "a, b"), (table.replace("b_mask", "a_mask"), "b")):
        Path("copy.star").write_text(text)
        status, log = run("extract", "copy.star", "--cube_size=8", "--crop_size=12")
        told = f"copy.star: the masks of {names} were made of other voxels than the tomograms have now."
        assert status == 0 and log.count(told) == bool(names) and log.count("other voxels") == bool(names), log
