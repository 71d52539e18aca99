"""Coordinates as other programs write them: tables of RELION, Warp and IsoNet, Dynamo's .tbl, IMOD's models."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.arrays import size_in_words
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import require_file
from isonet_scipion.engine.io.imod_model import read_contours
from isonet_scipion.engine.io.other_programs import located, tell_others_here
from isonet_scipion.engine.io.star import Star, find_table
from isonet_scipion.engine.io.tilt_files import series_name
from isonet_scipion.engine.settings.preparation import COORDINATE_UNITS

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Flags, Integers
    from isonet_scipion.engine.io.tomogram_entry import TomogramEntry

log = logging.getLogger(__name__)
VOXELS, PIXELS, ANGSTROM, CENTRED, FRACTION = UNITS = COORDINATE_UNITS
COORDINATES = tuple(f"rlnCoordinate{axis}" for axis in "XYZ")
SHIFTS = {f"rlnOrigin{axis}{unit}": unit == "Angst" for axis in "XYZ" for unit in ("Angst", "")}  # whether in A
CENTRED_COORDINATES = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
PIXEL_SIZES = "rlnTomoTiltSeriesPixelSize", "rlnMicrographPixelSize"  # of RELION 4 and later, of 3.1
LISTS = ("rlnTomoParticlesFile", "rlnTomoImportParticleFile")  # of tables of RELION that name the files to read
DYNAMO_SHIFTS, DYNAMO_TOMOGRAM, DYNAMO_PLACES = slice(3, 6), 19, slice(23, 26)  # columns of a .tbl
MOST_OUTSIDE = 0.25  # of the coordinates of a tomogram: more are in another unit
SEVERAL = 5  # coordinates that do not keep to one corner by chance
SHOWN = 10  # names that a message lists


@dataclass(frozen=True)
class Points:
    """Coordinates of one tomogram in one file."""

    source: str
    name: str | None  # of the tomogram or its tilt series; rlnIndex for Dynamo's; None: the file does not say
    xyz: Doubles  # (n, 3) as they stand there, from 0
    unit: str
    pixel_size: float | None = None  # A, where the unit is pixels; None: voxels
    drawn_on: tuple[int, int, int] | None = None  # shape (z, y, x) of the volume whose voxels are meant

    def placed(self, shape: Sequence[int], voxel_size: float, unit: str | None = None) -> Doubles:
        """Places in a tomogram of a shape (z, y, x) and voxel size (A): (n, 3) voxels from 0, z, y, x."""
        sides = np.array(shape[::-1], float)
        unit = unit or self.unit
        if unit == PIXELS:
            places = self.xyz * ((self.pixel_size or voxel_size) / voxel_size)
        elif unit == ANGSTROM:
            places = self.xyz / voxel_size
        elif unit == CENTRED:
            places = self.xyz / voxel_size + sides / 2
        elif unit == FRACTION:
            places = self.xyz * sides
        else:
            # volumes of other voxels share their corner, half a voxel before the middle of the first one
            places = self.xyz if self.drawn_on is None else (self.xyz + 0.5) * self._finer_by(shape) - 0.5
        return places[:, ::-1]

    def _finer_by(self, shape: Sequence[int]) -> Doubles:
        """Voxels of a tomogram of a shape for each one of the volume that they were drawn on, along x, y, z."""
        drawn_on = self.drawn_on or shape
        sides = np.array(shape[::-1], float)
        factors = sides / np.array(drawn_on[::-1], float)
        factor = float(np.median(factors))
        # binning drops what is left at the ends
        if (np.abs(factors / factor - 1) * sides > 2 * max(1.0, factor)).any():
            raise EngineError(
                self.source,
                f"it was drawn on a volume of {size_in_words(drawn_on)} voxels, no binned or finer copy of the "
                f"tomogram of {size_in_words(shape)}",
                "Draw it on this tomogram, or say with --coordinates_unit what its numbers are.",
            )
        return factors

    def owners(self, entries: Sequence[TomogramEntry]) -> list[str]:
        """Names of the tomograms that they are of: those of just this name, else those of the same tilt series."""
        if self.name is None:
            return [entry.name for entry in entries]
        exact = [entry.name for entry in entries if self.name in (entry.name, entry.path)]
        series = series_name(self.name)
        return exact or [
            entry.name for entry in entries if series in (series_name(entry.name), series_name(entry.path))
        ]


@dataclass(frozen=True)
class Coordinates:
    """What was read, and of which tomograms each is."""

    points: list[Points]
    owners: list[list[str]]
    assumed: bool = False  # their unit was not given

    def of(self, entry: TomogramEntry) -> list[Points]:
        """Those of one tomogram."""
        return [one for one, names in zip(self.points, self.owners) if entry.name in names]


def read_points(path: str, unit: str | None, pixel_size: float | None, entries: Sequence[TomogramEntry]) -> Coordinates:
    """Read coordinates, and tell which match no tomogram.

    Parameters
    ----------
    path : str
        A STAR table, Dynamo's .tbl, an IMOD model, or a folder of models that are named like the tomograms.
    unit : str, optional
        One of UNITS; None: as the file says, else voxels.
    pixel_size : float, optional
        In A, of the pixels; None: as the file says.
    entries : sequence of TomogramEntry
        All tomograms of the table.

    Raises
    ------
    EngineError
        If it can't be read, or none of it is of one of the tomograms, or the unit needs a pixel size.
    """
    if pixel_size is not None:
        if unit not in (None, PIXELS) or pixel_size <= 0:
            raise EngineError("coordinates_pixel_size", "it goes with pixels, and is above 0", "Correct it.")
        unit = PIXELS
    points = _read(Path(path), unit, pixel_size, entries)
    if len(entries) > 1 and any(one.name is None for one in points):
        raise EngineError(path, "it does not say of which tomogram its coordinates are", "Add a column rlnTomoName.")
    owners = [one.owners(entries) for one in points]
    strange = [one for one, names in zip(points, owners) if not names]
    known = ", ".join([entry.name for entry in entries][:SHOWN])
    names = ", ".join(f"{one.name} ({len(one.xyz)})" for one in strange[:SHOWN])
    if len(strange) == len(points):
        why = f"its coordinates are of {names}, but the tomograms are {known}" if points else "it has no coordinates"
        remedy = "Give them the tomograms' names (rlnTomoName; column 20 of Dynamo's tables is rlnIndex)."
        raise EngineError(path, why, remedy)
    if strange:
        log.warning("%s: coordinates of %s match none of the tomograms (%s)", path, names, known)
    for one, alike in zip(points, owners):
        if one.name is not None and len(alike) > 1:
            log.warning(
                "%s: coordinates of %s are taken in each of %s, whose names are alike. If these are different tilt "
                "series, name them by rlnTomoName, or by the path in rlnMicrographName",
                path, one.name, ", ".join(alike[:SHOWN]),
            )  # fmt: skip
    without = [entry.name for entry in entries if not any(entry.name in names for names in owners)]
    if without:
        log.warning("%s: it has no coordinates of %s", path, ", ".join(without[:SHOWN]))
    for kind in dict.fromkeys((one.unit, one.pixel_size) for one in points):
        log.info("%s: coordinates are taken as %s", path, _unit_in_words(*kind))
    return Coordinates(points, owners, assumed=unit is None)


def _unit_in_words(unit: str, pixel_size: float | None) -> str:
    words = {
        VOXELS: "voxels of the tomogram, from 0",
        PIXELS: f"pixels of {pixel_size or 0:g} A, from 0",
        ANGSTROM: "A from the tomogram's corner",
        CENTRED: "A from the tomogram's centre",
        FRACTION: "fractions of the tomogram's sides",
    }
    return words[unit]


def centres(coordinates: Coordinates, entry: TomogramEntry, shape: tuple[int, ...]) -> Integers:
    """Places of a tomogram's coordinates that lie inside it.

    Parameters
    ----------
    coordinates : Coordinates
        Of `read_points`.
    entry : TomogramEntry
        The tomogram.
    shape : tuple of int
        Its shape, (z, y, x).

    Returns
    -------
    ndarray of int
        (n, 3) voxels from 0, z, y, x.

    Raises
    ------
    EngineError
        If so many lie outside that they are in another unit; tells both ranges and which unit would fit.
    """
    kept = [np.empty((0, 3))]
    for one in coordinates.of(entry):
        places = one.placed(shape, entry.voxel_size)
        outside = ~_inside(places, shape)
        if outside.sum() > MOST_OUTSIDE * len(places):
            raise _in_another_unit(one, places, outside, entry, shape)
        if outside.any():
            count = (int(outside.sum()), len(places))
            log.warning(
                "%s: outside %s, so left out: %d of %d coordinates (%s)", one.source, entry.name, *count, _span(places)
            )
        elif remedy := _remedy_of_one_corner(one, places, shape, coordinates.assumed):
            log.warning(
                "%s: all %d coordinates of %s, taken as %s, lie near one corner (%s). If they are %s",
                one.source, len(places), entry.name, _unit_in_words(one.unit, one.pixel_size), _span(places), remedy,
            )  # fmt: skip
        kept.append(places[~outside])
    found = np.rint(np.concatenate(kept)).astype(int)
    repeated = len(found) - len(np.unique(found, axis=0))
    if repeated:
        log.warning(
            "%s: at the voxel of another one: %d of %d coordinates; subtomograms are taken for each.",
            entry.name, repeated, len(found),
        )  # fmt: skip
    return found


def _inside(places: Doubles, shape: tuple[int, ...]) -> Flags:
    return ((places >= -0.5) & (places <= np.array(shape) - 0.5)).all(axis=1)


def _remedy_of_one_corner(one: Points, places: Doubles, shape: tuple[int, ...], is_assumed: bool) -> str | None:
    """What coordinates may be, and the option for it, that keep to the first half of a tomogram along each axis."""
    if len(places) < SEVERAL or not (places < np.array(shape) / 2).all():
        return None
    if one.unit == VOXELS and is_assumed and one.drawn_on is None:
        return "of a coarser copy of it, give its voxel size by --coordinates_pixel_size"
    as_voxels = one.xyz[:, ::-1]
    if one.unit in (PIXELS, ANGSTROM) and _inside(as_voxels, shape).all() and (as_voxels > 1.5 * places).any():
        return "voxels, give --coordinates_unit voxels"
    return None


def _span(places: Doubles) -> str:
    ends = zip("xyz", places.min(axis=0)[::-1], places.max(axis=0)[::-1])
    return ", ".join(f"{axis} {low:.6g}..{high:.6g}" for axis, low, high in ends)


def _in_another_unit(
    one: Points, places: Doubles, outside: Flags, entry: TomogramEntry, shape: tuple[int, ...]
) -> EngineError:
    sides = ", ".join(f"{axis} 0..{side - 1}" for axis, side in zip("xyz", shape[::-1]))
    why = (
        f"{outside.sum()} of {len(places)} coordinates of {entry.name}, taken as "
        f"{_unit_in_words(one.unit, one.pixel_size)}, lie outside it: {_span(places)} voxels; the tomogram has {sides}"
    )
    others = [unit for unit in UNITS if unit != one.unit and (unit != PIXELS or one.pixel_size)]
    fitting = [unit for unit in others if _inside(one.placed(shape, entry.voxel_size, unit), shape).all()]
    factor = max(places.max(axis=0) / np.array(shape))
    guess = f", or --coordinates_pixel_size, of at most {entry.voxel_size / factor:.3g} A" if factor > 1 else ""
    options = " or ".join(fitting) or "UNIT (" + ", ".join(UNITS) + ")"
    return EngineError(one.source, why, f"Say their unit: --coordinates_unit {options}{guess}.")


def _read(path: Path, unit: str | None, pixel_size: float | None, entries: Sequence[TomogramEntry]) -> list[Points]:
    if path.is_dir():
        models = sorted(file for file in path.glob("*") if file.suffix.lower() == ".mod")
        if not models:
            raise EngineError(str(path), "the folder holds no IMOD models (.mod)", "Name them like the tomograms.")
        return [_model(model, model.stem, unit, pixel_size) for model in models]
    require_file(path, "file of coordinates")
    if path.suffix.lower() == ".mod":
        return [_model(path, None if len(entries) == 1 else path.stem, unit, pixel_size)]
    if path.suffix.lower() == ".tbl":
        return _dynamo(path, unit, pixel_size, entries)
    if path.suffix.lower() != ".star":
        _require_table(path)
    return _star(path, unit, pixel_size, entries)


def _require_table(path: Path) -> None:
    try:
        find_table(path, COORDINATES)
    except EngineError as error:
        if b"data_" in path.read_bytes():  # it is meant for one
            raise
        raise EngineError(
            str(path),
            "it is none of the files of coordinates that are read",
            "Give a STAR table, Dynamo's .tbl or an IMOD model .mod (IMOD's point2model makes one of a list x y z).",
        ) from error


def _model(path: Path, name: str | None, unit: str | None, pixel_size: float | None) -> Points:
    """IMOD's points: voxel i spans i to i + 1 in x and y, while z is the index of the slice."""
    drawn_on, contours = read_contours(path)
    xyz = np.concatenate(contours).astype(float) - (0.5, 0.5, 0.0)
    return Points(str(path), name, xyz, unit or VOXELS, pixel_size, drawn_on if unit is None else None)


