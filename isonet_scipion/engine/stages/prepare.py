"""prepare_star: a table of the tomograms in a folder, or of another program's table."""

from __future__ import annotations

import logging
import os
from dataclasses import astuple, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isonet_scipion.engine.arrays import extremes, require_contrast
from isonet_scipion.engine.command import Command, value_of
from isonet_scipion.engine.conventions import CORRECTED, SUBTOMOGRAMS, TILT_OPTIONS, TILT_RANGE
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.earlier_table import (
    OTHERWISE,
    USUAL,
    as_shown,
    changes_in_words,
    comments_with,
    is_unusual,
    left_out_rows,
    require_known,
    warn_of_left_out,
)
from isonet_scipion.engine.io.files import real_file, require_folder, require_kept
from isonet_scipion.engine.io.marks import is_marked, is_own, mark_of
from isonet_scipion.engine.io.mrc import open_volume, volume_bytes, write_mean
from isonet_scipion.engine.io.origin import first_maker, with_origin
from isonet_scipion.engine.io.other_programs import (
    VOLUME_SUFFIXES,
    KnownTomogram,
    is_volume,
    read_tomograms,
    with_their_halves,
)
from isonet_scipion.engine.io.shown import open_mask, require_halves
from isonet_scipion.engine.io.star import (
    NOT_SET,
    Star,
    require_one_meaning,
    table_to_replace,
    warn_of_lost_columns,
    words_of,
    write_star,
)
from isonet_scipion.engine.io.table_checks import warn_of_lopsided_tilts
from isonet_scipion.engine.io.tilt_files import common_name, find_tilt_files, grouped, half_name, read_tilt_file
from isonet_scipion.engine.io.tomogram_entry import (
    CTF_STATE,
    HALF_LABELS,
    INVERTED,
    OPTICS,
    TILTS,
    TomogramEntry,
    have_unlike_ctfs,
    possible_optics,
    require_alike_halves,
)
from isonet_scipion.engine.io.volume_files import file_names, volume_files, voxel_size_of
from isonet_scipion.engine.io.voxel_size import require_same_grid
from isonet_scipion.engine.physics.ctf import require_plausible_defocus
from isonet_scipion.engine.physics.wedge import TiltRange, declared_range
from isonet_scipion.engine.process.disk import growth, require_space
from isonet_scipion.engine.settings.preparation import PrepareStarSettings
from isonet_scipion.engine.wording import counted

if TYPE_CHECKING:
    from isonet_scipion.engine.io.volume import Volume

log = logging.getLogger(__name__)
NO_TOMOGRAMS = ("make_mask", "confidence", "extract")  # commands whose volumes are none
NO_KINDS = "masks, confidence volumes or subtomograms"  # these


def prepare_star(folder: str | None, settings: PrepareStarSettings) -> None:
    """Write a table of the tomograms in a folder, sorted by name, or of another table's; errors as `EngineError`."""
    if bool(settings.even_folder) != bool(settings.odd_folder):
        raise EngineError("even_folder", "only one half is given", "Give even_folder and odd_folder.")
    for given, holds in (
        (settings.even_folder, "the even halves"), (settings.odd_folder, "the odd halves"),
        (settings.mask_folder_in, "the masks"),
    ):  # fmt: skip
        if given:
            require_folder(given, holds)
    if settings.defocus:
        require_plausible_defocus(settings.defocus, "defocus")
    if settings.from_:
        require_kept([settings.output_star], [settings.from_])
    earlier = table_to_replace(settings.output_star, ("rlnIndex", "rlnMicrographName"))
    require_one_meaning(earlier, ["rlnMicrographName", *HALF_LABELS])
    tomograms = _with_tilt_files(_listed(folder, settings), settings.tilt_files)
    rows = _rows_before(tomograms, earlier, settings)
    left_out = left_out_rows(earlier, rows)
    require_known(earlier, rows, "rlnMicrographName", "tomograms or halves")
    _warn_of_returned(earlier, tomograms, rows, settings)
    for index, (tomogram, row) in enumerate(zip(tomograms, rows)):
        tomograms[index] = _completed(_as_before(tomogram, earlier, row, settings), settings)
    # all is looked at before the first average is written
    star, averages = Star([], comments=comments_with(earlier, left_out)), _averages(tomograms, rows, settings)
    for index, tomogram in enumerate(tomograms, 1):
        star.rows.append(_row(star, index, tomogram, averages.get(index), settings))
    for index, target in averages.items():
        tomogram, size = tomograms[index - 1], star.number(star.rows[index - 1], "rlnPixelSize")
        mark, source = _mark(tomogram, target), first_maker(tomogram.halves[0])
        halves = [open_volume(half) for half in tomogram.halves]
        write_mean(target, halves, size, with_origin(mark, source) if source else mark)
        log.info("%s: the mean of the halves of %s", target, tomogram.name)
    write_star(settings.output_star, star)
    if changes := changes_in_words(rows, star, "rlnMicrographName"):
        log.info(OTHERWISE, settings.output_star, changes)
    warn_of_lost_columns(settings.output_star, earlier, star)
    if left_out:
        warn_of_left_out(earlier, left_out, "rlnMicrographName", folder or settings.from_)
    _tell(settings.output_star, tomograms)


