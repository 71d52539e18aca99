"""make_mask with a boundary."""

from __future__ import annotations

import numpy as np

from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import read_star, write_star
from isonet_scipion.tests.engine.conftest import make_tomogram
from isonet_scipion.tests.imod_model import SHAPE, SQUARE, write_model

BINNED = (20, 30, 40)


def square_mask(planes: slice = slice(None)) -> np.ndarray:
    expected = np.zeros(BINNED, bool)
    expected[planes, 10:25, 5:15] = True
    return expected


def test_make_mask_keeps_to_the_boundary(tmp_path, run):
    volume = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    (tmp_path / "tomoset").mkdir()
    write_volume(tmp_path / "tomoset" / "a.mrc", volume, 10.0)
    assert run("prepare_star", "tomoset")[0] == 0
    star = read_star("tomograms.star")
    star.set(star.rows[0], "rlnMaskBoundary", write_model(tmp_path / "a.mod", [[*SQUARE, (0, 0, 30), (79, 59, 8)]]))
    write_star("tomograms.star", star)
    assert run("make_mask", "tomograms.star", "--density_percentage=100", "--std_percentage=100")[0] == 0
    mask = open_volume(tmp_path / "mask" / "a_mask.mrc").data
    np.testing.assert_array_equal(mask[::2, ::2, ::2].astype(bool), square_mask(slice(4, 16)))

    (tmp_path / "mask" / "a_mask.mrc").unlink()
    write_model(tmp_path / "a.mod", [SQUARE], size=(40, 60, 81))
    status, error = run("make_mask", "tomograms.star")
    assert status == 1
    assert "a.mod" in error.splitlines()[-1] and "(40, 60, 81)" in error
    assert not (tmp_path / "mask" / "a_mask.mrc").exists()


def test_it_tells_which_tomograms_are_not_deconvolved(tmp_path, run):
    for name in "abcdef":
        volume = np.random.default_rng(0).standard_normal((16, 24, 24), dtype=np.float32)
        write_volume(tmp_path / "tomoset" / f"{name}.mrc", volume, 10.0)
    assert run("prepare_star", "tomoset", "--defocus=20000")[0] == 0
    assert run("deconv", "tomograms.star", "--tomo_idx=1")[0] == 0
    status, log = run("make_mask", "tomograms.star", "--tomo_idx=2-6")
    assert status == 0 and "only some" not in log, log
    status, log = run("make_mask", "tomograms.star")
    told = (
        "tomograms.star: only some of the tomograms are deconvolved, not b, c, d and 2 more, which are taken as they "
    )
    assert status == 0 and told in log, log
    status, log = run("make_mask", "tomograms.star", "--use_deconv_tomo=False")
    assert status == 0 and "only some" not in log, log


def test_percentages_that_a_trial_left_in_the_table_are_told(tmp_path, run):
    for seed, name in enumerate("abc"):
        make_tomogram(tmp_path / "tomo" / f"{name}.mrc", (24, 24, 24), seed)
    assert run("prepare_star", "tomo", "--output_star=t.star")[0] == 0
    status, log = run("make_mask", "t.star", "--tomo_idx=3", "--density_percentage=40")
    assert status == 0 and "by density_percentage 40 and std_percentage 50" in log and "not meant" not in log, log
    status, log = run("make_mask", "t.star")
    told = "t.star: rlnMaskDensityPercentage is 50, but for c (40). If that is not meant: give --density_percentage"
    assert status == 0 and told in log and log.count("not meant") == 1, log
    log = run("make_mask", "t.star", "--density_percentage=45")[1]
    assert "not meant" not in log and "in per cent" not in log


def test_a_percentage_that_seems_to_be_a_fraction_is_told(tmp_path, run):
    make_tomogram(tmp_path / "tomo" / "a.mrc", (24, 24, 24))
    assert run("prepare_star", "tomo", "--output_star=t.star")[0] == 0
    log = run("make_mask", "t.star", "--density_percentage=0.5")[1]
    assert "density_percentage: 0.5 is in per cent, and keeps next to nothing" in log and log.count("in per cent") == 1
