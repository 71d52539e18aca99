"""What other programs say of tomograms: RELION 5's and IsoNet2's tomograms.star, Warp's tilt series, copick's runs."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from isonet_scipion.engine.conventions import CORRECTED, PHASE_FLIPPED
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.copick import stores_of_runs
from isonet_scipion.engine.io.ome_zarr import is_store
from isonet_scipion.engine.io.relion import DENOISED, WHOLE
from isonet_scipion.engine.io.star import Star, find_table
from isonet_scipion.engine.io.tilt_files import (
    BESIDE_HALVES,
    HALVES,
    TiltSeries,
    grouped,
    half_name,
    read_tilt_file,
    series_name,
)
from isonet_scipion.engine.io.tomogram_entry import HALF_LABELS, OPTICS
from isonet_scipion.engine.io.volume_files import refuse_store
from isonet_scipion.engine.physics.wedge import TiltRange, declared_range
from isonet_scipion.engine.wording import names_in_words

log = logging.getLogger(__name__)
RELION_SERIES = "rlnTomoTiltSeriesStarFile"
VOLUMES = ("rlnTomoName", WHOLE, *HALF_LABELS)  # columns of files, by IsoNet2 and RELION
BESIDE = (RELION_SERIES, "rlnMaskName", "rlnMaskBoundary")  # that are not in the folder of the tomograms
VOLUME_SUFFIXES = (".mrc", ".rec", ".zarr")
# columns that may have been typed or made with effort, but are not taken over
LEFT = (
    *("rlnSnrFalloff", "rlnDeconvStrength", "rlnDeconvTomoName", "rlnDenoisedTomoName", "rlnCorrectedTomoName"),
    *("rlnBoxFile", DENOISED),
)
JOB, JOB_LABELS = "job.star", ("rlnJobOptionVariable", "rlnJobOptionValue")  # what RELION's job was told
CTF_OPTIONS = {"--ctf", "--fourier"}  # of relion_tomo_reconstruct_tomogram, which else leaves the CTF as it is
WARP_TOMOGRAMS = ("reconstruction", "reconstruction/even", "reconstruction/odd")


@dataclass(frozen=True)
class KnownTomogram:
    """What a table says of a tomogram; None where it says nothing."""

    name: str
    path: Path | None
    halves: tuple[Path, ...] = ()  # even and odd, or none
    voxel_size: float | None = None  # A
    defocus: float | None = None  # A, underfocus positive
    tilt: TiltRange | None = None
    mask: Path | None = None
    optics: tuple[tuple[str, float], ...] = ()  # labels of OPTICS and their values
    ctf_state: str | None = None  # of CTF_STATES
    boundary: Path | None = None  # of the mask
    number_subtomos: int | None = None
    inverted: bool = False  # protein is bright


def is_volume(path: Path) -> bool:
    """Whether a file is named like a tomogram, also in capitals."""
    return path.suffix.lower() in VOLUME_SUFFIXES and not path.name.startswith(".")


def with_their_halves(paths: list[Path]) -> list[KnownTomogram]:
    """The tomograms among files, where programs put halves beside them: NAME_EVN_Vol.mrc, NAME_half1.mrc.

    NAME_h1 and NAME_h2, NAME_half_1 and NAME_half_2, or NAMEEVN and NAMEODD, are taken as halves beside a NAME alone,
    since tomograms of two holes or parts may be called so.
    """
    short = _short_pairs(paths)
    of_wholes = {half for path in paths for half in short.get(series_name(path), ())}
    wholes = [path for path in paths if half_name(path) == series_name(path) and path not in of_wholes]
    versions, others = Counter(map(series_name, wholes)), _without(paths, set(wholes))
    by_stem, by_series = grouped(others, lambda path: HALVES.sub("", path.stem)), grouped(others, half_name)
    found: list[KnownTomogram] = []
    taken: set[Path] = set()
    for path in wholes:
        name = series_name(path)
        # AreTomo3 leaves NAME.mrc, NAME_EVN.mrc and NAME_ODD.mrc, the images, beside NAME_Vol.mrc and its halves
        alike = [by_stem.get(path.stem, []), by_series.get(name, []) if versions[name] == 1 else []]
        pairs = (sorted(_without(group, taken), key=_is_odd) for group in alike)
        halves = next((pair for pair in pairs if _are_a_pair(pair)), [])
        halves = halves or (short.get(name, []) if versions[name] == 1 else [])
        found.append(KnownTomogram(path.stem, path, tuple(halves)))
        if halves:
            log.info("%s: its halves are %s and %s", path, *halves)
            taken.update(halves)
    if pairs_alone := [half.name for pair in short.values() for half in pair if half not in of_wholes]:
        log.info("Taken as tomograms of their own, as no tomogram is beside them: %s", names_in_words(pairs_alone))
    lone: list[Path] = []
    for name, group in by_series.items():
        halves = sorted(_without(group, taken), key=_is_odd)
        if _are_a_pair(halves):
            log.info("%s: taken as the mean of its halves, %s and %s", name, *halves)
            found.append(KnownTomogram(name, None, tuple(halves)))
        else:
            lone += halves
    if lone:
        log.warning(
            "Taken as tomograms of their own, though named like halves: %s. If they are halves, name both NAME_half1 "
            "and NAME_half2, beside the tomogram NAME or without it.", names_in_words([path.name for path in lone]),
        )  # fmt: skip
    return found + [KnownTomogram(half.stem, half) for half in lone]


def _without(paths: Sequence[Path], others: Collection[Path]) -> list[Path]:
    return [path for path in paths if path not in others]


def _short_pairs(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Files named NAME_h1 and NAME_h2, or alike, where there are both, by the name."""
    named: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        if match := BESIDE_HALVES.search(name := series_name(path)):
            spelling = match[0].lower().rstrip("12") if match[1] else ""
            named.setdefault((BESIDE_HALVES.sub("", name), spelling), []).append(path)
    pairs: dict[str, list[Path]] = {}
    for (name, _), found in named.items():
        if _are_a_pair(pair := sorted(found, key=_is_odd)):
            pairs.setdefault(name, pair)
    return pairs


