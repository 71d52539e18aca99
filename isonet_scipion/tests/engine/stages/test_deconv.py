"""deconv on files."""

from pathlib import Path

import pytest

from isonet_scipion.tests.engine.conftest import make_tomogram
from isonet_scipion.tests.engine.stages.conftest import write_table_of_noise


def test_a_tomogram_without_defocus_is_not_deconvolved(run, tmp_path):
    write_table_of_noise(tmp_path)
    status, log = run("deconv", "t.star")
    assert status == 1 and "t.star, rlnDefocus: it is 0 for t.mrc" in log and not Path("deconv").exists()


@pytest.mark.parametrize(
    ("option", "most"),
    [("highpassnyquist=5", 1), ("highpassnyquist=-1", 1), ("snrfalloff=-1", 99), ("deconvstrength=-5", 99)],
)
def test_a_filter_that_can_not_be_is_refused(run, tmp_path, option, most):
    write_table_of_noise(tmp_path, rlnDefocus=20000)
    status, log = run("deconv", "t.star", f"--{option}")
    assert status == 2 and f"is not from 0 to {most}" in log and option.partition("=")[0] in log, log
    write_table_of_noise(tmp_path, rlnDefocus=20000, rlnSnrFalloff=-1)
    status, log = run("deconv", "t.star")
    assert (
        status == 1 and "t.star, snrfalloff of t.mrc: -1 is not from 0 to 99" in log and not Path("deconv").exists()
    ), log


def test_what_a_trial_left_in_the_table_is_told(run, tmp_path):
    for seed, name in enumerate("abc"):
        make_tomogram(tmp_path / "tomo" / f"{name}.mrc", (24, 24, 24), seed)
    assert run("prepare_star", "tomo", "--output_star=t.star", "--defocus=20000", "--number_subtomos=2")[0] == 0
    status, log = run("deconv", "t.star", "--tomo_idx=2", "--snrfalloff=0.3")
    assert status == 0 and "b.mrc: defocus 20000 A, 300 kV, Cs 2.7 mm, snrfalloff 0.3, deconvstrength 1, from" in log
    assert "If that is not meant" not in log
    told = "t.star: rlnSnrFalloff is 1, but for b (0.3). If that is not meant: "
    status, log = run("deconv", "t.star")
    assert status == 0 and f"{told}give --snrfalloff, which counts for all." in log and log.count("not meant") == 1, log
    small = ("--cube_size=8", "--crop_size=12")
    for options, times in (((), 1), (("--use_deconv_tomo=False",), 0), (("--tomo_idx=1,3",), 0)):
        status, log = run("extract", "t.star", *small, *options)
        assert status == 0 and log.count(f"{told}run deconv on all with --snrfalloff.") == times, log
    training = ("--method=one-pass", "--cube_size=8", "--unet_depth=1", "--gpuID=99")  # which ends soon
    assert f"{told}run deconv on all with --snrfalloff." in run("refine", "t.star", *training)[1]
    status, log = run("deconv", "t.star", "--snrfalloff=1", "--deconvstrength=0.8")
    assert status == 0 and "If that is not meant" not in log, log
