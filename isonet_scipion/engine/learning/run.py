"""The refinement: estimate the missing wedge, train on what was estimated, again and again."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from isonet_scipion.engine.arrays import release
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import replacing
from isonet_scipion.engine.io.losses import write_losses
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.subtomograms import Subtomogram
from isonet_scipion.engine.learning.epoch import PairSource, cached, compile_model, falling, train_epoch
from isonet_scipion.engine.learning.estimates import estimate_subtomograms
from isonet_scipion.engine.learning.forecast import Forecast, refinement_bytes, require_space
from isonet_scipion.engine.learning.noise_schedule import noise_level, noise_sources
from isonet_scipion.engine.learning.pairs import PreparedSubtomogram, filled_target, prepare
from isonet_scipion.engine.measure.history import EpochRecord, best_end, require_convergence
from isonet_scipion.engine.network.model_file import (
    STATE_FILE,
    load_model,
    load_weights,
    network_settings,
    read_metadata,
    save_model,
)
from isonet_scipion.engine.network.unet import NetworkSettings, build_unet, weighted_layers
from isonet_scipion.engine.physics.back_projected_noise import NoiseSource
from isonet_scipion.engine.process.device import Devices, is_out_of_memory, training_scope
from isonet_scipion.engine.process.progress import Progress, clock
from isonet_scipion.engine.reporting.loss_figure import draw_losses
from isonet_scipion.engine.reporting.training_page import LOSSES, save_slices, write_training_page
from isonet_scipion.engine.settings import RefineSettings

log = logging.getLogger(__name__)
# settings that may change when a run is gone on with
FREE = ("iterations", "patience", "gpuID", "log_level", "preprocessing_ncpus", "remove_intermediate", "data_dir")


@dataclass
class RunState:
    """How far a refinement has come; kept inside the state file."""

    iteration: int = 1  # the one that is being trained, from 1
    epoch: int = 0  # finished epochs of it
    batch_size: int = 4
    history: list[EpochRecord] = field(default_factory=list)


class Refinement:
    """A training run in a folder, by IsoNet 0.2's method; `one_pass` has the other."""

    def __init__(
        self,
        subtomograms: list[Subtomogram],
        cube_size: int,
        settings: RefineSettings,
        metadata: dict,
        devices: Devices,
        start_model: Path | None = None,
        first_iteration: int = 1,
    ) -> None:
        """Set up a run; `settings` have no open values left but gpuID and the tilt range.

        Parameters
        ----------
        subtomograms : list of Subtomogram
            All of one size.
        cube_size : int
            Side of the training pairs in voxels.
        settings : RefineSettings
            With batch_size, steps_per_epoch and seed set.
        metadata : dict
            What every model file is to carry; see `model_file.save_model`.
        devices : Devices
            What to train on.
        start_model : Path, optional
            Model to start from, which also gives the first estimate.
        first_iteration : int
            Number of the first iteration to train; after 1 the start model is that of the one before.
        """
        self.subtomograms, self.cube_size, self.settings = subtomograms, cube_size, settings
        self.metadata, self.devices = metadata, devices
        self.start_model, self.first_iteration = start_model, first_iteration
        self.folder = Path(settings.result_dir)
        self.network = NetworkSettings.among(vars(settings))
        self.threads = max(1, settings.preprocessing_ncpus)

    @property
    def data(self) -> str:
        """What it learns from, in words."""
        return f"{len(self.subtomograms)} subtomograms of {self._crop_size()}^3"

    @property
    def least_batch(self) -> int:
        """The fewest pairs of a step: one for each device."""
        return self.devices.count

    def run(self) -> Path:
        """Train until the last iteration; goes on where an earlier run of the same settings stopped.

        Returns
        -------
        Path
            The last iteration's model.

        Raises
        ------
        EngineError
            If the loss diverges, memory does not suffice for the smallest batch, no iteration is left, or the folder
            holds what would be overwritten.
        """
        keras.utils.set_random_seed(self.settings.seed % 2**32)
        with training_scope(self.devices):
            model = build_unet(self.network)
            self._compile(model)
        state = self._resume(model)
        left = self.settings.iterations - state.iteration + 1
        if left < 1 and not state.history:
            raise EngineError(
                "iterations", f"{state.iteration - 1} are finished already", f"Give more than {state.iteration - 1}."
            )
        require_space(self.folder, self._bytes_needed(model, left))
        steps = (left * self.settings.epochs - state.epoch) * self.settings.steps_per_epoch
        self.forecast = Forecast(steps, self.devices)
        while state.iteration <= self.settings.iterations and not self._has_settled(state):
            self._iterate(model, state)
        last = self.model_path(state.iteration - 1)
        best = best_end(self._ends(state))
        if best.wedge_correlation is None:
            measure = f"Smallest validation loss: {best.val_loss:.4f}"
        else:
            measure = f"Highest restored wedge correlation, within chance: {best.wedge_correlation:.3f}"
        log.info("Finished. Last model: %s. %s, iteration %d.", last, measure, best.iteration)
        return last

    def model_path(self, iteration: int) -> Path:
        """File of an iteration's model."""
        return self.folder / f"model_iter{iteration:02d}.keras"

    def _compile(self, model: keras.Model) -> None:
        compile_model(model, self.settings.learning_rate)

    def _bytes_needed(self, model: keras.Model, iterations: int) -> int:
        size, keep = self.subtomograms[0].size, not self.settings.remove_intermediate
        return refinement_bytes(model.count_params(), len(self.subtomograms), size, iterations, keep)

    def _has_settled(self, state: RunState) -> bool:
        """Whether to stop before the last iteration."""
        return False

    def _ends(self, state: RunState) -> list[EpochRecord]:
        """The last epochs of the finished iterations."""
        return [record for record in state.history if record.epoch == self.settings.epochs]

    def _restored_wedge(self, model: keras.Model) -> tuple[float, float] | None:
        """Held-out wedge measure of an iteration's network and its chance level; None where it is not known."""
        return None

    def _resume(self, model: keras.Model) -> RunState:
        path = self.folder / STATE_FILE
        stored = read_metadata(path) if path.exists() else None
        if stored and self._continues(stored):
            state = RunState(**stored["progress"])
            state.history = [EpochRecord(**record) for record in state.history]
            load_weights(model, path)
            log.info("Going on with iteration %d after %d of its epochs.", state.iteration, state.epoch)
            return state
        # a kill before the first state is written leaves the first model
        made = self.model_path(self.first_iteration + (stored is None))
        if made.exists():
            raise EngineError(str(made), "it is there already, of another run", "Give another result_dir.")
        if self.start_model is not None:
            self._copy_weights(model, self.start_model)
        return RunState(self.first_iteration, batch_size=self.settings.batch_size)

    def _copy_weights(self, model: keras.Model, path: Path) -> None:
        other, metadata = load_model(path)
        shape = dataclasses.replace(network_settings(metadata), drop_out=self.network.drop_out)
        if shape != self.network:
            raise EngineError(
                str(path), f"it is a network of {shape}, the run's is {self.network}", "Give the model's own settings."
            )
        for ours, theirs in zip(weighted_layers(model), weighted_layers(other)):
            ours.set_weights(theirs.get_weights())

    def _continues(self, stored: dict) -> bool:
        """Whether a stored state is one that this run goes on from; raises where it is another run's."""
        if self.settings.continue_from and stored["run"]["continue_from"] != self.settings.continue_from:
            return stored["progress"]["iteration"] == self.first_iteration
        for name, value in self._run_identity().items():
            if stored["run"].get(name) != value:
                raise EngineError(
                    str(self.folder),
                    f"it holds a run with {name} {stored['run'].get(name)}, not {value}",
                    "Give the same settings to go on with it, or another result_dir.",
                )
        return True

    def _run_identity(self) -> dict:
        settings = {name: value for name, value in dataclasses.asdict(self.settings).items() if name not in FREE}
        return json.loads(json.dumps({**settings, "cube_size": self.cube_size, **self._data_facts()}))

    def _data_facts(self) -> dict:
        """What a run that is gone on with must have in common with this one's data."""
        return {"number of subtomograms": len(self.subtomograms)}

    def _iterate(self, model: keras.Model, state: RunState) -> None:
        iteration = state.iteration
        level = noise_level(iteration, self.settings.noise_level, self.settings.noise_start_iter)
        log.info("Iteration %d of %d, noise level %g", iteration, self.settings.iterations, level)
        source = self._source(model, state, level)
        for epoch in range(state.epoch, self.settings.epochs):
            started = time.monotonic()
            self._set_rate(model, state)
            loss, val_loss = self._train(model, source, state)
            wedge = self._restored_wedge(model) if epoch + 1 == self.settings.epochs else None
            seconds = time.monotonic() - started
            record = EpochRecord(iteration, epoch + 1, loss, val_loss, level, seconds, *(wedge or ()))
            require_convergence(record, state.history, self.settings.learning_rate)
            state.history.append(record)
            state.epoch = epoch + 1
            if state.epoch == self.settings.epochs:
                self._write_iteration(model, state)
                state.iteration, state.epoch = iteration + 1, 0
            self._save_state(model, state)
            write_losses(self.folder / "losses.csv", state.history)
            draw_losses(self.folder / LOSSES, state.history)
            write_training_page(self.folder, state.history)
            self._log_epoch(record, state)

    def _set_rate(self, model: keras.Model, state: RunState) -> None:
        model.optimizer.learning_rate = self.settings.learning_rate * falling(state.epoch, self.settings.epochs)

    def _source(self, model: keras.Model, state: RunState, level: float) -> PairSource:
        """What the iteration's batches are drawn from."""
        return self._pair_source(self._estimates(model, state), state.iteration, level)

    def _estimates(self, model: keras.Model, state: RunState) -> np.ndarray:
        """The estimates that the iteration's targets are filled with."""
        previous = state.iteration - 1
        if previous < self.first_iteration and self.start_model is None:
            model = None
        elif state.epoch > 0:
            # in the middle of an iteration the estimates are still those of the network before it
            model = build_unet(self.network)
            before = self.model_path(previous) if previous >= self.first_iteration else self.start_model
            self._copy_weights(model, before)
        with Progress(f"Estimates {previous}", len(self.subtomograms), "subtomograms") as progress:

            def keep(subtomogram: Subtomogram, estimate: np.ndarray) -> None:
                if not self.settings.remove_intermediate:
                    source = subtomogram.volume()
                    path = self.folder / f"{subtomogram.name}_iter{previous:02d}.mrc"
                    write_volume(path, -estimate, source.voxel_size, source)
                if subtomogram is self.subtomograms[0]:
                    save_slices(self.folder / f"estimate_iter{previous:02d}.png", -estimate)
                progress.advance()

            return estimate_subtomograms(
                self.subtomograms,
                model,
                self.network.divisor,
                self.settings.normalize_percentile,
                state.batch_size,
                self.folder,
                keep,
            )

    def _pair_source(self, estimates: np.ndarray, iteration: int, level: float) -> PairSource:
        def prepare_pairs(number: int) -> PreparedSubtomogram:
            subtomogram = self.subtomograms[number]
            estimate = np.array(estimates[number])
            release(estimates)
            percentile = self.settings.normalize_percentile
            target = filled_target(subtomogram.normalised(), estimate, subtomogram.tilt, percentile)
            return prepare(target, subtomogram.tilt, self.cube_size)

        seed = [self.settings.seed, iteration]
        noise: list[NoiseSource] = []
        if level > 0:
            tilts = [subtomogram.tilt for subtomogram in self.subtomograms]
            rng = np.random.default_rng([*seed, 1])
            noise = noise_sources(tilts, self.cube_size, self.settings.noise_mode, self.settings.noise_dir, rng)
        count = len(self.subtomograms)
        pair_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        return PairSource(cached(prepare_pairs, count, self.cube_size), count, self.cube_size, noise, level, pair_seed)

    def _train(self, model: keras.Model, source: PairSource, state: RunState) -> tuple[float, float]:
        steps = self.settings.steps_per_epoch
        while True:
            task = f"Iteration {state.iteration} epoch {state.epoch + 1}/{self.settings.epochs}"
            try:
                with Progress(task, steps, "steps") as progress:
                    return self._fit(model, source, state, lambda loss: self._count_step(progress, loss))  # noqa: B023
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if state.batch_size <= self.least_batch:
                    raise EngineError(
                        "memory",
                        f"it does not suffice for {state.batch_size} pairs of {self.cube_size}^3 voxels",
                        f"Lower cube_size to {self.cube_size // 2} or filter_base to {self.network.filter_base // 2}.",
                    ) from error
                state.batch_size = max(1, state.batch_size // 2 // self.least_batch) * self.least_batch
                log.warning("Out of memory: going on with batch_size %d.", state.batch_size)
                if (self.folder / STATE_FILE).exists():
                    load_weights(model, self.folder / STATE_FILE)

    def _fit(
        self, model: keras.Model, source: PairSource, state: RunState, on_step: Callable[[float], None]
    ) -> tuple[float, float]:
        """Train for an epoch; returns its losses of training and validation."""
        steps = self.settings.steps_per_epoch
        return train_epoch(model, source, state.epoch, steps, state.batch_size, self.threads, on_step)

    def _count_step(self, progress: Progress, loss: float) -> None:
        self.forecast.step()
        progress.advance(1, f"loss {loss:.4f}")

    def _write_iteration(self, model: keras.Model, state: RunState) -> None:
        # without the optimiser's state the file is a third of the size
        bare = keras.Model(model.inputs, model.outputs)
        save_model(
            self.model_path(state.iteration), bare, self.network, {**self.metadata, "iteration": state.iteration}
        )
        losses = [record for record in state.history if record.iteration == state.iteration]
        content = {
            **dataclasses.asdict(self.settings),
            "iter_count": state.iteration,
            "cube_size": self.cube_size,
            "crop_size": self._crop_size(),
            "ngpus": len(self.devices.gpus),
            "losses": [record.loss for record in losses],
            "val_losses": [record.val_loss for record in losses],
        }
        with replacing(self.folder / f"refine_iter{state.iteration:02d}.json") as temporary:
            temporary.write_text(json.dumps(content, indent=4, sort_keys=True))

    def _crop_size(self) -> int:
        return self.subtomograms[0].size

    def _save_state(self, model: keras.Model, state: RunState) -> None:
        content = {**self.metadata, "progress": dataclasses.asdict(state), "run": self._run_identity()}
        save_model(self.folder / STATE_FILE, model, self.network, content)

    def _log_epoch(self, record: EpochRecord, state: RunState) -> None:
        done = (record.iteration - 1) * self.settings.epochs + record.epoch
        recent = [old.seconds for old in state.history[-self.settings.epochs :]]
        left = (self.settings.iterations * self.settings.epochs - done) * float(np.mean(recent))
        log.info(
            "Iteration %d epoch %d/%d: loss %.4f, validation loss %.4f, %s left",
            record.iteration,
            record.epoch,
            self.settings.epochs,
            record.loss,
            record.val_loss,
            clock(left),
        )
