"""The one-pass method: the missing wedge is estimated within the training step, by the network itself.

After DeepDeWedge (Wiedemann & Heckel 2024): the loss is that of Noise2Noise where there are halves, and tells
measured from estimated frequencies. See `one_pass_step` for the step and `one_pass_batches` for what it is made on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from isonet_scipion.engine.learning.ahead import Ahead
from isonet_scipion.engine.learning.compiler_trial import settle
from isonet_scipion.engine.learning.data_identity import data_identity
from isonet_scipion.engine.learning.epoch import VALIDATION_SHARE, fit_epoch, seed_dropout
from isonet_scipion.engine.learning.noise_schedule import noise_sources
from isonet_scipion.engine.learning.one_pass_batches import CropBatches, TomogramSource
from isonet_scipion.engine.learning.one_pass_step import VIEWS, OnePassModel, weighted_error
from isonet_scipion.engine.learning.withheld_test import Box, Tested, WithheldTest
from isonet_scipion.engine.network.unet import aside, build_unet, denoises
from isonet_scipion.engine.sampling.training_positions import crop_side
from isonet_scipion.engine.wording import counted

if TYPE_CHECKING:
    from isonet_scipion.engine.learning.method import Losses
    from isonet_scipion.engine.learning.state import RunState
    from isonet_scipion.engine.physics.back_projected_noise import Noise
    from isonet_scipion.engine.process.device import Devices
    from isonet_scipion.engine.settings.training import OnePassSettings

log = logging.getLogger(__name__)
AVERAGING = 0.98  # momentum of the running average of the weights for VIEWS pairs: over the last 100 pairs
WARM_UP = 0.05  # share of the steps in which the learning rate rises; then it falls as a half cosine
DENOISED = 0.3  # share of a run with the network's denoiser, if it has one; before that the others learn the wedge
DENOISED_COST = 1.9  # times that a step with the denoiser takes as long as one before, on a CPU
# share of its half cosine after which the rate's first fall is broken off where a denoiser comes: with a whole one the
# others learned less of the wedge
BROKEN_OFF = 0.6
CLIP = 1.0  # norm above which gradients are shortened
# of the batch normalisation's statistics: Keras's 0.99 has not forgotten its start when the first estimates are made
STATISTICS = 0.9  # for VIEWS pairs, as above


class LearningRate(keras.optimizers.schedules.CosineDecay):  # type: ignore[misc]  # Keras has no types
    """Rises with the optimiser's steps, falls with the run's: those `before` the optimiser's first count too."""

    before = 0  # `continue_from` starts an optimiser in the middle of a run
    denoising: keras.optimizers.schedules.CosineDecay | None = None  # of the steps of a run with the denoiser
    denoised_from = 0  # the first of them

    def __call__(self, step: Any) -> Any:
        """The rate at a step of the optimiser."""
        made = step + self.before
        rate, rising = super().__call__(made), super().__call__(ops.minimum(step, self.warmup_steps))
        if self.denoising is not None:
            denoising = self.denoising(ops.maximum(made - self.denoised_from, 0))
            rate = ops.where(made < self.denoised_from, rate, denoising)
        return ops.minimum(rising, rate)


def _cosine(steps: int, rate: float, kind: Any = keras.optimizers.schedules.CosineDecay) -> Any:
    """A rate that rises for WARM_UP of so many steps, and then falls to 0."""
    rising = max(1, round(WARM_UP * steps))
    return kind(0.0, max(1, steps - rising), warmup_target=rate, warmup_steps=rising)


@dataclass(frozen=True)
class NoiseSchedule:
    """The noise that an iteration adds."""

    sources: Sequence[Noise]
    level: float


