"""export_relion on files."""

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.star import read_star


@pytest.fixture
def table(run, tmp_path):
    for number, name in enumerate("ab"):
        data = np.random.default_rng(number).normal(size=(8, 10, 12)).astype(np.float32)
        write_volume(tmp_path / "tomo" / f"{name}.mrc", data, 10.0)
    assert run("prepare_star", "tomo")[0] == 0
    return tmp_path / "tomograms.star"


def test_it_says_how_many_tomograms_are_corrected_and_gives_sizes_in_their_own_pixels(run, table):
    status, log = run("export_relion", "tomograms.star")
    assert status == 0 and "relion_tomograms.star: 2 tomograms, 0 of them corrected" in log, log
    rows = read_star("relion_tomograms.star").rows
    assert [[row[f"rlnTomoSize{axis}"] for axis in "XYZ"] for row in rows] == [["12", "10", "8"]] * 2
    assert "rlnTomoReconstructedTomogramDenoised" not in rows[0]


def test_its_own_table_is_not_replaced_and_sizes_must_be_sizes(run, table):
    before = table.read_bytes()
    for options, said in (
        (("--output_star=tomograms.star",), "would replace this input"),
        (("--tilt_series_pixel_size=0",), "0.0 is not a size"),
        (("--relion_star=tomograms.star", "--output_star=other.star"), "rlnTomoName"),
    ):
        status, log = run("export_relion", "tomograms.star", *options)
        assert status == 1 and said in log, log
    assert table.read_bytes() == before and not (table.parent / "other.star").exists()
