"""deconv on files."""

from pathlib import Path

import pytest

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
