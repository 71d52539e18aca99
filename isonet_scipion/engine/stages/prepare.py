"""prepare_star and prepare_subtomo_star: tables of the volumes in a folder, or of another program's table."""

from __future__ import annotations

import logging
import os
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from isonet_scipion.engine.command import Command, value_of
from isonet_scipion.engine.conventions import CORRECTED, SUBTOMOGRAMS, TILT_OPTIONS, TILT_RANGE
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import require_kept
from isonet_scipion.engine.io.marks import is_marked, made_by, mark_of
from isonet_scipion.engine.io.mrc import open_volume, volume_bytes, write_mean
from isonet_scipion.engine.io.origin import first_maker, with_origin
from isonet_scipion.engine.io.other_programs import (
    OPTICS,
    VOLUME_SUFFIXES,
    KnownTomogram,
    is_volume,
    read_tomograms,
    with_their_halves,
)
from isonet_scipion.engine.io.shown import open_mask, require_halves
from isonet_scipion.engine.io.star import (
    NOT_SET,
    SUBTOMOGRAM_LABELS,
    Star,
    as_comment,
    require_one_meaning,
    table_to_replace,
    warn_of_lost_columns,
    words_of,
    write_star,
)
from isonet_scipion.engine.io.tilt_files import find_tilt_files, half_name, read_tilt_file
from isonet_scipion.engine.io.tomogram_table import CTF_STATE, HALF_LABELS, INVERTED, TomogramEntry, names_in_words
from isonet_scipion.engine.io.volume import Volume, warn_of_oddities
from isonet_scipion.engine.io.voxel_size import UNSET_SIZE, check_mask, check_unit, require_voxel_size
from isonet_scipion.engine.network.unet import cube_size_warning
from isonet_scipion.engine.physics.ctf import require_plausible_defocus
from isonet_scipion.engine.physics.wedge import TiltRange, declared_range
from isonet_scipion.engine.process.disk import growth, require_space
from isonet_scipion.engine.sampling.crops import usual_cube_size
from isonet_scipion.engine.settings.preparation import PrepareStarSettings, PrepareSubtomoStarSettings

log = logging.getLogger(__name__)
OTHERWISE = "%s: other than in the table that was there: %s"
TILTS = ("rlnTiltMin", "rlnTiltMax")
# where nothing tells
USUAL = {**dict(zip(TILTS, TILT_RANGE)), "rlnDefocus": 0, "rlnNumberSubtomo": SUBTOMOGRAMS, INVERTED: 0}
TYPED = (*USUAL, "rlnMaskBoundary", CTF_STATE, *OPTICS)  # columns that may have been typed
NO_TOMOGRAMS = ("make_mask", "confidence")  # commands whose volumes are none
# formats of other programs, and packed files
CONVERTIBLE = (".hdf", ".em", ".map", ".nrrd", ".tif", ".tiff", ".spi", ".vol", ".gz", ".bz2")