def _are_a_pair(halves: Sequence[Path]) -> bool:
    return [_is_odd(half) for half in halves] == [False, True]


def _is_odd(path: Path) -> bool:
    name = series_name(path)
    match = HALVES.search(name) or BESIDE_HALVES.search(name)
    return match is not None and (match[match.lastindex or 0]).lower().endswith(("odd", "2"))


def read_tomograms(source: str, folder: str | None) -> tuple[str, list[KnownTomogram]]:
    """Read the tomograms of another program's project.

    Parameters
    ----------
    source : str
        RELION 5's or IsoNet2's tomograms.star, Warp's folder of tilt series (with a TS.xml for each), or a folder of
        runs as `copick.stores_of_runs` takes it.
    folder : str, optional
        Where the tomograms lie, if not where the table says; which of each run.

    Returns
    -------
    program : str
        Whose table it is.
    tomograms : list of KnownTomogram
        In the table's order.

    Raises
    ------
    EngineError
        If it is of none of these kinds, or a file that it names is missing.
    """
    if Path(source).is_dir():
        runs = [] if _xml_files(Path(source)) else stores_of_runs(Path(source), folder)
        if runs:
            return "copick or the CryoET Data Portal", [KnownTomogram(name, store) for name, store in runs]
        return "Warp", list(_warp(Path(source), folder))
    if (table := find_table(source, ["rlnTomoName", RELION_SERIES])) is not None:
        return "RELION 5", _relion_tomograms(table, folder)
    for label in (WHOLE, HALF_LABELS[0]):
        table = find_table(source, ["rlnTomoName", label])
        if table is not None and "rlnIndex" not in table.labels:
            return "RELION 5", _relion_tomograms(table, folder)
    table = find_table(source, ["rlnIndex", "rlnTomoName", "rlnPixelSize"])
    if table is not None and "rlnMicrographName" not in table.labels:
        return "IsoNet2", _tomograms(_isonet2, table, folder)
    why = "it is not a table of tomograms of RELION 5 or IsoNet2"
    if table is not None or find_table(source, ["rlnIndex", "rlnMicrographName", "rlnPixelSize"]):
        why = "it is a table for this program already"
    raise EngineError(source, why, "Give RELION's or IsoNet2's tomograms.star, or Warp's folder of tilt series.")


