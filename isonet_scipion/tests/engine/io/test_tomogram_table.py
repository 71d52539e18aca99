"""What a row of the table says of its tomogram, and which stage asks for what."""

from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import Star, write_star
from isonet_scipion.engine.io.tomogram_table import (
    TomogramEntry,
    TomogramTable,
    tell_assumed_tilts,
    warn_of_lopsided_tilts,
)
from isonet_scipion.engine.measure.wedge_power import wedge_power_ratio
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.tests.engine.conftest import make_tomogram


def entry(**values):
    row = {"rlnIndex": "1", "rlnMicrographName": "TS_1.mrc", "rlnPixelSize": "10"} | values
    return TomogramEntry("TS_1", row, Star(list(row), [row], "t.star"))


@pytest.mark.parametrize(
    ("values", "defocus"),
    [
        ({"rlnDefocus": "21000"}, 21000),
        ({"rlnDefocusU": "20000", "rlnDefocusV": "22000"}, 21000),
        ({"rlnDefocus": "0.000000", "rlnDefocusU": "20000", "rlnDefocusV": "22000"}, 21000),
        ({"rlnDefocus": "30000", "rlnDefocusU": "20000", "rlnDefocusV": "22000"}, 30000),
    ],
)
def test_the_defocus_is_rlndefocus_or_else_the_mean_of_both(values, defocus):
    assert entry(**values).defocus == entry(**values).ctf_parameters().defocus == defocus


def test_one_half_alone_is_refused():
    even, odd = "rlnTomoReconstructedTomogramHalf1", "rlnTomoReconstructedTomogramHalf2"
    assert entry(**{even: "e.mrc", odd: "o.mrc"}).halves() == ("e.mrc", "o.mrc")
    assert entry(**{even: "None", odd: "None"}).halves() == ()
    for given, missing in ((even, odd), (odd, even)):
        with pytest.raises(EngineError, match=f"t.star, {missing}: TS_1.mrc has one half only"):
            entry(**{given: "h.mrc", missing: "None"}).halves()


def test_one_end_of_the_tilts_alone_is_refused():
    assert entry(rlnTiltMin="-52", rlnTiltMax="48").tilt == TiltRange(-52, 48)
    for here, missing in (("rlnTiltMin", "rlnTiltMax"), ("rlnTiltMax", "rlnTiltMin")):
        with pytest.raises(EngineError, match=f"t.star: it has {here} of TS_1.mrc, but not {missing}"):
            _ = entry(**{here: "-52" if here == "rlnTiltMin" else "48", "rlnTiltmin": "-52"}).tilt


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


def test_an_impossible_range_names_the_option_and_the_cell_that_it_is_of():
    whole = entry(rlnTiltMin="-52", rlnTiltMax="48")
    for ends, words in (
        ((70, None), "tilt_min, with rlnTiltMax of TS_1.mrc in t.star: 70..48 degrees is impossible"),
        ((None, -70), "tilt_max, with rlnTiltMin of TS_1.mrc in t.star: -52..-70 degrees is impossible"),
        ((70, -70), "tilt_min and tilt_max: 70..-70 degrees is impossible"),
    ):
        with pytest.raises(EngineError, match=words):
            whole.tilt_range(*ends)


def test_a_file_in_two_rows_is_told(caplog, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("link.mrc").symlink_to("t.mrc")
    labels, names = ["rlnIndex", "rlnMicrographName", "rlnPixelSize"], ("t.mrc", "u.mrc", "./link.mrc")
    rows = [dict(zip(labels, (str(index), name, "10"))) for index, name in enumerate(names, 1)]
    write_star("t.star", Star(labels, rows))
    table = TomogramTable("t.star")
    table.select("1-2")
    assert not caplog.records
    table.select(None)
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


def test_halves_of_another_size_than_their_tomogram_are_refused(tmp_path):
    voxels = np.random.default_rng(0).normal(size=(10,) * 3).astype("f4")
    for name, side, size in (("whole", 8, 10.0), ("half", 8, 10.0), ("larger", 10, 10.0), ("binned", 8, 20.0)):
        write_volume(tmp_path / f"{name}.mrc", voxels[:side, :side, :side], size)
    half = open_volume(tmp_path / "half.mrc")
    assert entry(rlnMicrographName=str(tmp_path / "whole.mrc")).whole_of(half).shape == half.shape
    assert entry(rlnMicrographName=str(tmp_path / "gone.mrc")).whole_of(half) is None
    whole = entry(rlnMicrographName=str(tmp_path / "whole.mrc"), rlnPixelSize="10")
    for name, why in (("larger", "its shape"), ("binned", "its voxel size is 20.000 A, the tomogram's 10.000 A")):
        with pytest.raises(EngineError, match=why):
            whole.whole_of(open_volume(tmp_path / f"{name}.mrc"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "rlnDefocus: it is 0 for TS_1.mrc"),
        ({"rlnDefocus": "2.5"}, "looks like µm.* 25000"),
        ({"rlnDefocus": "2500"}, "looks like nm.* 25000"),
        ({"rlnDefocus": "-20000"}, "underfocus is positive here.* 20000"),
        ({"rlnDefocusU": "2.4", "rlnDefocusV": "2.6"}, "rlnDefocusU and rlnDefocusV: 2.5 for TS_1.mrc.* 25000"),
        ({"rlnDefocusU": "20000"}, "rlnDefocus: it is 0 for TS_1.mrc"),
    ],
)
def test_what_is_no_defocus_in_angstrom_is_refused(values, said):
    with pytest.raises(EngineError, match=f"^t.star, .*{said}"):
        entry(**values).ctf_parameters()
    assert entry(**values).optics().voltage == 300  # for what needs no defocus


