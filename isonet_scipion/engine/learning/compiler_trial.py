"""Whether TensorFlow's compiler, XLA, makes a training's steps faster on a GPU: tried, as it depends on both.

JAX compiles always. On a CPU XLA takes 12 times the time of TensorFlow's own kernels.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from isonet_scipion.engine.process.device import Devices, is_out_of_memory

if TYPE_CHECKING:
    import keras

    from isonet_scipion.engine.learning.ahead import Ahead
    from isonet_scipion.engine.learning.state import RunState

log = logging.getLogger(__name__)
TRIED_STEPS = 5  # of each, in turn
LEAST_STEPS = 500  # that a training still has: in fewer, what is gained does not make up for the compilation


def settle(model: keras.Model, batches: Ahead, state: RunState, devices: Devices, steps: int) -> None:
    """Have a network's steps compiled where that is faster.

    It is tried once in a run, whose state keeps what was found: what is compiled rounds otherwise and drops other
    features, and a run that is gone on with shall make the same weights.

    Parameters
    ----------
    model : keras.Model
        Ready for `fit`.
    batches : Ahead
        Of the epoch that comes, which is left as it is.
    state : RunState
        Of the run.
    devices : Devices
        What it trains on.
    steps : int
        Of the whole run.
    """
    if devices.backend != "tensorflow":
        return
    is_possible = len(devices.gpus) == 1  # what several tell each other in a step can't be compiled
    if state.compiled is None and is_possible and steps >= LEAST_STEPS:
        state.compiled = _is_faster_compiled(model, batches[0])
    wanted = is_possible and bool(state.compiled)
    if model.jit_compile != wanted:
        _set_compiled(model, wanted)


def _is_faster_compiled(model: keras.Model, batch: Any) -> bool:
    """Try some steps, of which nothing stays."""
    variables = [*model.variables, *model.optimizer.variables]
    before = [np.array(variable) for variable in variables]
    try:
        plain = _seconds(model, batch, compiled=False)
        compiled = _seconds_compiled(model, batch)
    finally:
        for variable, value in zip(variables, before):
            variable.assign(value)
    if compiled is None:
        return False
    is_faster = compiled < plain
    log.info(
        "A step takes %.3f s compiled with XLA, %.3f s without: the training goes on %s.",
        compiled, plain, "with it" if is_faster else "without it",
    )  # fmt: skip
    return is_faster


def _seconds_compiled(model: keras.Model, batch: Any) -> float | None:
    """As `_seconds`; None where XLA can't compile the step, or needs more memory than there is."""
    try:
        return _seconds(model, batch, compiled=True)
    except Exception as error:
        why = "out of memory" if is_out_of_memory(error) else next(iter(str(error).splitlines()), type(error).__name__)
        log.info("XLA can't compile a step (%s): the training goes on without it.", why)
        return None


def _seconds(model: keras.Model, batch: Any, compiled: bool) -> float:
    """Of the fastest of some steps, after one that compiles."""
    _set_compiled(model, compiled)
    seconds = []
    for _ in range(1 + TRIED_STEPS):
        started = time.perf_counter()
        model.train_on_batch(*batch)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def _set_compiled(model: keras.Model, compiled: bool) -> None:
    """Have a network's steps compiled with XLA, or not."""
    model.jit_compile = compiled
    model.make_train_function(force=True)
    model.make_test_function(force=True)
