"""How a command ended, as the program that started it reads it."""

import os

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.outcome import ROOM, Outcome, read_outcome, reserve_outcome, write_outcome


def test_errors_and_warnings_come_back(run, tmp_path):
    (tmp_path / "t.star").write_text(
        "data_\nloop_\n_rlnIndex #1\n_rlnMicrographName #2\n_rlnPixelSize #3\n1 no.mrc 9\n"
    )
    status, log = run("--outcome", "o.json", "deconv", "t.star")
    outcome = read_outcome("o.json")
    assert status == outcome.status == 1
    assert (outcome.what, outcome.why) == ("no.mrc", "the volume does not exist")
    assert log.strip() == f"isonet-engine: error: {outcome.error}"
    assert run("--outcome", "o.json", "deconv")[0] == read_outcome("o.json").status == 2
    assert "STAR_FILE" in read_outcome("o.json").error


def test_success_is_told_with_the_warnings(run, tmp_path):
    write_volume(tmp_path / "tomoset" / "t.mrc", np.arange(512, dtype=np.float32).reshape(8, 8, 8), 12.0)
    assert run("--outcome", "o.json", "prepare_star", "tomoset", "--pixel_size", 10)[0] == 0
    outcome = read_outcome("o.json")
    assert (outcome.status, outcome.error) == (0, "")
    (warning,) = outcome.warnings
    assert "t.mrc: the header's voxel size is 12.000 A" in warning


@pytest.mark.parametrize("text", ["", "{", "[]", '{"status": "1", "warnings": []}', '{"status": 1, "warnings": [2]}'])
def test_what_is_no_outcome_is_none(tmp_path, text):
    (tmp_path / "o.json").write_text(text)
    assert read_outcome(tmp_path / "o.json") is None
    assert read_outcome(tmp_path / "nowhere") is None


def test_it_takes_no_more_room_than_was_reserved(tmp_path):
    path = tmp_path / "o.json"
    for _ in range(2):  # again where a command was killed before it wrote anything
        reserve_outcome(path)
        assert read_outcome(path) is None
    number = os.stat(path).st_ino
    for outcome in (Outcome(1, "a", "b", "c", ("\u00e9" * 600,) * 20), Outcome(0, warnings=("x",))):
        write_outcome(path, outcome)
        assert path.stat().st_size == ROOM and path.stat().st_ino == number
        again = read_outcome(path)
        assert again.error == outcome.error
        assert 0 < len(again.warnings) <= len(outcome.warnings)