def _table(tmp_path, **values):
    rng = np.random.default_rng(0)
    write_volume(tmp_path / "t.mrc", rng.normal(size=(24, 32, 32)).astype(np.float32), 10.0)
    row = {"rlnIndex": 1, "rlnMicrographName": "t.mrc", "rlnPixelSize": 10, "rlnNumberSubtomo": 2, **values}
    text = "data_\nloop_\n" + "".join(f"_{label}\n" for label in row) + " ".join(map(str, row.values())) + "\n"
    (tmp_path / "t.star").write_text(text)


@pytest.mark.parametrize("tilts", [(0, 0), (60, -60), (-1.047, 1.047)])
def test_an_impossible_tilt_range_stops_only_what_needs_tilts(run, tmp_path, tilts):
    _table(tmp_path, rlnDefocus=20000, rlnTiltMin=tilts[0], rlnTiltMax=tilts[1])
    for command in (("deconv", "t.star"), ("make_mask", "t.star"), ("resize", "t.star"), ("export_relion", "t.star")):
        status, log = run(*command)
        assert status == 0, log
    for command in (("extract", "t.star", "--cube_size=8"), ("refine", "t.star", "--method=one-pass")):
        status, log = run(*command)
        assert status == 1 and f"rlnTiltMin and rlnTiltMax of t.mrc: {tilts[0]}..{tilts[1]} degrees" in log, log
    status, log = run("prepare_star", ".", f"--tilt_min={tilts[0]}", f"--tilt_max={tilts[1]}")
    assert status == 1 and f"tilt_min and tilt_max for t: {tilts[0]}..{tilts[1]} degrees" in log


@pytest.mark.parametrize("tilt", [(-5, 5), (-2, 1), (80, 90), (-90, -89), (-90, 90)])
def test_the_power_in_the_wedge_is_measured_for_narrow_ranges(tmp_path, tilt):
    volume = np.random.default_rng(0).normal(size=(48, 8, 48)).astype(np.float32)
    ratio = wedge_power_ratio(volume, TiltRange(*tilt))
    assert np.isnan(ratio) if tilt == (-90, 90) else ratio == pytest.approx(1, abs=0.5) or np.isnan(ratio)


def test_a_correction_with_a_narrow_tilt_range_is_written_and_in_the_table(run, tmp_path):
    _table(tmp_path, rlnTiltMin=-5, rlnTiltMax=5)
    tiny = ("--filter_base=2", "--unet_depth=1", "--convs_per_depth=2", "--iterations=1", "--epochs=1")
    assert run("extract", "t.star", "--cube_size=8", "--crop_size=12")[0] == 0
    assert run("refine", "subtomo.star", *tiny, "--steps_per_epoch=1", "--batch_size=2")[0] == 0
    status, log = run("predict", "t.star", "results/model_iter01.keras")
    assert status == 0, log
    assert "t_corrected.mrc" in Path("t.star").read_text()
    assert Path("corrected_tomos/t_corrected_report.json").exists()
    assert open_volume("corrected_tomos/t_corrected.mrc").shape == (24, 32, 32)


def test_a_table_of_subtomograms_is_not_taken_for_one_of_tomograms(tmp_path):
    row = {"rlnSubtomoIndex": "1", "rlnImageName": "s.mrc", "rlnCubeSize": "32", "rlnPixelSize": "10"}
    write_star(tmp_path / "s.star", Star(list(row), [row]))
    with pytest.raises(EngineError, match=r"s\.star: it is a table of subtomograms"):
        TomogramTable(tmp_path / "s.star")
