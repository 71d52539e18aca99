"""Processes beside each other."""

import logging
import os
import signal
import time

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.process.parent_watch import PARENT
from isonet_scipion.engine.process.workers import Turns, side_by_side


def write_own_number(folder, name, other):
    """Writes its process's number, and waits until the other one has: both are there at once."""
    (folder / name).write_text(str(os.getpid()))
    ends = time.monotonic() + 60
    while not (folder / other).exists():
        assert time.monotonic() < ends
        time.sleep(0.05)


def take_slowly(folder, name, turns, seconds):
    for item in turns.of(range(12)):
        (folder / f"{item}_{name}").touch()
        while seconds and len(list(folder.iterdir())) < 12:  # until the other one has taken all else
            time.sleep(seconds)


def test_each_item_goes_once_to_the_process_that_asks_first(tmp_path):
    turns = Turns(2)
    side_by_side(take_slowly, [("slow", tmp_path, "slow", turns, 0.05), ("fast", tmp_path, "fast", turns, 0)])
    taken = sorted(path.name.split("_") for path in tmp_path.iterdir())
    assert sorted(int(number) for number, _ in taken) == list(range(12))
    assert [name for _, name in taken].count("slow") <= 1


def fail(what):
    if what is not None:
        raise EngineError(what, "it failed", "Mend it.")


def vanish():
    os._exit(3)


def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_they_work_at_once_and_in_processes_of_their_own(tmp_path):
    side_by_side(write_own_number, [("one", tmp_path, "a", "b"), ("other", tmp_path, "b", "a")])
    numbers = {(tmp_path / name).read_text() for name in "ab"}
    assert len(numbers) == 2 and str(os.getpid()) not in numbers
    assert PARENT not in os.environ


def test_the_first_failure_is_raised_and_the_others_are_logged(caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(EngineError, match="first: it failed"):
        side_by_side(fail, [("a", None), ("b", "first"), ("c", "second")])
    assert "second: it failed" in caplog.text and "first" not in caplog.text


def warn(what):
    logging.getLogger("isonet_scipion.engine.stages.predict").warning("%s is odd", what)
    logging.getLogger("tensorflow").info("noise")


def test_what_they_log_is_logged_here_with_their_names(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tensorflow"), "level", logging.ERROR)
    with caplog.at_level(logging.INFO):
        side_by_side(warn, [("GPU 3", "a"), ("GPU 4", "b")])
    told = {(record.name, record.levelname, record.getMessage()) for record in caplog.records}
    stage = "isonet_scipion.engine.stages.predict"
    assert told == {(stage, "WARNING", "GPU 3: a is odd"), (stage, "WARNING", "GPU 4: b is odd")}


def test_a_process_that_vanishes_is_told_by_its_name():
    with pytest.raises(EngineError, match="GPU 3"):
        side_by_side(vanish, [("GPU 3",)])


def test_one_that_the_system_kills_is_told_to_have_lacked_memory():
    with pytest.raises(EngineError, match="GPU 3: its process was ended by SIGKILL, perhaps for lack of memory"):
        side_by_side(be_killed, [("GPU 3",)])
