"""How far a training has come, out of its state file."""

import dataclasses

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.learning import state as module
from isonet_scipion.engine.learning.state import RunState, read_state, stored_number
from isonet_scipion.engine.measure.history import EpochRecord
from isonet_scipion.engine.network.model_file import STATE_FILE

EPOCHS = 2


def record(iteration, epoch):
    return EpochRecord(iteration, epoch, 0.2, 0.3, 0.05, 10.0)


def stored(state):
    return {"progress": dataclasses.asdict(state), "run": {"epochs": EPOCHS}}


@pytest.mark.parametrize(
    ("iteration", "epoch", "finished"),
    [(1, 0, []), (1, 1, [(1, 1)]), (2, 0, [(1, 1), (1, 2)]), (4, 1, [(3, 1), (3, 2), (4, 1)])],
)
def test_what_a_run_wrote_is_read(iteration, epoch, finished):
    state = RunState(iteration, epoch, 6, [record(*place) for place in finished])
    assert read_state(stored(state), "state") == state


@pytest.mark.parametrize(
    "wrong",
    [
        RunState(3, 0, 6, [record(1, 1), record(1, 2)]),
        RunState(1, 2, 6, [record(1, 1), record(1, 2)]),
        RunState(1, 1, 6, []),
        RunState(0, 0, 6, []),
        RunState(1, 0, 0, []),
        RunState(1, 0, 6.0, []),
        RunState(1, 0, 6, [], "0.4"),
        RunState(1, 1, 6, [dataclasses.replace(record(1, 1), loss="x")]),
        RunState(1, 1, 6, [dataclasses.replace(record(1, 1), val_loss=float("nan"))]),
    ],
)
def test_numbers_that_do_not_follow_or_are_of_another_kind_are_refused(wrong):
    with pytest.raises(EngineError, match=r"^folder/state.*: it is not the state of a training"):
        read_state(stored(wrong), "folder/state")


def test_what_has_no_progress_is_refused():
    for other in ({}, {"progress": None}, {"progress": {"history": None}}, {"progress": {"history": [{"a": 1}]}}):
        with pytest.raises(EngineError, match="it is not the state of a training"):
            read_state({**other, "run": {"epochs": EPOCHS}}, "state")


@pytest.mark.parametrize("run", [None, {}, {"epochs": "2"}, {"epochs": None}])
def test_what_does_not_tell_its_epochs_is_refused(run):
    with pytest.raises(EngineError, match="it is not the state of a training"):
        read_state({**stored(RunState()), "run": run}, "state")


@pytest.mark.parametrize("told", [{"seed": "3"}, {"seed": True}, {"seed": -1}, {}, None])
def test_a_number_of_the_run_that_is_gone_on_with_is_checked(tmp_path, monkeypatch, told):
    assert stored_number(tmp_path, "seed", 0) is None  # a new run
    (tmp_path / STATE_FILE).touch()
    monkeypatch.setattr(module, "read_facts", lambda *_: {"run": {"seed": 3}})
    assert stored_number(tmp_path, "seed", 0) == 3
    monkeypatch.setattr(module, "read_facts", lambda *_: {"run": told})
    with pytest.raises(EngineError, match=r"its seed is .*Give another result_dir"):
        stored_number(tmp_path, "seed", 0)
