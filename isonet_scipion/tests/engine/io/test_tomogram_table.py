"""The table of tomograms, as stages read and write it."""

from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine import cli
from isonet_scipion.engine.conventions import Normalisation
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.star import Star, read_star, write_star
from isonet_scipion.engine.io.subtomograms import read_subtomograms
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.wedge import TiltRange

HEAD = "data_\nloop_\n_rlnIndex #1\n_rlnMicrographName #2\n_rlnPixelSize #3\n_rlnDefocus #4\n_rlnDeconvTomoName #5\n"


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a", "b", "a_deconv")):
        write_volume(f"{name}.mrc", np.random.default_rng(seed).normal(size=(4, 5, 6)).astype(np.float32), 12.0)
    (tmp_path / "t.star").write_text(f"{HEAD}1 a.mrc 12 20000 a_deconv.mrc\n2 b.mrc 12 30000 None\n")
    return TomogramTable("t.star")


def test_what_a_row_tells_and_what_is_usual(table):
    first, second = table.select(None)
    assert (first.name, first.voxel_size, first.tilt) == ("a", 12, TiltRange())
    assert first.ctf_parameters() == CtfParameters(defocus=20000.0)
    assert first.ctf_parameters(200.0, 1.4) == CtfParameters(200.0, 1.4, defocus=20000.0)
    assert (first.source_path, first.deconvolved) == ("a.mrc", False)
    first, second = TomogramTable("t.star", use_deconvolved=True).select(None)
    assert (first.source_path, first.deconvolved, first.halves_fit) == ("a_deconv.mrc", True, False)
    assert (second.source_path, second.deconvolved, second.halves_fit) == ("b.mrc", False, True)
    assert [entry.name for entry in table.select("2")] == ["b"]


def test_no_input_is_written_over_but_by_its_own_column(table):
    table.keep_inputs(["new.mrc"])
    table.keep_inputs(["a_deconv.mrc"], "rlnDeconvTomoName")
    for name in ("a.mrc", "a_deconv.mrc"):
        with pytest.raises(EngineError, match="would replace this input"):
            table.keep_inputs([name])


def test_what_a_stage_adds_is_in_the_file(table):
    table.update(table.select("2")[0], {"rlnDefocus": 25000.0, "rlnMaskName": "b_mask.mrc"})
    row = TomogramTable("t.star").star.rows[1]
    assert float(row["rlnDefocus"]) == 25000 and row["rlnMaskName"] == "b_mask.mrc"
    assert TomogramTable("t.star").star.rows[0]["rlnMaskName"] == "None"


@pytest.fixture
def days(tmp_path, monkeypatch):
    """Two folders with a tomogram and a table each, called alike; the second is the working folder."""
    for seed, day in enumerate(("day1", "day2")):
        voxels = np.random.default_rng(seed).normal(size=(4, 5, 6)).astype(np.float32)
        write_volume(tmp_path / day / "set" / "a.mrc", voxels, 12.0)
        (tmp_path / day / "t.star").write_text(f"{HEAD}1 set/a.mrc 12 20000 None\n")
    monkeypatch.chdir(tmp_path / "day2")
    return tmp_path


@pytest.mark.parametrize("place", ["../day1/t.star", "link.star"])
def test_a_name_of_one_file_here_and_another_beside_the_table_is_refused(days, place):
    (days / "day2" / "link.star").symlink_to("../day1/t.star")
    with pytest.raises(EngineError, match=r"it names set/a\.mrc, which is .*/day2/set/a\.mrc from .*/day1/set/a\.mrc"):
        TomogramTable(place)
    TomogramTable("t.star")


def test_a_name_of_no_file_here_and_one_beside_the_table_is_refused_with_where_it_is(days):
    (days / "day2" / "set" / "a.mrc").unlink()
    with pytest.raises(
        EngineError, match=r"set/a\.mrc, which is no file from .*/day1/set/a\.mrc beside .* Run the comm"
    ):
        TomogramTable("../day1/t.star")


def test_a_name_that_can_mean_one_file_alone_is_taken(days):
    (days / "day2" / "set" / "a.mrc").rename(days / "day2" / "away.mrc")
    TomogramTable("t.star")  # what is nowhere is told when it is opened
    (days / "day2" / "set" / "a.mrc").symlink_to(days / "day1" / "set" / "a.mrc")
    TomogramTable("../day1/t.star")
    (days / "day1" / "t.star").write_text(f"{HEAD}1 {days}/day2/away.mrc 12 20000 None\n")
    TomogramTable("../day1/t.star")


def test_tables_that_are_made_anew_elsewhere_are_refused_alike(days, capfd):
    before = (days / "day1" / "t.star").read_bytes()
    assert cli.main(["prepare_star", "set", "--output_star=../day1/t.star"]) == 1
    assert "../day1/t.star: it names set/a.mrc, which is" in capfd.readouterr().err
    assert (days / "day1" / "t.star").read_bytes() == before


def test_subtomograms_and_what_a_table_owns_are_looked_at_alike(days):
    head = "data_\nloop_\n_rlnImageName\n_rlnCubeSize\n"
    (days / "day1" / "s.star").write_text(f"{head}set/a.mrc 2\n")
    cubes = read_star("../day1/s.star")
    with pytest.raises(EngineError, match=r"it names set/a\.mrc"):
        read_subtomograms(cubes, Normalisation.PERCENTILES, (None, None))
    table = TomogramTable("t.star")
    with pytest.raises(EngineError, match=r"it names set/a\.mrc"):
        table.claim({Path("b.mrc"): table.entries()[0]}, "extract", "rlnImageName", "subtomo_folder", cubes)


def test_a_table_of_subtomograms_is_not_taken_for_one_of_tomograms(tmp_path):
    row = {"rlnSubtomoIndex": "1", "rlnImageName": "s.mrc", "rlnCubeSize": "32", "rlnPixelSize": "10"}
    write_star(tmp_path / "s.star", Star(list(row), [row]))
    with pytest.raises(EngineError, match=r"s\.star: it is a table of subtomograms"):
        TomogramTable(tmp_path / "s.star")
