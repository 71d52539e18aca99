"""predict: correct the tomograms of a table with a trained network."""

from __future__ import annotations

import dataclasses
import errno
import functools
import logging
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from isonet_scipion.engine.command import Command, value_of
from isonet_scipion.engine.conventions import Normalisation
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.confidence_file import confidence_path
from isonet_scipion.engine.io.ctf_aware import (
    known_transfer,
    takes_deconvolved,
    tell_of_deconvolved,
    tell_states,
    warn_of_idle_state,
)
from isonet_scipion.engine.io.files import State, content_digest, entry_of, file_state
from isonet_scipion.engine.io.finished import Recipe, is_finished, made_from, recipe, remembered
from isonet_scipion.engine.io.model_checks import warn_of_other_data
from isonet_scipion.engine.io.mrc import open_volume, volume_bytes, write_volume
from isonet_scipion.engine.io.number_formats import SCALE, grey_values, stored_or_float32
from isonet_scipion.engine.io.ome_zarr import require_library
from isonet_scipion.engine.io.origin import origin_in, with_origin
from isonet_scipion.engine.io.report_file import report_path
from isonet_scipion.engine.io.shown import Seen, border_of, require_axes, require_halves, scale_of_halves, see
from isonet_scipion.engine.io.table_checks import (
    warn_of_assumed_tilts,
    warn_of_kinds,
    warn_of_lopsided_tilts,
    warn_of_masks,
)
from isonet_scipion.engine.io.tomogram_entry import CORRECTED_BY, CORRECTED_FROM, TomogramEntry
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.engine.io.voxel_size import require_same_grid
from isonet_scipion.engine.measure.supported_strength import supported_strength
from isonet_scipion.engine.network.correction import corrector
from isonet_scipion.engine.network.fitting_tiles import Tiles
from isonet_scipion.engine.network.model_file import load_model, model_path, read_metadata
from isonet_scipion.engine.network.result import whole_result
from isonet_scipion.engine.physics.borders import find_border
from isonet_scipion.engine.process.device import choose_devices, is_out_of_memory
from isonet_scipion.engine.process.disk import growth, require_space
from isonet_scipion.engine.process.gpus import gpus_to_share
from isonet_scipion.engine.process.read_ahead import one_ahead
from isonet_scipion.engine.process.workers import Turns, side_by_side
from isonet_scipion.engine.reporting.comparison_figure import save_comparison
from isonet_scipion.engine.reporting.pages import has_own_page, require_own_page
from isonet_scipion.engine.reporting.picture import require_own_picture
from isonet_scipion.engine.reporting.tomograms_page import write_tomograms_page
from isonet_scipion.engine.settings.correction import PredictSettings
from isonet_scipion.engine.stages.report import Corrected, Reporter, claim_confidence, discard_reports, sample_of
from isonet_scipion.engine.wording import counted, names_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import keras

    from isonet_scipion.engine.arrays import Floats, Reals
    from isonet_scipion.engine.io.model_metadata import ModelMetadata
    from isonet_scipion.engine.io.volume import Volume
    from isonet_scipion.engine.physics.borders import Border
    from isonet_scipion.engine.physics.grey_scale import GreyScale, Shown
    from isonet_scipion.engine.physics.transfer import Transfer
    from isonet_scipion.engine.physics.wedge_strength import WedgeStrength
    from isonet_scipion.engine.process.device import Devices
    from isonet_scipion.engine.sampling.mask_values import Mask

log = logging.getLogger(__name__)
Made = TypeVar("Made")
NOT_OF_ONE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)  # of the disk that all results go to
LESS_FOR_REPORT = "The corrected tomogram is there; without its report: --report False --confidence False."
LESS_MEMORY = "Give cube_size and crop_size, or lower them, or rescale the tomogram (resize)."


