"""Training the network: batches made on the fly, one epoch at a time."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np

from isonet_scipion.engine.learning.ahead import Ahead
from isonet_scipion.engine.learning.method import Losses
from isonet_scipion.engine.physics.cube_rotations import TRAINING_ROTATIONS

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats, Integers, Reals
    from isonet_scipion.engine.learning.pairs import PreparedSubtomogram
    from isonet_scipion.engine.physics.back_projected_noise import Noise

log = logging.getLogger(__name__)
VALIDATION_SHARE = 0.1
CACHE_BYTES = 2 << 30  # of prepared subtomograms; beyond that they are prepared again when drawn


@dataclass(frozen=True)
class PairSource:
    """All training pairs of an iteration: pair number p is rotation p % 20 of subtomogram p // 20."""

    prepare: Callable[[int], PreparedSubtomogram]
    subtomograms: int
    cube_size: int
    noise: Sequence[Noise]  # one per subtomogram; empty: no noise
    noise_level: float
    seed: int

    def split(self) -> tuple[Integers, Integers]:
        """Numbers of the pairs for training and for validation, in random order."""
        order = np.random.default_rng([self.seed, 0]).permutation(self.subtomograms * len(TRAINING_ROTATIONS))
        unseen = max(1, round(VALIDATION_SHARE * len(order)))
        return order[unseen:], order[:unseen]

    def batch(self, numbers: Integers, seed: Sequence[int]) -> tuple[Floats, Floats]:
        """Inputs and targets (batch, z, y, x, 1) float32 of some pairs; `seed` decides the noise."""
        rng = np.random.default_rng([self.seed, *seed])
        inputs, targets = np.empty((2, len(numbers), *(self.cube_size,) * 3, 1), np.float32)
        for place, number in enumerate(numbers):
            subtomogram, rotation = divmod(int(number), len(TRAINING_ROTATIONS))
            inputs[place, ..., 0], targets[place, ..., 0] = self.prepare(subtomogram).pair(rotation)
            if self.noise:
                noise = self.noise[subtomogram].draw(self.cube_size, rng)
                inputs[place, ..., 0] += np.float32(self.noise_level) * noise
        return inputs, targets


def cached(
    prepare: Callable[[int], PreparedSubtomogram], count: int, cube_size: int
) -> Callable[[int], PreparedSubtomogram]:
    """Keep what `prepare` returns in memory, as much of it as CACHE_BYTES hold."""
    size = 6 * cube_size**3 * np.dtype(np.float32).itemsize
    return functools.lru_cache(maxsize=max(1, min(count, CACHE_BYTES // size)))(prepare)


class PairBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Batches of an epoch for Keras, made by threads ahead of the training."""

    def __init__(
        self, source: PairSource, numbers: Integers, batch_size: int, steps: int, epoch: int, threads: int
    ) -> None:
        """Go through `numbers` in a new random order each time around; epoch -1: in the given order (validation)."""
        super().__init__(workers=threads, use_multiprocessing=False, max_queue_size=2 * threads + 2)
        self.source, self.steps, self.epoch, self.batch_size = source, steps, epoch, batch_size
        position = np.arange(max(epoch, 0) * steps * batch_size, (max(epoch, 0) + 1) * steps * batch_size)
        rounds = position // len(numbers)
        self.numbers = np.empty(len(position), int)
        for turn in np.unique(rounds):
            shuffled = numbers if epoch < 0 else np.random.default_rng([source.seed, 1, turn]).permutation(numbers)
            chosen = rounds == turn
            self.numbers[chosen] = shuffled[position[chosen] % len(numbers)]

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[Reals, Reals]:
        numbers = self.numbers[step * self.batch_size : (step + 1) * self.batch_size]
        return self.source.batch(numbers, (2 if self.epoch < 0 else 3, self.epoch + 1, step))


def train_epoch(
    model: keras.Model,
    source: PairSource,
    epoch: int,
    steps: int,
    batch_size: int,
    threads: int,
    on_step: Callable[[float], None] = lambda loss: None,
    on_batches: Callable[[Ahead], None] = lambda batches: None,
) -> Losses:
    """Train for `steps` steps.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    source : PairSource
        The iteration's pairs.
    epoch : int
        Number of the epoch within the iteration, from 0; it decides which pairs come and what dropout drops.
    steps, batch_size, threads : int
        Steps, pairs per step, threads that prepare them.
    on_step : callable
        Told the mean loss so far, after each step.
    on_batches : callable
        Shown the batches before the first step.

    Returns
    -------
    Losses
        Mean absolute errors: of the epoch's steps, and of the unseen pairs after it.
    """
    training, unseen = source.split()
    validation_steps = min(-(-len(unseen) // batch_size), max(1, round(VALIDATION_SHARE * steps)))
    validation = Ahead(PairBatches(source, unseen, batch_size, validation_steps, -1, threads))
    batches = Ahead(PairBatches(source, training, batch_size, steps, epoch, threads), validation)
    seed_dropout(model, source.seed, epoch)
    on_batches(batches)
    return fit_epoch(model, batches, validation, on_step)


def fit_epoch(
    model: keras.Model,
    training: Ahead,
    unseen: Ahead,
    on_step: Callable[[float], None],
) -> Losses:
    """Go once through the training batches; returns the losses as `train_epoch`."""
    try:
        return _fitted(model, training, unseen, on_step)
    except BaseException:
        training.close()  # what comes, smaller batches or the end, need not wait for these
        raise


def _fitted(model: keras.Model, training: Ahead, unseen: Ahead, on_step: Callable[[float], None]) -> Losses:
    history = model.fit(
        training,
        shuffle=False,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: on_step(logs["loss"]))],
    ).history
    if getattr(model.optimizer, "inner_optimizer", model.optimizer).use_ema:
        # the averages took the weights' place as the same arrays, which JAX will not update in place: part them
        model.set_weights([np.array(weight) for weight in model.get_weights()])
    # not within fit, where it would be that of the weights before the averages took their place
    val_loss = model.evaluate(unseen, verbose=0, return_dict=True)["loss"]
    return Losses(float(history["loss"][-1]), float(val_loss))


def falling(epoch: int, epochs: int) -> float:
    """Share of the learning rate for an epoch (from 0): a half cosine from 1 to 0.1 within each iteration.

    IsoNet 0.2 keeps the rate; then the iterations' ends, which make the next estimates and may be the last, scatter.
    """
    return 0.1 + 0.45 * (1 + math.cos(math.pi * epoch / max(1, epochs - 1)))


def seed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Set the dropout's random generators for an epoch."""
    # Keras does not save the state of its random generators; set anew, a resumed run drops the same features
    for number, layer in enumerate(model.layers):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            state = np.random.SeedSequence([seed, epoch, number]).generate_state(2, np.uint32)
            generator.state.assign(state.astype(generator.state.dtype))


def compile_model(model: keras.Model, learning_rate: float) -> None:
    """Make a network ready for training: Adam on the mean absolute error, as IsoNet 0.2."""
    model.compile(keras.optimizers.Adam(learning_rate), loss="mae", jit_compile=model.jit_compile)
    model.optimizer.build(model.trainable_variables)