def located(path: str, table: str, folder: str | None = None) -> Path:
    """A file that a table names: in `folder` by its name, else in the folders above the table, else as it is.

    RELION names files from its project's folder, which is above that of the table, and alike in every project.

    Raises
    ------
    EngineError
        If it is in none of these places.
    """
    here = Path(path)
    bases = [*Path(os.path.abspath(table)).parents, Path()]
    for candidate in [Path(folder, here.name)] if folder else [base / path for base in bases]:
        if _is_there(candidate):
            return here if not folder and _is_there(here) and here.samefile(candidate) else candidate
    where = folder or "the folders above the table or in the working directory"
    raise EngineError(table, f"it names {path}, which is not in {where}", "Name the folder that holds the tomograms.")


def _is_there(path: Path) -> bool:
    return path.is_file() or is_store(path)


def tell_others_here(table: Star, labels: Iterable[str]) -> None:
    """Log a line about files of these columns that are not the ones of that name below the working directory."""
    names = dict.fromkeys(name for row in table.rows for label in labels if (name := table.text(row, label)))
    others = [name for name in names if _is_there(Path(name)) and not Path(name).samefile(located(name, table.path))]
    if others:
        log.warning(
            "%s: %s%s is taken as %s, from a folder above the table, not from the working directory, which has another",
            table.path,
            others[0],
            f" (and {len(others) - 1} more)" if len(others) > 1 else "",
            located(others[0], table.path),
        )


def _tomograms(
    read: Callable[[Star, dict[str, str], str | None], KnownTomogram], table: Star, folder: str | None
) -> list[KnownTomogram]:
    tomograms = [read(table, row, folder) for row in table.rows]
    tell_others_here(table, BESIDE if folder else (*VOLUMES, *BESIDE))
    if left := [label for label in LEFT if any(table.text(row, label) for row in table.rows)]:
        log.info("%s: not taken from it: %s", table.path, ", ".join(left))
    return tomograms


def _relion_tomograms(table: Star, folder: str | None) -> list[KnownTomogram]:
    """RELION's, with what was done to their CTF where the jobs that made them tell."""
    tomograms = _tomograms(_relion, table, folder)
    jobs = [(tomogram.path or tomogram.halves[0]).parent.parent / JOB for tomogram in tomograms]
    corrects = {job: _corrects_ctf(job) for job in dict.fromkeys(jobs)}  # one job mostly makes all
    if corrected := [tomogram.name for tomogram, job in zip(tomograms, jobs) if corrects[job]]:
        log.info("RELION corrected the CTF of these tomograms, by its %s: %s", JOB, names_in_words(corrected))
    states = (CORRECTED if corrects[job] else None for job in jobs)
    return [replace(tomogram, ctf_state=state) for tomogram, state in zip(tomograms, states)]


def _number(table: Star, row: dict[str, str], label: str) -> float | None:
    return None if table.text(row, label) is None else table.number(row, label)


def _optics(table: Star, row: dict[str, str]) -> tuple[tuple[str, float], ...]:
    values = ((label, _number(table, row, label)) for label in OPTICS)
    return tuple((label, value) for label, value in values if value is not None)


def _halves(table: Star, row: dict[str, str], folder: str | None) -> tuple[Path, ...]:
    names = [name for label in HALF_LABELS if (name := table.text(row, label))]
    if len(names) == 1:
        _warn_of_lone_half(table.path, names[0])
        return ()
    return tuple(located(name, table.path, folder) for name in names)


def _warn_of_lone_half(source: str, half: object) -> None:
    log.warning("%s: %s is left out, as there is no other half of that tomogram", source, half)


def _relion(table: Star, row: dict[str, str], folder: str | None) -> KnownTomogram:
    name = row["rlnTomoName"]
    halves, whole = _halves(table, row, folder), table.text(row, WHOLE)
    path = located(whole, table.path, folder) if whole else None
    if path is None and not halves:
        path = _of_series(Path(folder), name, table.path) if folder else None
        if path is None:
            raise EngineError(
                table.path,
                f"it names no reconstructed tomogram for {name}" + (f", nor has {folder} one" if folder else ""),
                "Run RELION's Reconstruct tomograms, or name the folder that holds the tomograms.",
            )
    size, binning = (_number(table, row, f"rlnTomo{label}") for label in ("TiltSeriesPixelSize", "TomogramBinning"))
    series = _relion_series(table, row)
    return KnownTomogram(
        name,
        path,
        halves,
        size * binning if size and binning else None,
        series.defocus if series else None,
        series.tilt if series else None,
        optics=_optics(table, row),
    )