def _dynamo(path: Path, unit: str | None, pixel_size: float | None, entries: Sequence[TomogramEntry]) -> list[Points]:
    """Dynamo counts voxels from 1 and tomograms by a number, which is rlnIndex here."""
    try:
        table = np.loadtxt(path, ndmin=2)
        xyz = table[:, DYNAMO_PLACES] + table[:, DYNAMO_SHIFTS] - 1
        numbers = table[:, DYNAMO_TOMOGRAM].astype(int)
        if xyz.shape[1] != 3 or not np.isfinite(xyz).all():
            raise ValueError("it has no numbers in columns 24 to 26")
    except (ValueError, IndexError) as error:
        raise EngineError(str(path), f"it is not a table of Dynamo ({error})", "Write it again.") from error
    by_index = {entry.star.integer(entry.row, "rlnIndex"): entry.name for entry in entries}
    found = []
    for number in np.unique(numbers):
        name = by_index.get(int(number), f"tomogram {number}")
        if int(number) in by_index:
            log.info("%s: Dynamo's tomogram %d is that of rlnIndex %d, %s", path, number, number, name)
        found.append(Points(str(path), name, xyz[numbers == number], unit or VOXELS, pixel_size))
    return found


def _star(path: Path, unit: str | None, pixel_size: float | None, entries: Sequence[TomogramEntry]) -> list[Points]:
    if (listed := find_table(path, *([label] for label in LISTS))) is not None:
        return _listed(listed, next(label for label in LISTS if label in listed.labels), unit, pixel_size, entries)
    kinds = (CENTRED_COORDINATES, COORDINATES)
    kinds = kinds if unit in (None, CENTRED) else kinds[::-1]
    table = find_table(path, *kinds)
    if table is None:
        columns = f"_{COORDINATES[0]}, Y, Z or _{CENTRED_COORDINATES[0]}, Y, Z"
        raise EngineError(str(path), f"it has no columns {columns}", "Give a table of coordinates.")
    labels = next(kind for kind in kinds if set(kind) <= set(table.labels))
    table.require(labels)
    _tell_shifts(table)
    label = next((name for name in ("rlnTomoName", "rlnMicrographName") if name in table.labels), None)
    in_pixels = unit == PIXELS or (unit is None and labels != CENTRED_COORDINATES)
    sizes = _PixelSizes(table)
    groups: dict[tuple[str | None, float | None], list[list[float]]] = defaultdict(list)
    for row in table.rows:
        size = pixel_size or (sizes.of(table, row) if in_pixels else None)
        groups[(row[label] if label else None, size)].append([table.number(row, axis) for axis in labels])
    everything = np.concatenate([np.array(group) for group in groups.values()])
    points = []
    for (name, size), group in groups.items():
        own = unit or _usual_unit(labels, size, everything)
        if own == PIXELS and size is None:
            raise EngineError(str(path), "it does not say how large its pixels are", "Give --coordinates_pixel_size.")
        points.append(Points(str(path), name, np.array(group), own, size))
    return points


