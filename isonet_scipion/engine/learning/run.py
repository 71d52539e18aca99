"""A training run in a folder, by either method: its loop, and what it goes on from. It knows no data."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import keras

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.losses import LOSS_TABLE, read_losses, require_own_losses
from isonet_scipion.engine.io.noise_folder import check_noise
from isonet_scipion.engine.io.refine_json import iteration_of, model_name
from isonet_scipion.engine.learning.data_identity import BY_SETTINGS, NOISE, checksum_in_words, data_identity
from isonet_scipion.engine.learning.forecast import Forecast, model_bytes, require_space
from isonet_scipion.engine.learning.method import Batches, Losses, Method
from isonet_scipion.engine.learning.noise_schedule import noise_level
from isonet_scipion.engine.learning.state import RunState, read_state
from isonet_scipion.engine.learning.watchers import Log, LossTable, ModelFile, Page, StateFile, Watcher, write_model
from isonet_scipion.engine.measure.history import (
    AT_CHANCE,
    EpochRecord,
    chosen_iteration,
    iterations_without_gain,
    require_convergence,
    stayed_at_chance,
)
from isonet_scipion.engine.network.model_file import (
    BUILTIN,
    STATE_FILE,
    STATE_REMEDY,
    copy_weights,
    load_weights,
    read_facts,
    read_metadata,
)
from isonet_scipion.engine.network.unet import build_unet
from isonet_scipion.engine.physics.withheld_tilts import WITHHELD
from isonet_scipion.engine.process.device import Devices, training_scope, with_less_memory
from isonet_scipion.engine.process.progress import Progress
from isonet_scipion.engine.reporting.pages import require_own_page
from isonet_scipion.engine.reporting.training_page import require_own_pictures, save_slices, slices_name
from isonet_scipion.engine.wording import counted

if TYPE_CHECKING:
    from isonet_scipion.engine.io.model_metadata import ModelMetadata
    from isonet_scipion.engine.measure.withheld_agreement import Agreement
    from isonet_scipion.engine.settings.training import TrainingSettings

log = logging.getLogger(__name__)
# settings that may change when a run is gone on with; its folder may be moved, or given another way
FREE = (
    *("iterations", "patience", "gpuID", "log_level", "preprocessing_ncpus", "remove_intermediate", "data_dir"),
    *("result_dir", "preset"),  # what a preset comes to is in steps_per_epoch
)
PATHS = ("pretrained_model", "noise_dir")  # settings that name files
UNKNOWN_BEFORE = {"denoiser": 0}  # settings that states of earlier versions lack, and what they were
WITHHELD_FACT = "withheld tilts"  # version 1.0.0 withheld none, and had other records of its epochs
WATCHERS = (ModelFile(), StateFile(), LossTable(), Page(), Log())  # in this order: the state tells of the model


class Run(Generic[Batches]):
    """A training run in a folder."""

    def __init__(
        self,
        method: Method[Batches],
        settings: TrainingSettings,
        metadata: ModelMetadata,
        devices: Devices,
        start_model: Path | None = None,
        first_iteration: int = 1,
        watchers: Sequence[Watcher] = WATCHERS,
    ) -> None:
        """Set up a run; `settings` have no open values left but gpuID and the tilt range.

        Parameters
        ----------
        method : Method
            How it trains, and what on.
        settings : TrainingSettings
            With batch_size, steps_per_epoch and seed set.
        metadata : ModelMetadata
            Of its models, but for the iteration.
        devices : Devices
            What to train on.
        start_model : Path, optional
            Model to start from, which also gives the first estimate.
        first_iteration : int
            Number of the first iteration to train; after 1 the start model is that of the one before.
        watchers : sequence of Watcher
            Told of each epoch, in this order.
        """
        self.method, self.settings, self.metadata, self.devices = method, settings, metadata, devices
        self.start_model, self.first_iteration, self.watchers = start_model, first_iteration, watchers
        self.folder = Path(settings.result_dir)
        self.model: keras.Model = None
        self.decided = settings.decided()
        self.state = RunState(first_iteration, batch_size=self.decided.batch_size)
        self.earlier: list[EpochRecord] = []  # epochs of the run that it goes on from, in the same folder
        self.noise: dict[str, str] = {}  # what is known of the user's noise, where there is any

    def train(self) -> Path:
        """Train until the last iteration; goes on where an earlier run of the same settings stopped.

        Returns
        -------
        Path
            The model to correct with.

        Raises
        ------
        EngineError
            If the loss diverges, memory does not suffice for the smallest batch, no iteration is left, or the folder
            holds what would be overwritten.
        """
        self._require_own_files()
        if self.settings.noise_dir and any(level > 0 for level in self.settings.noise_level):
            # else it fails after many iterations
            volumes = check_noise(self.settings.noise_dir, self.method.cube_size, self.metadata.voxel_size)
            self.noise = data_identity([{NOISE: checksum_in_words(one)} for one in volumes])
        keras.utils.set_random_seed(self.decided.seed % 2**32)
        with training_scope(self.devices):
            return self._train()

    def _train(self) -> Path:
        self.model = build_unet(self.settings.network)
        self.method.compile(self.model)
        is_new = not self._resume()
        state, last = self.state, self.settings.iterations
        left = last - state.iteration + 1
        if left < 1 and not state.history:
            raise EngineError(
                "iterations", f"{state.iteration - 1} are finished already", f"Give more than {state.iteration - 1}."
            )
        if left < 1:
            log.info("Nothing is left to train up to iteration %d: raise iterations to go on.", last)
        needed = model_bytes(self.model.count_params(), left) + self.method.bytes_needed(left)
        require_space(self.folder, needed)
        if is_new:
            self._begin()
        forecast = Forecast(self._steps_left(), self.devices)
        while state.iteration <= last and not self._has_settled():
            self._iterate(forecast)
        return self._chosen()

    def _steps_left(self) -> int:
        """How many steps like the next one would take as long as those that are left."""
        epochs = self.settings.epochs
        done, cost = (self.state.iteration - 1) * epochs + self.state.epoch, self.method.cost
        left = sum(cost(epoch) for epoch in range(done, self.settings.iterations * epochs))
        return round(left / cost(done) * self.decided.steps_per_epoch)

    def _require_own_files(self) -> None:
        """Raise an EngineError where the folder holds what is not of this program and would be replaced.

        The losses of the run that it goes on from are read.
        """
        require_own_page(self.folder)
        require_own_losses(self.folder / LOSS_TABLE)
        if self._starts_here():
            known = read_losses(self.folder / LOSS_TABLE)
            self.earlier = [record for record in known if record.iteration < self.first_iteration]
        is_resumed = (self.folder / LOSS_TABLE).exists()
        require_own_pictures(self.folder, is_resumed)
        self.method.require_own_files(is_resumed)

    def _starts_here(self) -> bool:
        """Whether it goes on from an iteration in its own folder."""
        start = self.settings.continue_from
        return start is not None and os.path.dirname(os.path.realpath(start)) == os.path.realpath(self.folder)

    def _require_no_later_ones(self, last: int) -> None:
        """Raise an EngineError where there are files of iterations after `last`, which are not this run's."""
        why, remedy = "it is there already, of another run", "Give another result_dir."
        if self._starts_here():
            why = f"it is there already, of a later iteration than {last}, from which this run goes on"
        if not (self.folder / STATE_FILE).exists():
            why = f"it is there already, but no {STATE_FILE} to go on with"
            remedy = "Give the last refine_iterNN.json beside it as continue_from, or another result_dir."
        for path in sorted(self.folder.glob("*")):
            iteration = iteration_of(path.name)
            if iteration is not None and last < iteration <= self.settings.iterations:
                raise EngineError(str(path), why, remedy)

    def model_path(self, iteration: int) -> Path:
        """File of an iteration's model."""
        return self.folder / f"{model_name(iteration)}.keras"

    def identity(self) -> dict[str, Any]:
        """What a run that this one goes on with must have been made with."""
        free = {*FREE, *self.settings.idle}
        settings = {name: value for name, value in self.settings.as_options().items() if name not in free}
        if self.settings.continue_from:
            settings["continue_from"] = self._place(self.settings.continue_from)
            del settings["pretrained_model"]  # of the run that is continued, which may have been made elsewhere
        for name, path in self._paths():
            if name in settings and not os.path.isabs(path):
                settings[name] = self._place(path)
        facts = {**settings, "cube_size": self.method.cube_size, WITHHELD_FACT: WITHHELD}
        return json.loads(json.dumps({**facts, **self._data()}))

    def _paths(self) -> list[tuple[str, str]]:
        """The files and folders that its settings name, by the settings' names."""
        named = [(name, getattr(self.settings, name)) for name in PATHS]
        return [(name, path) for name, path in named if path and path != BUILTIN]

    def _place(self, path: str) -> str:
        """A file as seen from the folder: a run may be gone on with from elsewhere."""
        return os.path.relpath(os.path.realpath(path), os.path.realpath(self.folder))

    def _data(self) -> dict[str, Any]:
        """What it knows of its data; earlier versions kept less of it."""
        return {"voxel size": f"{self.metadata.voxel_size or 0:g} A", **self.method.identity(), **self.noise}

    def chosen_iteration(self) -> int | None:
        """That whose model is the one to take so far; None before the first has ended."""
        ends = self._ends()
        return chosen_iteration(ends, self.state.start_correlation) if ends else None

    def _chosen(self) -> Path:
        """The model to take, which is told."""
        ends = self._ends()
        number, last = chosen_iteration(ends, self.state.start_correlation), ends[-1]
        found = {record.iteration: record.withheld_correlation for record in ends}
        correlation, chosen = found.get(number, self.state.start_correlation), self.model_path(number)
        if stayed_at_chance(ends):
            log.warning("%s", AT_CHANCE)
        if self.settings.network.denoiser and not last.with_denoiser:
            log.warning("The layers that remove noise come last in a run and are not trained yet: raise iterations.")
        if number != last.iteration and not chosen.exists():
            log.warning(
                "%s, which restores the withheld tilts best (correlation %.3f), was deleted: correct with %s, the last "
                "(%.3f).", chosen, correlation, self.model_path(last.iteration), last.withheld_correlation,
            )  # fmt: skip
            return self.model_path(last.iteration)
        if correlation is None or last.withheld_correlation is None:
            log.info("Finished. Correct with %s, the last: there is too little data to compare iterations.", chosen)
        elif number == last.iteration:
            log.info(
                "Finished. Correct with %s, the last: no other restores the withheld tilts clearly better "
                "(correlation %.3f).", chosen, correlation,
            )  # fmt: skip
        else:
            which, how = "", "clearly better"
            if number not in found:
                which, how = ", a copy of the model that the training started from", "no worse"
            log.warning(
                "Correct with %s%s: it restores the withheld tilts %s (correlation %.3f) than the last iteration "
                "(%.3f).", chosen, which, how, correlation, last.withheld_correlation,
            )  # fmt: skip
        return chosen

    def _has_settled(self) -> bool:
        """Whether there was no gain for `patience` iterations of the whole network, at the last noise level."""
        settings = self.settings
        if settings.patience is None or self.state.epoch > 0:
            return False
        last_level = max((start for start in settings.noise_start_iter if start <= settings.iterations), default=1)
        ends = [record for record in self._ends() if record.iteration >= last_level]
        if settings.network.denoiser:
            ends = [record for record in ends if record.with_denoiser]
        idle = iterations_without_gain(ends)
        if idle >= settings.patience:
            log.info("Stopped: no gain for %s.", counted(idle, "iterations"))
        return idle >= settings.patience

    def _ends(self) -> list[EpochRecord]:
        """The last epochs of the finished iterations, of which a continued run may have had other numbers."""
        finished = (record for record in self.state.history if record.iteration < self.state.iteration)
        return list({record.iteration: record for record in finished}.values())

    def _resume(self) -> bool:
        """Whether there is a run that this one goes on with, which is then read."""
        path = self.folder / STATE_FILE
        stored = read_facts(path, STATE_REMEDY) if path.exists() else None
        if stored and self._continues(stored):
            self.state = read_state(stored, path)
            # it may have got smaller; a state that asks for more is a stranger's, or of other settings
            self.state.batch_size = min(self.state.batch_size, self.decided.batch_size)
            self._require_no_later_ones(self._last_own(self.state.iteration))
            load_weights(self.model, path, STATE_REMEDY)
            for watcher in self.watchers:
                watcher.after_resume(self)
            log.info("Going on with iteration %d after %d of its epochs.", self.state.iteration, self.state.epoch)
            return True
        # after more epochs than one the first state is there before the first model
        is_early = stored is None and self.settings.epochs == 1
        self._require_no_later_ones(self._last_own(self.first_iteration) if is_early else self.first_iteration - 1)
        if self.start_model is not None:
            copy_weights(self.model, self.settings.network, self.start_model)
        return False

    def _last_own(self, iteration: int) -> int:
        """The iteration of the last files that are this run's, where its state is yet to tell of one."""
        made = self.model_path(iteration)
        try:  # a kill between the model and the state leaves the model
            is_ours = made.exists() and read_metadata(made) == dataclasses.replace(self.metadata, iteration=iteration)
        except EngineError:
            is_ours = False
        return iteration if is_ours else iteration - 1

    def _begin(self) -> None:
        """Test the model it starts from, which the training may make worse, and keep it among its own."""
        before = self.first_iteration - 1
        agreement = self._test(before, trained=self.start_model is not None)
        if self.start_model is None:
            return
        if agreement is not None:
            self.state.start_correlation = agreement.correlation
        if self.model_path(before).resolve() != self.start_model.resolve():
            # a copy has learned from what its original has, but is applied as it was tested here
            metadata = dataclasses.replace(self.metadata, **read_metadata(self.start_model).learned_from)
            write_model(self.model_path(before), self.model, metadata, before)

    def _test(self, iteration: int, trained: bool = True) -> Agreement | None:
        """Measure the model after an iteration, and picture what it makes; not `trained`: what there is without one."""
        agreement, example = self.method.test(trained)
        save_slices(self.folder / slices_name(iteration), -example)
        if trained and agreement is not None:
            log.info("Iteration %d: correlation with the withheld tilts %.3f, chance %.3f", iteration, *agreement)
        return agreement

    def _continues(self, stored: dict[str, Any]) -> bool:
        """Whether a stored state is one that this run goes on from; raises where it is another run's."""
        run, state = stored.get("run"), self.folder / STATE_FILE
        if not isinstance(run, dict):
            raise EngineError(str(state), "it is not the state of a training", "Give another result_dir.")
        if WITHHELD_FACT not in run:
            raise EngineError(
                str(state),
                "it is of a training of version 1.0.0, which this version can't resume",
                "Give another result_dir, in which continue_from goes on from the last refine_iterNN.json beside it.",
            )
        expected = self.identity()
        if self.settings.continue_from:
            if not self._names(run.get("continue_from"), self.settings.continue_from):
                made = read_state(stored, state)
                # with fewer epochs than it has made of the iteration, that is begun anew
                is_next = made.iteration == self.first_iteration and made.epoch < self.settings.epochs
                if is_next:
                    self._require_same_data(run, BY_SETTINGS)
                return is_next
            del expected["continue_from"]
        for name, path in self._paths():
            if self._names(run.get(name), path):
                expected.pop(name, None)
        run, data = {**UNKNOWN_BEFORE, **run}, self._data()
        # the start model first, from which defaults of others follow
        for name, value in sorted(expected.items(), key=lambda item: item[0] not in PATHS):
            if name not in data and run.get(name) != value:
                raise EngineError(
                    str(self.folder),
                    f"it holds a run with {name} {run.get(name)}, not {value}",
                    "Give the same settings to continue it, or another result_dir.",
                )
        self._require_same_data(run)
        return True

    def _require_same_data(self, run: dict[str, Any], but: Sequence[str] = ()) -> None:
        """Raise an EngineError where the run of a state was on other data, `but` for these; logs what is not told."""
        data, state = {name: value for name, value in self._data().items() if name not in but}, self.folder / STATE_FILE
        for name, value in data.items():
            if name in run and run[name] != value:
                raise EngineError(
                    str(self.folder),
                    f"it holds a training on other data ({name}: {run[name]}, now {value})",
                    "Give the same data to continue it, or another result_dir.",
                )
        unknown = [name for name in data if name not in run]
        if unknown:
            log.warning(
                "%s: an earlier version made it, which did not keep its data's %s: they are taken to be the same.",
                state, ", ".join(unknown),
            )  # fmt: skip

    def _names(self, stored: object, path: str) -> bool:
        """Whether what a state has for a file is this one."""
        if not isinstance(stored, str) or "\0" in stored:
            return False
        # earlier versions kept the name as it was given
        return os.path.realpath(path) in (os.path.realpath(self.folder / stored), os.path.realpath(stored))

    def _iterate(self, forecast: Forecast) -> None:
        state, settings = self.state, self.settings
        level = noise_level(state.iteration, settings.noise_level, settings.noise_start_iter)
        log.info("Iteration %d of %d, noise level %g", state.iteration, settings.iterations, level)
        batches = self.method.start_iteration(state, level, self._before())
        for epoch in range(state.epoch, settings.epochs):
            started = time.monotonic()
            losses = self._fit(batches, forecast)
            is_last = epoch + 1 == settings.epochs
            agreement = self._test(state.iteration) if is_last else None
            seconds = time.monotonic() - started
            correlation, chance = agreement or (None, None)
            record = EpochRecord(
                state.iteration, epoch + 1, losses.training, losses.validation, level, seconds, correlation, chance,
                losses.with_denoiser,
            )  # fmt: skip
            require_convergence(record, state.history, settings.learning_rate)
            state.history.append(record)
            state.iteration, state.epoch = (state.iteration + 1, 0) if is_last else (state.iteration, epoch + 1)
            for watcher in self.watchers:
                watcher.after_epoch(self, record)

    def _before(self) -> Path | None:
        """The model of the iteration before; for that to start from its own copy: the file may be another one since."""
        before = self.model_path(self.state.iteration - 1)
        if self.state.iteration > self.first_iteration:
            return before
        # earlier versions kept no copy
        return before if self.start_model is not None and before.exists() else self.start_model

    def _fit(self, batches: Batches, forecast: Forecast) -> Losses:
        """Train for an epoch, with smaller batches where memory does not suffice."""
        state, least = self.state, self.method.least_batch
        task = f"Iteration {state.iteration} epoch {state.epoch + 1}/{self.settings.epochs}"
        variables = self.model.variables + self.model.optimizer.variables
        before = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]

        def attempt() -> Losses:
            with Progress(task, self.decided.steps_per_epoch, "steps") as progress:

                def count(loss: float) -> None:
                    forecast.step()
                    progress.advance(1, f"loss {loss:.4f}")

                return self.method.fit(batches, state, count)

        def lessen(told: str) -> None:
            if state.batch_size <= least:
                cube, base = self.method.cube_size, self.settings.network.filter_base
                raise EngineError(
                    "memory",
                    f"there is not enough for {state.batch_size} pairs of {cube}^3 voxels ({told})",
                    f"Lower cube_size to {cube // 2} or filter_base to {base // 2}.",
                )
            state.batch_size = max(1, state.batch_size // 2 // least) * least
            log.warning("Out of memory (%s): going on with batch_size %d.", told, state.batch_size)
            for variable, value in zip(variables, before):
                variable.assign(value)

        return with_less_memory(attempt, lessen)
