"""resize: rescale the tomograms of a table to another voxel size."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.command import Command, value_of
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.earlier_table import OTHERWISE, as_shown, changes_in_words
from isonet_scipion.engine.io.mrc import open_volume, volume_bytes, writing_volume
from isonet_scipion.engine.io.number_formats import SCALE
from isonet_scipion.engine.io.origin import first_maker, with_origin
from isonet_scipion.engine.io.shown import border_of
from isonet_scipion.engine.io.star import Star, discard_outdated, table_to_replace, warn_of_lost_columns, write_star
from isonet_scipion.engine.io.tomogram_entry import CORRECTED_BY, CORRECTED_FROM, CTF_STATE, HALF_LABELS, TomogramEntry
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.engine.io.volume import naming
from isonet_scipion.engine.io.voxel_size import VOXEL_SIZE_TOLERANCE
from isonet_scipion.engine.physics.borders import mirrored_into, put_back_nearest
from isonet_scipion.engine.physics.rescaling import rescale, rescaled_shape
from isonet_scipion.engine.process.disk import growth, require_space
from isonet_scipion.engine.process.progress import Progress
from isonet_scipion.engine.settings.preparation import ResizeSettings
from isonet_scipion.engine.wording import counted, names_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)
THREADS = 2  # more do not help: the planes come from disk
# columns of files that are rescaled, and the folders within out_folder that these go to
FOLDERS = {"rlnMicrographName": "", HALF_LABELS[0]: "even", HALF_LABELS[1]: "odd"}
# columns of other files that have the old size, and what brings them into the new table
REMADE = {
    "rlnDeconvTomoName": "run deconv on it",
    "rlnMaskName": "run make_mask on it",
    "rlnMaskBoundary": "draw it anew",
    "rlnCorrectedTomoName": "run predict on it",
}
# columns that tell of these files alone; options of deconv and make_mask stay, as they may have been typed
OF_REMADE = (CORRECTED_BY, CORRECTED_FROM, SCALE)
MOST_FINER = 2  # times; more only fills the disk
FEWEST_VOXELS = 8  # on a side; less is a slip: no stage does anything with it
LARGEST_START = 2**31 - 1  # that a header can hold


@dataclass(frozen=True)
class _Part:
    """A tomogram or a half of one, and the file that it is rescaled to."""

    entry: TomogramEntry
    label: str  # of FOLDERS
    path: str
    target: Path


def resize(star_file: str, settings: ResizeSettings) -> None:
    """Write rescaled tomograms, their halves, and the table NAME_resized.star; errors as `EngineError`."""
    if settings.apix <= 0:
        raise EngineError("apix", f"{settings.apix} is not a voxel size", "Give it in A.")
    table = TomogramTable(star_file)
    entries = table.select(None)
    parts, sizes = {}, {}
    for entry in entries:
        volume = entry.checked_source()
        entry.open_halves(volume)
        size = volume_bytes(_new_shape(entry, volume.shape, settings.apix))
        parts[entry.name] = _parts(entry, settings)
        sizes.update({part.target: size for part in parts[entry.name]})
    path = Path(star_file).with_name(f"{Path(star_file).stem}_resized.star")
    earlier = table_to_replace(path, ("rlnIndex", "rlnMicrographName"))
    marks: dict[Path, bytes] = {}
    for label in FOLDERS:
        owners = {part.target: part.entry for own in parts.values() for part in own if part.label == label}
        marks.update(table.claim(owners, "resize", label, "out_folder", earlier))
    if finer := [entry.name for entry in entries if settings.apix * (1 + VOXEL_SIZE_TOLERANCE) < entry.voxel_size]:
        log.warning("Finer voxels add no detail, but cost time and space: %s", names_in_words(finer))
    require_space(settings.out_folder, growth(sizes))
    states = [entry.ctf_state() for entry in entries]  # which a column that is left out may tell, too
    labels = [label for label in table.star.labels if label not in (*REMADE, *OF_REMADE, CTF_STATE)]
    resized = Star([*labels, CTF_STATE] if any(states) else [*labels])
    discard_outdated(path, marks)
    with Progress("Resizing", len(entries), "tomograms") as progress:
        for entry, state in zip(entries, states):
            row = {label: entry.row[label] for label in labels}
            resized.rows.append(row)
            if any(states):
                resized.set(row, CTF_STATE, state)
            for part in parts[entry.name]:
                _rescale(part, settings.apix, marks[part.target])
                resized.set(row, part.label, part.target)
            resized.set(row, "rlnPixelSize", float(settings.apix))
            progress.advance()
    write_star(path, resized)
    by_name = {Path(row["rlnMicrographName"]).name: row for row in earlier.rows}
    rows = [dict(by_name.get(Path(row["rlnMicrographName"]).name, {})) for row in resized.rows]
    former = dict.fromkeys(as_shown(row.pop("rlnPixelSize", str(settings.apix))) for row in rows)
    if changes := changes_in_words(rows, resized, "rlnMicrographName"):
        log.warning(OTHERWISE, path, changes)
    warn_of_lost_columns(path, earlier, resized)
    _tell_left_out(path, entries, resized)
    others = [size for size in former if size != f"{settings.apix:g}"]
    before = f", in place of those of {' and '.join(others)} A" if others else ""
    log.info("%s: %s of %g A%s", path, counted(len(resized.rows), "tomograms"), settings.apix, before)


def _new_shape(entry: TomogramEntry, shape: tuple[int, ...], apix: float) -> tuple[int, ...]:
    """Shape of a tomogram at a voxel size; an EngineError where that is far too fine, or leaves next to nothing."""
    size, fewest = entry.voxel_size, min(FEWEST_VOXELS, *shape)
    if apix < size / MOST_FINER:
        why = f"{apix:g} A is much finer than the {size:g} A of {entry.path}"
        raise EngineError("apix", why, "Give it in A, not nm.")
    rescaled = rescaled_shape(shape, apix / size)
    if (left := min(rescaled)) < fewest:
        why = f"{apix:g} A leaves {left} voxels of the shortest side of {entry.path}, {min(shape)} of {size:g} A"
        raise EngineError("apix", why, f"Give at most {size * min(shape) / fewest:g} A, which leaves {fewest}.")
    return rescaled


def _parts(entry: TomogramEntry, settings: ResizeSettings) -> list[_Part]:
    """Of a tomogram: the whole, and its halves where the table names both."""
    folder = Path(settings.out_folder)
    return [
        _Part(entry, label, path, folder / FOLDERS[label] / f"{entry.name}.mrc")
        for label, path in zip(FOLDERS, (entry.path, *entry.halves()))
    ]


def _rescale(part: _Part, apix: float, mark: bytes) -> None:
    volume, step = open_volume(part.path), apix / part.entry.voxel_size
    shape = rescaled_shape(volume.shape, step)
    x, y, z = (int(np.clip(round(start / step), -LARGEST_START, LARGEST_START)) for start in volume.start)
    like = replace(volume, start=(x, y, z))
    if source := first_maker(part.path):
        mark = with_origin(mark, source)
    with naming(volume), writing_volume(part.target, shape, np.float32, apix, like, mark) as voxels:
        border = border_of(volume)
        empty = None if border is None else ~border.data()
        data = volume.data if empty is None else mirrored_into(volume.data, empty)
        rescale(data, part.entry.voxel_size, apix, voxels, THREADS)
        if empty is not None:
            put_back_nearest(volume.data, empty, step, voxels)


def _tell_left_out(path: Path, entries: Sequence[TomogramEntry], resized: Star) -> None:
    """Log one line about the files of the old size that the new table does not name."""
    pairs = list(zip(entries, resized.rows))
    left_out = [
        f"{label} ({remedy})"
        for label, remedy in REMADE.items()
        if any(entry.text(label) not in (None, entry.path) and not resized.text(row, label) for entry, row in pairs)
    ]
    if left_out:
        log.warning("%s: it does not name files of the old size: %s", path, ", ".join(left_out))


COMMANDS = (
    Command(
        resize,
        ("STAR_FILE",),
        ResizeSettings,
        writes=value_of("star_file"),
        folders=("out_folder",),
        less_memory="Raise apix.",
    ),
)