def _tell_shifts(table: Star) -> None:
    """Log a line about shifts of a refinement, which count along the axes of each box and are not added."""
    for unit, in_angstrom in (("A", True), ("pixels", False)):
        labels = [label for label in table.labels if SHIFTS.get(label) == in_angstrom]
        largest = max((_shift(row[label]) for row in table.rows for label in labels), default=0.0)
        if largest > 0:
            log.warning(
                "%s: shifts of a refinement (%s), of up to %g %s, are not added to the coordinates. If they matter, "
                "add them in the program that wrote them: for training a few voxels do not.",
                table.path, ", ".join(labels), largest, unit,
            )  # fmt: skip


def _shift(cell: str) -> float:
    """How large one is; 0 where it is no number, as it is not used."""
    try:
        value = abs(float(cell))
    except ValueError:
        return 0.0
    return value if value < float("inf") else 0.0


def _usual_unit(labels: Sequence[str], pixel_size: float | None, xyz: Doubles) -> str:
    if labels == CENTRED_COORDINATES:
        return CENTRED
    if pixel_size is not None:
        return PIXELS
    between = (xyz >= 0).all() and (xyz <= 1).all() and (xyz != np.rint(xyz)).any()
    return FRACTION if between else VOXELS  # Warp's template matching writes fractions


