"""Tilt files as programs write them; the layouts are those of public examples, the numbers are made up."""

from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.tilt_files import find_tilt_files, half_name, read_tilt_file, series_name


def find_tilt_file(folder, name):
    """Of one tilt series."""
    return find_tilt_files(folder, [name])[0]


ALN = """# AreTomo Alignment / Priims bprmMn
# RawSize = 4096 4096 5
# NumPatches = 1
# DarkFrame =     0    0   -68.00
# AlphaOffset =    12.30
# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT
    1    84.4445    1.00000     13.382     21.802     1.00     1.00     1.00     0.00    {0:.2f}
    2    84.4445    1.00000      0.000      0.000     1.00     1.00     1.00     0.00      0.29
    3    84.4445    1.00000     -2.385    -74.660     1.00     1.00     1.00     0.00     44.29
# Local Alignment
   0   0 -1537.16  -1363.14     -6.93    -36.22   1.0
"""
MDOC = """PixelSpacing = 1.7
ImageFile = TS_1.mrc

[T = SerialEM: Acquired on a Talos          30-May-21  22:34:28    ]

[T =     Tilt axis angle = -88.7, binning = 1  spot = 6  camera = 1 bidir = 0.0]

[ZValue = 0]
TiltAngle = 0.01
MinMaxMean =
TargetDefocus = -4

[ZValue = 1]
TiltAngle = -57.02

[ZValue = 2]
TiltAngle = 51.0
"""
XML = """<?xml version="1.0" encoding="utf-8"?>
<TiltSeries DataDirectory="/t" AreAnglesInverted="False" PlaneNormal="0, 0, 1">
	<Angles>-40.01
-2.5
0.02
39.98
60</Angles>
	<UseTilt>True
True
False
True
True</UseTilt>
	<CTF><Param Name="Defocus" Value="9" /></CTF>
	<GridCTF Width="1" Height="1" Depth="5" MarginX="0" MarginY="0" MarginZ="0">
		<Node X="0" Y="0" Z="0" Value="4.1" />
		<Node X="0" Y="0" Z="1" Value="3.2" />
		<Node X="0" Y="0" Z="2" Value="1.0" />
		<Node X="0" Y="0" Z="3" Value="4.3" />
		<Node X="0" Y="0" Z="4" Value="4.4" />
	</GridCTF>
</TiltSeries>
"""
RELION = """
# version 50001

data_TS_1

loop_
_rlnMicrographName #1
_rlnTomoNominalStageTiltAngle #2
_rlnTomoNominalDefocus #3
_rlnDefocusU #4
_rlnDefocusV #5
_rlnTomoYTilt #6
a_-57.mrc -57.0 -4.0 41000 42000 -55.5
a_0.mrc 0.0 -4.0 31000 33000 1.5
a_51.mrc 51.0 -4.0 43000 44000 52.5
"""
TOMOSTAR = "data_\n\nloop_\n_wrpMovieName #1\n_wrpAngleTilt #2\na.tif -51.0\nb.tif 0.02\nc.tif 57.0\n"