def predict(star_file: str, model_file: str, settings: PredictSettings) -> None:
    """Write corrected tomograms, their pictures, and their names into the table; errors as `EngineError`."""
    prediction = _Prediction(star_file, model_file, settings)
    warn_of_idle_state(prediction.metadata, settings.ctf_state)
    tell_of_deconvolved(settings.use_deconv_tomo, prediction.metadata.ctf_aware)
    entries = prediction.unfinished(prediction.table.select(settings.tomo_idx, needs_tilts=True))
    if not entries:
        if settings.report:
            require_own_page(settings.output_dir)
            log.info("%s", write_tomograms_page(settings.output_dir))
        return
    sizes = prediction.require(entries)
    listed = gpus_to_share(settings.gpuID)
    gpus, idle = listed[: len(entries)], listed[len(entries) :]
    if idle and len(listed) > 1:
        log.info("Each tomogram is corrected by one GPU: %s stay idle.", ", ".join(f"GPU {gpu}" for gpu in idle))
    if len(gpus) < 2:
        prediction.correct(entries, len(entries))
        return
    log.info("%d tomograms, spread over GPUs %s", len(entries), ", ".join(gpus))
    largest_first = sorted(entries, key=lambda entry: -sizes[_target(entry, settings)])
    rows, turns = [entry.row["rlnIndex"] for entry in largest_first], Turns(len(gpus))
    # as whole numbers: some programs write 1.0
    numbers = ",".join(str(entry.star.integer(entry.row, "rlnIndex")) for entry in largest_first)
    own = [dataclasses.replace(settings, gpuID=gpu, tomo_idx=numbers) for gpu in gpus]
    side_by_side(
        predict_in_turn,
        [(f"GPU {gpu}", star_file, model_file, one, rows, turns) for gpu, one in zip(gpus, own)],
    )
    if settings.report:
        log.info("%s", write_tomograms_page(settings.output_dir))


def predict_in_turn(
    star_file: str, model_file: str, settings: PredictSettings, rows: Sequence[str], turns: Turns
) -> None:
    """As `predict`, of those rows of the table that no other process takes; `predict` has checked them all."""
    prediction = _Prediction(star_file, model_file, settings)
    own = prediction.table.select(settings.tomo_idx, needs_tilts=True, tells=False)
    entries = {entry.row["rlnIndex"]: entry for entry in own}
    prediction.claim(list(entries.values()))
    prediction.correct(turns.of([entries[row] for row in rows]), len(rows), lambda: turns.suffice(rows))


