"""extract: subtomograms from the tomograms of a table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.arrays import Integers, fingerprint, require_contrast, require_numbers
from isonet_scipion.engine.command import Command, value_of
from isonet_scipion.engine.conventions import CROP_MARGIN, SUBTOMOGRAMS
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.coordinates import Coordinates, read_points
from isonet_scipion.engine.io.coordinates import centres as given_centres
from isonet_scipion.engine.io.files import require_kept
from isonet_scipion.engine.io.mrc import volume_bytes, write_volume
from isonet_scipion.engine.io.shown import away_from_spikes, border_of, open_mask, require_axes, spikes_in
from isonet_scipion.engine.io.star import SUBTOMOGRAM_LABELS, Star, discard_outdated, table_to_replace, write_star
from isonet_scipion.engine.io.subtomograms import VOXELS
from isonet_scipion.engine.io.table_checks import (
    EXTRACTED_FROM,
    require_one_kind,
    warn_of_assumed_tilts,
    warn_of_lopsided_tilts,
    warn_of_masks,
    warn_of_unlike_filters,
)
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.engine.io.volume import Volume, naming
from isonet_scipion.engine.network.unet import cube_size_warning
from isonet_scipion.engine.process.disk import growth, require_space
from isonet_scipion.engine.process.progress import Progress
from isonet_scipion.engine.sampling.crops import allowed_range, crop, random_centres, with_more
from isonet_scipion.engine.sampling.spikes import far_from
from isonet_scipion.engine.settings.preparation import ExtractSettings
from isonet_scipion.engine.wording import counted

if TYPE_CHECKING:
    from isonet_scipion.engine.io.tomogram_entry import TomogramEntry
    from isonet_scipion.engine.physics.borders import Border

log = logging.getLogger(__name__)
MORE = 4  # times as many places are drawn again where some are left out


def extract(star_file: str, settings: ExtractSettings) -> None:
    """Write subtomograms and their table; errors as `EngineError`."""
    size = settings.crop_size or settings.cube_size + CROP_MARGIN
    if settings.cube_size < 2 or size < settings.cube_size:
        raise EngineError("crop_size", f"{size} is smaller than cube_size {settings.cube_size}", "Raise crop_size.")
    if warning := cube_size_warning(settings.cube_size):
        log.warning("cube_size: %s", warning)
    for name, needed in settings.idle.items():
        if getattr(settings, name):
            log.warning("%s has no effect without %s.", name, needed)
    table = TomogramTable(star_file, settings.use_deconv_tomo)
    require_kept([settings.subtomo_star], [star_file, *filter(None, [settings.coordinates_star])])
    entries = table.select(settings.tomo_idx, needs_tilts=True)
    # all tomograms are checked before the first file is written; none stays open, since hundreds could not
    points = _read_points(table, settings)
    plans = [_checked_centres(entry, size, settings, points) for entry in entries]
    total = sum(map(len, plans))
    if total == 0:
        raise EngineError(star_file, "no subtomogram lies inside the tomograms", "Check the numbers and coordinates.")
    used = [entry for entry, centres in zip(entries, plans) if len(centres)]
    require_one_kind(used, "choose by --tomo_idx")
    warn_of_unlike_filters(used)
    warn_of_assumed_tilts(used)
    warn_of_lopsided_tilts(star_file, {entry.name: entry.tilt for entry in used})
    if points is None:
        warn_of_masks(used, "subtomograms are taken")
    owners = {
        _target(entry, number, settings): entry
        for entry, centres in zip(entries, plans)
        for number in range(len(centres))
    }
    earlier = table_to_replace(settings.subtomo_star, SUBTOMOGRAM_LABELS)
    if "rlnTiltMin" in earlier.labels and "rlnTomoName" not in earlier.labels:
        raise EngineError(
            settings.subtomo_star,
            "it is there already, of subtomograms that extract did not write, as prepare_subtomo_star makes it",
            "Give another --subtomo_star, or delete it if it is no longer needed.",
        )
    marks = table.claim(owners, "extract", "rlnImageName", "subtomo_folder", earlier)
    require_space(settings.subtomo_folder, growth(dict.fromkeys(owners, volume_bytes((size,) * 3))))
    discard_outdated(settings.subtomo_star, owners)
    subtomos = Star([])
    with Progress("Extraction", total, "subtomograms") as progress:
        for entry, centres in zip(entries, plans):
            volume = entry.source()
            for number, centre in enumerate(centres):
                target = _target(entry, number, settings)
                cube = crop(np.asarray(volume.data), centre, size).astype(np.float32)
                if entry.inverted:
                    np.negative(cube, out=cube)  # subtomograms have no column for it
                write_volume(target, cube, entry.output_voxel_size(volume), mark=marks[target])
                _add_row(subtomos, target, entry, centre, (settings.cube_size, size), fingerprint(cube))
                progress.advance()
    write_star(settings.subtomo_star, subtomos)
    log.info("%s: %s of %d^3 voxels", settings.subtomo_star, counted(total, "subtomograms"), size)


def _target(entry: TomogramEntry, number: int, settings: ExtractSettings) -> Path:
    return Path(settings.subtomo_folder) / f"{entry.name}_{number:06d}.mrc"


def _read_points(table: TomogramTable, settings: ExtractSettings) -> Coordinates | None:
    if settings.coordinates_star is None:
        return None
    unit, pixel_size = settings.coordinates_unit, settings.coordinates_pixel_size
    return read_points(settings.coordinates_star, unit, pixel_size, table.entries())


def _checked_centres(
    entry: TomogramEntry, size: int, settings: ExtractSettings, points: Coordinates | None
) -> Integers:
    volume = entry.checked_source()
    centres = _centres(entry, volume, size, settings, points)
    voxels = np.asarray(volume.data)
    ends: list[float] = []
    for centre in centres:
        cube = crop(voxels, centre, size)
        low, high = float(cube.min()), float(cube.max())
        require_numbers(low, high, volume.path)
        ends += low, high
    if ends:
        require_contrast(min(ends), max(ends), f"{volume.path}, where subtomograms would be cut")
    return centres


def _centres(
    entry: TomogramEntry, volume: Volume, size: int, settings: ExtractSettings, points: Coordinates | None
) -> Integers:
    border = border_of(volume)
    require_axes(volume, border, settings.check_axes, entry.inverted)
    path = entry.text("rlnMaskName")
    with naming(volume):
        first, last = allowed_range(volume.shape, size)
    if points is not None:
        return _given_centres(given_centres(points, entry, volume.shape), entry, first, last, border)
    mask = None if path is None else open_mask(path, volume, entry.voxel_size)
    count = entry.star.integer(entry.row, "rlnNumberSubtomo", SUBTOMOGRAMS)
    if not 0 <= count <= volume.data.size:
        raise EngineError(
            entry.star.path, f"_rlnNumberSubtomo is {count} for {entry.path}", "Give a number such as 100."
        )
    # each tomogram has its own random numbers, so that leaving out others does not change its centres
    seed = None if settings.seed is None else [settings.seed, entry.star.integer(entry.row, "rlnIndex")]
    rng, box = np.random.default_rng(seed), (slice(0, None),) * 3 if border is None else border.box
    first, spikes = np.array([axis.start for axis in box]), spikes_in(volume.data[box])
    with naming(volume, path if mask is not None else None):
        centres = random_centres(volume.shape, mask, size, count, rng, border)
        calm = away_from_spikes(volume.path, spikes, centres - first, size) + first
        if len(calm) == count:
            return centres
        others = random_centres(volume.shape, mask, size, MORE * count, rng, border, repeats=False)
    return with_more(calm, others[far_from(spikes, others - first, size)], count, rng)


def _given_centres(
    centres: Integers, entry: TomogramEntry, first: Integers, last: Integers, border: Border | None
) -> Integers:
    inside = ((centres >= first) & (centres < last)).all(axis=1)
    if not inside.all():
        counts = (~inside).sum(), len(inside)
        log.warning("%s: too near a border, so left out: %d of %d coordinates", entry.name, *counts)
    centres = centres[inside]
    if border is not None:
        held = border.data()[tuple(centres.T)]
        if not held.all():
            counts = (~held).sum(), len(held)
            log.warning("%s: where there is no data, so left out: %d of %d coordinates", entry.name, *counts)
        centres = centres[held]
    return centres


def _add_row(
    star: Star, path: Path, entry: TomogramEntry, centre: Integers, sizes: tuple[int, int], voxels: int
) -> None:
    row: dict[str, str] = {}
    star.rows.append(row)
    star.set(row, "rlnSubtomoIndex", len(star.rows))
    star.set(row, "rlnImageName", path)
    star.set(row, "rlnCubeSize", sizes[0])
    star.set(row, "rlnCropSize", sizes[1])
    star.set(row, "rlnPixelSize", entry.voxel_size)
    star.set(row, "rlnTomoName", entry.name)
    for axis, position in zip("ZYX", centre):
        star.set(row, f"rlnCoordinate{axis}", int(position))
    star.set(row, "rlnTiltMin", float(entry.tilt.minimum))
    star.set(row, "rlnTiltMax", float(entry.tilt.maximum))
    star.set(row, "isonetDeconvolved", int(entry.deconvolved))
    star.set(row, VOXELS, voxels)
    star.set(row, EXTRACTED_FROM, entry.star.path)


COMMANDS = (
    Command(
        extract,
        ("STAR_FILE",),
        ExtractSettings,
        writes=value_of("subtomo_star"),
        files=("subtomo_star",),
        folders=("subtomo_folder",),
        less_memory="Lower cube_size and crop_size.",
    ),
)
