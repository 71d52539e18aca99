"""What of a training's settings is impossible, or has no effect."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.learning.noise_schedule import adds_noise, late_noise, listed, noise_level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isonet_scipion.engine.settings.training import TrainingSettings

log = logging.getLogger(__name__)


def check_settings(settings: TrainingSettings, cube_size: int) -> None:
    """Raise an EngineError about the first that is impossible; those without effect, and late noise, are logged."""
    for name, needed in without_effect(settings):
        log.warning("%s has no effect without %s.", name, needed)
    for divisor in settings.network.divisor:
        if cube_size % divisor:
            raise EngineError(
                "cube_size",
                f"{cube_size} is not divisible by {divisor} (2^unet_depth, or pool^unet_depth, times stem)",
                f"Take cube_size {max(1, round(cube_size / divisor)) * divisor}, or change unet_depth.",
            )
    for name in ("iterations", "epochs"):
        if getattr(settings, name) < 1:
            raise EngineError(name, f"{getattr(settings, name)} is too few", "Give at least 1.")
    for name in ("batch_size", "steps_per_epoch", "select_subtomo_number"):
        value = getattr(settings, name, None)
        if value is not None and value < 1:
            raise EngineError(name, f"{value} is too few", "Give at least 1.")
    noise_level(1, settings.noise_level, settings.noise_start_iter)
    _tell_of_late_noise(settings)
    if not 0 < settings.learning_rate < 1:
        raise EngineError("learning_rate", f"{settings.learning_rate} is out of range", "Give a value such as 0.0004.")


def without_effect(settings: TrainingSettings) -> Iterator[tuple[str, str]]:
    """Options that were given, and what they have no effect without."""
    return ((name, needed) for name, needed in settings.idle.items() if getattr(settings, name))


def _tell_of_late_noise(settings: TrainingSettings) -> None:
    """Log one line about levels of noise that come after the last iteration; a warning where none comes before."""
    schedule = settings.noise_level, settings.noise_start_iter, settings.iterations
    late = late_noise(*schedule)
    if late:
        levels, starts = zip(*late)
        log.log(
            logging.INFO if adds_noise(*schedule) else logging.WARNING,
            "noise_level: %s not reached, as noise_start_iter %s is beyond the last of %d iterations.",
            listed(levels), listed(starts), settings.iterations,
        )  # fmt: skip


def require_no_denoiser(settings: TrainingSettings, why: str) -> None:
    """Raise an EngineError where a network has a denoiser."""
    if settings.network.denoiser:
        remedy = "Give 0, and another pretrained_model where that has one; or use one-pass with half tomograms."
        raise EngineError("denoiser", why, remedy)
