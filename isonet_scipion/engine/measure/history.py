"""What the epochs of a training came to: table, the best, and the alarm when the loss runs away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from isonet_scipion.engine.errors import EngineError

DIVERGED = 10.0  # a loss this many times the smallest one so far


@dataclass(frozen=True)
class EpochRecord:
    """One epoch; the iterative method's losses are mean absolute errors on IsoNet's scale, one-pass's are weighted."""

    iteration: int
    epoch: int
    loss: float
    val_loss: float
    noise_level: float
    seconds: float
    # at the end of a one-pass iteration; see `learning.unseen_boxes`
    wedge_correlation: Optional[float] = None
    wedge_chance: Optional[float] = None


def require_convergence(record: EpochRecord, history: Sequence[EpochRecord], learning_rate: float) -> None:
    """Raise an EngineError if an epoch's loss is not finite, or ten times the smallest one before."""
    smallest = min((old.loss for old in history), default=np.inf)
    if not np.isfinite(record.loss + record.val_loss) or record.loss > DIVERGED * smallest:
        raise EngineError(
            f"training, iteration {record.iteration} epoch {record.epoch}",
            f"the loss went to {record.loss:g} (smallest before: {smallest:.4g})",
            f"All finished epochs are kept. Lower learning_rate to {learning_rate / 4:g}, or use precision float32, "
            "with another result_dir.",
        )


def best_end(ends: Sequence[EpochRecord]) -> EpochRecord:
    """The iteration, by its last epoch, to prefer.

    The last one whose restored wedge correlation is within its chance level of the highest; where none was tested, that
    of the smallest validation loss.
    """
    tested = _tested(ends)
    if tested:
        highest, chance, _ = max(tested, key=lambda each: each[0])
        return [record for value, _, record in tested if value >= highest - chance][-1]
    return min(ends, key=lambda record: record.val_loss)


def _tested(ends: Sequence[EpochRecord]) -> list[tuple[float, float, EpochRecord]]:
    """Restored wedge correlation, chance level and record of the iterations in which it was tested."""
    return [
        (record.wedge_correlation, record.wedge_chance, record)
        for record in ends
        if record.wedge_correlation is not None and record.wedge_chance is not None
    ]


def iterations_without_gain(ends: Sequence[EpochRecord]) -> int:
    """How many of the last iterations, given by their last epochs, brought no gain.

    A gain is a wedge correlation above that of the last gain by more than its chance level; where none was tested, the
    smallest validation loss so far.
    """
    # (what counts, more of it than this is a gain)
    tested = [(value, value + chance) for value, chance, _ in _tested(ends)]
    least, since = -math.inf, 0
    for value, more in tested or [(-record.val_loss, -record.val_loss) for record in ends]:
        least, since = (more, 0) if value > least else (least, since + 1)
    return since
