"""prepare_star from the tables of other programs, and from headers and tilt files."""

import shutil
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.other_programs import with_their_halves
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.tests.engine.io.test_tilt_files import RELION, XML

SHAPE = (16, 20, 24)


def volume(path, seed=0, voxel_size=10.0):
    data = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    write_volume(path, data, voxel_size)
    return data


def loop(block, rows):
    """A STAR table; `rows` are mappings from label to value."""
    head = "".join(f"_{label} #{number}\n" for number, label in enumerate(rows[0], 1))
    return f"\n# version 50001\n\ndata_{block}\n\nloop_\n{head}" + "".join(
        " ".join(map(str, row.values())) + "\n" for row in rows
    )


@pytest.fixture
def relion(tmp_path):
    """A project of RELION 5, whose tables name files from its own folder; the test runs elsewhere."""
    project = tmp_path / "relion"
    job, aligned = "Tomograms/job009", "AlignTiltSeries/job007/tilt_series"
    rows = []
    for number in (1, 2):
        name = f"TS_{number}"
        files = {f"rlnTomoReconstructedTomogramHalf{n}": f"{job}/tomograms/rec_{name}_half{n}.mrc" for n in (1, 2)}
        for half, file in enumerate(files.values()):
            volume(project / file, 10 * number + half)
        (project / aligned).mkdir(parents=True, exist_ok=True)
        (project / aligned / f"{name}.star").write_text(RELION.replace("-55.5", str(-50 - number)))
        optics = {"rlnVoltage": 200, "rlnSphericalAberration": 2.6, "rlnAmplitudeContrast": 0.1}
        sizes = {"rlnTomoTiltSeriesPixelSize": 1.25, "rlnTomoTomogramBinning": 8}
        rows.append(
            {"rlnTomoName": name, **optics, "rlnTomoTiltSeriesStarFile": f"{aligned}/{name}.star", **sizes, **files}
        )
    (project / job / "tomograms.star").write_text(loop("global", rows))
    return project / job / "tomograms.star"


def test_relion_5s_table(run, relion):
    status, log = run("prepare_star", "--from", relion)
    assert status == 0, log
    table = read_star("tomograms.star")
    for number, row in enumerate(table.rows, 1):
        numbers = [table.number(row, f"rln{label}") for label in ("PixelSize", "Defocus", "TiltMin", "TiltMax")]
        assert numbers == [10, 32000, -50 - number, 52.5] and row["rlnTomoName"] == f"TS_{number}"
        assert table.number(row, "rlnVoltage") == 200 and table.number(row, "rlnSphericalAberration") == 2.6
        halves = [open_volume(row[f"rlnTomoReconstructedTomogramHalf{half}"]).data for half in (1, 2)]
        np.testing.assert_allclose(open_volume(row["rlnMicrographName"]).data, np.mean(halves, axis=0), atol=1e-6)
        assert row["rlnMicrographName"] == f"averages/TS_{number}.mrc"
    assert "2 tomograms of RELION 5" in log
    status, log = run("deconv", "tomograms.star")
    assert status == 0, log


def test_another_projects_files_are_not_taken_from_the_project_where_one_works(run, relion, tmp_path, monkeypatch):
    other, own = tmp_path / "other", relion.parents[2]
    shutil.copytree(own, other)
    for file in (other / "AlignTiltSeries/job007/tilt_series").iterdir():
        file.write_text(file.read_text().replace("51.0", "33.0").replace("31000", "11000").replace("52.5", "33"))
    monkeypatch.chdir(other)
    status, log = run("prepare_star", "--from", relion)
    assert status == 0, log
    rows = read_star("tomograms.star").rows
    assert all(row["rlnTomoReconstructedTomogramHalf1"].startswith(f"{own}/Tomograms/job009/") for row in rows)
    assert {(float(row["rlnDefocus"]), float(row["rlnTiltMax"])) for row in rows} == {(32000, 52.5)}
    (line,) = [line for line in log.splitlines() if "working directory" in line]
    assert "half1.mrc (and 5 more) is taken as " in line and f"{own}/Tomograms" in line
    # the project's own table, from its folder: its names stay as they are
    monkeypatch.chdir(own)
    status, log = run("prepare_star", "--from", relion)
    assert status == 0 and "working directory" not in log, log
    row = read_star("tomograms.star").rows[0]
    assert row["rlnTomoReconstructedTomogramHalf1"] == "Tomograms/job009/tomograms/rec_TS_1_half1.mrc"
    # a table that was copied out of its project
    (tmp_path / "copied").mkdir()
    shutil.copy(relion, tmp_path / "copied" / "t.star")
    status, log = run("prepare_star", "--from", tmp_path / "copied" / "t.star")
    assert status == 0 and read_star("tomograms.star").rows[0] == row, log


