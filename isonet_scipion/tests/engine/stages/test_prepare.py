"""prepare_star and prepare_subtomo_star on files."""

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.tests.engine.conftest import SHAPE, make_tomogram


def test_own_masks_are_taken_and_checked(run, tmp_path):
    make_tomogram(tmp_path / "tomoset" / "t.mrc")
    mask = np.zeros(SHAPE, np.int8)
    mask[16, 20:24, 20:24] = 1
    write_volume(tmp_path / "masks" / "t_mask.mrc", mask, 12.0)
    options = ("--pixel_size", 12, "--mask_folder_in", "masks", "--number_subtomos", 5)
    assert run("prepare_star", "tomoset", *options)[0] == 0
    assert run("extract", "tomograms.star", "--cube_size", 8, "--crop_size", 12)[0] == 0
    assert {row["rlnCoordinateZ"] for row in read_star("subtomo.star").rows} == {"16"}
    write_volume(tmp_path / "masks" / "t_mask.mrc", mask, 10.0)
    status, log = run("extract", "tomograms.star", "--cube_size", 8, "--crop_size", 12)
    assert status == 1 and "voxel size is 10.000 A, the tomogram's 12.000 A" in log
    write_volume(tmp_path / "masks" / "t_mask.mrc", mask[1:], 12.0)
    status, log = run("prepare_star", "tomoset", "--pixel_size", 12, "--mask_folder_in", "masks")
    assert status == 1 and "its shape (31, 48, 52)" in log


def test_prepare_subtomo_star_takes_isonets_default_cube(run, tmp_path):
    make_tomogram(tmp_path / "s" / "a.mrc", (80, 80, 80))
    assert run("prepare_subtomo_star", "s", "--pixel_size", 12)[0] == 0
    row = read_star("subtomo.star").rows[0]
    assert (row["rlnCubeSize"], row["rlnCropSize"]) == ("48", "80")


def test_ome_zarr_of_a_folder_and_of_runs(run, tmp_path):
    pytest.importorskip("zarr", minversion="3", reason="zarr 3 is optional, and needs Python 3.11")
    for number in (1, 2):
        folder = tmp_path / "ExperimentRuns" / f"TS_{number}" / "VoxelSpacing13.480"
        write_volume(folder / "wbp.zarr", np.arange(64, dtype=np.float32).reshape(4, 4, 4), 13.48)
    status, log = run("prepare_star", "--from", ".", "--output_star", "runs.star")
    assert status == 0, log
    rows = read_star("runs.star").rows
    assert [(row["rlnTomoName"], float(row["rlnPixelSize"])) for row in rows] == [("TS_1", 13.48), ("TS_2", 13.48)]
    assert rows[1]["rlnMicrographName"].endswith("TS_2/VoxelSpacing13.480/wbp.zarr")
    status, log = run("prepare_star", folder, "--output_star", "folder.star")
    assert status == 0, log
    assert read_star("folder.star").rows[0]["rlnPixelSize"] == "13.480000"


def test_averages_get_the_given_voxel_size(run, tmp_path):
    for seed, half in enumerate(("half1", "half2")):
        make_tomogram(tmp_path / "halves" / f"TS_1_{half}.mrc", seed=seed, voxel_size=25.0)
    status, log = run("prepare_star", "halves", "--pixel_size", 10)
    assert status == 0 and "25.000 A, but pixel_size says 10.000 A, which is used" in log, log
    assert open_volume("averages/TS_1.mrc").voxel_size == 10.0
