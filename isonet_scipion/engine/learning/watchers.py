"""What a training run leaves in its folder and says after each epoch."""

from __future__ import annotations

import dataclasses
import logging
import time
import weakref
from typing import TYPE_CHECKING, Any, Protocol

import keras
import numpy as np

from isonet_scipion.engine.io.losses import LOSS_TABLE, write_losses
from isonet_scipion.engine.io.refine_json import CHOSEN, write_refine_json
from isonet_scipion.engine.network.model_file import STATE_FILE, save_model
from isonet_scipion.engine.process.progress import clock
from isonet_scipion.engine.reporting.loss_figure import draw_losses
from isonet_scipion.engine.reporting.training_page import LOSSES, write_training_page

if TYPE_CHECKING:
    from pathlib import Path

    from isonet_scipion.engine.io.model_metadata import ModelMetadata
    from isonet_scipion.engine.learning.method import Method
    from isonet_scipion.engine.learning.state import RunState
    from isonet_scipion.engine.measure.history import EpochRecord
    from isonet_scipion.engine.process.device import Devices
    from isonet_scipion.engine.settings.training import TrainingSettings

log = logging.getLogger(__name__)
SECONDS_BETWEEN_STATES = 180.0
SECONDS_BETWEEN_PAGES = 15.0  # a page takes a fifth of a second, an epoch on a GPU may take two


class Followed(Protocol):
    """What watchers see of a run."""

    method: Method[Any]
    settings: TrainingSettings
    metadata: ModelMetadata
    devices: Devices
    folder: Path
    model: keras.Model
    state: RunState
    earlier: list[EpochRecord]

    def model_path(self, iteration: int) -> Path:
        """File of an iteration's model."""

    def identity(self) -> dict[str, Any]:
        """What a run that goes on with this one must be made with."""

    def chosen_iteration(self) -> int | None:
        """Whose model is to be taken; None before the first has ended."""


class Watcher(Protocol):
    """Something that follows a run."""

    def after_epoch(self, run: Followed, record: EpochRecord) -> None:
        """Take note of an epoch, after which the run's state is of the next one."""

    def after_resume(self, run: Followed) -> None:
        """Make up for what a run that was killed after writing its state did not come to."""


def write_model(path: Path, model: keras.Model, metadata: ModelMetadata, iteration: int) -> None:
    """Write a network as it is after an iteration."""
    # without the optimiser's state the file is a third of the size
    save_model(path, keras.Model(model.inputs, model.outputs), dataclasses.replace(metadata, iteration=iteration))


class ModelFile:
    """The model of each iteration, and beside it refine_iterNN.json, from which another run can go on."""

    def after_epoch(self, run: Followed, record: EpochRecord) -> None:
        """Write them after the last epoch of an iteration."""
        if record.epoch == run.settings.epochs:
            self._write(run, record.iteration)

    def after_resume(self, run: Followed) -> None:
        """Write those of the last iteration anew where they were deleted: at its end the state has the same network."""
        last = run.state.iteration - 1
        if run.state.epoch == 0 and run.state.history and not run.model_path(last).exists():
            self._write(run, last)

    def _write(self, run: Followed, iteration: int) -> None:
        write_model(run.model_path(iteration), run.model, run.metadata, iteration)
        losses = [one for one in run.state.history if one.iteration == iteration]
        more = {
            "cube_size": run.method.cube_size,
            "crop_size": run.method.crop_size,
            "ngpus": len(run.devices.gpus),
            "losses": [one.loss for one in losses],
            "val_losses": [one.val_loss for one in losses],
            CHOSEN: run.chosen_iteration(),
        }
        write_refine_json(run.folder, iteration, run.settings.as_options(), more)


class _Occasion:
    """When to write what takes long: after a run's first epoch, at each iteration's end, and from time to time."""

    def __init__(self, seconds: float) -> None:
        """Nothing is written yet; between two times in an iteration there are so many seconds."""
        self._seconds, self._last = seconds, 0.0
        self._run: weakref.ref[Followed] | None = None

    def has_come(self, run: Followed, record: EpochRecord) -> bool:
        """Whether it is to be written after this epoch, as it then is."""
        is_new = self._run is None or self._run() is not run
        is_late = time.monotonic() - self._last > self._seconds
        if not (is_new or is_late or record.epoch == run.settings.epochs):
            return False
        self._run, self._last = weakref.ref(run), time.monotonic()
        return True


class StateFile:
    """What an interrupted run goes on from: it makes the epochs since then again, to the same weights.

    It holds the network with its optimiser's state, and how far the run has come: three times the network's size.
    """

    def __init__(self) -> None:
        """Nothing is written yet."""
        self._occasion = _Occasion(SECONDS_BETWEEN_STATES)

    def after_epoch(self, run: Followed, record: EpochRecord) -> None:
        """Write it from time to time."""
        if self._occasion.has_come(run, record):
            more = {"progress": dataclasses.asdict(run.state), "run": run.identity()}
            save_model(run.folder / STATE_FILE, run.model, run.metadata, more)

    def after_resume(self, run: Followed) -> None:
        """Nothing: it is what the run goes on from."""


def _all_epochs(run: Followed) -> list[EpochRecord]:
    """Those of a run that has made some, after those of the one that it continues."""
    own = run.state.history
    return [*(record for record in run.earlier if record.iteration < own[0].iteration), *own]


class LossTable:
    """The losses of all epochs as a table."""

    def after_epoch(self, run: Followed, record: EpochRecord) -> None:
        """Write it anew."""
        self.after_resume(run)

    def after_resume(self, run: Followed) -> None:
        """Write it anew."""
        if run.state.history:
            write_losses(run.folder / LOSS_TABLE, _all_epochs(run))


class Page:
    """The page of the training, and the picture of its losses."""

    def __init__(self) -> None:
        """Nothing is written yet."""
        self._occasion = _Occasion(SECONDS_BETWEEN_PAGES)

    def after_epoch(self, run: Followed, record: EpochRecord) -> None:
        """Write both anew from time to time."""
        if self._occasion.has_come(run, record):
            self.after_resume(run)

    def after_resume(self, run: Followed) -> None:
        """Write both anew."""
        if run.state.history:
            draw_losses(run.folder / LOSSES, _all_epochs(run))
            start, iterations = run.state.start_correlation, run.settings.iterations
            write_training_page(
                run.folder, run.state.history, run.method.tested(), start, run.chosen_iteration(), iterations
            )


class Log:
    """A line for each epoch, with the time that is left."""

    def after_epoch(self, run: Followed, record: EpochRecord) -> None:
        """Say it."""
        epochs, cost = run.settings.epochs, run.method.cost
        done = (record.iteration - 1) * epochs + record.epoch
        alike = [old for old in run.state.history[-epochs:] if old.with_denoiser == record.with_denoiser]
        # the median: an epoch during which the process was paused tells nothing of the others
        seconds = float(np.median([old.seconds for old in alike])) / cost(done - 1)
        left = seconds * sum(cost(epoch) for epoch in range(done, run.settings.iterations * epochs))
        log.info(
            "Iteration %d epoch %d/%d: loss %.4f, validation loss %.4f, %s left",
            record.iteration,
            record.epoch,
            epochs,
            record.loss,
            record.val_loss,
            clock(left),
        )

    def after_resume(self, run: Followed) -> None:
        """Nothing: the run itself says where it goes on."""