def test_options_come_before_the_table_and_whole_tomograms_before_averages(run, relion, tmp_path):
    text = relion.read_text().replace("Half2 #9\n", "Half2 #9\n_rlnTomoReconstructedTomogram #10\n")
    relion.write_text(text.replace("_half2.mrc\n", "_half2.mrc whole.mrc\n"))
    volume(relion.parent / "whole.mrc")
    options = ("--defocus=41000", "--tilt_min=-40", "--number_subtomos=7")
    status, log = run("prepare_star", "--from", relion, *options)
    assert status == 0, log
    table = read_star("tomograms.star")
    numbers = [table.number(table.rows[0], f"rln{label}") for label in ("Defocus", "TiltMin", "TiltMax")]
    assert numbers == [41000, -40, 52.5] and table.rows[0]["rlnNumberSubtomo"] == "7"
    assert table.rows[0]["rlnMicrographName"].endswith("job009/whole.mrc") and not Path("averages").exists()


def test_a_table_that_names_no_tomogram_says_what_to_do(run, relion, tmp_path):
    lines = relion.read_text().splitlines()
    kept = [line for line in lines if "Half" not in line]
    relion.write_text(
        "\n".join(" ".join(line.split()[:-2]) if line.startswith("TS_") else line for line in kept) + "\n"
    )
    status, log = run("prepare_star", "--from", relion)
    assert status == 1 and "names no reconstructed tomogram for TS_1" in log and "Reconstruct tomograms" in log
    for number in (1, 2):
        volume(tmp_path / "elsewhere" / f"TS_{number}_10.00Apx.MRC", number)
    status, log = run("prepare_star", "elsewhere", "--from", relion)
    assert status == 0, log
    names = [row["rlnMicrographName"] for row in read_star("tomograms.star").rows]
    assert names == ["elsewhere/TS_1_10.00Apx.MRC", "elsewhere/TS_2_10.00Apx.MRC"]


def test_tables_of_tilt_series_that_were_not_copied_along_are_missed(run, relion):
    relion.write_text(relion.read_text().replace("tilt_series/TS_2.star", "tilt_series/lost.star"))
    status, log = run("prepare_star", "--from", relion)
    assert status == 0 and "tilts and defocus of TS_2 are not known, since it names" in log, log
    assert "-60..60 degrees, since no tilt range was found: TS_2" in log and "Without defocus" in log
    table = read_star("tomograms.star")
    assert [table.number(row, "rlnDefocus") for row in table.rows] == [32000, 0]


@pytest.mark.parametrize(
    ("changed", "state"),
    [({"do_fourier": "Yes"}, "corrected"), ({"other_args": '"--Fc --ctf"'}, "corrected"), ({}, None)],
)
def test_relions_job_tells_whether_it_corrected_the_ctf(run, relion, changed, state):
    options = {"binned_angpix": 10, "do_fourier": "No", "ctf_intact_first_peak": "Yes", "other_args": '""', **changed}
    rows = [{"rlnJobOptionVariable": name, "rlnJobOptionValue": value} for name, value in options.items()]
    (relion.parent / "job.star").write_text(
        "data_job\n\n_rlnJobTypeLabel  relion.reconstructtomograms\n_rlnJobIsTomo  0\n"
        + loop("joboptions_values", rows)
    )
    status, log = run("prepare_star", "--from", relion)
    assert status == 0 and ("RELION corrected the CTF of these tomograms, by its job.star: TS_1, TS_2" in log) == bool(
        state
    )
    assert {entry.ctf_state() for entry in TomogramTable("tomograms.star").select(None)} == {state}
    status, log = run("prepare_star", "--from", relion, "--ctf_state=raw", "--output_star=raw.star")
    assert status == 0 and read_star("raw.star").rows[0]["isonetCtfState"] == "raw", log
    (relion.parent / "job.star").write_text("words\n")
    status, log = run("prepare_star", "--from", relion, "--output_star=unknown.star")
    assert status == 0
    assert log.count("job.star: whether RELION corrected the CTF is not known, since it is not a STAR") == 1, log


