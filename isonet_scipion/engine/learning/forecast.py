"""What a refinement will need: disk space before it starts, time and memory after its first steps."""

from __future__ import annotations

import logging
import time
from functools import partial

import psutil

from isonet_scipion.engine.process import disk
from isonet_scipion.engine.process.device import Devices, free_memory
from isonet_scipion.engine.process.progress import clock

log = logging.getLogger(__name__)
WARM_UP_STEPS, MEASURED_STEPS = 2, 5
VALIDATION_COST = 0.04  # of a step's time: a tenth of the steps, forward only
require_space = partial(disk.require_space, remedy="Free some, set remove_intermediate to True, or lower iterations.")


def model_bytes(parameters: int, iterations: int) -> int:
    """Disk space of a run's models, and of the state with the optimiser's, for a network of so many parameters."""
    return 4 * parameters * (iterations + 2 * 3)  # the state is written beside its predecessor


def estimate_bytes(subtomograms: int, size: int, iterations: int) -> int:
    """Disk space of the estimates of some iterations, for so many subtomograms of `size`^3 voxels."""
    return 4 * subtomograms * size**3 * iterations


class Forecast:
    """Tells once, after a few steps, how long the run will take and what memory it uses."""

    def __init__(self, steps: int, devices: Devices) -> None:
        """Take the number of steps that the whole run still has."""
        self.steps, self.devices = steps, devices
        self.seen, self.started = 0, 0.0
        self.free_before = free_memory(devices) if devices.gpus else 0

    def step(self) -> None:
        """Count a step."""
        self.seen += 1
        if self.seen == WARM_UP_STEPS:
            self.started = time.monotonic()
        elif self.seen == WARM_UP_STEPS + MEASURED_STEPS:
            seconds = (time.monotonic() - self.started) / MEASURED_STEPS * (1 + VALIDATION_COST)
            on_gpu = self.free_before - free_memory(self.devices) if self.devices.gpus else None
            used = psutil.Process().memory_info().rss if on_gpu is None else on_gpu
            log.info(
                "Forecast from %d steps: %.2f s per step, %s in all; memory %.1f GiB of the %s",
                MEASURED_STEPS,
                seconds,
                clock(seconds * (self.steps - self.seen)),
                used / 2**30,
                "main memory" if on_gpu is None else "GPU",
            )
