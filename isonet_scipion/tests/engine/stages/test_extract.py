"""extract on files."""

from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import read_star, write_star
from isonet_scipion.tests.engine.conftest import make_tomogram


def test_given_coordinates_are_used_exactly_and_those_at_the_border_left_out(project, run):
    (project / "c.star").write_text(
        "data_\nloop_\n_rlnTomoName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n_rlnCoordinateZ #4\n"
        "TS.1_bin4 20.2 21 15\nTS.1_bin4 1 21 15\nother 20 20 15\n"
    )
    status, log = run("extract", "tomograms.star", "--cube_size", 8, "--crop_size", 12, "--coordinates_star", "c.star")
    assert status == 0
    assert "1 of 2 coordinates" in log
    rows = read_star("subtomo.star").rows
    assert [[row[f"rlnCoordinate{axis}"] for axis in "XYZ"] for row in rows] == [["20", "21", "15"]]


def test_a_tomogram_of_one_value_is_refused_as_by_other_stages(project, run):
    write_volume("tomoset/TS.1_bin4.mrc", np.full((32, 48, 52), 7, np.float32), 12.0)
    status, log = run("extract", "tomograms.star", "--cube_size", 8)
    assert (
        status == 1 and "TS.1_bin4.mrc, where subtomograms would be cut: all its voxels are equal. Leave it" in log
    ), log
    assert not Path("subtomo").exists()


