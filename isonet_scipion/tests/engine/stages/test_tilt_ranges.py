"""Tilt ranges that are impossible or narrow, in the stages."""

from pathlib import Path

import pytest

from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.tests.engine.stages.conftest import write_table_of_noise


@pytest.mark.parametrize("tilts", [(0, 0), (60, -60), (-1.047, 1.047)])
def test_an_impossible_tilt_range_stops_only_what_needs_tilts(run, tmp_path, tilts):
    write_table_of_noise(tmp_path, rlnDefocus=20000, rlnTiltMin=tilts[0], rlnTiltMax=tilts[1])
    for command in (("deconv", "t.star"), ("make_mask", "t.star"), ("resize", "t.star"), ("export_relion", "t.star")):
        status, log = run(*command)
        assert status == 0, log
    for command in (("extract", "t.star", "--cube_size=8"), ("refine", "t.star", "--method=one-pass")):
        status, log = run(*command)
        assert status == 1 and f"rlnTiltMin and rlnTiltMax of t.mrc: {tilts[0]}..{tilts[1]} degrees" in log, log
    status, log = run("prepare_star", ".", f"--tilt_min={tilts[0]}", f"--tilt_max={tilts[1]}")
    assert status == 1 and f"tilt_min and tilt_max for t: {tilts[0]}..{tilts[1]} degrees" in log


def test_a_correction_with_a_narrow_tilt_range_is_written_and_in_the_table(run, tmp_path):
    write_table_of_noise(tmp_path, rlnTiltMin=-5, rlnTiltMax=5)
    tiny = ("--filter_base=2", "--unet_depth=1", "--convs_per_depth=2", "--iterations=1", "--epochs=1")
    assert run("extract", "t.star", "--cube_size=8", "--crop_size=12")[0] == 0
    assert run("refine", "subtomo.star", *tiny, "--steps_per_epoch=1", "--batch_size=2")[0] == 0
    status, log = run("predict", "t.star", "results/model_iter01.keras")
    assert status == 0, log
    assert "t_corrected.mrc" in Path("t.star").read_text()
    assert Path("corrected_tomos/t_corrected_report.json").exists()
    assert open_volume("corrected_tomos/t_corrected.mrc").shape == (24, 32, 32)