def _listed(folder: str | None, settings: PrepareStarSettings) -> list[KnownTomogram]:
    """The tomograms, with what the table that they are from says of them."""
    if settings.from_ is None:
        if folder is None:
            raise EngineError("FOLDER", "it is not given", "Name the folder of the tomograms, or give --from.")
        return _of_own_files(folder, volume_files(folder, VOLUME_SUFFIXES))
    program, tomograms = read_tomograms(settings.from_, folder)
    if not tomograms:
        raise EngineError(settings.from_, "it has no tomograms", "Give the table of reconstructed tomograms.")
    log.info("%s: %s of %s", settings.from_, counted(len(tomograms), "tomograms"), program)
    return tomograms


def _of_own_files(folder: str, files: list[Path]) -> list[KnownTomogram]:
    """The tomograms among files, of which other commands may have written some."""
    stages = {path: stage for path in files if (stage := first_maker(path))}
    left_out = [path for path in files if stages.get(path) in NO_TOMOGRAMS]
    if left_out:
        log.info("%s: left out, as they are %s: %s", folder, NO_KINDS, file_names(left_out))
    if len(left_out) == len(files):
        raise EngineError(folder, f"it holds {NO_KINDS} alone", "Name the folder of the tomograms.")
    for stage, told in (("deconv", "taken as deconvolved"), ("predict", "corrected, and will be corrected again")):
        if made := [path for path in files if stages.get(path) == stage]:
            log.warning("%s: %s, as %s wrote them: %s", folder, told, stage, file_names(made))
    tomograms = with_their_halves([path for path in files if path not in left_out])
    _warn_of_versions(folder, tomograms)
    deconvolved = {path for path in files if stages.get(path) == "deconv"}
    return [
        replace(one, ctf_state=CORRECTED) if (one.path or one.halves[0]) in deconvolved else one for one in tomograms
    ]


def _warn_of_versions(folder: str, tomograms: list[KnownTomogram]) -> None:
    """Name files that seem to be of one tilt series, as its images and versions of its tomogram in IMOD's folders."""
    by_series = grouped((tomogram.path for tomogram in tomograms if tomogram.path), common_name)
    if several := [file_names(paths) for paths in by_series.values() if len(paths) > 1]:
        more = f"; so are those of {counted(len(several) - 1, 'others')}" if len(several) > 1 else ""
        log.warning(
            "%s: each taken as a tomogram of its own, though by their names they are of one tilt series: %s%s. If some "
            "are its images, or other versions of its tomogram, move these elsewhere.", folder, several[0], more,
        )  # fmt: skip


def _with_tilt_files(tomograms: list[KnownTomogram], folder: str | None) -> list[KnownTomogram]:
    """With what the tilt files say, which comes before what the table does that they are from."""
    if folder is None:
        return tomograms
    found = []
    for tomogram, file in zip(tomograms, find_tilt_files(folder, [tomogram.name for tomogram in tomograms])):
        series = read_tilt_file(file)
        if series.defocus:
            require_plausible_defocus(series.defocus, str(file), tomogram.name)
        optics = tuple({**dict(tomogram.optics), **dict(series.optics)}.items())
        defocus = series.defocus or tomogram.defocus
        found.append(replace(tomogram, tilt=series.tilt, defocus=defocus, optics=optics))
        log.info("%s: %d tilts, %g..%g degrees, by %s", tomogram.name, len(series.angles), *astuple(series.tilt), file)
    return found


def _whole(tomogram: KnownTomogram, settings: PrepareStarSettings) -> Path:
    """The file of a tomogram, there or to be made of its halves."""
    return tomogram.path or Path(settings.average_folder) / f"{tomogram.name}.mrc"