def test_a_voxel_size_of_a_table_is_told_as_the_tables(run, relion):
    text = relion.read_text()
    relion.write_text(text.replace(" 1.25 8 ", " 1.25 6 "))
    status, log = run("prepare_star", "--from", relion)
    assert status == 0 and f"the header's voxel size is 10.000 A, but {relion} says 7.500 A, which is used" in log, log
    status, log = run("prepare_star", "--from", relion, "--pixel_size=8", "--output_star=given.star")
    assert status == 0 and "but pixel_size says 8.000 A" in log, log
    relion.write_text(text.replace(" 1.25 8 ", " 0.125 8 "))
    status, log = run("prepare_star", "--from", relion)
    assert status == 1 and f"error: {relion}: the voxel size is 1 for" in log, log


def test_a_half_without_the_other_is_told(run, relion):
    relion.write_text(relion.read_text().replace("TomogramHalf2 #9", "Tomogram #9"))
    status, log = run("prepare_star", "--from", relion)
    (line, _) = [line for line in log.splitlines() if "no other half" in line]
    assert status == 0 and "job009/tomograms/rec_TS_1_half1.mrc is left out" in line, log


def test_tilts_are_found_among_several_tables_of_a_file(run, relion):
    series = relion.parents[2] / "AlignTiltSeries/job007/tilt_series/TS_1.star"
    series.write_text("data_general\n\n_rlnOther 1\n" + series.read_text().replace("\n", "\r\n").replace(" ", "\t"))
    status, log = run("prepare_star", "--from", relion)
    assert status == 0 and float(read_star("tomograms.star").rows[0]["rlnTiltMin"]) == -51, log
    series.write_text(series.read_text() + series.read_text().replace("data_TS_1", "data_TS_2"))
    status, log = run("prepare_star", "--from", relion)
    assert status == 1 and "TS_1.star: it holds 2 tables with _rlnTomoYTilt" in log, log


