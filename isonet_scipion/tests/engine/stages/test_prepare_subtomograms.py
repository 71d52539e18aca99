"""prepare_subtomo_star on files."""

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.tests.engine.conftest import make_tomogram, set_cells


def test_prepare_subtomo_star_takes_isonets_default_cube(run, tmp_path):
    make_tomogram(tmp_path / "s" / "a.mrc", (80, 80, 80))
    assert run("prepare_subtomo_star", "s", "--pixel_size", 12)[0] == 0
    row = read_star("subtomo.star").rows[0]
    assert (row["rlnCubeSize"], row["rlnCropSize"]) == ("48", "80")


def test_small_subtomograms_need_a_cube_size(run, tmp_path):
    make_tomogram(tmp_path / "s" / "a.mrc", (22, 22, 22))
    status, log = run("prepare_subtomo_star", "s", "--pixel_size", 12)
    assert status == 1 and "s/a.mrc: 22 voxels are too few for the usual cube size. Give --cube_size." in log, log
    assert not (tmp_path / "subtomo.star").exists()
    assert run("prepare_subtomo_star", "s", "--pixel_size", 12, "--cube_size", 8)[0] == 0


def test_the_table_of_extract_is_not_replaced_and_its_subtomograms_are_told(run, tmp_path):
    make_tomogram(tmp_path / "set" / "a.mrc")
    assert run("prepare_star", "set", "--number_subtomos=3", "--tilt_max=51")[0] == 0
    assert run("extract", "tomograms.star", "--cube_size=8", "--crop_size=12")[0] == 0
    before = (tmp_path / "subtomo.star").read_bytes()
    status, log = run("prepare_subtomo_star", "subtomo", "--cube_size=8")
    assert status == 1 and "subtomo.star: it is there already, with the tomogram and the tilts of each" in log, log
    assert "Give it to refine as it is, or give another --output_star." in log
    assert (tmp_path / "subtomo.star").read_bytes() == before
    make_tomogram(tmp_path / "subtomo" / "mine.mrc", (12, 12, 12))
    status, log = run("prepare_subtomo_star", "subtomo", "--cube_size=8", "--output_star=own.star")
    assert status == 0 and "subtomo: extract wrote 3 of the 4 subtomograms" in log, log


def test_a_table_of_subtomograms_is_replaced_with_word_of_what_changes(run, tmp_path):
    for folder in ("s", "t"):
        make_tomogram(tmp_path / folder / "a.mrc", (12, 12, 12))
    assert run("prepare_subtomo_star", "s", "--cube_size=8")[0] == 0
    set_cells("subtomo.star", 0, rlnTiltMin=-42, rlnMine="typed")
    table = tmp_path / "subtomo.star"
    table.write_text("# mine\n" + table.read_text())
    status, log = run("prepare_subtomo_star", "t", "--cube_size=8")
    assert status == 1 and "subtomo.star: it is there already, of other subtomograms: s/a.mrc. Give another" in log, log
    status, log = run("prepare_subtomo_star", "s", "--cube_size=8")
    assert status == 0 and "other than in the table that was there: rlnTiltMin of a.mrc -60, before -42" in log, log
    assert "it also had rlnMine" in log and read_star("subtomo.star").comments == ["# mine"]
    make_tomogram(tmp_path / "s" / "b.mrc", (12, 12, 12))
    assert run("prepare_subtomo_star", "s", "--cube_size=8")[0] == 0
    set_cells("subtomo.star", 1, rlnTiltMin=-50)
    (tmp_path / "s" / "b.mrc").unlink()
    status, log = run("prepare_subtomo_star", "s", "--cube_size=8")
    assert status == 0 and "left out, since s has them no longer: s/b.mrc. Their rows stay as comments" in log, log
    assert "which alone tell their rlnTiltMin" in log and "rlnTiltMin -50" in read_star("subtomo.star").comments[-1]


@pytest.mark.parametrize(
    ("shape", "voxel_size", "value", "said"),
    [
        ((24, 24, 32), 10.0, 0.0, "s/b.mrc: its shape (24, 24, 32) is not a cube"),
        ((32, 32, 32), 10.0, 0.0, "s/b.mrc: its side is 32 voxels, the first one's 24"),
        ((24, 24, 24), 10.0, np.nan, "s/b.mrc: it holds NaN or infinite voxels"),
        ((24, 24, 24), 14.0, 0.0, "s: its subtomograms have voxel sizes from 10 to 14 A"),
    ],
)
def test_what_refine_would_refuse_is_refused(run, tmp_path, shape, voxel_size, value, said):
    rng = np.random.default_rng(0)
    write_volume("s/a.mrc", rng.normal(size=(24, 24, 24)).astype(np.float32), 10.0)
    odd = rng.normal(size=shape).astype(np.float32)
    odd[3, 3, 3] = value
    write_volume("s/b.mrc", odd, voxel_size)
    status, log = run("prepare_subtomo_star", "s")
    assert status == 1 and said in log and not (tmp_path / "subtomo.star").exists(), log