def _rows_before(tomograms: list[KnownTomogram], earlier: Star, settings: PrepareStarSettings) -> list[dict[str, str]]:
    """The row of each tomogram in the table that is replaced; an empty one where it has none."""
    rows = {real_file(row["rlnMicrographName"]): row for row in earlier.rows}
    found = []
    for tomogram in tomograms:
        whole = _whole(tomogram, settings)
        row = rows.get(real_file(whole), {})
        # means of other halves may have the same name
        is_same = tomogram.path or _has_halves(row, tomogram) or is_marked(whole, _mark(tomogram, whole))
        found.append(row if is_same else {})
    return found


def _has_halves(row: dict[str, str], tomogram: KnownTomogram) -> bool:
    """Whether a row names the halves of a tomogram as its own."""
    named = [row.get(label) for label in HALF_LABELS]
    return all(name and real_file(name) == real_file(half) for name, half in zip(named, tomogram.halves))


def _mark(tomogram: KnownTomogram, average: Path) -> bytes:
    """The mark of the mean of a tomogram's halves: of these, since it is the same for each table."""
    even, odd = tomogram.halves
    return mark_of("prepare_star", odd, even, average.parent)


def _warn_of_returned(
    earlier: Star, tomograms: list[KnownTomogram], rows: list[dict[str, str]], settings: PrepareStarSettings
) -> None:
    """Name the tomograms that comments of the table that is replaced name, but no row of it."""
    commented = {real_file(word) for comment in earlier.comments for word in words_of(comment)}
    new = [_whole(tomogram, settings) for tomogram, row in zip(tomograms, rows) if not row]
    if returned := [path for path in new if real_file(path) in commented]:
        log.warning(
            "%s: only comments named them so far, and they are taken again, without what is told there: %s. Copy that "
            "into their rows, or put # before them.", earlier.path, file_names(returned),
        )  # fmt: skip


def _as_before(
    tomogram: KnownTomogram, earlier: Star, row: dict[str, str], settings: PrepareStarSettings
) -> KnownTomogram:
    """With what its row in the table that is replaced says and nothing else does: it may have been typed there."""
    if not tomogram.defocus and settings.defocus is None:
        _fill_defocus(earlier, row)
    typed = _typed(tomogram, earlier, row, settings)
    if not typed:
        return tomogram
    cells = ", ".join(f"{label} {as_shown(cell)}" for label, cell in typed.items())
    log.info("%s: kept from the table that was there: %s", tomogram.name, cells)
    place = f"{earlier.path}, {{}} of {tomogram.name}"
    values: dict[str, Any] = {}
    if typed.keys() & set(TILTS):
        low, high = (earlier.number(row, label) if label in typed else USUAL[label] for label in TILTS)
        values["tilt"] = declared_range(low, high, place.format(" and ".join(TILTS)))
    if "rlnDefocus" in typed:
        defocus = earlier.number(row, "rlnDefocus")
        values["defocus"] = require_plausible_defocus(defocus, place.format("rlnDefocus"))
    if "rlnNumberSubtomo" in typed:
        values["number_subtomos"] = earlier.integer(row, "rlnNumberSubtomo")
    if "rlnMaskBoundary" in typed:
        values["boundary"] = Path(typed["rlnMaskBoundary"])
    entry = TomogramEntry(tomogram.name, row, earlier)
    if CTF_STATE in typed:
        values["ctf_state"] = entry.ctf_state()
    if INVERTED in typed:
        values["inverted"] = entry.inverted
    more = tuple((label, earlier.number(row, label)) for label in OPTICS if label in typed)
    return replace(tomogram, **values, optics=tomogram.optics + more)


def _fill_defocus(earlier: Star, row: dict[str, str]) -> None:
    """Put the mean of rlnDefocusU and rlnDefocusV where a row has both and no rlnDefocus, as all stages take it."""
    ends = [label for label in ("rlnDefocusU", "rlnDefocusV") if earlier.text(row, label)]
    if len(ends) == 2 and as_shown(earlier.text(row, "rlnDefocus") or "0") == "0":
        earlier.set(row, "rlnDefocus", sum(earlier.number(row, label) for label in ends) / 2)


