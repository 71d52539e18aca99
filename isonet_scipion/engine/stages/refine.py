"""refine: train the network on the subtomograms, or for one-pass the tomograms, of a table."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isonet_scipion.engine.command import Command
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.ctf_aware import (
    TOLD_OPTICS,
    ctf_in_words,
    takes_deconvolved,
    tell_of_deconvolved,
    tell_state,
    tomogram_transfer,
)
from isonet_scipion.engine.io.model_checks import warn_of_other_training
from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.io.refine_json import read_refine_json
from isonet_scipion.engine.io.shown import data_shape, refuse_axes, warn_of_contrast, warn_of_tilts
from isonet_scipion.engine.io.star import SUBTOMOGRAM_LABELS, Star, read_star
from isonet_scipion.engine.io.subtomograms import read_subtomograms
from isonet_scipion.engine.io.table_checks import (
    require_all_halves_or_none,
    require_one_kind,
    require_one_voxel_size,
    warn_of_assumed_tilts,
    warn_of_lopsided_tilts,
    warn_of_masks,
    warn_of_unlike_filters,
)
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.engine.learning.settings_checks import check_settings, require_no_denoiser
from isonet_scipion.engine.learning.state import stored_number
from isonet_scipion.engine.learning.steps import with_batches, with_steps
from isonet_scipion.engine.network.model_file import model_path, read_metadata, require_shape
from isonet_scipion.engine.physics.axes_check import shown_axes
from isonet_scipion.engine.physics.ctf import first_peak
from isonet_scipion.engine.process.device import Devices, choose_devices
from isonet_scipion.engine.process.disk import require_space
from isonet_scipion.engine.sampling.training_positions import USUAL_CUBE, crop_side, fitting_cube
from isonet_scipion.engine.settings.option import options
from isonet_scipion.engine.settings.training import (
    METHODS,
    IterativeSettings,
    OnePassSettings,
    TrainingSettings,
    training_options,
)
from isonet_scipion.engine.wording import counted, names_in_words

if TYPE_CHECKING:
    from isonet_scipion.engine.io.tomogram_entry import TomogramEntry
    from isonet_scipion.engine.learning.run import Run
    from isonet_scipion.engine.physics.transfer import Transfer
    from isonet_scipion.engine.physics.wedge import TiltRange

log = logging.getLogger(__name__)
# what a method's table is of, and by which column it is known
TABLES = {"iterative": ("subtomograms", "rlnImageName"), "one-pass": ("tomograms", "rlnMicrographName")}
AXES_SAMPLE = 16  # subtomograms of each tomogram in which its axes and contrast are looked for
DARKENED = "multiply subtomograms by -1, in IMOD: newstack -multadd -1,0; else the network is for bright tomograms"
SCRATCH_REMEDY = "Free some, give a result_dir elsewhere, or train on fewer tomograms."
TILT_SAMPLE = 30  # volumes of each tilt range that it is checked on


def refine(star: str, given: Mapping[str, Any]) -> None:
    """Train the network that fills the missing wedge, on a table of subtomograms or, by one-pass, of tomograms."""
    before = read_refine_json(given["continue_from"]) if given.get("continue_from") else None
    stored = dict(before.options) if before else {}
    if stored.get("steps_per_epoch"):
        stored.pop("preset", None)  # what it came to
    if before and before.gpus and not given.get("gpuID"):
        told = "%s: its run was given --gpuID %s. All GPUs that are there are taken unless it is given again."
        log.info(told, before.path, before.gpus)
    if given.get("continue_from") and given.get("pretrained_model"):
        why = "continue_from goes on from its own run's model, not from this one"
        raise EngineError("pretrained_model", why, "Leave out one of the two.")
    told_by = "continue_from" if "method" in stored and not given.get("method") else "method"
    kind = METHODS[_method(star, given.get("method", stored.get("method")), told_by)]
    known = options(kind)
    for name in sorted(given.keys() - known.keys() - {"method"}):
        raise EngineError(name, f"the method {kind.method} does not take it", "Leave it out, or change method.")
    values = {name: value for name, value in {**stored, **given}.items() if name in known}
    values["result_dir"] = _result_dir(given)
    shape = None
    if values.get("pretrained_model") and not stored:
        shape = read_metadata(values["pretrained_model"]).network
    is_new = shape is None and not stored
    if is_new and kind is OnePassSettings and any(entry.halves() for entry in TomogramTable(star).entries()):
        usual = {name: value for name, value in OnePassSettings.WITH_HALVES.items() if name not in values}
        if values.get("fine") or values.get("denoiser") == 0:  # asked to do without
            usual = {}
        values = {**usual, **values}
        if usual:
            told = ", ".join(f"{name} {value:g}" for name, value in usual.items())
            log.info("With half tomograms: %s unless other values are given.", told)
    settings = kind.given(values, shape)
    if shape is not None:
        require_shape(values["pretrained_model"], shape, settings.network)
    if before:
        model = before.model()
        require_shape(model, read_metadata(model).network, settings.network)
    seed = _seed(settings)
    run = STARTS[kind.method](star, dataclasses.replace(settings, seed=seed), seed)
    final = run.settings
    log.info(
        "%s; %s x %s x %s x %s of %d^3; %s, %s; seed %d",
        run.method.describe(), counted(final.iterations, "iterations"), counted(final.epochs, "epochs"),
        counted(run.decided.steps_per_epoch, "steps"), counted(run.decided.batch_size, "pairs"),
        run.method.cube_size, ", ".join(run.devices.gpus) or "CPU", run.devices.policy, final.seed,
    )  # fmt: skip
    run.train()


def _result_dir(given: Mapping[str, Any]) -> str:
    """Folder of the run: the given one, else that of the file to continue from, else the usual one."""
    if "result_dir" in given:
        return given["result_dir"]
    if given.get("continue_from"):
        return str(Path(given["continue_from"]).parent)
    return training_options()["result_dir"].default


def _method(star: str, given: str | None, told_by: str) -> str:
    """The method that a table is for; raises an EngineError where that is not the given one, or none.

    `told_by`: the option that gives it.
    """
    labels = read_star(star, SUBTOMOGRAM_LABELS).labels
    fitting = [method for method, (_, label) in TABLES.items() if label in labels]
    if given and fitting and given not in fitting:
        raise EngineError(
            told_by,
            f"{given} trains on a table of {TABLES[given][0]}, but {star} is one of {TABLES[fitting[0]][0]}",
            f"Give the table of {TABLES[given][0]}, or leave out {told_by}.",
        )
    if not given and not fitting:
        kinds = " nor ".join(f"of {what} (_{label})" for what, label in TABLES.values())
        raise EngineError(
            star, f"it is a table neither {kinds}", "Give that of extract, or for one-pass prepare_star's."
        )
    return given or fitting[0]


def _iterative(subtomo_star: str, settings: IterativeSettings, seed: int) -> Run[Any]:
    require_no_denoiser(settings, "the iterative method does not train it")
    table = _selected(read_star(subtomo_star, SUBTOMOGRAM_LABELS), settings)
    table.require(SUBTOMOGRAM_LABELS)
    deconvolved = _require_one_kind(table)
    cube_size = _one_cube_size(table)
    check_settings(settings, cube_size)
    subtomograms = read_subtomograms(table, settings.normalisation, (settings.tilt_min, settings.tilt_max))
    size = subtomograms[0].size
    if size < cube_size:
        raise EngineError(subtomo_star, f"rlnCubeSize {cube_size} is more than the side {size}", "Extract larger ones.")
    names = [table.text(row, "rlnTomoName") for row in table.rows]
    for name in dict.fromkeys(names):
        own = list(compress(subtomograms, [other == name for other in names]))[:AXES_SAMPLE]
        cubes = [one.normalised() for one in own]
        refuse_axes(own[0].path, shown_axes(cubes), settings.check_axes)
        # with the sign that they have in the files
        warn_of_contrast(f"{own[0].path} and others", [-cube for cube in cubes], False, DARKENED)
    warn_of_lopsided_tilts(subtomo_star, {subtomogram.name: subtomogram.tilt for subtomogram in subtomograms})
    for tilt in dict.fromkeys(subtomogram.tilt for subtomogram in subtomograms):
        alike = [subtomogram for subtomogram in subtomograms if subtomogram.tilt == tilt]
        warn_of_tilts(f"{alike[0].path} and others", tilt, [one.normalised() for one in alike[:TILT_SAMPLE]])
    voxel_sizes = [subtomogram.voxel_size for subtomogram in subtomograms]
    require_one_voxel_size(subtomo_star, "subtomograms", voxel_sizes)
    devices = _devices(settings)

    from isonet_scipion.engine.learning.iterative import Iterative  # imports Keras, once the devices are chosen
    from isonet_scipion.engine.learning.run import Run
    from isonet_scipion.engine.learning.withheld_test import affordable, withhold_from_subtomogram

    tilts = [subtomogram.tilt for subtomogram in subtomograms]
    metadata = _metadata(settings, cube_size, voxel_sizes[0], tilts, deconvolved)
    settings = with_batches(settings, devices, len(subtomograms), 4, 1, "one pair")
    learned, boxes = zip(*map(withhold_from_subtomogram, subtomograms))
    most = max(1, affordable(settings, cube_size) // size**3)
    tested = [boxes[place] for place in np.unique(np.linspace(0, len(boxes) - 1, most).astype(int))]
    method = Iterative(learned, cube_size, settings, devices, tested)
    return Run(method, settings, metadata, devices, *_start(settings, metadata))


def _one_pass(star_file: str, settings: OnePassSettings, seed: int) -> Run[Any]:
    divisor = math.lcm(*settings.network.divisor)
    for name, most in (("filled_weight", np.inf), ("any_angle", 1.0)):
        if not 0 <= getattr(settings, name) <= most:
            raise EngineError(name, f"{getattr(settings, name)} is out of range", f"Give 0 to {min(most, 1):g}.")
    tell_of_deconvolved(settings.use_deconv_tomo, settings.ctf_aware)
    use_deconvolved = takes_deconvolved(settings.use_deconv_tomo, settings.ctf_aware)
    entries = TomogramTable(star_file, use_deconvolved).select(None)
    tilts = [entry.tilt_range(settings.tilt_min, settings.tilt_max) for entry in entries]
    require_one_voxel_size(star_file, "tomograms", [entry.voxel_size for entry in entries])
    extents = [data_shape(entry.checked_source()) for entry in entries]
    cube_size = settings.cube_size or _fitting_cube(entries, [inner for inner, _ in extents], settings, divisor)
    settings = dataclasses.replace(settings, cube_size=cube_size)
    check_settings(settings, cube_size)
    if settings.pretrained_model and cube_size < USUAL_CUBE:
        log.warning(
            "Cubes of %d voxels: in simulations trainings from a model with cubes of 32 made it worse, with %d they "
            "did not. Compare the result with what the model that it starts from makes.", cube_size, USUAL_CUBE,
        )  # fmt: skip
    told = _handed_on(settings, entries) if settings.ctf_aware else {}
    transfers = [_transfer(entry, settings, told) if settings.ctf_aware else None for entry in entries]
    require_one_kind(entries, "take them out of the table")
    require_all_halves_or_none(entries)
    halves = bool(entries[0].fitting_halves())
    warn_of_unlike_filters(entries)
    if settings.tilt_min is None and settings.tilt_max is None:
        warn_of_assumed_tilts(entries)
    warn_of_lopsided_tilts(star_file, {entry.name: tilt for entry, tilt in zip(entries, tilts)})
    warn_of_masks(entries, "crops are taken")
    devices = _devices(settings)

    from isonet_scipion.engine.learning.one_pass import OnePass
    from isonet_scipion.engine.learning.one_pass_batches import read_source, scratch_bytes, withhold_from_tomogram
    from isonet_scipion.engine.learning.one_pass_step import VIEWS
    from isonet_scipion.engine.learning.run import Run
    from isonet_scipion.engine.learning.withheld_test import affordable, spread

    if not halves:
        require_no_denoiser(settings, "without half tomograms it can't learn")
    settings = with_steps(settings, devices, VIEWS)
    settings = with_batches(settings, devices, len(entries), VIEWS, VIEWS, f"{VIEWS} pairs of a crop")
    side = crop_side(cube_size, settings.any_angle > 0, divisor)
    require_space(settings.result_dir, scratch_bytes(entries, extents, settings.ctf_aware), SCRATCH_REMEDY)
    sources = []
    for entry, tilt, transfer in zip(entries, tilts, transfers):
        sources.append(
            read_source(
                entry, side, settings.normalisation, tilt, seed, transfer,
                settings.result_dir, settings.check_axes,
            )
        )  # fmt: skip
    metadata = _metadata(settings, cube_size, entries[0].voxel_size, tilts, entries[0].deconvolved)
    metadata = dataclasses.replace(metadata, halves=halves, corrects_mean=halves, kept_beyond=cube_size)
    if settings.ctf_aware:
        metadata = dataclasses.replace(metadata, ctf_aware=True, bfactor=settings.bfactor or None, **told)
    voxels = affordable(settings, cube_size)
    tested, boxes = spread([source.volumes[0].shape for source in sources], voxels), []
    for number, source in enumerate(sources):
        most = voxels // len(tested) if number in tested else 0
        # in its place, so that what is no longer needed of it goes
        sources[number], box = withhold_from_tomogram(source, most, settings.result_dir)
        boxes += [] if box is None else [box]
    method = OnePass(sources, cube_size, settings, devices, boxes)
    return Run(method, settings, metadata, devices, *_start(settings, metadata))


def _fitting_cube(
    entries: Sequence[TomogramEntry], shapes: Sequence[tuple[int, ...]], settings: OnePassSettings, divisor: int
) -> int:
    """Side of the cubes that all tomograms have room for; which allow no larger ones is told where others do."""
    sides = [fitting_cube(min(shape), settings.any_angle > 0, divisor) for shape in shapes]
    least, most = min(sides), max(sides)
    if least < most:
        thin = [f"{entry.name} ({min(shape)})" for entry, shape, side in zip(entries, shapes, sides) if side == least]
        log.warning(
            "%s: cubes of %d voxels, as the shortest sides of some tomograms have no room for larger ones: %s. Without "
            "them cubes can have up to %d, which restore more.",
            entries[0].star.path, least, names_in_words(thin), most,
        )  # fmt: skip
    return least


def _handed_on(settings: OnePassSettings, entries: Sequence[TomogramEntry]) -> dict[str, Any]:
    """What a CTF-aware training is told of its tomograms' CTF: `ctf_state`, `voltage` and `cs`, None where nothing.

    They are the options, else what the training of the model to start from was told, as `predict` takes it, where the
    table does not tell: the state for those tomograms that lack it, the others where none has it.
    """
    told = {"ctf_state": settings.ctf_state, **{name: getattr(settings, name) for name in TOLD_OPTICS}}
    model = _model_to_start_from(settings)
    if model is None or not (metadata := read_metadata(model)).ctf_aware:
        return told
    if told["ctf_state"] is None and metadata.ctf_state and not all(entry.ctf_state() for entry in entries):
        told["ctf_state"] = metadata.ctf_state
        log.info(
            "Tomograms of which the table does not tell otherwise are taken as %s, as the training of %s was told "
            "(ctf_state).", ctf_in_words(metadata.ctf_state), model,
        )  # fmt: skip
    for name, label in TOLD_OPTICS.items():
        value = getattr(metadata, name)
        if None is told[name] != value and not any(entry.text(label) for entry in entries):
            told[name] = value
            log.info("%s is %g, as the training of %s was told; the table does not tell it.", name, value, model)
    return told


def _transfer(entry: TomogramEntry, settings: OnePassSettings, told: Mapping[str, Any]) -> Transfer:
    """What a tomogram shows of the density, for a CTF-aware training; `told` as `_handed_on` gives it."""
    known = entry.ctf_state(settings.ctf_state) or told["ctf_state"]
    transfer = tomogram_transfer(entry, told["voltage"], told["cs"], settings.bfactor, known)
    tell_state(entry, known)
    log.info("%s: %s", entry.path, transfer.ctf_parameters)
    if first_peak(transfer.ctf_parameters) > 1 / (2 * entry.voxel_size):
        log.warning("%s: voxels of %g A show nothing beyond the CTF's first peak.", entry.path, entry.voxel_size)
    return transfer


def _devices(settings: TrainingSettings) -> Devices:
    """What to train on; a model to start from may have numbers beyond float16's range, as the builtin one has."""
    fits_float16 = settings.network.normalised and not settings.pretrained_model
    return choose_devices(settings.gpuID, settings.precision, fits_float16, settings.preprocessing_ncpus)


