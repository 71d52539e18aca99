"""Tables for RELION 5, read back by a STAR library that RELION's own tools use."""

from pathlib import Path

import numpy as np
import pytest
import starfile

from isonet_scipion.engine.io.marks import mark_of
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.origin import voxels_digest, with_origin
from isonet_scipion.engine.io.star import Star, read_star, write_star


@pytest.fixture
def table(tmp_path):
    """Two tomograms at 10 A, of which the first is corrected."""
    star = Star([])
    for index, (name, shape) in enumerate({"TS_01": (20, 30, 40), "TS 02": (24, 36, 48)}.items(), 1):
        path = tmp_path / "raw" / f"{name}.mrc"
        write_volume(path, np.zeros(shape, np.float32), 10.0)
        row = {}
        star.rows.append(row)
        values = {"rlnIndex": index, "rlnMicrographName": f"raw/{name}.mrc", "rlnPixelSize": 10.0, "rlnVoltage": 200.0}
        values["rlnCorrectedTomoName"] = "corrected_tomos/TS_01_corrected.mrc" if index == 1 else "None"
        for label, value in values.items():
            star.set(row, label, value)
    write_volume(tmp_path / "corrected_tomos" / "TS_01_corrected.mrc", np.zeros((20, 30, 40), np.float32), 10.0)
    write_star(tmp_path / "tomograms.star", star)
    return tmp_path


def test_a_corrected_tomogram_that_is_missing_or_outdated_is_not_exported(table, run):
    corrected = table / "corrected_tomos" / "TS_01_corrected.mrc"
    mark = mark_of("predict", "tomograms.star", "raw/TS_01.mrc", "corrected_tomos")
    told = voxels_digest(open_volume("raw/TS_01.mrc"))
    write_volume(corrected, np.ones((20, 30, 40), np.float32), 10.0, mark=with_origin(mark, f"{told}-012345"))
    assert run("export_relion", "tomograms.star")[0] == 0
    write_volume(table / "raw" / "TS_01.mrc", np.full((20, 30, 40), 2, np.float32), 10.0)
    status, log = run("export_relion", "tomograms.star")
    assert status == 1 and "TS_01_corrected.mrc: it was made of other voxels than raw/TS_01.mrc has now" in log, log
    star = read_star("tomograms.star")
    star.set(star.rows[0], "rlnDeconvTomoName", "deconv/deleted.mrc")  # which it may be made of
    write_star("tomograms.star", star)
    assert run("export_relion", "tomograms.star")[0] == 0
    corrected.unlink()
    status, log = run("export_relion", "tomograms.star")
    assert status == 1 and "TS_01_corrected.mrc: the volume does not exist" in log, log


def test_table_from_scratch_is_in_the_pixels_of_the_tilt_series(table, run):
    status, log = run("export_relion", "tomograms.star", "--tilt_series_pixel_size=2.5")
    assert status == 0, log
    tables = starfile.read("relion_tomograms.star", always_dict=True)
    assert list(tables) == ["global"]
    rows = tables["global"].set_index("rlnTomoName")
    assert list(rows.index) == ["TS_01", "TS 02"]
    assert list(rows.loc["TS 02", ["rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ"]]) == [192, 144, 96]
    assert (rows["rlnTomoTomogramBinning"] * rows["rlnTomoTiltSeriesPixelSize"] == 10).all()
    assert list(rows["rlnVoltage"]) == [200, 200] and list(rows["rlnSphericalAberration"]) == [2.7, 2.7]
    assert all(Path(path).exists() and Path(path).is_absolute() for path in rows["rlnTomoReconstructedTomogram"])
    denoised = rows["rlnTomoReconstructedTomogramDenoised"]
    assert denoised["TS_01"] == str(table / "corrected_tomos" / "TS_01_corrected.mrc")