def _typed(
    tomogram: KnownTomogram, earlier: Star, row: dict[str, str], settings: PrepareStarSettings
) -> dict[str, str]:
    """Cells of the table that is replaced, other than the usual ones, that no option, file or other table tells."""
    is_open = {
        "rlnTiltMin": tomogram.tilt is None and settings.tilt_min is None,
        "rlnTiltMax": tomogram.tilt is None and settings.tilt_max is None,
        "rlnDefocus": not tomogram.defocus and settings.defocus is None,
        "rlnNumberSubtomo": tomogram.number_subtomos is None and settings.number_subtomos is None,
        "rlnMaskBoundary": tomogram.boundary is None,
        CTF_STATE: tomogram.ctf_state is None and settings.ctf_state is None,
        INVERTED: settings.invert is None,
        **{label: label not in dict(tomogram.optics) for label in OPTICS},
    }
    return {label: row[label] for label in is_open if is_open[label] and is_unusual(earlier, row, label)}


def _completed(tomogram: KnownTomogram, settings: PrepareStarSettings) -> KnownTomogram:
    """With what the options say, which comes first."""
    tilt, defocus = tomogram.tilt, tomogram.defocus
    if defocus:
        require_plausible_defocus(defocus, settings.from_ or "defocus", tomogram.name)
    possible_optics({OPTICS[label]: value for label, value in tomogram.optics}, f" of {tomogram.name}")
    low, high = settings.tilt_min, settings.tilt_max
    if (low, high) != (None, None):
        tilt = tilt or TiltRange(*TILT_RANGE)
        ends = tilt.minimum if low is None else low, tilt.maximum if high is None else high
        tilt = declared_range(*ends, f"{TILT_OPTIONS} for {tomogram.name}")
    size, by = tomogram.voxel_size, settings.from_ or "pixel_size"
    if settings.pixel_size is not None:
        size, by = settings.pixel_size, "pixel_size"
    return replace(
        tomogram,
        tilt=tilt,
        defocus=defocus if settings.defocus is None else settings.defocus,
        number_subtomos=settings.number_subtomos or tomogram.number_subtomos,
        inverted=tomogram.inverted if settings.invert is None else settings.invert,
        voxel_size=voxel_size_of(open_volume(tomogram.path or tomogram.halves[0]), size, by),
    )


def _row(
    star: Star, index: int, tomogram: KnownTomogram, average: Path | None, settings: PrepareStarSettings
) -> dict[str, str]:
    volume = open_volume(tomogram.path or tomogram.halves[0])
    tilt = tomogram.tilt or TiltRange(*TILT_RANGE)
    voxel_size = float(tomogram.voxel_size or volume.voxel_size)
    row: dict[str, str] = {}
    star.set(row, "rlnIndex", index)
    if settings.from_:
        star.set(row, "rlnTomoName", tomogram.name)
    star.set(row, "rlnMicrographName", average or tomogram.path)
    star.set(row, "rlnPixelSize", voxel_size)
    star.set(row, "rlnDefocus", float(tomogram.defocus or 0))
    for label, value in tomogram.optics:
        star.set(row, label, value)
    if settings.ctf_state or tomogram.ctf_state:
        star.set(row, CTF_STATE, settings.ctf_state or tomogram.ctf_state)
    count = tomogram.number_subtomos
    star.set(row, "rlnNumberSubtomo", SUBTOMOGRAMS if count is None else count)
    star.set(row, "rlnMaskBoundary", tomogram.boundary or NOT_SET)
    star.set(row, "rlnTiltMin", float(tilt.minimum))
    star.set(row, "rlnTiltMax", float(tilt.maximum))
    if tomogram.inverted:
        star.set(row, INVERTED, 1)
    mask = _own_mask(volume, Path(settings.mask_folder_in)) if settings.mask_folder_in else tomogram.mask
    if mask:
        open_mask(str(mask), volume, voxel_size)
        star.set(row, "rlnMaskName", mask)
    halves = tomogram.halves
    if settings.even_folder and settings.odd_folder:
        halves = tuple(_half(volume, Path(folder)) for folder in (settings.even_folder, settings.odd_folder))
    if len({os.path.realpath(path) for path in (tomogram.path or "", *halves)}) <= len(halves):
        raise EngineError(
            str(halves[0]), f"it is both halves of {tomogram.name}, or half and whole", "Give the two half tomograms."
        )
    files = str(tomogram.path or ""), *map(str, halves)
    require_alike_halves(files[0], files[1:], settings.ctf_state or tomogram.ctf_state)
    if have_unlike_ctfs(files):
        log.warning(
            "%s: deconv took another defocus, voltage, spherical aberration, amplitude contrast, voxel size or %s for "
            "it than for one of its halves, %s and %s. Deconvolve all three with the same.",
            tomogram.path or tomogram.name, CTF_STATE, *halves,
        )  # fmt: skip
    for label, half in zip(HALF_LABELS, halves):
        require_same_grid(open_volume(half), volume, voxel_size)
        star.set(row, label, half)
    return row


