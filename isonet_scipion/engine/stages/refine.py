"""refine: train the network on the subtomograms, or for one-pass the tomograms, of a table."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np

from isonet_scipion.engine.arrays import Floats
from isonet_scipion.engine.command import Command, value_of
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.ctf_aware import takes_deconvolved, tomogram_transfer
from isonet_scipion.engine.io.files import require_file
from isonet_scipion.engine.io.json_types import require_kinds
from isonet_scipion.engine.io.star import Star, read_star
from isonet_scipion.engine.io.subtomograms import read_subtomograms
from isonet_scipion.engine.io.tomogram_table import TomogramEntry, TomogramTable
from isonet_scipion.engine.learning.noise_schedule import noise_level
from isonet_scipion.engine.network.model_file import STATE_FILE, model_path, network_settings, read_metadata
from isonet_scipion.engine.network.unet import NetworkSettings
from isonet_scipion.engine.physics.ctf import first_peak
from isonet_scipion.engine.physics.tilt_check import power_by_angle, shown_range, tilt_warning
from isonet_scipion.engine.physics.transfer import Transfer
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.process.device import Devices, choose_devices
from isonet_scipion.engine.sampling.training_positions import crop_side, fitting_cube
from isonet_scipion.engine.settings import (
    ITERATIVE_ALONE,
    ONE_PASS_ALONE,
    ONE_PASS_DEFAULTS,
    ONE_PASS_FROM_A_MODEL,
    RefineSettings,
)

if TYPE_CHECKING:
    from isonet_scipion.engine.learning.one_pass import OnePassRefinement
    from isonet_scipion.engine.learning.run import Refinement

log = logging.getLogger(__name__)
KINDS = get_type_hints(RefineSettings)
NEEDED = ("rlnImageName", "rlnCubeSize")  # columns of the table
MOST_UNLIKE = 1.05  # ratio of voxel sizes that are learned together
TILT_SAMPLE = 30  # volumes of each tilt range that it is checked on


def refine(star: str, typed: Mapping[str, Any]) -> None:
    """Train; `typed` holds the options that were set by hand. Errors as `EngineError`."""
    settings, given = RefineSettings(**typed), set(typed)
    if settings.method == "one-pass":
        start = ONE_PASS_FROM_A_MODEL if settings.pretrained_model else {}
        settings = _filled_in(settings, ONE_PASS_DEFAULTS | start, given)
    if settings.continue_from:
        settings = _continued(settings, given)
    elif settings.pretrained_model:
        shape = network_settings(read_metadata(settings.pretrained_model)).as_dict()
        settings = _filled_in(settings, shape, given)
    _require_effect(settings, given)
    settings = dataclasses.replace(settings, seed=_seed(settings))
    run = _one_pass(star, settings) if settings.method == "one-pass" else _iterative(star, settings)
    final = run.settings
    log.info(
        "%s; %d iterations x %d epochs x %d steps x %d pairs of %d^3; %s, %s; seed %d",
        run.data, final.iterations, final.epochs, final.steps_per_epoch, final.batch_size, run.cube_size,
        ", ".join(run.devices.gpus) or "CPU", run.devices.policy, final.seed,
    )  # fmt: skip
    run.run()


def _iterative(subtomo_star: str, settings: RefineSettings) -> Refinement:
    table = _selected(read_star(subtomo_star, NEEDED), settings)
    table.require(NEEDED)
    cube_size = table.integer(table.rows[0], "rlnCubeSize")
    _check(settings, cube_size, NetworkSettings.among(vars(settings)))
    subtomograms = read_subtomograms(table, settings.normalize_percentile, (settings.tilt_min, settings.tilt_max))
    size = subtomograms[0].size
    if size < cube_size:
        raise EngineError(subtomo_star, f"rlnCubeSize {cube_size} is more than the side {size}", "Extract larger ones.")
    for tilt in dict.fromkeys(subtomogram.tilt for subtomogram in subtomograms):
        alike = [subtomogram for subtomogram in subtomograms if subtomogram.tilt == tilt]
        _check_tilt_range(alike[0].path, tilt, (one.normalised() for one in alike[:TILT_SAMPLE]))
    header = subtomograms[0].volume().voxel_size
    voxel_sizes = [table.number(row, "rlnPixelSize", header) for row in table.rows]
    _require_one_voxel_size(subtomo_star, voxel_sizes)
    devices = choose_devices(settings.gpuID, settings.precision)
    settings = _batches(settings, devices, len(subtomograms), least=4)

    from isonet_scipion.engine.learning.run import Refinement  # imports Keras, once the devices are chosen

    stored = table.text(table.rows[0], "isonetDeconvolved")
    deconvolved = None if stored is None else stored == "1"
    tilts = [subtomogram.tilt for subtomogram in subtomograms]
    metadata = _metadata(settings, cube_size, voxel_sizes[0], tilts, deconvolved)
    return Refinement(subtomograms, cube_size, settings, metadata, devices, *_start(settings))


def _one_pass(star_file: str, settings: RefineSettings) -> OnePassRefinement:
    divisor = math.lcm(*NetworkSettings.among(vars(settings)).divisor)
    for name, most in (("filled_weight", np.inf), ("any_angle", 1.0)):
        if not 0 <= getattr(settings, name) <= most:
            raise EngineError(name, f"{getattr(settings, name)} is out of range", f"Give 0 to {min(most, 1):g}.")
    use_deconvolved = takes_deconvolved(settings.use_deconv_tomo, settings.ctf_aware)
    entries = TomogramTable(star_file).select(None, use_deconvolved)
    tilts = [entry.tilt_range(settings.tilt_min, settings.tilt_max) for entry in entries]
    _require_one_voxel_size(star_file, [entry.voxel_size for entry in entries])
    if settings.cube_size is None:
        shortest = min(min(entry.source(use_deconvolved)[0].shape) for entry in entries)
        settings = dataclasses.replace(settings, cube_size=fitting_cube(shortest, settings.any_angle > 0, divisor))
    _check(settings, settings.cube_size, NetworkSettings.among(vars(settings)))
    transfers = [_transfer(entry, settings) if settings.ctf_aware else None for entry in entries]
    devices = choose_devices(settings.gpuID, settings.precision)
    settings = _batches(settings, devices, len(entries), least=2)

    from isonet_scipion.engine.learning.one_pass import OnePassRefinement
    from isonet_scipion.engine.learning.one_pass_batches import read_source
    from isonet_scipion.engine.learning.one_pass_step import VIEWS

    pairs = VIEWS * devices.count
    if settings.batch_size % pairs:
        raise EngineError(
            "batch_size",
            f"{settings.batch_size} is not a multiple of {pairs}, {VIEWS} pairs of a crop for each device",
            f"Give {max(1, settings.batch_size // pairs) * pairs}.",
        )
    side = crop_side(settings.cube_size, settings.any_angle > 0, divisor)
    sources, deconvolved = [], set()
    for entry, tilt, transfer in zip(entries, tilts, transfers):
        sources.append(
            read_source(
                entry, use_deconvolved, side, settings.normalize_percentile, tilt, settings.seed, transfer,
                settings.result_dir,
            )
        )  # fmt: skip
        deconvolved.add(entry.source(use_deconvolved)[1])
    for tilt, source in {source.tilt: source for source in reversed(sources)}.items():
        sample = (source.crops(centre, side)[0] for centre in source.centres[:TILT_SAMPLE])
        _check_tilt_range(source.name, tilt, sample)
    kinds = {len(source.volumes) for source in sources}
    if len(kinds) > 1:
        raise EngineError(star_file, "only some of the tomograms have halves", "Name both halves of all, or of none.")
    metadata = _metadata(
        settings, settings.cube_size, entries[0].voxel_size, [source.tilt for source in sources],
        deconvolved.pop() if len(deconvolved) == 1 else None,
    )  # fmt: skip
    metadata |= {"halves": kinds == {2}, "kept_beyond": settings.cube_size}
    if settings.ctf_aware:
        metadata |= {"ctf_aware": True, "voltage": settings.voltage, "cs": settings.cs}
    return OnePassRefinement(sources, settings, metadata, devices, *_start(settings))


def _transfer(entry: TomogramEntry, settings: RefineSettings) -> Transfer:
    """What a tomogram shows of the density, for a CTF-aware training."""
    transfer = tomogram_transfer(entry, settings.voltage, settings.cs, settings.bfactor, settings.ctf_state)
    log.info("%s: %s", entry.path, transfer.ctf_parameters)
    if first_peak(transfer.ctf_parameters) > 1 / (2 * entry.voxel_size):
        log.warning("%s: voxels of %g A show nothing beyond the CTF's first peak.", entry.path, entry.voxel_size)
    return transfer


def _filled_in(settings: RefineSettings, values: dict[str, Any], given: set[str]) -> RefineSettings:
    """The settings with other values where none was given by hand."""
    return dataclasses.replace(settings, **{name: value for name, value in values.items() if name not in given})


def _require_effect(settings: RefineSettings, given: set[str]) -> None:
    """Raise an EngineError if an option was set by hand that the method does not take."""
    for name in sorted(given & set(ITERATIVE_ALONE if settings.method == "one-pass" else ONE_PASS_ALONE)):
        if getattr(settings, name) != getattr(RefineSettings, name):
            raise EngineError(name, f"the method {settings.method} does not take it", "Leave it out, or change method.")


def _batches(settings: RefineSettings, devices: Devices, count: int, least: int) -> RefineSettings:
    """The settings with a batch size and a number of steps for so many subtomograms or tomograms."""
    batch = settings.batch_size or max(least, 2 * devices.count)
    steps = settings.steps_per_epoch or max(1, min(6 * count // batch, 200))
    return dataclasses.replace(settings, batch_size=batch, steps_per_epoch=steps)


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
        require_kinds({**restored, "iter_count": stored.get("iter_count", 0)}, {**KINDS, "iter_count": int})
        for field in dataclasses.fields(RefineSettings):
            if field.metadata["choices"] and restored.get(field.name, field.default) not in field.metadata["choices"]:
                raise ValueError(f"its {field.name} is {restored[field.name]!r}")
        return dataclasses.replace(settings, **restored)
    except (ValueError, AttributeError, RecursionError) as error:
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
        return model_path(settings.pretrained_model), 1
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
                f"{cube_size} is not divisible by {divisor} (2^unet_depth, or pool^unet_depth, times stem)",
                f"Take cube_size {max(1, round(cube_size / divisor)) * divisor}, or change unet_depth.",
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


def _check_tilt_range(first: str, tilt: TiltRange, volumes: Iterable[Floats]) -> None:
    warning = tilt_warning(tilt, shown_range(*power_by_angle(volumes)))
    if warning:
        log.warning("%s and others: %s. Check tilt_min and tilt_max.", first, warning)


def _require_one_voxel_size(star_file: str, sizes: Sequence[float]) -> None:
    if max(sizes) > MOST_UNLIKE * min(sizes):
        raise EngineError(
            star_file,
            f"its voxel sizes go from {min(sizes):g} to {max(sizes):g} A: a network learns one",
            "Rescale the tomograms with resize, or refine them apart.",
        )


def _metadata(
    settings: RefineSettings, cube_size: int, voxel_size: float, tilts: Sequence[TiltRange], deconvolved: bool | None
) -> dict[str, Any]:
    return {
        "voxel_size": voxel_size,
        "tilt_min": min(tilt.minimum for tilt in tilts),
        "tilt_max": max(tilt.maximum for tilt in tilts),
        "normalize_percentile": settings.normalize_percentile,
        "deconvolved": deconvolved,
        "cube_size": cube_size,
    }


COMMANDS = (
    Command(
        refine,
        ("STAR_FILE",),
        RefineSettings,
        takes_typed=True,
        writes=value_of("result_dir"),
        folders=("result_dir",),
        less_memory="Lower batch_size, filter_base or cube_size.",
    ),
)
