"""What the epochs of a training came to: table, the best, and the alarm when the loss runs away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.measure.fourier_correlation import CERTAIN

# of the last iteration's correlation, by which another one must be ahead: the rate falls to the end of a run, so that
# in simulations the last was nearly always close to the best, and smaller leads were chance
MARGIN = 0.15
AT_CHANCE = (
    "No iteration that is done restores the withheld tilts better than chance: trust what these networks put into the "
    "missing wedge no further than the report of a corrected tomogram says. More iterations, or more or better "
    "tomograms, may help."
)
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
    # at the end of an iteration; see `withheld_agreement`
    withheld_correlation: Optional[float] = None
    withheld_chance: Optional[float] = None
    with_denoiser: int = 0  # 1: the network's denoiser was trained, too, so that the loss counts the tomogram's noise


def require_convergence(record: EpochRecord, history: Sequence[EpochRecord], learning_rate: float) -> None:
    """Raise an EngineError if an epoch's loss is not finite, or ten times the smallest one of its kind before."""
    smallest = min((old.loss for old in history if old.with_denoiser == record.with_denoiser), default=np.inf)
    if not np.isfinite(record.loss + record.val_loss) or record.loss > DIVERGED * smallest:
        raise EngineError(
            f"training, iteration {record.iteration} epoch {record.epoch}",
            f"the loss went to {record.loss:g}, that of validation to {record.val_loss:g} (smallest before: "
            f"{smallest:.4g})",
            f"All finished epochs are kept. Lower learning_rate to {learning_rate / 4:g}, or use precision float32, "
            "with another result_dir.",
        )


def chosen_iteration(ends: Sequence[EpochRecord], start: float | None = None) -> int:
    """The iteration whose model to take: the last, unless another one restores the withheld tilts clearly better.

    Parameters
    ----------
    ends : sequence of EpochRecord
        The last epochs of the iterations, in their order; at least one.
    start : float, optional
        Correlation of the model that the first of them started from, which stands for the iteration before it.

    Returns
    -------
    int
        That of the highest correlation, if it is above the last's by more than MARGIN of this and by its chance level;
        for the start it is enough not to be below: a training that shows no gain must not make worse what there was.
    """
    last = ends[-1]
    if last.withheld_correlation is None or last.withheld_chance is None:
        return last.iteration
    margin = max(MARGIN * abs(last.withheld_correlation), last.withheld_chance)
    ahead = [(last.withheld_correlation, last.iteration)]
    for record in ends:
        value = record.withheld_correlation
        is_alike = record.with_denoiser == last.with_denoiser  # a network without its denoiser leaves the noise
        if is_alike and value is not None and value > last.withheld_correlation + margin:
            ahead.append((value, record.iteration))
    if start is not None and start >= last.withheld_correlation:
        ahead.append((start, ends[0].iteration - 1))
    return max(ahead, key=lambda one: (one[0], -one[1]))[1]


def is_above_chance(record: EpochRecord) -> bool | None:
    """Whether the end of an iteration restores the withheld tilts better than chance; None where it was not tested."""
    if record.withheld_correlation is None or record.withheld_chance is None:
        return None
    return record.withheld_correlation >= CERTAIN * record.withheld_chance


def stayed_at_chance(ends: Sequence[EpochRecord]) -> bool:
    """Whether iterations, given by their last epochs, were tested and none is better than chance; see `AT_CHANCE`."""
    told = [is_above_chance(record) for record in ends]
    return False in told and True not in told


def iterations_without_gain(ends: Sequence[EpochRecord]) -> int:
    """How many of the last iterations, given by their last epochs, brought no gain; 0 where none was tested.

    A gain is a correlation with the withheld tilts above that of the last gain by more than its chance level.
    """
    least, since = -math.inf, 0
    for record in ends:
        value, chance = record.withheld_correlation, record.withheld_chance
        if value is None or chance is None:
            continue
        least, since = (value + chance, 0) if value > least else (least, since + 1)
    return since