def _seed(settings: TrainingSettings) -> int:
    """The given seed, else that of the run that is gone on with, else a new one."""
    if settings.seed is not None:
        return settings.seed
    stored = stored_number(settings.result_dir, "seed", 0)
    return int(np.random.SeedSequence().generate_state(1)[0]) if stored is None else stored


def _model_to_start_from(settings: TrainingSettings) -> str | None:
    """File of a model, or the builtin one's name; None where the network is new."""
    return (
        str(read_refine_json(settings.continue_from).model()) if settings.continue_from else settings.pretrained_model
    )


def _start(settings: TrainingSettings, metadata: ModelMetadata) -> tuple[Path | None, int]:
    """Model to start from and the first iteration to train."""
    if settings.continue_from:
        stored = read_refine_json(settings.continue_from)
        model = stored.model()
        warn_of_other_training(str(model), read_metadata(model), metadata)
        return model, stored.iteration + 1
    if settings.pretrained_model:
        warn_of_other_training(settings.pretrained_model, read_metadata(settings.pretrained_model), metadata)
        return model_path(settings.pretrained_model), 1
    return None, 1


def _selected(table: Star, settings: IterativeSettings) -> Star:
    count = settings.select_subtomo_number
    if count is not None and count < len(table.rows):
        chosen = np.random.default_rng(settings.seed).choice(len(table.rows), count, replace=False)
        table.rows = [table.rows[number] for number in sorted(chosen)]
    return table