def test_isonet2s_table_of_halves_alone(run, tmp_path):
    rows = []
    for number in (1, 2):
        halves = [f"split/{kind}/TS_{number}_{kind}.mrc" for kind in ("EVN", "ODD")]
        for half, file in enumerate(halves):
            volume(tmp_path / file, 10 * number + half)
        named = {"rlnIndex": number, "rlnTomoName": "None"}
        named |= {f"rlnTomoReconstructedTomogramHalf{n}": file for n, file in enumerate(halves, 1)}
        known = {"rlnPixelSize": 10.0, "rlnDefocus": 35000, "rlnVoltage": 200, "rlnSphericalAberration": 2.7}
        rest = {"rlnMaskName": "None", "rlnTiltMin": -51, "rlnTiltMax": 57, "rlnNumberSubtomo": 300 * number}
        rest |= {"rlnMaskBoundary": "TS.mod" if number == 2 else "None", "rlnBoxFile": "None", "rlnSnrFalloff": 0.7}
        rows.append({**named, **known, **rest})
    (tmp_path / "isonet2.star").write_text(loop("", rows))
    (tmp_path / "TS.mod").write_text("")
    status, log = run("prepare_star", "--from", "isonet2.star")
    assert status == 0 and "2 tomograms of IsoNet2" in log, log
    assert "isonet2.star: not taken from it: rlnSnrFalloff\n" in log, log
    table = read_star("tomograms.star")
    row = table.rows[1]
    numbers = [table.number(row, f"rln{label}") for label in ("PixelSize", "Defocus", "Voltage", "TiltMin", "TiltMax")]
    assert numbers == [10, 35000, 200, -51, 57]
    assert row["rlnTomoReconstructedTomogramHalf2"] == "split/ODD/TS_2_ODD.mrc"
    typed = [(row["rlnNumberSubtomo"], row["rlnMaskBoundary"]) for row in table.rows]
    assert typed == [("300", "None"), ("600", "TS.mod")]
    assert row["rlnMicrographName"] == "averages/TS_2.mrc"
    text = (tmp_path / "isonet2.star").read_text()
    (tmp_path / "turned.star").write_text(text.replace("-51 57", "57 -51"))
    status, log = run("prepare_star", "--from", "turned.star")
    assert status == 1 and "turned.star, rlnTiltMin and rlnTiltMax of rlnIndex 1: 57..-51 degrees" in log, log
    # as some libraries write a table of one row
    (tmp_path / "one.star").write_text("data_\n\n" + "".join(f"_{k} {v}\n" for k, v in rows[0].items()))
    assert run("prepare_star", "--from", "one.star")[0] == 0
    # in um, as Warp counts
    (tmp_path / "um.star").write_text((tmp_path / "isonet2.star").read_text().replace("35000", "3.5"))
    status, log = run("prepare_star", "--from", "um.star")
    assert status == 1 and "um.star: 3.5 for TS_1" in log and "35000" in log, log


def test_warps_folder(run, tmp_path):
    warp = tmp_path / "warp_tiltseries"
    for number in (1, 2):
        for place in ("", "even/", "odd/")[: 3 if number == 1 else 2]:
            volume(warp / "reconstruction" / f"{place}TS_{number}_10.00Apx.mrc", number)
    for number in (1, 2, 3):
        (warp / f"TS_{number}.xml").write_text(XML)
    (warp / "._TS_1.xml").write_bytes(b"\0")  # as macOS puts beside each file
    optics = '<CTF><Param Name="Voltage" Value="200" /><Param Name="Cs" Value="1.4" /><Param Name="Kind" Value="a" />'
    told = XML.replace("<CTF>", optics + '<Param Name="PhaseShift" Value="0.5" />')
    (warp / "TS_1.xml").write_text(told)
    status, log = run("prepare_star", "--from", "warp_tiltseries")
    assert status == 0 and "TS_3.xml: left out" in log, log
    assert "TS_1.xml: its phase plate (phase shift 90 degrees) is not modelled" in log, log
    table = read_star("tomograms.star")
    assert [row["rlnTomoName"] for row in table.rows] == ["TS_1", "TS_2"]
    row = table.rows[0]
    numbers = [table.number(row, f"rln{label}") for label in ("PixelSize", "Defocus", "TiltMin", "TiltMax")]
    assert numbers == pytest.approx([10, 32000, -60, 40.01])
    assert [table.number(row, f"rln{label}") for label in ("Voltage", "SphericalAberration")] == [200, 1.4]
    assert table.text(table.rows[1], "rlnVoltage") is None
    assert "TS_2_10.00Apx.mrc is left out, as there is no other half" in log and "._TS_1" not in log, log
    halves = [table.text(one, "rlnTomoReconstructedTomogramHalf1") for one in table.rows]
    assert halves == ["warp_tiltseries/reconstruction/even/TS_1_10.00Apx.mrc", None]
    assert {entry.ctf_state() for entry in TomogramTable("tomograms.star").select(None)} == {"phase-flipped"}
    volume(warp / "reconstruction" / "TS_1_20.00Apx.mrc", voxel_size=20.0)
    status, log = run("prepare_star", "--from", "warp_tiltseries")
    assert status == 1 and "several tomograms of TS_1: TS_1_10.00Apx.mrc, TS_1_20.00Apx.mrc" in log
    status, log = run("prepare_star", "--from", tmp_path)
    assert status == 1 and "holds no .xml" in log


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (loop("", [{"rlnIndex": 1, "rlnMicrographName": "t.mrc", "rlnPixelSize": 10}]), "for this program already"),
        (loop("particles", [{"rlnTomoName": "TS_1", "rlnCoordinateX": 1}]), "not a table of tomograms"),
        ("words\n", "not a STAR table"),
    ],
)
def test_what_is_no_table_of_tomograms_is_refused(run, tmp_path, text, said):
    (tmp_path / "t.star").write_text(text)
    status, log = run("prepare_star", "--from", "t.star")
    assert status == 1 and said in log, log