def test_two_tomograms_of_one_name_do_not_collide(run, tmp_path):
    table = "data_\nloop_\n_rlnIndex #1\n_rlnMicrographName #2\n_rlnPixelSize #3\n_rlnNumberSubtomo #4\n"
    for index, folder in enumerate(("a b", "b'c"), 1):
        make_tomogram(tmp_path / folder / "t.mrc", seed=index)
        table += f'{index} "{folder}/t.mrc" 12 3\n'
    (tmp_path / "t.star").write_text(table)
    assert run("extract", "t.star", "--cube_size", 8, "--seed", 0)[0] == 0
    star = read_star("subtomo.star")
    assert len({row["rlnImageName"] for row in star.rows}) == 6
    for number, row in enumerate(star.rows):
        source = open_volume(tmp_path / ("a b", "b'c")[number // 3] / "t.mrc").data
        z, y, x = (star.integer(row, f"rlnCoordinate{axis}") for axis in "ZYX")
        np.testing.assert_array_equal(
            open_volume(row["rlnImageName"]).data, source[z - 12 : z + 12, y - 12 : y + 12, x - 12 : x + 12]
        )


@pytest.mark.parametrize("header", [0.0, 1.0, 25.0])
def test_outputs_of_all_stages_have_the_tables_voxel_size_and_fit_to_each_other(run, tmp_path, header):
    make_tomogram(tmp_path / "tomoset" / "t.mrc", voxel_size=header)
    assert run("prepare_star", "tomoset", "--pixel_size", 10, "--defocus=20000", "--number_subtomos", 2)[0] == 0
    for use_deconv_tomo in (False, True):  # the mask of one is a mask of the other
        assert run("make_mask", "tomograms.star", "--use_deconv_tomo", use_deconv_tomo)[0] == 0
        assert run("deconv", "tomograms.star")[0] == 0
        for use in (False, True):
            status, log = run("extract", "tomograms.star", "--cube_size", 8, "--use_deconv_tomo", use)
            assert status == 0, log
            (path, _) = (row["rlnImageName"] for row in read_star("subtomo.star").rows)
            assert open_volume(path).voxel_size == 10.0
    row = read_star("tomograms.star").rows[0]
    assert [open_volume(row[f"rln{name}"]).voxel_size for name in ("MaskName", "DeconvTomoName")] == [10.0, 10.0]


def two_tomograms(run, folder):
    """A table of two tomograms, of which the second is not deconvolved and has no mask."""
    for seed, name in enumerate("ab"):
        make_tomogram(folder / "tomo" / f"{name}.mrc", seed=seed)
    assert run("prepare_star", "tomo", "--defocus=20000", "--number_subtomos=2")[0] == 0
    for stage in ("deconv", "make_mask"):
        assert run(stage, "tomograms.star", "--tomo_idx=1")[0] == 0


def test_deconvolved_and_other_tomograms_are_not_mixed(run, tmp_path):
    two_tomograms(run, tmp_path)
    small = ("extract", "tomograms.star", "--cube_size=8", "--crop_size=12")
    status, log = run(*small)
    assert status == 1, log
    assert (
        "tomograms.star: only some of the tomograms are deconvolved, not b. Run deconv on these too, choose by "
        "--tomo_idx, or give --use_deconv_tomo False." in log
    )
    assert not Path("subtomo").exists() and not Path("subtomo.star").exists()
    for chosen in ("--tomo_idx=1", "--tomo_idx=2", "--use_deconv_tomo=False"):
        status, log = run(*small, chosen)
        assert status == 0 and ("only some" in log) == (chosen == "--use_deconv_tomo=False"), log
    assert "the tomograms have masks, not b: subtomograms are taken anywhere in these. Make masks of these too." in log
    # none are taken of the second
    table = read_star("tomograms.star")
    table.set(table.rows[1], "rlnNumberSubtomo", 0)
    write_star("tomograms.star", table)
    status, log = run(*small)
    assert status == 0 and "only some" not in log, log


SMALL = ("--cube_size=8", "--crop_size=12", "--seed=1")


def test_an_interrupted_extract_leaves_no_table_of_what_it_has_replaced(project, run, monkeypatch):
    assert run("extract", "tomograms.star", *SMALL)[0] == 0
    table = Path("subtomo.star").read_text()
    made = []

    def killed(path, *arguments, **more):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(path)
        write_volume(path, *arguments, **more)

    monkeypatch.setattr("isonet_scipion.engine.stages.extract.write_volume", killed)
    # what is refused before any is replaced keeps it
    assert run("extract", "tomograms.star", "--cube_size=8", "--crop_size=400")[0] == 1
    assert Path("subtomo.star").read_text() == table
    run("extract", "tomograms.star", *SMALL)
    # nor any that nothing names
    assert len(made) == 2 and not Path("subtomo.star").exists() and sorted(Path("subtomo").iterdir()) == sorted(made)
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert run("extract", "tomograms.star", *SMALL)[0] == 0 and Path("subtomo.star").read_text() == table


def test_a_copy_of_a_table_does_not_go_with_what_was_extracted_since(project, run):
    assert run("extract", "tomograms.star", *SMALL)[0] == 0
    Path("before.star").write_text(Path("subtomo.star").read_text())
    assert run("extract", "tomograms.star", "--cube_size=8", "--crop_size=12", "--seed=2")[0] == 0
    train = ("--iterations=1", "--epochs=1", "--steps_per_epoch=1", "--unet_depth=1", "--filter_base=2")
    status, log = run("refine", "before.star", *train)
    assert status == 1 and "it has other voxels than when before.star was written: it was replaced since" in log, log
    assert not Path("results").exists()


@pytest.mark.parametrize("option", ["coordinates_unit=pixels", "coordinates_pixel_size=2.5"])
def test_an_option_of_coordinates_that_are_not_given_is_told(project, run, option):
    status, log = run("extract", "tomograms.star", *SMALL, f"--{option}")
    assert status == 0 and f"{option.partition('=')[0]} has no effect without coordinates_star." in log, log
    assert "no effect" not in run("extract", "tomograms.star", *SMALL)[1]


def test_a_table_that_prepare_subtomo_star_wrote_is_not_replaced(run, tmp_path):
    make_tomogram(tmp_path / "tomoset" / "t.mrc")
    write_volume(tmp_path / "mine" / "s.mrc", np.random.default_rng(0).normal(size=(24,) * 3).astype(np.float32), 10.0)
    assert run("prepare_subtomo_star", "mine", "--output_star=subtomo.star")[0] == 0
    table = Path("subtomo.star").read_text()
    assert run("prepare_star", "tomoset", "--number_subtomos", 2)[0] == 0
    command = ("extract", "tomograms.star", "--cube_size", 8, "--crop_size", 12)
    status, log = run(*command)
    assert status == 1 and "subtomo.star: it is there already, of subtomograms that extract did not write" in log, log
    assert Path("subtomo.star").read_text() == table and not Path("subtomo").exists()
    for _ in range(2):  # its own is replaced
        assert run(*command, "--subtomo_star=own.star")[0] == 0


def test_centres_away_from_gold_are_distinct_while_there_are_enough(run, tmp_path):
    rng = np.random.default_rng(0)
    voxels = rng.normal(size=(32, 60, 80)).astype(np.float32)
    voxels[14:18, 28:32, 10:14] = -60
    write_volume(tmp_path / "tomo" / "t.mrc", voxels, 10.0)
    inside = np.zeros(voxels.shape, np.int8)
    inside[16, 28:32, 8:72] = 1  # 256 voxels, of which those from x = 24 on are far from the gold
    write_volume(tmp_path / "masks" / "t_mask.mrc", inside, 10.0)
    for count, distinct in ((150, 150), (192, 192), (220, 192)):
        options = ("--number_subtomos", count, "--mask_folder_in=masks", "--defocus=20000")
        assert run("prepare_star", "tomo", *options)[0] == 0
        status, log = run("extract", "tomograms.star", "--cube_size=8", "--crop_size=16", "--seed=1")
        assert status == 0 and "voxels far beyond all others" in log, log
        rows = read_star("subtomo.star").rows
        places = {tuple(row[f"rlnCoordinate{axis}"] for axis in "XYZ") for row in rows}
        assert (len(rows), len(places)) == (count, distinct)