def _require_one_kind(table: Star) -> bool | None:
    """Whether subtomograms are of deconvolved tomograms; None where some don't tell.

    Raises
    ------
    EngineError
        If only some are.
    """
    told = [table.text(row, "isonetDeconvolved") for row in table.rows]
    kinds = {None if text is None else text == "1" for text in told}
    if {True, False} <= kinds:
        others = [row for row, text in zip(table.rows, told) if text not in (None, "1")]
        names = [table.text(row, "rlnTomoName") or row["rlnImageName"] for row in others]
        raise EngineError(
            table.path,
            f"only some of the subtomograms are of deconvolved tomograms, not those of "
            f"{names_in_words(list(dict.fromkeys(names)))}",
            "Extract all of deconvolved tomograms, or all with --use_deconv_tomo False.",
        )
    return kinds.pop() if len(kinds) == 1 else None


def _one_cube_size(table: Star) -> int:
    """The side in voxels of the cubes; raises an EngineError where rows differ in it."""
    sizes = sorted({table.integer(row, "rlnCubeSize") for row in table.rows})
    if len(sizes) > 1:
        raise EngineError(
            table.path,
            f"its rows have rlnCubeSize {', '.join(map(str, sizes))}; all must be equal",
            "Extract all with one cube_size, or refine them apart.",
        )
    if sizes[0] < 2:
        raise EngineError(table.path, f"its rlnCubeSize {sizes[0]} is too small", "Make it anew with --cube_size.")
    return sizes[0]


def _metadata(
    settings: TrainingSettings, cube_size: int, voxel_size: float, tilts: Sequence[TiltRange], deconvolved: bool | None
) -> ModelMetadata:
    return ModelMetadata(
        settings.network,
        voxel_size=voxel_size,
        tilt_min=min(tilt.minimum for tilt in tilts),
        tilt_max=max(tilt.maximum for tilt in tilts),
        narrowest_min=max(tilt.minimum for tilt in tilts),
        narrowest_max=min(tilt.maximum for tilt in tilts),
        normalize_percentile=settings.normalize_percentile,
        deconvolved=deconvolved,
        cube_size=cube_size,
    )


# how a method comes to its run: from the table, its settings and their seed
STARTS: dict[str, Callable[[str, Any, int], Run[Any]]] = {"iterative": _iterative, "one-pass": _one_pass}
COMMANDS = (
    Command(
        refine,
        ("STAR_FILE",),
        training_options,
        writes=_result_dir,
        folders=("result_dir",),
        less_memory="Lower batch_size, filter_base or cube_size.",
    ),
)