class OnePass:
    """Trains on crops of tomograms; an iteration is `epochs` epochs, after which a model is written."""

    def __init__(
        self,
        tomograms: Sequence[TomogramSource],
        cube_size: int,
        settings: OnePassSettings,
        devices: Devices,
        boxes: Sequence[Box],
    ) -> None:
        """Train on tomograms, or their halves, by cubes of `cube_size`^3 voxels, and test on boxes."""
        self.tomograms, self.settings, self.decided = tomograms, settings, settings.decided()
        self.cube_size, self.devices = cube_size, devices
        self.crop_size = crop_side(self.cube_size, settings.any_angle > 0, math.lcm(*settings.network.divisor))
        self.least_batch = VIEWS * devices.count  # all views of one crop for each device
        self.withheld = WithheldTest(boxes, settings.network.divisor)
        self.network: keras.Model = None
        self._coming: tuple[tuple[int, int, int] | None, Ahead | None] = None, None  # iteration, epoch, batch; batches

    def describe(self) -> str:
        """What it learns from, in words."""
        halves = " with halves" if len(self.tomograms[0].volumes) == 2 else ""
        return f"{counted(len(self.tomograms), 'tomograms')}{halves}, crops of {self.crop_size}^3"

    def identity(self) -> dict[str, Any]:
        """What a run that is gone on with must have in common with this one's data."""
        kinds = {1: "1", 2: "2 and their mean"}  # before, each half was corrected: such a run is not gone on with
        names = [f"{source.name} {kinds[len(source.volumes)]}" for source in self.tomograms]
        return {"tomograms": names, **data_identity([source.facts for source in self.tomograms])}

    def bytes_needed(self, iterations: int) -> int:
        """Disk space beside that of the models: none."""
        return 0

    def require_own_files(self, is_resumed: bool) -> None:
        """Nothing: it writes no estimates."""

    def cost(self, epoch: int) -> float:
        """How long an epoch of the whole run takes, from 0, against its first one."""
        if not self.settings.network.denoiser:
            return 1.0
        # of a run that is gone on with for more iterations, the denoiser may be trained sooner
        is_denoised = epoch >= self._first_denoised() or (self.trainer.is_whole and denoises(self.network))
        return DENOISED_COST if is_denoised else 1.0

    def compile(self, model: keras.Model) -> None:
        """Take the network and make it ready."""
        settings = self.settings
        epochs, steps = settings.iterations * settings.epochs, self.decided.steps_per_epoch
        first = self._first_denoised()
        falling = round(first / BROKEN_OFF) if first else epochs
        self.rate = _cosine(falling * steps, settings.learning_rate, LearningRate)
        if first:
            self.rate.denoising = _cosine((epochs - first) * steps, settings.learning_rate)
            self.rate.denoised_from = first * steps
        crops = self.decided.batch_size / VIEWS
        averaging = AVERAGING**crops
        optimiser = keras.optimizers.Adam(self.rate, global_clipnorm=CLIP, use_ema=True, ema_momentum=averaging)
        if keras.config.dtype_policy().name == "mixed_float16":
            # Keras does so by itself for the network, but not for the trainer around it, which is in single precision
            optimiser = keras.optimizers.LossScaleOptimizer(optimiser)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = STATISTICS**crops
        # the network holds the optimiser, so that the state file has both
        model.compile(optimiser, jit_compile=model.jit_compile)
        optimiser.build(model.trainable_variables)
        self.network, self.estimator, self.tried = model, build_unet(settings.network), aside(model)
        self.trainer = OnePassModel(model, self.estimator, self.cube_size, settings.any_angle > 0)
        self.trainer.compile(optimiser, loss=weighted_error, jit_compile=model.jit_compile)
        self._set_dropout()

    def start_iteration(self, state: RunState, noise_level: float, before: Path | None) -> NoiseSchedule:
        """Make the noise; the crops are drawn anew in each step."""
        settings = self.settings
        made = int(ops.convert_to_numpy(self.network.optimizer.iterations))
        self.rate.before = self._epochs(state) * self.decided.steps_per_epoch - made
        if noise_level <= 0:
            return NoiseSchedule((), 0.0)
        rng = np.random.default_rng([self.decided.seed, state.iteration, 1])
        tilts = [source.tilt for source in self.tomograms]
        sources = noise_sources(tilts, self.cube_size, settings.noise_mode, settings.noise_dir, rng)
        return NoiseSchedule(sources, noise_level)

    def fit(self, batches: NoiseSchedule, state: RunState, on_step: Callable[[float], None]) -> Losses:
        """Train for an epoch."""
        settings, epoch = self.settings, self._epochs(state)
        self._use_denoiser(epoch)
        self.estimator.set_weights(self.network.get_weights())
        seed_dropout(self.network, self.decided.seed % 2**32, epoch)

        def crops(steps: int, number: int, then: Ahead | None = None) -> Ahead:
            made = CropBatches(
                self.tomograms, self.cube_size, self.crop_size, settings.any_angle, settings.filled_weight,
                state.batch_size, steps, (self.decided.seed, number), max(1, settings.preprocessing_ncpus),
                batches.sources, batches.level, not self._denoises(max(number, epoch)),
            )  # fmt: skip
            return Ahead(made, then)

        steps = self.decided.steps_per_epoch
        known, training = self._coming
        if training is None or known != (state.iteration, epoch, state.batch_size):
            training = crops(steps, epoch)
        # another iteration may have another noise
        coming = crops(steps, epoch + 1)
        self._coming = (state.iteration, epoch + 1, state.batch_size), coming
        is_last = state.epoch + 1 == settings.epochs
        training.then = unseen = crops(max(1, round(VALIDATION_SHARE * steps)), -1, None if is_last else coming)
        settle(self.trainer, training, state, self.devices, settings.iterations * settings.epochs * steps)
        losses = fit_epoch(self.trainer, training, unseen, on_step)
        return losses._replace(with_denoiser=int(self._is_denoising))

    def _first_denoised(self) -> int:
        """The first epoch of the run with the network's denoiser; 0 where it has none, or may have been trained."""
        if not self.settings.network.denoiser or self.settings.pretrained_model:
            return 0
        epochs = self.settings.iterations * self.settings.epochs
        return epochs - math.ceil(DENOISED * epochs)

    @property
    def _is_denoising(self) -> bool:
        """Whether the step, as it is now, trains the network's denoiser."""
        return self.settings.network.denoiser > 0 and self.trainer.is_whole

    def _denoises(self, epoch: int) -> bool:
        """Whether an epoch of the run trains the network with its denoiser; one that was trained is not left out."""
        return epoch >= self._first_denoised() or denoises(self.network)

    def _use_denoiser(self, epoch: int) -> None:
        """Make the step ready for an epoch with the network's denoiser, or without."""
        is_denoising = self._denoises(epoch)
        if is_denoising and self.settings.network.denoiser and not denoises(self.network):
            self._restart_optimiser(epoch)
        elif is_denoising == self.trainer.is_whole:
            return
        self.trainer.is_whole = is_denoising
        self._set_dropout()
        self.trainer.make_train_function(force=True)
        self.trainer.make_test_function(force=True)

    def _restart_optimiser(self, epoch: int) -> None:
        """Have the optimiser begin anew: the gradients that it knows are those of another, smaller loss."""
        optimiser = getattr(self.network.optimizer, "inner_optimizer", self.network.optimizer)
        for variable in optimiser.variables:
            if variable.path.endswith(("momentum", "velocity")):
                variable.assign(ops.zeros_like(variable))
        optimiser.iterations.assign(0)
        self.rate.before = epoch * self.decided.steps_per_epoch

    def _set_dropout(self) -> None:
        """Have no features dropped where a denoiser is trained: that blurs what it makes."""
        for layer in self.network.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0 if self._is_denoising else self.settings.network.drop_out

    def test(self, trained: bool = True) -> Tested:
        """How well the network restores the withheld tilts; not `trained`: as if it left all as it is."""
        return self.withheld.run(self.tried if trained else lambda volumes: volumes)

    def tested(self) -> str:
        """What the test's example is, in words."""
        return self.withheld.boxes[0].what

    def _epochs(self, state: RunState) -> int:
        """Finished epochs of the whole run."""
        return (state.iteration - 1) * self.settings.epochs + state.epoch