class _Prediction:
    """What the tomograms of a command have in common, and what is done with each."""

    def __init__(self, star_file: str, model_file: str, settings: PredictSettings) -> None:
        self.star_file, self.model_file, self.settings = star_file, model_file, settings
        self.metadata = read_metadata(model_file)
        self.normalisation = Normalisation.told(settings.normalize_percentile, self.metadata.normalize_percentile)
        if settings.output_format == "zarr":
            require_library("output_format")
        self.table = TomogramTable(star_file, takes_deconvolved(settings.use_deconv_tomo, self.metadata.ctf_aware))
        self.file = model_path(model_file).resolve()
        self.made_by = content_digest(self.file, "model")
        self.weakens = self.metadata.of_one_pass if settings.calibrate is None else settings.calibrate
        self.needs_halves = self.weakens or settings.report or settings.confidence
        self.marks: dict[Path, bytes] = {}
        self.confidence_marks: dict[Path, bytes] = {}

    def unfinished(self, entries: list[TomogramEntry]) -> list[TomogramEntry]:
        """The tomograms that are not yet corrected in this way."""
        settings, left = self.settings, []
        for entry in entries:
            target = _target(entry, settings)
            if not is_finished(entry, target, self.recipe(entry), settings):
                left.append(entry)
            elif entry.text("rlnCorrectedTomoName") != str(target):
                self._name(entry)
        if len(left) < len(entries):
            log.info(
                "Corrected already, with this model, of the same files and in the same way, and left alone: %d of %s. "
                "To correct one anew, delete its result in %s.",
                len(entries) - len(left),
                counted(len(entries), "tomograms"),
                settings.output_dir,
            )
        return left

    def recipe(self, entry: TomogramEntry) -> Recipe | None:
        return recipe(entry, self.made_by, self.settings)

    def transfer(self, entry: TomogramEntry) -> Transfer | None:
        return known_transfer(entry, self.metadata, self.settings.ctf_state)

    def require(self, entries: list[TomogramEntry]) -> dict[Path, int]:
        """Tell what is wrong with one before any work; returns the bytes of each file that will be written."""
        settings = self.settings
        for entry in entries:
            self.transfer(entry)
        tell_states(entries, self.metadata, settings.ctf_state)
        warn_of_kinds(entries)
        warn_of_assumed_tilts(entries)
        warn_of_lopsided_tilts(self.star_file, {entry.name: entry.tilt for entry in entries})
        if self.needs_halves:  # for tests of the model, as masks are
            warn_of_masks(entries, "the model is tested")
        sizes = {}
        for entry in entries:
            volume = entry.checked_source()
            own = _own_halves(entry, volume, self.metadata)
            part = own[0] if own else volume
            require_axes(part, find_border(part.data), settings.check_axes, entry.inverted, entry.tilt)
            if own or self.needs_halves:
                require_halves(own or entry.open_halves(volume), volume)
            if self.needs_halves and (mask := entry.text("rlnMaskName")):
                require_same_grid(open_volume(mask), volume, entry.voxel_size)
            target = _target(entry, settings)
            sizes[target] = volume_bytes(volume.shape, suffix=target.suffix)
        self.claim(entries)
        self._warn_of_replaced(entries)
        more = (confidence_path(target) for target in self.marks)
        sizes.update({path: sizes[target] for target, path in zip(self.marks, more) if path in self.confidence_marks})
        require_space(settings.output_dir, growth(sizes))
        return sizes

    def _warn_of_replaced(self, entries: list[TomogramEntry]) -> None:
        """Name the tomograms of which the results of another model, of a training's other iteration too, are lost.

        And those whose results in the other format lose what is told of them, in files of the same names.
        """
        targets = {_target(entry, self.settings): entry for entry in entries}
        replaced = [entry.name for target, entry in targets.items() if self._is_of_another(entry, target)]
        if replaced:
            log.warning(
                "%s: results of another model, tilt range, voxel size or CTF are replaced there: %s. For both, give "
                "another output_dir.", self.settings.output_dir, names_in_words(replaced),
            )  # fmt: skip
        other = "zarr" if self.settings.output_format == "mrc" else "mrc"
        beside = [entry.name for target, entry in targets.items() if target.with_suffix(f".{other}").exists()]
        if beside:
            log.warning(
                "%s: of %s there are results as %s, too, whose pictures and reports those of the new ones replace. To "
                "keep these, give another output_dir.", self.settings.output_dir, names_in_words(beside), other,
            )  # fmt: skip

    def _is_of_another(self, entry: TomogramEntry, target: Path) -> bool:
        """Whether a tomogram has a result there of another model or, where its table names none, made otherwise."""
        if not target.exists():
            return False
        named = entry.text("rlnCorrectedTomoName")
        if named is not None and entry_of(named) == entry_of(target):
            return entry.text(CORRECTED_BY) not in (None, self.made_by)
        told = origin_in(target, "predict")
        return told is not None and not entry.is_made_by(told.how, self.made_by, self.transfer(entry))

    def claim(self, entries: list[TomogramEntry]) -> None:
        """Refuse to replace what is not the table's own."""
        settings, owners = self.settings, {_target(entry, self.settings): entry for entry in entries}
        self.marks = self._claimed(owners)
        for target in self.marks:
            if not target.exists():  # else its pictures are its own, perhaps of an earlier version
                require_own_picture(target.with_suffix(".png"))
                require_own_picture(report_path(target).with_suffix(".png"))
        self.confidence_marks = claim_confidence(self.table, owners, settings)
        if settings.report:
            require_own_page(settings.output_dir)

    def _claimed(self, owners: dict[Path, TomogramEntry]) -> dict[Path, bytes]:
        """The marks of results that may be written; as `TomogramTable.claim`."""
        return self.table.claim(owners, "predict", "rlnCorrectedTomoName", "output_dir")

    def read(self, entry: TomogramEntry) -> _Readied:
        """A tomogram with all that has to be read of it before the network."""
        before, transfer, volume, metadata = self.recipe(entry), self.transfer(entry), entry.source(), self.metadata
        border, own = border_of(volume), _own_halves(entry, volume, metadata)
        sample = sample_of(entry, volume, border) if self.needs_halves else None
        halves = own or (entry.open_halves(volume) if self.needs_halves else [])
        as_mean = bool(own) and metadata.corrects_mean
        seen = see(volume, halves, as_mean, self.normalisation, transfer, border, entry.inverted)
        parts = seen.halves if own and not as_mean else (seen.whole,)
        compared = halves if entry.halves_fit and (own or self.weakens) else []
        to_own = scale_of_halves(compared, volume, border) if compared else None
        return _Readied(entry, before, volume, border, sample, seen, parts, own, to_own)

    def correct(self, entries: Iterable[TomogramEntry], count: int, ahead: Callable[[], bool] = lambda: True) -> None:
        """Correct tomograms as they come, `count` at the most; one that fails leaves the others.

        `ahead` tells whether the next one may be taken while one is corrected.

        Raises
        ------
        EngineError
            At the end, if some could not be read or corrected; at once, if a result can't be written.
        """
        settings = self.settings
        devices = choose_devices(settings.gpuID, settings.precision)
        # what tiles depend on, but for the model and the memory: other options leave those that are kept
        fields = ("cube_size", "crop_size", "batch_size", "calibrate")  # the last for what tiles see beyond their cores
        of_tiles = PredictSettings(**{name: getattr(settings, name) for name in fields})
        model, tiles = _loaded(self.file, file_state(self.file), of_tiles, devices)
        reporter = Reporter(self.model_file, model, self.metadata, settings.ctf_state)

        def readied(entry: TomogramEntry) -> _Readied | EngineError:
            try:
                return self.read(entry)
            except EngineError as error:
                return error

        failures: list[EngineError] = []
        last: tuple[Volume, Path] | None = None
        # on a CPU, which the network keeps busy, that would take memory alone
        for ready in one_ahead(readied, entries, ahead if devices.gpus else None):
            made = ready if isinstance(ready, EngineError) else self._correct_one(ready, model, tiles, reporter)
            if isinstance(made, EngineError):
                failures.append(made)
                if count > 1:
                    log.error("%s The other tomograms go on.", made)
                continue
            last = made
        if last is not None:
            if settings.report:
                log.info("%s", write_tomograms_page(settings.output_dir))
            _tell_how_to_look(*last)
        if len(failures) > 1:
            names = names_in_words([failure.what for failure in failures])
            why = f"{len(failures)} of {count} tomograms failed: {names}. The first: {failures[0].why}"
            raise EngineError(self.star_file, why, f"{failures[0].remedy} What was finished is kept.")
        if failures:
            raise failures[0]

    def _corrected(self, ready: _Readied, model: keras.Model, tiles: Tiles) -> Floats:
        metadata, entry, parts = self.metadata, ready.entry, ready.parts
        if ready.seen.is_mean:
            log.info("%s: the mean of its halves is corrected, as the model learned from them.", entry.name)
        correct_tiles = corrector(model, metadata.network, entry.tilt, twice=metadata.of_one_pass)
        if self.weakens:
            pair = [half.voxels for half in ready.seen.halves] if entry.halves_fit else []
            strength, remark = supported_strength(
                parts[0], pair, correct_tiles, metadata.network.divisor, entry.tilt, ready.seen.transfer, ready.sample,
                None if ready.own else ready.to_own,
            )  # fmt: skip
            log.info("%s: %s", entry.name, _in_words(strength, bool(pair), entry.voxel_size, remark))
            correct_tiles = corrector(model, metadata.network, entry.tilt, strength, metadata.of_one_pass)
        halves = [f", half {number}" for number in (1, 2)] if len(parts) > 1 else [""]
        made = (
            tiles.filled(shown, correct_tiles, metadata.kept_beyond, f"Prediction of {entry.name}{half}")
            for shown, half in zip(parts, halves)
        )
        normalisation = self.normalisation if self.settings.normalized_output else None
        to_own = ready.to_own if ready.own else None
        return whole_result(ready.volume.data, parts, made, ready.border, to_own, normalisation)

    def _correct_one(
        self, ready: _Readied, model: keras.Model, tiles: Tiles, reporter: Reporter
    ) -> tuple[Volume, Path] | EngineError:
        """Correct a tomogram, and write all that is told of it; returns it and the file of the result.

        An error that is returned, not raised, concerns this tomogram alone.
        """
        settings, entry, volume, border = self.settings, ready.entry, ready.volume, ready.border
        warn_of_other_data(entry, self.metadata)
        target = _target(entry, settings)
        corrected = _alone(lambda: self._corrected(ready, model, tiles), entry.path, LESS_MEMORY)
        if isinstance(corrected, EngineError):
            return corrected
        rounded = stored_or_float32(corrected, settings.output_type, entry.name)
        self._claimed({target: entry})  # another table's command may have written it meanwhile
        self._discard_reports(target, entry.name)
        mark = with_origin(self.marks[target], entry.correction(volume, self.made_by, ready.own, ready.seen.transfer))
        write_volume(target, rounded.voxels, entry.output_voxel_size(volume), volume, mark)
        self._name(entry, rounded.scale)
        del corrected, rounded  # from here on it is read from the file
        after = open_volume(target)
        box = (slice(None),) * 3 if border is None else border.box
        compared = save_comparison(
            target.with_suffix(".png"),
            volume.data[box],
            grey_values(after.data[box], entry.corrected_scale),
            entry.voxel_size,
            entry.tilt,
            entry.name,
        )
        log.info("%s and its picture %s", target, target.with_suffix(".png").name)
        if settings.report or settings.confidence:
            own_mark = self.confidence_marks.get(confidence_path(target))
            told = _alone(
                lambda: reporter.write(
                    Corrected(entry, volume, after, ready.seen, border, ready.sample),
                    own_mark,
                    settings.report,
                    compared,
                ),
                f"the report on {target}",
                LESS_FOR_REPORT,
            )
            if told is not None:
                return told
        # not before, as its pictures and report were another's yet
        made = remembered(entry, made_from(ready.recipe, target, settings))
        self.table.update(entry, {CORRECTED_FROM: ",".join(made) or None})
        return volume, target

    def _name(self, entry: TomogramEntry, scale: float = 1.0) -> None:
        """Name a tomogram's result in the table, and what its voxels are multiplied by to get grey values."""
        made = {"rlnCorrectedTomoName": _target(entry, self.settings), CORRECTED_BY: self.made_by}
        if scale != 1 or entry.text(SCALE) is not None:
            made[SCALE] = f"{scale:.7g}"
        self.table.update(entry, made)

    def _discard_reports(self, target: Path, name: str) -> None:
        """Delete what told of the result that is replaced; what will not be told of the new one is logged."""
        again = {report_path(target): self.settings.report, confidence_path(target): self.settings.confidence}
        gone = [path.name for path in discard_reports(target) if not again.get(path, True)]
        if gone:
            log.warning("%s: deleted, as told of the former result alone: %s", name, ", ".join(gone))
            if not self.settings.report and has_own_page(self.settings.output_dir):
                write_tomograms_page(self.settings.output_dir)


