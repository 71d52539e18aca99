"""How far a training has come, which its state file keeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.json_types import kinds_of, require_kinds
from isonet_scipion.engine.measure.history import EpochRecord
from isonet_scipion.engine.network.model_file import STATE_FILE, STATE_REMEDY, read_facts

if TYPE_CHECKING:
    import os


@dataclass
class RunState:
    """How far a training has come."""

    iteration: int = 1  # the one that is being trained, from 1
    epoch: int = 0  # finished epochs of it
    batch_size: int = 4
    history: list[EpochRecord] = field(default_factory=list)
    start_correlation: Optional[float] = None  # of the model it starts from with the withheld tilts
    compiled: Optional[bool] = None  # its steps, with XLA: once that was tried


def read_state(stored: dict[str, Any], path: str | os.PathLike[str]) -> RunState:
    """How far a run has come, out of its state file's metadata, whose author may be a stranger.

    Parameters
    ----------
    stored : dict
        The metadata.
    path : path
        The state file, for errors.

    Raises
    ------
    EngineError
        If a value is of a wrong kind, or the numbers do not fit each other.
    """
    try:
        progress = dict(stored["progress"])
        history = [EpochRecord(**record) for record in progress.pop("history")]
        for record in history:
            require_kinds(asdict(record), kinds_of(EpochRecord))
        kinds = kinds_of(RunState)
        require_kinds(progress, {name: kinds[name] for name in progress})
        state, epochs = RunState(**progress, history=history), stored["run"]["epochs"]
        require_kinds({"epochs": epochs}, {"epochs": int})
        if history:
            last = history[-1]
            # by the epochs that it was written with, which a run that goes on from it may change
            due = (last.iteration + 1, 0) if last.epoch >= epochs else (last.iteration, last.epoch)
        else:
            due = (state.iteration, 0)
        if (state.iteration, state.epoch) != due or state.iteration < 1 or state.batch_size < 1:
            told = f"iteration {state.iteration}, {state.epoch} epochs and batch_size {state.batch_size}"
            raise ValueError(f"{told} do not follow from its {len(history)} epochs")
        return state
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise EngineError(
            str(path), f"it is not the state of a training ({error})", "Give another result_dir."
        ) from error


def stored_number(folder: str | os.PathLike[str], name: str, least: int) -> int | None:
    """A whole number among the settings of the run that is gone on with in a folder; None where a new one begins.

    Parameters
    ----------
    folder : path
        Of the run.
    name : str
        Of the setting.
    least : int
        The smallest that it may be.

    Raises
    ------
    EngineError
        If it is no such number, or the state file can't be read.
    """
    state = Path(folder) / STATE_FILE
    if not state.exists():
        return None
    run = read_facts(state, STATE_REMEDY).get("run")
    value = run.get(name) if isinstance(run, dict) else None
    if type(value) is not int or value < least:
        raise EngineError(str(state), f"its {name} is {value!r}", "Give another result_dir.")
    return value
