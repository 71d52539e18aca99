"""Estimates of what the missing wedge hides in the subtomograms."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.arrays import Floats, release, scratch_array
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.learning.pairs import first_estimate
from isonet_scipion.engine.network.unet import run_network
from isonet_scipion.engine.physics.grey_scale import normalise
from isonet_scipion.engine.process.device import with_less_memory
from isonet_scipion.engine.wording import counted

if TYPE_CHECKING:
    import keras

    from isonet_scipion.engine.conventions import Normalisation
    from isonet_scipion.engine.io.subtomograms import Subtomogram

log = logging.getLogger(__name__)
STACK_BYTES = 1 << 30  # of estimates kept in memory; more go to a file without a name


def estimate_subtomograms(
    subtomograms: Sequence[Subtomogram],
    model: keras.Model | None,
    divisor: tuple[int, int, int],
    normalisation: Normalisation,
    batch_size: int,
    scratch_folder: Path,
    on_estimate: Callable[[Subtomogram, Floats], None],
) -> Floats:
    """Apply a network to all subtomograms, or before any training only the wedge filter.

    Parameters
    ----------
    subtomograms : sequence of Subtomogram
        All of one size n.
    model : keras.Model or None
        The network of the iteration before; None: there is none yet.
    divisor : tuple of int
        What the sides of its input must be multiples of.
    normalisation : Normalisation
        Of the estimates.
    batch_size : int
        Subtomograms per call of the network; fewer where memory does not suffice.
    scratch_folder : Path
        Where a file without a name holds them, if they are too many for the memory.
    on_estimate : callable
        Told each subtomogram and its estimate.

    Returns
    -------
    ndarray
        (subtomogram, n, n, n) float32, normalised, protein bright.

    Raises
    ------
    EngineError
        If the network's result is not finite.
    """
    size = subtomograms[0].size
    estimates, done = _volume_stack(len(subtomograms), size, scratch_folder), 0

    def lessen(told: str) -> None:
        nonlocal batch_size
        if batch_size == 1:
            raise MemoryError(told)
        batch_size //= 2
        log.warning("Out of memory (%s): estimates of %s at a time.", told, counted(batch_size, "subtomograms"))

    def estimated(first: int) -> list[Floats]:
        batch = subtomograms[first : first + batch_size]
        volumes = [subtomogram.normalised() for subtomogram in batch]
        if model is None:
            return [first_estimate(volume, item.tilt, normalisation) for volume, item in zip(volumes, batch)]
        restored = _predict_padded(model, np.stack(volumes), divisor)
        if not np.isfinite(restored).all():
            why, remedy = "its estimates hold NaN or infinite values", "or give another pretrained_model."
            raise EngineError("network", why, f"Give a lower learning_rate, or precision float32, {remedy}")
        return [normalise(volume, normalisation) for volume in restored]

    while done < len(subtomograms):
        made = with_less_memory(partial(estimated, done), lessen)
        for number, estimate in enumerate(made, done):
            estimates[number] = estimate
            on_estimate(subtomograms[number], estimate)
        done += len(made)
        release(estimates)
    return estimates


def _volume_stack(count: int, size: int, folder: Path) -> Floats:
    shape = (count, size, size, size)
    if count * size**3 * 4 <= STACK_BYTES:
        return np.empty(shape, np.float32)
    return scratch_array(shape, np.float32, folder)


def _predict_padded(model: keras.Model, volumes: Floats, divisor: tuple[int, int, int]) -> Floats:
    """Network output for cubes whose side need not be a multiple of the divisor."""
    extra = [-volumes.shape[1 + axis] % divisor[axis] for axis in range(3)]
    padded = np.pad(volumes, [(0, 0)] + [(e // 2, e - e // 2) for e in extra], mode="symmetric")
    inside = tuple(slice(e // 2, e // 2 + size) for e, size in zip(extra, volumes.shape[1:]))
    return run_network(model, padded)[(slice(None), *inside)]
