"""The one-pass refinement: the missing wedge is estimated within the training step, by the network itself.

After DeepDeWedge (Wiedemann & Heckel 2024): the loss is that of Noise2Noise where there are halves, and tells
measured from estimated frequencies. See `one_pass_model` for the step and `one_pass_data` for what it is made on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import ops

from isonet_scipion.engine.learning.epoch import VALIDATION_SHARE, fit_epoch, seed_dropout
from isonet_scipion.engine.learning.forecast import refinement_bytes
from isonet_scipion.engine.learning.noise_schedule import noise_sources
from isonet_scipion.engine.learning.one_pass_batches import CropBatches, TomogramSource
from isonet_scipion.engine.learning.one_pass_step import VIEWS, OnePassModel, weighted_error
from isonet_scipion.engine.learning.run import Refinement, RunState
from isonet_scipion.engine.learning.unseen_boxes import UnseenBoxes
from isonet_scipion.engine.measure.history import iterations_without_gain
from isonet_scipion.engine.network.unet import build_unet, run_network
from isonet_scipion.engine.physics.back_projected_noise import NoiseSource
from isonet_scipion.engine.process.device import Devices
from isonet_scipion.engine.sampling.training_positions import crop_side
from isonet_scipion.engine.settings import RefineSettings

log = logging.getLogger(__name__)
AVERAGING = 0.98  # momentum of the running average of the weights: over the last 50 steps
WARM_UP = 0.05  # share of the steps in which the learning rate rises; then it falls as a half cosine
CLIP = 1.0  # norm above which gradients are shortened
# of the batch normalisation's statistics: Keras's 0.99 has not forgotten its start when the first estimates are made
STATISTICS = 0.9


class LearningRate(keras.optimizers.schedules.CosineDecay):
    """Rises with the optimiser's steps, falls with the run's: those `before` the optimiser's first count too."""

    before = 0  # `continue_from` starts an optimiser in the middle of a run

    def __call__(self, step):
        """The rate at a step of the optimiser."""
        return ops.minimum(super().__call__(step), super().__call__(step + self.before))


@dataclass(frozen=True)
class NoiseSchedule:
    """The noise that an iteration adds."""

    sources: Sequence[NoiseSource]
    level: float


class OnePassRefinement(Refinement):
    """A training run in a folder; an iteration is `epochs` epochs, after which a model is written."""

    def __init__(
        self,
        tomograms: list[TomogramSource],
        settings: RefineSettings,
        metadata: dict,
        devices: Devices,
        start_model: Path | None = None,
        first_iteration: int = 1,
    ) -> None:
        """Set up a run; see `Refinement`, with tomograms instead of subtomograms."""
        super().__init__([], settings.cube_size, settings, metadata, devices, start_model, first_iteration)
        self.tomograms = tomograms
        self.side = crop_side(settings.cube_size, settings.any_angle > 0, math.lcm(*self.network.divisor))
        self.boxes = UnseenBoxes(tomograms, self.side)
        small = [source.name for source in tomograms if not source.split(self.side)[2]]
        if small:
            log.warning(
                "Too small to keep a part of it from the training, so that overtraining will not show: %s",
                ", ".join(small),
            )

    @property
    def data(self) -> str:
        """What it learns from, in words."""
        halves = " with halves" if len(self.tomograms[0].volumes) == 2 else ""
        return f"{len(self.tomograms)} tomograms{halves}, crops of {self._crop_size()}^3"

    @property
    def least_batch(self) -> int:
        """All views of one crop for each device."""
        return VIEWS * self.devices.count

    def _compile(self, model: keras.Model) -> None:
        steps = self.settings.iterations * self.settings.epochs * self.settings.steps_per_epoch
        rising = max(1, round(WARM_UP * steps))
        self.rate = LearningRate(
            0.0, max(1, steps - rising), warmup_target=self.settings.learning_rate, warmup_steps=rising
        )
        optimiser = keras.optimizers.Adam(self.rate, global_clipnorm=CLIP, use_ema=True, ema_momentum=AVERAGING)
        if keras.config.dtype_policy().name == "mixed_float16":
            # Keras does so by itself for the network, but not for the trainer around it, which is in single precision
            optimiser = keras.optimizers.LossScaleOptimizer(optimiser)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = STATISTICS
        # the network holds the optimiser, so that the state file has both
        model.compile(optimiser, jit_compile=model.jit_compile)
        optimiser.build(model.trainable_variables)
        self.estimator = build_unet(self.network)
        self.trainer = OnePassModel(model, self.estimator, self.cube_size, self.settings.any_angle > 0)
        self.trainer.compile(optimiser, loss=weighted_error, jit_compile=model.jit_compile)

    def _resume(self, model: keras.Model) -> RunState:
        state = super()._resume(model)
        epochs = (state.iteration - 1) * self.settings.epochs + state.epoch
        made = int(ops.convert_to_numpy(model.optimizer.iterations))
        self.rate.before = epochs * self.settings.steps_per_epoch - made
        return state

    def _bytes_needed(self, model: keras.Model, iterations: int) -> int:
        return refinement_bytes(model.count_params(), 0, 0, iterations, False)

    def _has_settled(self, state: RunState) -> bool:
        """Whether there was no gain for `patience` iterations."""
        if self.settings.patience is None or state.epoch > 0:
            return False
        idle = iterations_without_gain(self._ends(state))
        if idle >= self.settings.patience:
            log.info("Stopped: no gain for %d iterations.", idle)
        return idle >= self.settings.patience

    def _restored_wedge(self, model: keras.Model) -> tuple[float, float] | None:
        wedge = self.boxes.restored_wedge(lambda volumes: run_network(model, volumes))
        if wedge is None:
            log.warning("The crops hold too little for the hidden-wedge test: the validation loss counts instead.")
        else:
            log.info("Restored wedge correlation %.3f, chance %.3f", *wedge)
        return wedge

    def _data_facts(self) -> dict:
        return {"tomograms": [f"{source.name} {len(source.volumes)}" for source in self.tomograms]}

    def _set_rate(self, model: keras.Model, state: RunState) -> None:
        """Leave it to the optimiser's own schedule."""

    def _source(self, model: keras.Model, state: RunState, level: float) -> NoiseSchedule:
        if level <= 0:
            return NoiseSchedule((), 0.0)
        rng = np.random.default_rng([self.settings.seed, state.iteration, 1])
        tilts = [source.tilt for source in self.tomograms]
        made = noise_sources(tilts, self.cube_size, self.settings.noise_mode, self.settings.noise_dir, rng)
        return NoiseSchedule(made, level)

    def _fit(
        self, model: keras.Model, source: NoiseSchedule, state: RunState, on_step: Callable[[float], None]
    ) -> tuple[float, float]:
        self.estimator.set_weights(model.get_weights())
        epoch = (state.iteration - 1) * self.settings.epochs + state.epoch
        seed_dropout(model, self.settings.seed % 2**32, epoch)

        def batches(steps: int, number: int) -> CropBatches:
            return CropBatches(
                self.tomograms, self.cube_size, self.side, self.settings.any_angle, self.settings.filled_weight,
                state.batch_size, steps, (self.settings.seed, number), self.threads, source.sources, source.level,
            )  # fmt: skip

        steps = self.settings.steps_per_epoch
        unseen = batches(max(1, round(VALIDATION_SHARE * steps)), -1)
        return fit_epoch(self.trainer, batches(steps, epoch), unseen, on_step)

    def _crop_size(self) -> int:
        return self.side