def _listed(
    table: Star, label: str, unit: str | None, pixel_size: float | None, entries: Sequence[TomogramEntry]
) -> list[Points]:
    """What RELION's optimisation sets and lists of files to import name."""
    points = []
    tell_others_here(table, [label])
    for row in table.rows:
        named = table.text(row, label)
        if named is None:
            raise EngineError(table.path, f"_{label} is not set", "Give the table of coordinates itself.")
        for one in _read(located(named, table.path), unit, pixel_size, entries):
            name = one.name if label == LISTS[0] else row.get("rlnTomoName", one.name)
            points.append(Points(one.source, name, one.xyz, one.unit, one.pixel_size, one.drawn_on))
    return points


class _PixelSizes:
    """How large the pixels are in which a table counts: as its optics groups or its rows say."""

    def __init__(self, table: Star) -> None:
        is_in_rows = any(label in table.labels for label in PIXEL_SIZES)
        kinds = [["rlnOpticsGroup", label] for label in PIXEL_SIZES]
        optics = None if is_in_rows else find_table(table.path, *kinds)
        self._path = table.path
        self._by_group: dict[str, float] = {}
        if optics is not None:
            label = next(label for label in PIXEL_SIZES if label in optics.labels)
            self._by_group = {row["rlnOpticsGroup"]: optics.number(row, label) for row in optics.rows}

    def of(self, table: Star, row: dict[str, str]) -> float | None:
        """In A; None where nothing tells."""
        for label in (*PIXEL_SIZES, "rlnPixelSize"):
            if table.text(row, label):
                return table.number(row, label)
        if (group := row.get("rlnOpticsGroup")) in self._by_group:
            return self._by_group[group]
        if self._by_group and group is None:
            return self._of_all_groups()
        if table.text(row, "rlnDetectorPixelSize"):  # in um on the detector, or in A with a magnification of 10000
            return table.number(row, "rlnDetectorPixelSize") * 1e4 / table.number(row, "rlnMagnification", 1e4)
        return None

    def _of_all_groups(self) -> float:
        sizes = sorted(set(self._by_group.values()))
        if len(sizes) > 1:
            told = ", ".join(f"{size:g}" for size in sizes)
            why = f"its optics groups have pixels of {told} A, and no column rlnOpticsGroup says which are whose"
            raise EngineError(self._path, why, "Add that column, or give --coordinates_pixel_size.")
        return sizes[0]
