"""deconv on files."""

from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import write_volume


def _table(tmp_path, **values):
    rng = np.random.default_rng(0)
    write_volume(tmp_path / "t.mrc", rng.normal(size=(24, 32, 32)).astype(np.float32), 10.0)
    row = {"rlnIndex": 1, "rlnMicrographName": "t.mrc", "rlnPixelSize": 10, "rlnNumberSubtomo": 2, **values}
    text = "data_\nloop_\n" + "".join(f"_{label}\n" for label in row) + " ".join(map(str, row.values())) + "\n"
    (tmp_path / "t.star").write_text(text)


def test_a_tomogram_without_defocus_is_not_deconvolved(run, tmp_path):
    _table(tmp_path)
    status, log = run("deconv", "t.star")
    assert status == 1 and "t.star, rlnDefocus: it is 0 for t.mrc" in log and not Path("deconv").exists()


@pytest.mark.parametrize(
    ("option", "most"),
    [("highpassnyquist=5", 1), ("highpassnyquist=-1", 1), ("snrfalloff=-1", 99), ("deconvstrength=-5", 99)],
)
def test_a_filter_that_can_not_be_is_refused(run, tmp_path, option, most):
    _table(tmp_path, rlnDefocus=20000)
    status, log = run("deconv", "t.star", f"--{option}")
    assert status == 2 and f"is not from 0 to {most}" in log and option.partition("=")[0] in log, log
    _table(tmp_path, rlnDefocus=20000, rlnSnrFalloff=-1)
    status, log = run("deconv", "t.star")
    assert (
        status == 1 and "t.star, snrfalloff of t.mrc: -1 is not from 0 to 99" in log and not Path("deconv").exists()
    ), log