def _corrects_ctf(job: Path) -> bool:
    """Whether a job of RELION made its tomograms so, by a Wiener filter; False where nothing tells it."""
    try:
        table = find_table(job, JOB_LABELS) if job.is_file() else None
    except EngineError as error:
        log.warning("%s: whether RELION corrected the CTF is not known, since %s", job, error.why)
        return False
    options = {row[JOB_LABELS[0]]: row[JOB_LABELS[1]] for row in table.rows} if table else {}
    return options.get("do_fourier") == "Yes" or bool(CTF_OPTIONS & set(options.get("other_args", "").split()))


def _relion_series(table: Star, row: dict[str, str]) -> TiltSeries | None:
    """What the table of the tilt series says; None, with a warning, where that was not copied along."""
    listed = table.text(row, RELION_SERIES)
    try:
        path = located(listed, table.path) if listed else None
    except EngineError as error:
        log.warning("%s: tilts and defocus of %s are not known, since %s", table.path, row["rlnTomoName"], error.why)
        return None
    return read_tilt_file(path) if path else None


def _isonet2(table: Star, row: dict[str, str], folder: str | None) -> KnownTomogram:
    halves, whole = _halves(table, row, folder), table.text(row, "rlnTomoName")
    number = row["rlnIndex"]
    if not whole and not halves:
        raise EngineError(table.path, f"rlnIndex {number} has neither a tomogram nor its halves", "Correct the table.")
    low, high = (_number(table, row, f"rlnTilt{end}") for end in ("Min", "Max"))
    place = f"{table.path}, rlnTiltMin and rlnTiltMax"
    mask, boundary = (table.text(row, f"rlnMask{label}") for label in ("Name", "Boundary"))
    count = _number(table, row, "rlnNumberSubtomo")
    return KnownTomogram(
        Path(whole).stem if whole else half_name(halves[0]),
        located(whole, table.path, folder) if whole else None,
        halves,
        table.number(row, "rlnPixelSize"),
        _number(table, row, "rlnDefocus") or None,
        None if low is None or high is None else declared_range(low, high, f"{place} of rlnIndex {number}"),
        located(mask, table.path) if mask else None,
        _optics(table, row),
        boundary=located(boundary, table.path) if boundary else None,
        number_subtomos=None if count is None else table.integer(row, "rlnNumberSubtomo"),
    )


def _xml_files(source: Path) -> list[Path]:
    """Of Warp's tilt series; macOS keeps hidden files of the same suffix."""
    return sorted(path for path in source.glob("*") if path.suffix.lower() == ".xml" and path.name[0] != ".")


def _warp(source: Path, folder: str | None) -> Iterable[KnownTomogram]:
    files = _xml_files(source)
    if not files:
        refuse_store(str(source))
        raise EngineError(
            str(source),
            "it holds no .xml of a tilt series, nor runs with OME-Zarr tomograms",
            "Give Warp's folder of tilt series, or one of copick or the CryoET Data Portal.",
        )
    places = [source / name for name in WARP_TOMOGRAMS]
    if folder:
        places = [Path(folder), *(Path(folder, name) for name in ("even", "odd"))]
    for file in files:
        path = _of_series(places[0], file.stem, str(source))
        if path is None:
            log.warning("%s: left out, since %s has no tomogram of %s", file, places[0], file.stem)
            continue
        series: TiltSeries = read_tilt_file(file)
        halves = [half for place in places[1:] if (half := place / path.name).is_file()]
        if len(halves) == 1:
            _warn_of_lone_half(str(source), halves[0])
        yield KnownTomogram(
            file.stem,
            path,
            tuple(halves) if len(halves) == len(HALF_LABELS) else (),
            defocus=series.defocus,
            tilt=series.tilt,
            optics=series.optics,
            ctf_state=PHASE_FLIPPED,  # as Warp reconstructs
        )


def _of_series(folder: Path, name: str, table: str) -> Path | None:
    """The tomogram of a tilt series in a folder; raises an EngineError about the table if there are several."""
    names = sorted(folder.glob("*")) if folder.is_dir() else []
    found = [path for path in names if is_volume(path) and series_name(path) == series_name(name)]
    if len(found) > 1:
        why = f"{folder} has several tomograms of {name}: {', '.join(path.name for path in found)}"
        raise EngineError(table, why, "Name a folder that holds one tomogram of each tilt series.")
    return found[0] if found else None