@pytest.mark.parametrize(
    ("name", "text", "tilts", "defocus"),
    [
        ("TS_1.tlt", " -57.00\n 0.0\n51\n", (-57, 51), None),
        ("TS_1.rawtlt", "51\r\n0\r\n-57\r\n", (-57, 51), None),
        ("TS_1_TLT.txt", "-57.0 3 20.1\n 0 1 0\n51 2 10\n", (-57, 51), None),
        ("TS_1.aln", ALN.format(-27.71), (-27.71, 44.29), None),
        ("TS_1.mrc.mdoc", MDOC, (-57.02, 51), None),
        ("TS_1.xml", XML, (-60, 40.01), 32000),  # Warp's angles are the negative of IMOD's
        ("TS_1.xml", XML.replace("PlaneN", 'LevelAngleX="3" LevelAngleY="-9.5" PlaneN'), (-50.5, 49.51), 32000),
        ("TS_1.XML", XML.replace("GridCTF", "GridOther"), (-60, 40.01), 90000),
        ("TS_1.star", RELION, (-55.5, 52.5), 32000),
        ("TS_1.star", RELION.replace("rlnTomoYTilt", "rlnOther"), (-57, 51), 32000),
        ("TS_1.tomostar", TOMOSTAR, (-57, 51), None),
    ],
)
def test_each_kind_of_tilt_file(tmp_path, name, text, tilts, defocus):
    (tmp_path / name).write_text(text)
    series = read_tilt_file(find_tilt_file(str(tmp_path), "TS_1"))
    assert (series.tilt.minimum, series.tilt.maximum) == pytest.approx(tilts)
    assert series.defocus == (None if defocus is None else pytest.approx(defocus))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.aln", ALN.format(1567301525373690323140608.0), "its 3 tilt angles .*1.5673e.24 degrees"),
        ("a.tlt", "0\n0\n", r"2 tilt angles \(0 to 0"),
        ("a.tlt", "3\n", "1 tilt angles"),
        ("a.tlt", "words\n", "can't be read"),
        ("a.mdoc", "PixelSpacing = 2\n", r"0 tilt angles \(none"),
        ("a.xml", "<TiltSeries><Angles>1 2", "can't be read"),
        ("a.star", "data_\nloop_\n_rlnA\n1\n", "has no column _rlnTomoYTilt"),
        ("a.star", "data_\nloop_\n_rlnTomoYTilt\n", r"0 tilt angles \(none"),
        ("a.tlt", "-1.047\n0\n1.047\n", "-1.047..1.047 degrees is too narrow for a tilt series; it looks like radians"),
        ("a.rawtlt", "50\n51\n55\n", "50..55 degrees is too narrow"),
        (
            "a.txt",
            "# ctffind\n" + "".join(f"{n}.0 3e4 2e4\n" for n in range(1, 42)),
            r"seems to count the images \(1 to 41",
        ),
        ("a.rawtlt", "0\n1\n2\n3\n", r"seems to count the images \(0 to 3"),
        ("a.tlt", "nan\n1\n2\n", "not those of a tilt series"),
    ],
)
def test_what_is_no_tilt_series_is_refused(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(EngineError, match=f"{name}: .*{said}"):
        read_tilt_file(tmp_path / name)


def test_a_tomogram_finds_its_own_tilt_file(tmp_path):
    (tmp_path / "TS_10").mkdir()
    names = ("TS_1.rawtlt", "TS_1.tlt", "TS_10/TS_10.tlt", "TS_1_2.mrc.mdoc", "pos_3_st.aln", "notes.doc")
    for name in names:
        (tmp_path / name).write_text("")
    found = {
        tomogram: find_tilt_file(str(tmp_path), tomogram).name
        for tomogram in ("TS_1", "TS_1_rec", "TS_1_10.00Apx", "TS_10_Vol", "TS_1_2_10.00Apx", "pos_3")
    }
    assert found == {
        "TS_1": "TS_1.tlt",
        "TS_1_rec": "TS_1.tlt",
        "TS_1_10.00Apx": "TS_1.tlt",
        "TS_10_Vol": "TS_10.tlt",
        "TS_1_2_10.00Apx": "TS_1_2.mrc.mdoc",
        "pos_3": "pos_3_st.aln",
    }
    with pytest.raises(EngineError, match=r"has no tilt file .* of TS_2"):
        find_tilt_file(str(tmp_path), "TS_2_10.00Apx")
    with pytest.raises(EngineError, match="does not exist"):
        find_tilt_file(str(tmp_path / "nowhere"), "TS_1")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "TS_1.tlt").write_text("")
    with pytest.raises(EngineError, match=r"several could be that of TS_1: .*copy/TS_1.tlt"):
        find_tilt_file(str(tmp_path), "TS_1")


@pytest.mark.parametrize("refined", ["TS_1_fid.tlt", "TS_1_Imod/TS_1_st.tlt", "TS_1_ali.tlt"])
def test_refined_angles_come_before_recorded_ones(tmp_path, refined):
    (tmp_path / refined).parent.mkdir(exist_ok=True)
    (tmp_path / refined).write_text("-51\n9\n69\n")
    (tmp_path / "TS_1.rawtlt").write_text("-60\n0\n60\n")
    assert find_tilt_file(str(tmp_path), "TS_1_rec") == tmp_path / refined
    (tmp_path / "TS_1.tlt").write_text("-52\n8\n68\n")  # after all of IMOD's alignment
    assert find_tilt_file(str(tmp_path), "TS_1_rec") == tmp_path / "TS_1.tlt"


@pytest.mark.parametrize(
    ("excluded", "tilts"),
    [("EXCLUDELIST 1-2,5", (-20, 0)), ("EXCLUDELIST\t1\nEXCLUDELIST2 5", (-40, 0)), ("", (-60, 20))],
)
def test_images_that_imod_excludes_do_not_count(tmp_path, excluded, tilts):
    (tmp_path / "TS_1.tlt").write_text("-60\n-40\n-20\n0\n20\n")
    (tmp_path / "tilt.com").write_text(f"$tilt -StandardInput\nTILTFILE TS_1.tlt\n{excluded}\nTHICKNESS 1000\n")
    series = read_tilt_file(tmp_path / "TS_1.tlt")
    assert (series.tilt.minimum, series.tilt.maximum) == tilts
    (tmp_path / "TS_2.tlt").write_text("-60\n0\n20\n")  # of another tilt series
    assert len(read_tilt_file(tmp_path / "TS_2.tlt").angles) == 3


@pytest.mark.parametrize(("axis", "tilts"), [("a", (-40, 60)), ("b", (-60, 53))])
def test_of_two_axes_each_has_a_command_file_of_its_own(tmp_path, axis, tilts):
    for one, more in (("a", "EXCLUDELIST 1"), ("b", "EXCLUDELIST 4\nOFFSET 3")):
        (tmp_path / f"TS{one}.tlt").write_text("-63\n-40\n50\n60\n")
        (tmp_path / f"tilt{one}.com").write_text(f"$tilt -StandardInput\nTILTFILE TS{one}.tlt\n{more}\n")
    series = read_tilt_file(tmp_path / f"TS{axis}.tlt")
    assert (series.tilt.minimum, series.tilt.maximum) == tilts