def test_voxel_sizes_are_those_of_the_headers_and_suffixes_may_be_capital(run, tmp_path):
    volume(tmp_path / "set" / "a.MRC", voxel_size=13.3)
    volume(tmp_path / "set" / "b.Rec", voxel_size=8.0)
    status, log = run("prepare_star", "set")
    assert status == 0, log
    table = read_star("tomograms.star")
    assert [table.number(row, "rlnPixelSize") for row in table.rows] == pytest.approx([13.3, 8.0])
    assert "-60..60 degrees, since no tilt range was found: a, b" in log and "Without defocus" in log
    for size in (0, 1):
        with mrcfile.open(tmp_path / "set" / "a.MRC", "r+") as mrc:
            mrc.voxel_size = size
        status, log = run("prepare_star", "set")
        assert status == 1 and "a.MRC: its header's voxel size is" in log and "--pixel_size" in log, log
    assert run("prepare_star")[1].count("FOLDER: it is not given") == 1
    (tmp_path / "eman2").mkdir()
    (tmp_path / "eman2" / "TS_1.hdf").write_text("")
    assert (
        "holds no .mrc or .rec or .zarr files, but .hdf, which are to be converted" in run("prepare_star", "eman2")[1]
    )


def test_tilt_files_and_halves_by_their_tilt_series(run, tmp_path):
    volume(tmp_path / "set" / "TS_1_Vol.mrc")
    volume(tmp_path / "even" / "TS_1_EVN_Vol.mrc", 1)
    volume(tmp_path / "odd" / "TS_1_ODD_Vol.mrc", 2)
    (tmp_path / "tilts").mkdir()
    (tmp_path / "tilts" / "TS_1.xml").write_text(XML.replace("<CTF>", '<CTF><Param Name="Voltage" Value="200" />'))
    options = ("--even_folder=even", "--odd_folder=odd", "--tilt_files=tilts")
    status, log = run("prepare_star", "set", *options)
    assert status == 0, log
    table = read_star("tomograms.star")
    row = table.rows[0]
    numbers = [table.number(row, f"rln{label}") for label in ("Defocus", "TiltMin", "TiltMax", "Voltage")]
    assert numbers == pytest.approx([32000, -60, 40.01, 200])
    assert row["rlnTomoReconstructedTomogramHalf2"] == "odd/TS_1_ODD_Vol.mrc"
    assert "4 tilts, -60..40.01 degrees, by tilts/TS_1.xml" in log
    volume(tmp_path / "set" / "TS_2_Vol.mrc")
    status, log = run("prepare_star", "set", "--tilt_files=tilts")
    assert status == 1 and "no tilt file" in log and "TS_2" in log


def test_a_tilt_file_that_serves_two_tilt_series_is_told(run, tmp_path):
    for name in ("Position_1", "Position_1_2", "Position_1_10.00Apx", "Position_3"):
        volume(tmp_path / "set" / f"{name}.mrc")
    (tmp_path / "tilts").mkdir()
    for name in ("Position_1", "Position_3"):
        (tmp_path / "tilts" / f"{name}.rawtlt").write_text("-50\n0\n55\n")
    status, log = run("prepare_star", "set", "--tilt_files=tilts")
    assert status == 0, log
    (line,) = [line for line in log.splitlines() if "begin alike" in line]
    assert "tilts/Position_1.rawtlt: it is taken for Position_1 and Position_1_2, whose names begin alike" in line
    (tmp_path / "tilts" / "Position_1_2.mrc.mdoc").write_text("[ZValue = 0]\nTiltAngle = -40\n\nTiltAngle = 41\n")
    status, log = run("prepare_star", "set", "--tilt_files=tilts")
    assert status == 0 and "begin alike" not in log, log
    rows = {Path(row["rlnMicrographName"]).stem: row for row in read_star("tomograms.star").rows}
    assert float(rows["Position_1_2"]["rlnTiltMin"]) == -40 and float(rows["Position_1"]["rlnTiltMin"]) == -50


