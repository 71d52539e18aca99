"""How many steps an epoch has, and how many pairs a step, where the options leave it open."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import TYPE_CHECKING, TypeVar

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.learning.state import stored_number
from isonet_scipion.engine.settings.training import OnePassSettings, TrainingSettings

if TYPE_CHECKING:
    from isonet_scipion.engine.process.device import Devices

log = logging.getLogger(__name__)
Settings = TypeVar("Settings", bound=TrainingSettings)
# of one-pass's step on a GPU: with 2 most of the time is spent on launching its operations, with 8 it learned less
GPU_PAIRS = 4
AUTO = OnePassSettings().preset
MOST_STEPS = 200  # where no number is given


def with_batches(settings: Settings, devices: Devices, count: int, usual: int, least: int, told: str) -> Settings:
    """The settings with a batch size and a number of steps where none are given: those of a run that is gone on with.

    Else those that suit the devices and the data.

    Parameters
    ----------
    settings : TrainingSettings
        As given.
    devices : Devices
        Which share a batch.
    count : int
        Of the subtomograms or tomograms.
    usual : int
        Pairs in a batch of one device, where no number is given.
    least : int
        Pairs for each device, of which there are so many or a multiple.
    told : str
        `least` in words.

    Raises
    ------
    EngineError
        If the batch, or that of the run that is gone on with, can't be shared evenly.

    Examples
    --------
    >>> from isonet_scipion.engine.process.device import Devices
    >>> from isonet_scipion.engine.settings.training import IterativeSettings
    >>> on_cpu = Devices("tensorflow", (), "float32")
    >>> sized = with_batches(IterativeSettings(), on_cpu, 10, 4, 1, "one pair")
    >>> sized.batch_size, sized.steps_per_epoch
    (4, 15)
    """
    unit = least * devices.count
    batch = settings.batch_size or _batch_before(settings, devices, least) or max(usual, 2 * devices.count)
    if batch % unit:
        why = f"{batch} is not a multiple of {unit}, {told} for each device"
        raise EngineError("batch_size", why, f"Give {max(1, batch // unit) * unit}.")
    steps = settings.steps_per_epoch or stored_number(settings.result_dir, "steps_per_epoch", 1)
    steps = steps or max(1, min(6 * count // batch, MOST_STEPS))
    return dataclasses.replace(settings, batch_size=batch, steps_per_epoch=steps)


def _batch_before(settings: TrainingSettings, devices: Devices, least: int) -> int | None:
    """Pairs in a step of the run that is gone on with, perhaps on other devices; None where a new one begins."""
    batch = stored_number(settings.result_dir, "batch_size", least)
    if batch is not None and devices.count > 1 and batch % (least * devices.count):
        why = f"the training in {settings.result_dir} has {batch} pairs in a step, which {devices.count} can't share"
        raise EngineError("gpuID", why, "Go on with it on one GPU.")
    return batch


def with_steps(settings: OnePassSettings, devices: Devices, least: int) -> OnePassSettings:
    """The settings with steps and pairs per step that suit the devices, or are those of the run that is gone on with.

    Steps and learning rate are meant for `least` pairs. Where no batch size is given larger steps are fewer, so that
    an epoch shows as many pairs, and their rate is higher: with the root of the pairs, as suits Adam.

    Parameters
    ----------
    settings : OnePassSettings
        As given.
    devices : Devices
        Which share a batch.
    least : int
        Pairs for each device, of which there are so many or a multiple.

    Raises
    ------
    EngineError
        If the devices can't share the steps of the run that is gone on with.
    """
    is_open = settings.steps_per_epoch is None and settings.preset == AUTO
    before = stored_number(settings.result_dir, "steps_per_epoch", 1) if is_open else None
    settings = _with_preset(settings, devices)
    if settings.batch_size is None:
        settings = _in_larger_steps(settings, devices, least)
    return settings if before is None else dataclasses.replace(settings, steps_per_epoch=before)


def _with_preset(settings: OnePassSettings, devices: Devices) -> OnePassSettings:
    """The settings with the steps of a preset where no number is given: without one, of what suits the devices."""
    if settings.steps_per_epoch is not None:
        if settings.preset != AUTO:
            log.warning("preset has no effect, as steps_per_epoch is %d.", settings.steps_per_epoch)
        return settings
    is_new = not settings.pretrained_model
    suiting = "medium" if is_new and devices.gpus else "small"
    preset = suiting if settings.preset == AUTO else settings.preset
    steps = settings.STEPS_WITH_DENOISER if is_new and settings.network.denoiser else settings.STEPS
    if preset != "small":
        log.info("Preset %s: %d times as many steps as small.", preset, settings.PRESETS[preset])
    return dataclasses.replace(settings, steps_per_epoch=steps * settings.PRESETS[preset])


def _in_larger_steps(settings: OnePassSettings, devices: Devices, least: int) -> OnePassSettings:
    steps = settings.steps_per_epoch or settings.STEPS
    unit, pairs = least * devices.count, least * steps
    batch = _batch_before(settings, devices, least)
    if batch is None:
        most = max(unit, GPU_PAIRS) if devices.gpus else unit
        batch = next((size for size in range(most // unit * unit, unit, -unit) if pairs % size == 0), unit)
    if batch == least:
        return settings
    fewer, rate = max(1, round(pairs / batch)), settings.learning_rate * math.sqrt(batch / least)
    log.info(
        "%d pairs in a step, as suits the GPU; for as many pairs as with batch_size %d in all: %d steps instead of %d "
        "in an epoch, at a learning rate of %.3g instead of %.3g.",
        batch, least, fewer, steps, rate, settings.learning_rate,
    )  # fmt: skip
    return dataclasses.replace(settings, batch_size=batch, steps_per_epoch=fewer, learning_rate=rate)