def test_what_imod_adds_to_the_angles_counts_for_its_own_file(tmp_path):
    for name in ("TS_1", "TS_2"):
        (tmp_path / f"{name}.tlt").write_text("-50\n0\n50\n")
    (tmp_path / "tilt.com").write_text("$tilt -StandardInput\nTILTFILE TS_1.tlt\nOFFSET 9.5\nXAXISTILT 1.2\n")
    assert list(read_tilt_file(tmp_path / "TS_1.tlt").angles) == [-40.5, 9.5, 59.5]
    assert list(read_tilt_file(tmp_path / "TS_2.tlt").angles) == [-50, 0, 50]


def test_aretomos_defoci_are_no_tilts(tmp_path):
    (tmp_path / "TS_1_CTF.txt").write_text("".join(f"{n} 30000 29000 10 0 0.1 5\n" for n in range(1, 42)))
    with pytest.raises(EngineError, match="it has no tilt file"):
        find_tilt_file(str(tmp_path), "TS_1")
    (tmp_path / "TS_1_TLT.txt").write_text("-60\n0\n60\n")
    assert find_tilt_file(str(tmp_path), "TS_1").name == "TS_1_TLT.txt"


@pytest.mark.parametrize(
    ("angles", "told"),
    [
        ([*range(-60, 1, 3), *range(24, 61, 3)], "no tilts between 0 and 24 degrees, which count as measured"),
        ([*range(60, 9, -2), *range(-60, 0, 2)], "no tilts between -2 and 10 degrees"),
        ([*range(-60, 1, 3), *range(9, 61, 3)], ""),  # a few images are often left out
        ([*range(-60, 61, 15)], ""),
        ([-60, 60], ""),  # the ends alone
    ],
)
def test_a_gap_between_the_tilts_is_told(tmp_path, caplog, angles, told):
    path = tmp_path / "a.tlt"
    path.write_text("\n".join(map(str, angles)))
    read_tilt_file(path)
    assert f"{path}: {told}" in caplog.text if told else not caplog.text


def test_a_phase_plate_in_relions_table_is_told(tmp_path, caplog):
    shifted = RELION.replace("_rlnTomoNominalDefocus", "_rlnPhaseShift")
    for text, told in ((RELION, False), (shifted, False), (shifted.replace("-4.0", "92.0"), True)):
        caplog.clear()
        (tmp_path / "TS_1.star").write_text(text)
        read_tilt_file(tmp_path / "TS_1.star")
        assert ("TS_1.star: its phase plate (phase shift 92 degrees) is not modelled" in caplog.text) == told


def test_a_defocus_that_can_not_be_names_its_file(run, tmp_path):
    write_volume(tmp_path / "set" / "TS_1.mrc", np.random.default_rng(0).normal(size=(20, 20, 20)).astype("f4"), 10.0)
    (tmp_path / "tilts").mkdir()
    (tmp_path / "tilts" / "TS_1.star").write_text(RELION.replace(" 31000 33000 ", " -31000 -33000 "))
    status, log = run("prepare_star", "set", "--tilt_files=tilts")
    assert status == 1 and "tilts/TS_1.star: " in log and "TS_1" in log and "-32000" in log, log


def test_names_of_tilt_series():
    names = ("TS_01.tomostar", "a/TS_01_10.00Apx.mrc", "TS_01.MRC", "TS_01_Vol.mrc", "TS_01", "rec_TS_01.mrc")
    assert {series_name(name) for name in (*names, "TS_01_full.rec", "TS_01_bin4_rec.mrc")} == {"TS_01"}
    halves = (
        "TS_01_EVN_Vol.mrc",
        "rec_TS_01_half2.mrc",
        "TS_01_ODD",
        "TS_01_even.mrc",
        "TS_01.odd.mrc",
        "TS_01-even.rec",
    )
    assert {half_name(name) for name in halves} == {"TS_01"}
    assert half_name("TS-oddly.even1.mrc") == "TS-oddly.even1"
    assert [series_name(name) for name in ("TS.1", "TS_1_2", "full", "rec")] == ["TS.1", "TS_1_2", "full", "rec"]


def test_a_folder_is_looked_through_once_for_all_tomograms(tmp_path, monkeypatch):
    for number in range(20):
        (tmp_path / f"TS_{number}.tlt").touch()
    looks, glob = [], Path.glob
    monkeypatch.setattr(Path, "glob", lambda path, pattern: looks.append(pattern) or glob(path, pattern))
    found = find_tilt_files(str(tmp_path), [f"TS_{number}_rec.mrc" for number in range(20)])
    assert [path.name for path in found] == [f"TS_{number}.tlt" for number in range(20)]
    assert sorted(looks) == ["*", "*/*"]


def test_a_table_of_tilts_is_read_once(tmp_path, monkeypatch):
    path, reads, read_text = tmp_path / "TS_1.star", [], Path.read_text
    path.write_text(RELION)
    monkeypatch.setattr(Path, "read_text", lambda file, **how: reads.append(file) or read_text(file, **how))
    read_tilt_file(path)
    assert reads == [path]