def test_halves_beside_the_tomograms_are_not_taken_for_tomograms(run, tmp_path):
    for place, suffix in (("aretomo", "_Vol"), ("relion", "")):
        for number, kind in enumerate(("EVN", "ODD") if suffix else ("half1", "half2")):
            volume(tmp_path / place / f"TS_1_{kind}{suffix}.mrc", number)
    volume(tmp_path / "aretomo" / "TS_1_Vol.mrc", 2)
    volume(tmp_path / "aretomo" / "TS_12_Vol.mrc", 3)
    status, log = run("prepare_star", "aretomo")
    assert status == 0 and "aretomo/TS_1_Vol.mrc: its halves are aretomo/TS_1_EVN_Vol.mrc" in log, log
    rows = read_star("tomograms.star").rows
    named = [[row[f"rlnTomoReconstructedTomogramHalf{half}"] for half in (1, 2)] for row in rows]
    assert [row["rlnMicrographName"] for row in rows] == ["aretomo/TS_12_Vol.mrc", "aretomo/TS_1_Vol.mrc"]
    assert named == [["None", "None"], ["aretomo/TS_1_EVN_Vol.mrc", "aretomo/TS_1_ODD_Vol.mrc"]]
    status, log = run("prepare_star", "relion", "--output_star=relion.star")
    assert status == 0 and "taken as the mean of its halves" in log, log
    (row,) = read_star("relion.star").rows
    assert row["rlnMicrographName"] == "averages/TS_1.mrc"
    assert row["rlnTomoReconstructedTomogramHalf2"] == "relion/TS_1_half2.mrc"


def test_the_folder_of_aretomo3_as_it_leaves_it(run, tmp_path):
    kinds = ("", "_EVN", "_ODD", "_Vol", "_EVN_Vol", "_ODD_Vol", "_2ND_Vol", "_CTF")  # images, tomograms, a spectrum
    for seed, kind in enumerate(kinds):
        volume(tmp_path / "aretomo" / f"TS_1{kind}.mrc", seed)
        volume(tmp_path / "aretomo" / f"TS_10{kind}.mrc", seed)
    status, log = run("prepare_star", "aretomo")
    assert status == 0 and not Path("averages").exists(), log
    rows = {Path(row["rlnMicrographName"]).stem: row for row in read_star("tomograms.star").rows}
    assert len(rows) == 8  # all but the halves
    halves = [rows["TS_1_Vol"][f"rlnTomoReconstructedTomogramHalf{half}"] for half in (1, 2)]
    assert halves == ["aretomo/TS_1_EVN_Vol.mrc", "aretomo/TS_1_ODD_Vol.mrc"]
    assert rows["TS_1_2ND_Vol"]["rlnTomoReconstructedTomogramHalf1"] == "None"
    (line,) = [line for line in log.splitlines() if "of one tilt series" in line]
    assert "TS_1.mrc, TS_1_2ND_Vol.mrc, TS_1_CTF.mrc and 1 more; so are those of 1 other" in line


@pytest.mark.parametrize(
    "kinds", ["TS_1_EVN ODD_TS_1", "even_TS_1 odd_TS_1", "half1-TS_1 TS_1.half2", "Even.TS_1 odd-TS_1_10.00Apx"]
)
def test_halves_are_known_by_either_end_of_their_names(tmp_path, kinds):
    whole, even, odd = (tmp_path / f"{name}.mrc" for name in ("TS_1", *kinds.split()))
    assert [known.halves for known in with_their_halves([odd, whole, even])] == [(even, odd)]
    assert [(known.name, known.halves) for known in with_their_halves([odd, even])] == [("TS_1", (even, odd))]
    assert [known.path for known in with_their_halves([even])] == [even]
    alike = [tmp_path / f"{name}.mrc" for name in ("evening_TS_1", "TS_1odd", "oddTS_1")]
    assert [known.path for known in with_their_halves(alike)] == alike