def prepare_star(folder: str | None, settings: PrepareStarSettings) -> None:
    """Write a table of the tomograms in a folder, sorted by name, or of another table's; errors as `EngineError`."""
    if bool(settings.even_folder) != bool(settings.odd_folder):
        raise EngineError("even_folder", "only one half is given", "Give even_folder and odd_folder.")
    if settings.defocus:
        require_plausible_defocus(settings.defocus, "defocus")
    if settings.from_:
        require_kept([settings.output_star], [settings.from_])
    earlier = table_to_replace(settings.output_star, ("rlnIndex", "rlnMicrographName"))
    require_one_meaning(earlier, ["rlnMicrographName", *HALF_LABELS])
    tomograms = _with_tilt_files(_listed(folder, settings), settings.tilt_files)
    rows = _rows_before(tomograms, earlier, settings)
    left_out = _left_out(earlier, rows)
    _require_known(earlier, rows, "rlnMicrographName", "tomograms or halves")
    _warn_of_returned(earlier, tomograms, rows, settings)
    for index, (tomogram, row) in enumerate(zip(tomograms, rows)):
        tomograms[index] = _completed(_as_before(tomogram, earlier, row, settings), settings)
    # all is looked at before the first average is written
    star, averages = Star([], comments=_comments(earlier, left_out)), _averages(tomograms, rows, settings)
    for index, tomogram in enumerate(tomograms, 1):
        star.rows.append(_row(star, index, tomogram, averages.get(index), settings))
    for index, target in averages.items():
        tomogram, size = tomograms[index - 1], star.number(star.rows[index - 1], "rlnPixelSize")
        mark, source = _mark(tomogram, target), first_maker(tomogram.halves[0])
        halves = [open_volume(half) for half in tomogram.halves]
        write_mean(target, halves, size, with_origin(mark, source) if source else mark)
        log.info("%s: the mean of the halves of %s", target, tomogram.name)
    write_star(settings.output_star, star)
    if changes := _changes(rows, star, "rlnMicrographName"):
        log.info(OTHERWISE, settings.output_star, changes)
    warn_of_lost_columns(settings.output_star, earlier, star)
    if left_out:
        _warn_of_left_out(earlier, left_out, "rlnMicrographName", folder or settings.from_)
    _tell(settings.output_star, tomograms)


def _listed(folder: str | None, settings: PrepareStarSettings) -> list[KnownTomogram]:
    """The tomograms, with what the table that they are from says of them."""
    if settings.from_ is None:
        if folder is None:
            raise EngineError("FOLDER", "it is not given", "Name the folder of the tomograms, or give --from.")
        return _of_own_files(folder, _volume_files(folder, VOLUME_SUFFIXES))
    program, tomograms = read_tomograms(settings.from_, folder)
    if not tomograms:
        raise EngineError(settings.from_, "it has no tomograms", "Give the table of reconstructed tomograms.")
    log.info("%s: %d tomograms of %s", settings.from_, len(tomograms), program)
    return tomograms


def _of_own_files(folder: str, files: list[Path]) -> list[KnownTomogram]:
    """The tomograms among files, of which other commands may have written some."""
    stages = {path: stage for path in files if (stage := first_maker(path))}
    left_out = [path for path in files if stages.get(path) in NO_TOMOGRAMS]
    if left_out:
        log.info("%s: left out, as they are masks or confidence volumes: %s", folder, _names(left_out))
    if len(left_out) == len(files):
        raise EngineError(folder, "it holds masks or confidence volumes alone", "Name the folder of the tomograms.")
    for stage, told in (("deconv", "taken as deconvolved"), ("predict", "corrected, and will be corrected again")):
        if made := [path for path in files if stages.get(path) == stage]:
            log.warning("%s: %s, as %s wrote them: %s", folder, told, stage, _names(made))
    tomograms = with_their_halves([path for path in files if path not in left_out])
    deconvolved = {path for path in files if stages.get(path) == "deconv"}
    return [
        replace(one, ctf_state=CORRECTED) if (one.path or one.halves[0]) in deconvolved else one for one in tomograms
    ]


def _names(files: list[Path]) -> str:
    return names_in_words([path.name for path in files])


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


def _file(path: str | Path) -> str:
    return os.path.realpath(path) if "\0" not in str(path) else str(path)


def _rows_before(tomograms: list[KnownTomogram], earlier: Star, settings: PrepareStarSettings) -> list[dict[str, str]]:
    """The row of each tomogram in the table that is replaced; an empty one where it has none."""
    rows = {_file(row["rlnMicrographName"]): row for row in earlier.rows}
    found = []
    for tomogram in tomograms:
        whole = _whole(tomogram, settings)
        row = rows.get(_file(whole), {})
        # means of other halves may have the same name
        is_same = tomogram.path or _has_halves(row, tomogram) or is_marked(whole, _mark(tomogram, whole))
        found.append(row if is_same else {})
    return found