def test_relions_own_table_keeps_everything_and_gets_the_corrected_tomograms(table, run):
    own = (
        "# version 50001\n\ndata_global\n\nloop_\n_rlnTomoName #1\n_rlnTomoTiltSeriesStarFile #2\n"
        "_rlnTomoReconstructedTomogram #3\nTS_07 tilt_series/TS_07.star rec_TS_07.mrc\n"
        "TS_01 tilt_series/TS_01.star rec_TS_01.mrc\n"
    )
    Path("relion.star").write_text(own)
    status, log = run("export_relion", "tomograms.star", "--relion_star=relion.star", "--output_star=out.star")
    assert status == 0, log
    rows = starfile.read("out.star", always_dict=True)["global"]
    assert list(rows["rlnTomoTiltSeriesStarFile"]) == ["tilt_series/TS_07.star", "tilt_series/TS_01.star"]
    corrected = str(table / "corrected_tomos" / "TS_01_corrected.mrc")
    assert list(rows["rlnTomoReconstructedTomogramDenoised"]) == ["rec_TS_07.mrc", corrected]
    assert Path("relion.star").read_text() == own
    assert "Denoised is the reconstruction, as they are not corrected: TS_07\n" in log, log
    assert "voxels are not compared, as it lacks rlnTomoTiltSeriesPixelSize or rlnTomoTomogramBinning: TS_01" in log
    # with what RELION denoised
    named = own.replace("Tomogram #3", "TomogramDenoised #3")
    Path("relion.star").write_text(named + "TS_09 tilt_series/TS_09.star None\n")
    status, log = run("export_relion", "tomograms.star", "--relion_star=relion.star", "--output_star=out.star")
    assert status == 0 and "relion.star: rlnTomoReconstructedTomogramDenoised is replaced: TS_01\n" in log, log
    assert "stays what it was, as they are not corrected: TS_07\n" in log and "is None, as they" in log
    # its own result, as where it is repeated
    Path("out.star").rename("relion.star")
    status, log = run("export_relion", "tomograms.star", "--relion_star=relion.star", "--output_star=out.star")
    assert status == 0 and "is replaced" not in log, log


@pytest.mark.parametrize(("binning", "status"), [(4, 0), (5, 1)])
def test_a_corrected_tomogram_of_another_voxel_size_than_relions_is_refused(table, run, binning, status):
    Path("relion.star").write_text(
        "data_global\n\nloop_\n_rlnTomoName #1\n_rlnTomoTiltSeriesPixelSize #2\n_rlnTomoTomogramBinning #3\n"
        f"TS_01 2.5 {binning}\n"
    )
    found, log = run("export_relion", "tomograms.star", "--relion_star=relion.star", "--output_star=out.star")
    assert found == status, log
    assert Path("out.star").exists() == (status == 0)
    assert status == 0 or "TS_01 has voxels of 12.50 A there, the corrected tomogram of 10.00 A" in log


@pytest.mark.parametrize(("size", "status"), [("160 120 80", 0), ("158 124 80", 0), ("200 120 80", 1)])
def test_a_cropped_tomogram_is_refused(table, run, size, status):
    Path("relion.star").write_text(
        "data_global\n\nloop_\n_rlnTomoName #1\n_rlnTomoTiltSeriesPixelSize #2\n_rlnTomoTomogramBinning #3\n"
        f"_rlnTomoSizeX #4\n_rlnTomoSizeY #5\n_rlnTomoSizeZ #6\nTS_01 2.5 4 {size}\n"
    )
    found, log = run("export_relion", "tomograms.star", "--relion_star=relion.star", "--output_star=out.star")
    assert found == status, log
    assert status == 0 or "TS_01 has 50 x 30 x 20 voxels there (x, y, z), the corrected tomogram 40 x 30 x 20" in log


@pytest.mark.parametrize("size", [0.2, 0.25, 20])
def test_a_pixel_size_that_can_not_be_is_refused(table, run, size):
    status, log = run("export_relion", "tomograms.star", f"--tilt_series_pixel_size={size}")
    assert status == 1 and f"tilt_series_pixel_size: {size} is no pixel size of the tilt series of" in log, log


def test_names_that_relion_does_not_know_are_an_error(table, run):
    Path("relion.star").write_text("data_global\n\nloop_\n_rlnTomoName #1\nother\n")
    status, log = run("export_relion", "tomograms.star", "--relion_star=relion.star")
    assert status == 1 and "relion.star: it has no rlnTomoName TS_01" in log
    assert not Path("relion_tomograms.star").exists()


def test_block_names_survive(tmp_path):
    (tmp_path / "a.star").write_text("data_global\n\nloop_\n_rlnTomoName #1\nTS_01\n")
    write_star(tmp_path / "b.star", read_star(tmp_path / "a.star"))
    assert "data_global" in (tmp_path / "b.star").read_text()
