"""How far a training has come, which its state file keeps."""

from __future__ import annotations

from dataclasses import dataclass, field

from isonet_scipion.engine.measure.history import EpochRecord


@dataclass
class RunState:
    """How far a training has come."""

    iteration: int = 1  # the one that is being trained, from 1
    epoch: int = 0  # finished epochs of it
    batch_size: int = 4
    history: list[EpochRecord] = field(default_factory=list)