def _has_halves(row: dict[str, str], tomogram: KnownTomogram) -> bool:
    """Whether a row names the halves of a tomogram as its own."""
    named = [row.get(label) for label in HALF_LABELS]
    return all(name and _file(name) == _file(half) for name, half in zip(named, tomogram.halves))


def _mark(tomogram: KnownTomogram, average: Path) -> bytes:
    """The mark of the mean of a tomogram's halves: of these, since it is the same for each table."""
    even, odd = tomogram.halves
    return mark_of("prepare_star", odd, even, average.parent)


def _require_known(earlier: Star, rows: list[dict[str, str]], label: str, kind: str) -> None:
    """Raise an EngineError if the table that is replaced has rows, but none of what the new one will name."""
    if earlier.rows and not any(rows):
        raise EngineError(
            earlier.path,
            f"it is there already, of other {kind}: {names_in_words([row[label] for row in earlier.rows])}",
            "Give another --output_star, or delete it if nothing that was typed into it is needed.",
        )


def _left_out(earlier: Star, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows of the table that is replaced which are not among those that the new one goes on with."""
    return [row for row in earlier.rows if not any(row is kept for kept in rows)]


def _comments(earlier: Star, left_out: list[dict[str, str]]) -> list[str]:
    """The comments of the table that is replaced, and its rows that are left out: nothing else may tell of them."""
    return list(dict.fromkeys([*earlier.comments, *(as_comment(earlier, row) for row in left_out)]))


def _warn_of_left_out(earlier: Star, left_out: list[dict[str, str]], files: str, source: str | None) -> None:
    told = [label for label in TYPED if any(_is_unusual(earlier, row, label) for row in left_out)]
    log.warning(
        "%s: left out, since %s has them no longer: %s. Their rows stay as comments at its top%s.",
        earlier.path, source, names_in_words([row[files] for row in left_out]),
        f", which alone tell their {', '.join(told)}" if told else "",
    )  # fmt: skip


def _warn_of_returned(
    earlier: Star, tomograms: list[KnownTomogram], rows: list[dict[str, str]], settings: PrepareStarSettings
) -> None:
    """Name the tomograms that comments of the table that is replaced name, but no row of it."""
    commented = {_file(word) for comment in earlier.comments for word in words_of(comment)}
    new = [_whole(tomogram, settings) for tomogram, row in zip(tomograms, rows) if not row]
    if returned := [path for path in new if _file(path) in commented]:
        log.warning(
            "%s: only comments named them so far, and they are taken again, without what is told there: %s. Copy that "
            "into their rows, or put # before them.", earlier.path, _names(returned),
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
    cells = ", ".join(f"{label} {_shown(cell)}" for label, cell in typed.items())
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
    if len(ends) == 2 and _shown(earlier.text(row, "rlnDefocus") or "0") == "0":
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
    return {label: row[label] for label in is_open if is_open[label] and _is_unusual(earlier, row, label)}


def _is_unusual(earlier: Star, row: dict[str, str], label: str) -> bool:
    """Whether a cell of the table that is replaced is set, and not to what stands there where nothing tells."""
    cell = earlier.text(row, label)
    return cell is not None and (label not in USUAL or _shown(cell) != f"{USUAL[label]:g}")


def _changes(rows: list[dict[str, str]], star: Star, files: str) -> str:
    """What rows of the same files say otherwise than before, for each column: the first of them, how many more.

    `files` is the column of the files.
    """
    found: dict[str, list[str]] = {}
    for row, before in zip(star.rows, rows):
        for label in before.keys() & row.keys() - {"rlnIndex", "rlnSubtomoIndex", files}:
            if (was := _shown(before[label])) != (now := _shown(row[label])):
                name = Path(row[files]).name
                found.setdefault(label, []).append(f"{label} of {name} {now}, before {was}")
    more = {label: f" (and {len(said) - 1} more)" if len(said) > 1 else "" for label, said in found.items()}
    return "; ".join(found[label][0] + more[label] for label in star.labels if label in found)


def _shown(cell: str) -> str:
    try:
        return f"{float(cell):g}"
    except ValueError:
        return cell


def _completed(tomogram: KnownTomogram, settings: PrepareStarSettings) -> KnownTomogram:
    """With what the options say, which comes first."""
    tilt, defocus = tomogram.tilt, tomogram.defocus
    if defocus:
        require_plausible_defocus(defocus, "defocus", tomogram.name)
    low, high = settings.tilt_min, settings.tilt_max
    if (low, high) != (None, None):
        tilt = tilt or TiltRange(*TILT_RANGE)
        ends = tilt.minimum if low is None else low, tilt.maximum if high is None else high
        tilt = declared_range(*ends, f"{TILT_OPTIONS} for {tomogram.name}")
    voxel_size = tomogram.voxel_size if settings.pixel_size is None else settings.pixel_size
    return replace(
        tomogram,
        tilt=tilt,
        defocus=defocus if settings.defocus is None else settings.defocus,
        number_subtomos=settings.number_subtomos or tomogram.number_subtomos,
        inverted=tomogram.inverted if settings.invert is None else settings.invert,
        voxel_size=_voxel_size(open_volume(tomogram.path or tomogram.halves[0]), voxel_size),
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
    for label, half in zip(HALF_LABELS, halves):
        check_mask(open_volume(half), volume, voxel_size)
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
        halves = [open_volume(half) for half in tomograms[index - 1].halves]
        require_halves(halves)
        sizes[path] = volume_bytes(halves[0].shape)
    if sizes:
        require_space(settings.average_folder, growth(sizes))
    return made


def _require_own(path: Path, tomogram: KnownTomogram, row: dict[str, str]) -> None:
    """Raise an EngineError if a file is there that is not the mean of a tomogram's halves."""
    # former versions wrote no mark
    is_former = _has_halves(row, tomogram) and made_by(path) is None
    if os.path.lexists(path) and not is_marked(path, _mark(tomogram, path)) and not is_former:
        raise EngineError(
            str(path),
            f"it is there already, and nothing tells that it was made of {' and '.join(map(str, tomogram.halves))}: "
            "it may be another table's",
            "Give another folder with --average_folder, or delete it.",
        )


def _tell(table: str, tomograms: list[KnownTomogram]) -> None:
    """Say what the table holds, and what was assumed."""
    sizes = sorted({tomogram.voxel_size for tomogram in tomograms if tomogram.voxel_size})
    log.info("%s: %d tomograms of %s A", table, len(tomograms), " or ".join(f"{size:g}" for size in sizes))
    without = [tomogram.name for tomogram in tomograms if tomogram.tilt is None]
    if without:
        log.info("Assumed tilted by %g..%g degrees, since no tilt range was found: %s", *TILT_RANGE, ", ".join(without))
    unknown = [tomogram.name for tomogram in tomograms if not tomogram.defocus]
    if unknown:
        log.info("Without defocus, which deconv and --ctf_aware need: %s", ", ".join(unknown))


def prepare_subtomo_star(folder: str, settings: PrepareSubtomoStarSettings) -> None:
    """Write a table of the subtomograms in a folder, sorted by name; errors as `EngineError`."""
    tilt = declared_range(settings.tilt_min, settings.tilt_max, TILT_OPTIONS)
    if settings.cube_size and (warning := cube_size_warning(settings.cube_size)):
        log.warning("cube_size: %s", warning)
    earlier, files = table_to_replace(settings.output_star, SUBTOMOGRAM_LABELS), _volume_files(folder, (".mrc",))
    if "rlnTomoName" in earlier.labels:
        raise EngineError(
            settings.output_star,
            "it is there already, with the tomogram and the tilts of each subtomogram, as extract writes it",
            "Give it to refine as it is, or give another --output_star.",
        )
    require_one_meaning(earlier, ["rlnImageName"])
    by_file = {_file(row["rlnImageName"]): row for row in earlier.rows}
    rows = [by_file.get(_file(path), {}) for path in files]
    _require_known(earlier, rows, "rlnImageName", "subtomograms")
    _warn_of_extracted(folder, files)
    left_out = _left_out(earlier, rows)
    star = Star([], comments=_comments(earlier, left_out))
    for index, path in enumerate(files, 1):
        volume = open_volume(path)
        voxel_size = _voxel_size(volume, settings.pixel_size)
        size = volume.shape[0]
        cube_size = settings.cube_size or usual_cube_size(size)
        if not cube_size:
            raise EngineError(str(path), f"{size} voxels are too few for the usual cube size", "Give --cube_size.")
        row: dict[str, str] = {}
        star.rows.append(row)
        star.set(row, "rlnSubtomoIndex", index)
        star.set(row, "rlnImageName", path)
        star.set(row, "rlnCubeSize", cube_size)
        star.set(row, "rlnCropSize", size)
        star.set(row, "rlnPixelSize", float(voxel_size))
        star.set(row, "rlnTiltMin", tilt.minimum)
        star.set(row, "rlnTiltMax", tilt.maximum)
    write_star(settings.output_star, star)
    if changes := _changes(rows, star, "rlnImageName"):
        log.warning(OTHERWISE, settings.output_star, changes)
    if left_out:
        _warn_of_left_out(earlier, left_out, "rlnImageName", folder)
    warn_of_lost_columns(settings.output_star, earlier, star)
    log.info("%s: %d subtomograms", settings.output_star, len(star.rows))


def _warn_of_extracted(folder: str, files: list[Path]) -> None:
    """Count the subtomograms that extract wrote: nothing tells here which of them its table still names."""
    if count := sum(made_by(path) == "extract" for path in files):
        log.warning(
            "%s: extract wrote %d of the %d subtomograms, perhaps some for a table that was replaced since. Give "
            "extract's own table to refine: it has their tilts, and whether they are deconvolved.",
            folder, count, len(files),
        )  # fmt: skip


def _volume_files(folder: str, suffixes: tuple[str, ...]) -> list[Path]:
    if os.path.isfile(folder):
        raise EngineError(folder, "it is a file, not a folder", "Name the folder that holds the volumes.")
    if not os.access(folder, os.R_OK) or not Path(folder).is_dir():
        raise EngineError(folder, "the folder does not exist or can't be read", "Check its name and permissions.")
    names = [path for path in Path(folder).iterdir() if not path.name.startswith(".")]
    found = sorted(path for path in names if path.suffix.lower() in suffixes)
    others = sorted(path for path in names if path.suffix.lower() in CONVERTIBLE)
    if not found:
        suffixes_found = sorted({path.suffix.lower() for path in others})
        instead = f", but {' and '.join(suffixes_found)}, which are to be converted or unpacked" if others else ""
        why = f"it holds no {' or '.join(suffixes)} files{instead}"
        raise EngineError(folder, why, "Put (links to) the volumes there.")
    if others:
        log.warning("%s: left out, as they are to be converted or unpacked: %s", folder, _names(others))
    return found


def _voxel_size(volume: Volume, given: float | None) -> float:
    """The voxel size in A: as given, else the header's where that is set."""
    warn_of_oddities(volume)
    if given is None:
        given = volume.voxel_size
        if not given or abs(given - UNSET_SIZE) < 1e-3:
            said = "1 A, as programs write that do not know it" if given else "none"
            raise EngineError(volume.path, f"its header's voxel size is {said}", "Give --pixel_size in A, such as 10.")
    require_voxel_size(given, "pixel_size", f"{given:g} is not a voxel size")
    check_unit(given, volume, "pixel_size")
    return given


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
    Command(
        prepare_subtomo_star,
        ("FOLDER",),
        PrepareSubtomoStarSettings,
        writes=value_of("output_star"),
        files=("output_star",),
    ),
)