def _alone(attempt: Callable[[], Made], what: str, less_memory: str) -> Made | EngineError:
    """What a function makes for one tomogram, or why it can't; what the disk refuses concerns all, and is raised."""
    try:
        return attempt()
    except EngineError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in NOT_OF_ONE:
            raise
        why, remedy = f"{error.what}: {error.why}", error.remedy
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        why, remedy = f"memory: there is not enough ({str(error)[:200] or type(error).__name__})", less_memory
    # out here, where the error's frames no longer hold the memory
    return EngineError(what, why, remedy)


def _in_words(strength: WedgeStrength | None, with_halves: bool, voxel_size: float, remark: str) -> str:
    if strength is None:
        return "what is filled in is kept in full: there is too little to tell how much of it is right."
    tests = "the hidden-wedge test and the halves support" if with_halves else "the hidden-wedge test supports"
    return (
        f"what is filled in is multiplied by {strength.describe(voxel_size)}, as {tests} it{remark and f' ({remark})'}."
    )


def _tell_how_to_look(before: Volume, target: Path) -> None:
    """Log the command that shows a tomogram in the installed program that reads its format; nothing without one."""
    if target.suffix == ".mrc" and shutil.which("3dmod"):
        log.info("To look at the tomogram before and after (keys 1 and 2): 3dmod %s", _words(before.path, target))
    elif target.suffix == ".zarr" and shutil.which("napari"):
        log.info("To look at it, with the plugin napari-ome-zarr: napari %s", _words(target))


