"""refine: train the network on the subtomograms of a table."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np

from isonet_scipion.engine.device import choose_devices
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.files import require_file
from isonet_scipion.engine.model_file import STATE_FILE, read_metadata
from isonet_scipion.engine.network import NetworkSettings
from isonet_scipion.engine.noise import noise_level
from isonet_scipion.engine.settings import RefineSettings
from isonet_scipion.engine.star import Star, read_star
from isonet_scipion.engine.subtomograms import Subtomogram, read_subtomograms
from isonet_scipion.engine.tilt_check import power_by_angle, shown_range, tilt_warning

log = logging.getLogger(__name__)
TILT_SAMPLE = 30  # subtomograms of each tilt range that it is checked on


def refine(subtomo_star: str, settings: RefineSettings, given: set[str]) -> None:
    """Train; `given` names the options that were set by hand. Errors as `EngineError`."""
    if settings.continue_from:
        settings = _continued(settings, given)
    settings = dataclasses.replace(settings, seed=_seed(settings))
    table = _selected(read_star(subtomo_star), settings)
    table.require(["rlnImageName", "rlnCubeSize"])
    cube_size = table.integer(table.rows[0], "rlnCubeSize")
    network = NetworkSettings.among(vars(settings))
    _check(settings, cube_size, network)
    subtomograms = read_subtomograms(table, settings.normalize_percentile, (settings.tilt_min, settings.tilt_max))
    size = subtomograms[0].size
    if size < cube_size:
        raise EngineError(subtomo_star, f"rlnCubeSize {cube_size} is more than the side {size}", "Extract larger ones.")
    _check_tilt_ranges(subtomograms)
    devices = choose_devices(settings.gpuID, settings.precision)
    batch = settings.batch_size or max(4, 2 * devices.count)
    steps = settings.steps_per_epoch or max(1, min(6 * len(subtomograms) // batch, 200))
    settings = dataclasses.replace(settings, batch_size=batch, steps_per_epoch=steps)

    from isonet_scipion.engine.refinement import Refinement  # imports Keras, once the devices are chosen

    start_model, first_iteration = _start(settings)
    run = Refinement(
        subtomograms, cube_size, settings, _metadata(table, subtomograms, settings, cube_size), devices,
        start_model, first_iteration,
    )  # fmt: skip
    log.info(
        "%d subtomograms of %d^3, cubes of %d^3; %d iterations x %d epochs x %d steps x %d pairs; %s, %s; seed %d",
        len(subtomograms), size, cube_size, settings.iterations, settings.epochs, steps, batch,
        ", ".join(devices.gpus) or "CPU", devices.policy, run.settings.seed,
    )  # fmt: skip
    run.run()


def _continued(settings: RefineSettings, given: set[str]) -> RefineSettings:
    path = require_file(settings.continue_from, "file to continue from")
    try:
        stored = json.loads(path.read_text())
        names = {field.name for field in dataclasses.fields(RefineSettings)} - {"continue_from"}
        restored = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored.items()
            if name in names and name not in given
        }
        return dataclasses.replace(settings, **restored)
    except (ValueError, AttributeError) as error:
        raise EngineError(str(path), f"it is not a refine_iterNN.json ({error})", "Give one of the run.") from error


def _seed(settings: RefineSettings) -> int:
    """The given seed, else that of the run that is gone on with, else a new one."""
    if settings.seed is not None:
        return settings.seed
    state = Path(settings.result_dir) / STATE_FILE
    return read_metadata(state)["run"]["seed"] if state.exists() else int(np.random.SeedSequence().generate_state(1)[0])


def _start(settings: RefineSettings) -> tuple[Path | None, int]:
    """Model to start from and the first iteration to train."""
    if settings.continue_from:
        source = Path(settings.continue_from)
        iteration = int(json.loads(source.read_text()).get("iter_count", 0))
        for suffix in ("keras", "h5"):
            model = source.parent / f"model_iter{iteration:02d}.{suffix}"
            if model.exists():
                return model, iteration + 1
        raise EngineError(
            str(source), f"model_iter{iteration:02d} is not beside it", "Keep models and json files together."
        )
    if settings.pretrained_model:
        read_metadata(settings.pretrained_model)
        return Path(settings.pretrained_model), 1
    return None, 1


def _selected(table: Star, settings: RefineSettings) -> Star:
    count = settings.select_subtomo_number
    if count is not None and count < len(table.rows):
        chosen = np.random.default_rng(settings.seed).choice(len(table.rows), count, replace=False)
        table.rows = [table.rows[number] for number in sorted(chosen)]
    return table


def _check(settings: RefineSettings, cube_size: int, network: NetworkSettings) -> None:
    for divisor in network.divisor:
        if cube_size % divisor:
            raise EngineError(
                "cube_size",
                f"{cube_size} is not divisible by {divisor} (2^unet_depth, or pool^unet_depth)",
                f"Extract with cube_size {max(1, round(cube_size / divisor)) * divisor} or change unet_depth.",
            )
    for name in ("iterations", "epochs"):
        if getattr(settings, name) < 1:
            raise EngineError(name, f"{getattr(settings, name)} is too few", "Give at least 1.")
    for name in ("batch_size", "steps_per_epoch", "select_subtomo_number"):
        if getattr(settings, name) is not None and getattr(settings, name) < 1:
            raise EngineError(name, f"{getattr(settings, name)} is too few", "Give at least 1.")
    noise_level(1, settings.noise_level, settings.noise_start_iter)
    if not 0 < settings.learning_rate < 1:
        raise EngineError("learning_rate", f"{settings.learning_rate} is out of range", "Give a value such as 0.0004.")


def _check_tilt_ranges(subtomograms: list[Subtomogram]) -> None:
    for tilt in dict.fromkeys(subtomogram.tilt for subtomogram in subtomograms):
        sample = [subtomogram for subtomogram in subtomograms if subtomogram.tilt == tilt][:TILT_SAMPLE]
        shown = shown_range(*power_by_angle(subtomogram.normalised() for subtomogram in sample))
        warning = tilt_warning(tilt, shown)
        if warning:
            log.warning("%s and others: %s. Check tilt_min and tilt_max.", sample[0].path, warning)


def _metadata(table: Star, subtomograms: list[Subtomogram], settings: RefineSettings, cube_size: int) -> dict:
    row = table.rows[0]
    deconvolved = table.text(row, "isonetDeconvolved")
    return {
        "voxel_size": table.number(row, "rlnPixelSize", subtomograms[0].volume().voxel_size),
        "tilt_min": min(subtomogram.tilt.minimum for subtomogram in subtomograms),
        "tilt_max": max(subtomogram.tilt.maximum for subtomogram in subtomograms),
        "normalize_percentile": settings.normalize_percentile,
        "deconvolved": None if deconvolved is None else deconvolved == "1",
        "cube_size": cube_size,
    }