@pytest.mark.parametrize(
    "kinds", ["_h1 _h2", "_H1 _H2", "_half_1 _half_2", "_half-1 _half-2", "_Half1 _Half2", "EVN ODD", "even odd"]
)
def test_halves_by_number_are_known_beside_their_tomogram(tmp_path, kinds):
    whole, even, odd = (tmp_path / f"TS_1{kind}.mrc" for kind in ("", *kinds.split()))
    found = with_their_halves([odd, whole, even])
    assert [(known.path, known.halves) for known in found] == [(whole, (even, odd))]


def test_halves_of_two_spellings_are_no_pair(tmp_path):
    whole, first, second, odd = paths = [tmp_path / f"TS_1{kind}.mrc" for kind in ("", "_h1", "_h2", "ODD")]
    assert [known.halves for known in with_their_halves(paths)] == [(first, second), ()]
    assert [known.halves for known in with_their_halves([whole, first, odd])] == [(), (), ()]


def test_what_is_named_like_halves_is_no_tomogram_without_a_word(tmp_path, caplog):
    caplog.set_level("INFO")
    holes = [tmp_path / f"grid_{hole}.mrc" for hole in ("h1", "h2", "h3")]
    assert [known.path for known in with_their_halves(holes)] == holes
    assert "as no tomogram is beside them: grid_h1.mrc, grid_h2.mrc" in caplog.text
    parts = [tmp_path / f"lamella_half_{part}_TS03.mrc" for part in "12"]
    assert [known.path for known in with_their_halves(parts)] == parts
    caplog.clear()
    alone = [tmp_path / "TS_1.mrc", tmp_path / "TS_1_EVN.mrc"]
    assert [known.path for known in with_their_halves(alone)] == alone
    assert "though named like halves: TS_1_EVN.mrc." in caplog.text
    caplog.clear()
    assert len(with_their_halves([tmp_path / "grid_h1.mrc", tmp_path / "grid_h3.mrc"])) == 2 and not caplog.records
    three = [tmp_path / f"{name}.mrc" for name in ("grid_TS1", "grid_h1_TS1", "grid_h2_TS1")]
    assert [known.path for known in with_their_halves(three)] == three


def test_two_even_halves_are_no_pair(tmp_path):
    paths = [tmp_path / f"TS_1{kind}.mrc" for kind in ("", "_half1", "_EVN")]
    assert [known.halves for known in with_their_halves(paths)] == [(), (), ()]
    (whole, *others) = with_their_halves([*paths[:2], tmp_path / "TS_1_ODD.mrc"])
    assert whole.halves == (paths[1], tmp_path / "TS_1_ODD.mrc") and not others


@pytest.mark.parametrize("folders", [("even", "even"), ("set", "odd"), ("even", "link")])
def test_one_file_is_not_two_halves(run, tmp_path, folders):
    for number, name in enumerate(("set", "even", "odd")):
        volume(tmp_path / name / "t.mrc", number)
    (tmp_path / "link").symlink_to("even")
    status, log = run("prepare_star", "set", f"--even_folder={folders[0]}", f"--odd_folder={folders[1]}")
    assert status == 1 and "it is both halves of t, or half and whole" in log, log


def test_hundreds_of_tomograms_find_their_halves_at_once():
    """With each name compared with each: 14 s."""
    kinds = ("Vol", "EVN_Vol", "ODD_Vol")
    paths = [Path(f"TS_{number:04d}_{kind}.mrc") for kind in kinds for number in range(600)]
    started = time.process_time()
    found = with_their_halves(paths)
    assert time.process_time() - started < 3
    assert all(one.name[:7] == half.name[:7] for one in found for half in one.halves)
    assert len(found) == 600 and {len(one.halves) for one in found} == {2}