def _words(*paths: str | Path) -> str:
    return " ".join(shlex.quote(str(path)) for path in paths)


@dataclasses.dataclass
class _Readied:
    """A tomogram, all that has to be read of it before the network."""

    entry: TomogramEntry
    recipe: Recipe | None
    volume: Volume
    border: Border | None
    sample: Reals | Mask | None  # where boxes of the tests may be; None also where nothing is tested
    seen: Seen
    parts: Sequence[Shown]  # what the network corrects; the mean of what it makes of them is the result
    own: Sequence[Volume]  # the halves that are corrected in place of the whole
    to_own: GreyScale | None  # from the grey scale of the halves to the tomogram's, where it is another


@functools.lru_cache(maxsize=1)
def _loaded(model_file: Path, _: State, settings: PredictSettings, devices: Devices) -> tuple[keras.Model, Tiles]:
    """A model, and the tiles that suit it and the memory: kept for the next command that this process runs."""
    model, metadata = load_model(model_file)
    return model, Tiles(settings, metadata.network, devices)


def _own_halves(entry: TomogramEntry, volume: Volume, metadata: ModelMetadata) -> list[Volume]:
    """The halves that a model corrects in place of the whole; none where it is for the whole, or the table has none."""
    return entry.open_halves(volume) if metadata.halves and entry.fitting_halves() else []


def _target(entry: TomogramEntry, settings: PredictSettings) -> Path:
    return Path(settings.output_dir) / f"{entry.name}_corrected.{settings.output_format}"


COMMANDS = (
    Command(
        predict,
        ("STAR_FILE", "MODEL"),
        PredictSettings,
        writes=value_of("star_file"),
        folders=("output_dir",),
        less_memory=LESS_MEMORY,
    ),
)