def _averages(
    tomograms: list[KnownTomogram], rows: list[dict[str, str]], settings: PrepareStarSettings
) -> dict[int, Path]:
    """Files of the whole tomograms to make, by rlnIndex; there is room for them, and they replace nothing else."""
    made = {index: _whole(tomogram, settings) for index, tomogram in enumerate(tomograms, 1) if tomogram.path is None}
    require_kept(made.values(), [half for tomogram in tomograms for half in tomogram.halves])
    for index, path in made.items():
        _require_own(path, tomograms[index - 1], rows[index - 1])
    if len(set(made.values())) < len(made):
        twice = next(path for path in made.values() if list(made.values()).count(path) > 1)
        raise EngineError(
            str(twice), "it would be the mean of several tomograms' halves", "Give each tomogram a name of its own."
        )
    sizes = {}
    for index, path in made.items():
        even, odd = (open_volume(half) for half in tomograms[index - 1].halves)
        require_same_grid(odd, even, tomograms[index - 1].voxel_size or even.voxel_size)
        require_halves([even, odd])
        for half in (even, odd):  # their mean would not show it
            require_contrast(*extremes(half.data), half.path)
        sizes[path] = volume_bytes(even.shape)
    if sizes:
        require_space(settings.average_folder, growth(sizes))
    return made


def _require_own(path: Path, tomogram: KnownTomogram, row: dict[str, str]) -> None:
    """Raise an EngineError if a file is there that is not the mean of a tomogram's halves."""
    makers = (None,) if _has_halves(row, tomogram) else ()  # former versions wrote no mark
    if os.path.lexists(path) and not is_own(path, _mark(tomogram, path), makers):
        raise EngineError(
            str(path),
            f"it is there already, and nothing tells that it was made of {' and '.join(map(str, tomogram.halves))}: "
            "it may be another table's",
            "Give another folder with --average_folder, or delete it.",
        )


def _tell(table: str, tomograms: list[KnownTomogram]) -> None:
    """Say what the table holds, and what was assumed."""
    sizes = dict.fromkeys(f"{size:g}" for size in sorted(tomogram.voxel_size or 0 for tomogram in tomograms) if size)
    log.info("%s: %s of %s A", table, counted(len(tomograms), "tomograms"), " or ".join(sizes))
    warn_of_lopsided_tilts(table, {tomogram.name: tomogram.tilt for tomogram in tomograms if tomogram.tilt})
    without = [tomogram.name for tomogram in tomograms if tomogram.tilt is None]
    if without:
        log.info("Assumed tilted by %g..%g degrees, since no tilt range was found: %s", *TILT_RANGE, ", ".join(without))
    unknown = [one.name for one in tomograms if not one.defocus and one.ctf_state != CORRECTED]
    if unknown:
        log.info("Without defocus, which deconv and --ctf_aware need: %s", ", ".join(unknown))


def _half(tomogram: Volume, folder: Path) -> Path:
    """The half of a tomogram in a folder: of its name, else the only one of its tilt series."""
    own = Path(tomogram.path)
    if (folder / own.name).exists():
        return folder / own.name
    found = [path for path in sorted(folder.glob("*")) if is_volume(path) and half_name(path) == half_name(own)]
    if len(found) != 1:
        several = f"it has several of the same name: {', '.join(path.name for path in found)}"
        why = several if found else f"{own.name} is missing; {own} needs it as its half"
        raise EngineError(str(folder), why, "Name one half like the tomogram.")
    return found[0]


def _own_mask(tomogram: Volume, folder: Path) -> Path:
    stem = Path(tomogram.path).stem
    for name in (f"{stem}_mask.mrc", f"{stem}.mrc"):
        path = folder / name
        if path.exists():
            return path
    raise EngineError(
        str(folder), f"it has no {stem}_mask.mrc or {stem}.mrc", "Add the mask or leave out mask_folder_in."
    )


COMMANDS = (
    Command(
        prepare_star,
        ("[FOLDER]",),
        PrepareStarSettings,
        writes=value_of("output_star"),
        files=("output_star",),
        folders=("average_folder",),
    ),
)
