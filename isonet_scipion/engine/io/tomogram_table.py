"""The table of tomograms: what each stage reads from it and adds to it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from isonet_scipion.engine.conventions import CORRECTED, CTF_STATES, RAW, TILT_OPTIONS, TILT_RANGE
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import ATTEMPTS, ChangedMeanwhile, entry_of, file_state, require_kept
from isonet_scipion.engine.io.marks import is_marked, is_own, is_same_mark, mark_in, mark_of
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.number_formats import SCALE
from isonet_scipion.engine.io.origin import first_maker, numbers_digest, origin_in, voxels_digest
from isonet_scipion.engine.io.star import (
    SUBTOMOGRAM_LABELS,
    Star,
    parse_index_list,
    read_star,
    require_one_meaning,
    tomogram_names,
    write_star,
)
from isonet_scipion.engine.io.volume import Volume, warn_of_oddities
from isonet_scipion.engine.io.voxel_size import check_mask, check_unit, require_voxel_size, written_voxel_size
from isonet_scipion.engine.physics.ctf import CtfParameters, require_plausible_defocus
from isonet_scipion.engine.physics.wedge import TiltRange, declared_range

if TYPE_CHECKING:
    from isonet_scipion.engine.physics.transfer import Transfer

log = logging.getLogger(__name__)
MASK = "rlnMaskName"
NAMING = ("rlnMicrographName", "rlnDeconvTomoName", MASK, "rlnCorrectedTomoName")  # columns of files
INVERTED = "isonetInverted"  # 1: protein is bright
SHOWN_NAME = "isonetShownName"  # column: what reports call a tomogram, or a half, where its outputs have another name
CTF_STATE = "isonetCtfState"  # column: what was done to the CTF of rlnMicrographName and its halves, of CTF_STATES
CORRECTED_BY = "isonetCorrectedBy"  # column: which model, by its digest, made rlnCorrectedTomoName
CORRECTED_FROM = "isonetCorrectedFrom"  # column: of what and how it was made, as a digest
DEFOCUS = ("rlnDefocus", "rlnDefocusU", "rlnDefocusV")  # columns
TILTS = ("rlnTiltMin", "rlnTiltMax")  # columns, in degrees
MOST_NAMED = 3  # tomograms in one message
HALF_LABELS = ("rlnTomoReconstructedTomogramHalf1", "rlnTomoReconstructedTomogramHalf2")  # even, odd


@dataclass(frozen=True)
class TomogramEntry:
    """One row of the table."""

    name: str  # base name of its outputs, distinct within the table
    row: dict[str, str]
    star: Star
    use_deconvolved: bool = False  # work is done on the deconvolved tomogram where `row` names one

    @property
    def shown_name(self) -> str:
        """What reports call it."""
        return self.text(SHOWN_NAME) or self.name

    @property
    def path(self) -> str:
        """File of the tomogram."""
        return self.row["rlnMicrographName"]

    @property
    def voxel_size(self) -> float:
        """In A."""
        size = self.star.number(self.row, "rlnPixelSize")
        require_voxel_size(size, self.star.path, f"_rlnPixelSize is {size} for {self.path}")
        return size

    @property
    def tilt(self) -> TiltRange:
        """Of the tilt series; the usual one where the table does not tell."""
        return self.tilt_range()

    def tilt_range(self, minimum: float | None = None, maximum: float | None = None) -> TiltRange:
        """As `tilt`; degrees that are given here override the table's."""
        return row_tilts(self.star, self.row, self.path, minimum, maximum)

    @property
    def defocus(self) -> float:
        """In A, underfocus positive: rlnDefocus, else the mean of rlnDefocusU and rlnDefocusV.

        Raises
        ------
        EngineError
            If the table has neither, or what it has is not a defocus in A; says what it would be.
        """
        whole, both = self.number("rlnDefocus", 0.0), [self.text(f"rlnDefocus{axis}") for axis in "UV"]
        if whole == 0 and all(both):
            mean = (self.number("rlnDefocusU", 0.0) + self.number("rlnDefocusV", 0.0)) / 2
            what = f"{self.star.path}, rlnDefocusU and rlnDefocusV"
            return require_plausible_defocus(mean, what, self.path)
        return require_plausible_defocus(whole, f"{self.star.path}, rlnDefocus", self.path)

    def ctf_parameters(self, voltage: float | None = None, cs: float | None = None) -> CtfParameters:
        """Of the tilt series; `voltage` (kV) and `cs` (mm) override the table's. Errors as of `defocus`."""
        return replace(self.optics(voltage, cs), defocus=self.defocus)

    def optics(self, voltage: float | None = None, cs: float | None = None) -> CtfParameters:
        """As `ctf_parameters`, for what needs no defocus: that is 0."""
        return CtfParameters(
            self.number("rlnVoltage", 300.0) if voltage is None else voltage,
            self.number("rlnSphericalAberration", 2.7) if cs is None else cs,
            self.number("rlnAmplitudeContrast", 0.07),
        )

    @property
    def inverted(self) -> bool:
        """Whether protein is bright in its files; dark where the table does not tell."""
        return self.number(INVERTED, 0.0) != 0

    def ctf_state(self, given: str | None = None) -> str | None:
        """What was done to the CTF of `path`: `given`, else what the table or its header says; None where nothing does.

        Raises
        ------
        EngineError
            If the table says something else than `CTF_STATES`.
        """
        state = given or self.text(CTF_STATE)
        if state is None and (self.text("rlnDeconvTomoName") == self.path or first_maker(self.path) == "deconv"):
            return CORRECTED
        if state is not None and state not in CTF_STATES:
            raise EngineError(
                f"{self.star.path}, {CTF_STATE}", f"it is {state!r} for {self.path}", f"Give {', '.join(CTF_STATES)}."
            )
        return state

    def number(self, label: str, default: float) -> float:
        """A cell as a number, or the default where it is not set."""
        return self.star.number(self.row, label, default)

    def text(self, label: str) -> str | None:
        """A cell's text, None where it is not set."""
        return self.star.text(self.row, label)

    @property
    def corrected_scale(self) -> float:
        """What the voxels of rlnCorrectedTomoName are multiplied by to get grey values."""
        return self.number(SCALE, 1.0)

    def halves(self) -> tuple[str, ...]:
        """Files of its even and odd half; empty where the table does not name them.

        Raises
        ------
        EngineError
            If it names one alone.
        """
        names = [name for name in map(self.text, HALF_LABELS) if name]
        if len(names) == 1:
            label = next(label for label in HALF_LABELS if not self.text(label))
            raise EngineError(
                f"{self.star.path}, {label}", f"{self.path} has one half only", "Name its other half too, or none."
            )
        return tuple(names)

    @property
    def halves_fit(self) -> bool:
        """Whether its halves are those of `source_path`: not where only the whole is deconvolved."""
        return self.source_path == self.path

    def fitting_halves(self) -> tuple[str, ...]:
        """Files of the halves of `source_path`; empty where the table does not name both.

        Raises
        ------
        EngineError
            If they do not fit.
        """
        if self.halves() and not self.halves_fit:
            raise EngineError(
                self.source_path,
                f"it is deconvolved, but the halves that {self.star.path} names are not",
                "Deconvolve the halves too (docs/tutorial_command_line.md), give --use_deconv_tomo False to use them "
                "(refine also: --ctf_aware), or take them out of the table.",
            )
        return self.halves()

    def open_halves(self, volume: Volume) -> list[Volume]:
        """Its even and odd half where the table names both; an EngineError where they do not fit to `volume`."""
        halves = [open_volume(path) for path in self.halves()]
        for half in halves:
            check_mask(half, volume, self.voxel_size)
        return halves

    def whole_of(self, half: Volume) -> Volume | None:
        """The tomogram that a half of it is compared with; None where its file is gone.

        Raises
        ------
        EngineError
            If the half has another shape or voxel size.
        """
        if not os.path.exists(self.path):
            return None
        whole = open_volume(self.path)
        check_mask(half, whole, self.voxel_size)
        return whole

    @property
    def source_path(self) -> str:
        """File that work is done on."""
        return (self.text("rlnDeconvTomoName") if self.use_deconvolved else None) or self.path

    @property
    def deconvolved(self) -> bool:
        """Whether `source_path` is a deconvolved tomogram, of this table's or one that came so."""
        if self.source_path == self.path:
            return self.ctf_state() == CORRECTED
        return self.source_path == self.text("rlnDeconvTomoName")

    def source(self) -> Volume:
        """The volume to work on, opened anew: hundreds can't be open at once."""
        return open_volume(self.source_path)

    def checked_source(self) -> Volume:
        """As `source`, for each tomogram before the work on the first starts: what is odd with its header is told.

        Raises
        ------
        EngineError
            If it can't be read, table and header have different units, or it is deconvolved and was made of another
            tomogram or with another CTF than the table names.
        """
        volume = self.source()
        warn_of_oddities(volume)
        check_unit(self.voxel_size, volume, self.star.path)
        if self.deconvolved:
            self._require_current()
        return volume

    def origin(self, volume: Volume, ctf_state: str | None = None) -> str:
        """What deconv makes of it depends on, for the header of the result: its tomogram, a volume, and CTF."""
        return f"{voxels_digest(volume)}-{self._ctf_digest(ctf_state)}"

    def correction(
        self, volume: Volume, model: str, halves: Sequence[Volume] = (), transfer: Transfer | None = None
    ) -> str:
        """What predict's result depends on, for its header: `volume`, halves that it is made of, a model's digest.

        And of a CTF-aware model the transfer.
        """
        return f"{voxels_digest(volume, *halves)}-{self.correction_digest(model, transfer)}"

    def correction_digest(self, model: str, transfer: Transfer | None = None) -> str:
        """How predict makes its result, by a model of this digest."""
        known = [int(model[:12], 16), self.voxel_size, self.tilt.minimum, self.tilt.maximum]
        if transfer is None:
            return numbers_digest(known)
        ctf = transfer.ctf_parameters
        return numbers_digest(
            [*known, ctf.voltage, ctf.cs, ctf.amplitude_contrast, ctf.defocus, transfer.comes_flipped]
        )

    def is_made_of(self, voxels: str, volume: Volume) -> bool | None:
        """Whether the digest `voxels` of what a result was made of is that of `volume`, or of it and its halves.

        None where that can't be told, as halves were deleted. Of results of halves, earlier versions told the whole's.
        """
        if voxels == voxels_digest(volume):
            return True
        halves = self.halves() if volume.path == self.path else ()
        if not all(map(os.path.exists, halves)):
            return None
        return bool(halves) and voxels == voxels_digest(volume, *map(open_volume, halves))

    def _ctf_digest(self, given: str | None = None) -> str:
        optics, state = self.optics(), self.ctf_state(given) or RAW
        # nothing of tomograms that are raw, or taken so: as it was when the state did not count
        states = [] if state == RAW else [CTF_STATES.index(state)]
        return numbers_digest(
            [self.voxel_size, optics.voltage, optics.cs, optics.amplitude_contrast, *self._told_defocus(), *states]
        )

    def _told_defocus(self) -> list[float]:
        return [self.number(label, 0.0) for label in DEFOCUS]

    def _require_current(self) -> None:
        told = origin_in(self.source_path, "deconv")
        if told is None or self.source_path == self.path:
            return
        voxels, _, ctf = told.partition("-")
        if os.path.exists(self.path) and voxels_digest(open_volume(self.path)) != voxels:
            raise EngineError(
                self.source_path,
                f"it was made of other voxels than {self.path} has now",
                "Run deconv again, or give --use_deconv_tomo False.",
            )
        if any(self._told_defocus()) and self._ctf_digest() != ctf:
            raise EngineError(
                self.source_path,
                f"it was made with another defocus, voltage, spherical aberration, amplitude contrast, voxel size or "
                f"{CTF_STATE} than {self.star.path} has now for {self.path}",
                "Run deconv again, or give --use_deconv_tomo False.",
            )

    def other_voxels(self, *files: str) -> str:
        """What is wrong with a result that `is_made_of` none of some files, in words."""
        made = f"it was made of other voxels than {' and '.join(files)}"
        if self.path in files and self.halves():
            return f"{made} or its halves have now"
        return f"{made} has now, or of halves that {self.star.path} does not name"

    def require_current_corrected(self, path: str) -> None:
        """Check the corrected tomogram that the table names, a file.

        Raises
        ------
        EngineError
            If it can't be read, or predict made it for this table of other voxels than the tomogram's file, or those of
            its halves, have now.
        """
        open_volume(path)
        told = origin_in(path, "predict")
        if told is None or not is_marked(path, mark_of("predict", self.star.path, self.path, os.path.dirname(path))):
            return
        sources = [file for file in (self.text("rlnDeconvTomoName"), self.path) if file]
        if not all(map(os.path.exists, sources)):  # it may be made of what was deleted
            return
        found = [self.is_made_of(told.partition("-")[0], open_volume(file)) for file in sources]
        if not any(found) and None not in found:
            raise EngineError(path, self.other_voxels(*sources), "Run predict anew.")

    def mask_is_outdated(self) -> bool:
        """Whether make_mask made its mask of other voxels than the tomogram's file has now, or for another row."""
        mask = self.text(MASK)
        told = origin_in(mask, "make_mask") if mask else None
        if mask is None or told is None:
            return False
        folder = os.path.dirname(mask)
        if not is_marked(mask, mark_of("make_mask", self.star.path, self.path, folder)):
            # that of another table may be of another version of the tomogram, such as the deconvolved one
            others = (row["rlnMicrographName"] for row in self.star.rows)
            found = mark_in(mask)
            return any(is_same_mark(found, mark_of("make_mask", self.star.path, path, folder)) for path in others)
        return os.path.exists(self.path) and told != voxels_digest(open_volume(self.path))

    def output_voxel_size(self, volume: Volume) -> float:
        """What the header of an output gets: the table's, in the digits of the input's header if that is the same."""
        return written_voxel_size(self.voxel_size, volume)


class TomogramTable:
    """A STAR file with one tomogram per row."""

    def __init__(self, path: str | os.PathLike[str], use_deconvolved: bool = False) -> None:
        """Read the table, to work on deconvolved tomograms where it names them.

        Raises
        ------
        EngineError
            If it can't be read, has subtomograms, or lacks a column or rows, or as of `star.require_one_meaning`.
        """
        self.path, self.use_deconvolved = str(path), use_deconvolved
        self.star = read_star(path)
        if "rlnMicrographName" not in self.star.labels and set(SUBTOMOGRAM_LABELS) <= set(self.star.labels):
            raise EngineError(self.path, "it is a table of subtomograms", "Give the table of their tomograms.")
        self.star.require(["rlnIndex", "rlnMicrographName", "rlnPixelSize"])
        require_one_meaning(self.star, (*NAMING, *HALF_LABELS, "rlnMaskBoundary"))

    def entries(self) -> list[TomogramEntry]:
        """All tomograms, unchecked."""
        names = tomogram_names(self.star)
        return [TomogramEntry(name, row, self.star, self.use_deconvolved) for name, row in zip(names, self.star.rows)]

    def select(self, tomo_idx: str | None, needs_tilts: bool = False) -> list[TomogramEntry]:
        """The chosen tomograms, with possible voxel sizes and, where they are needed, tilts."""
        chosen = parse_index_list(tomo_idx, self.star)
        wanted = {id(row) for row in chosen}
        entries = [entry for entry in self.entries() if id(entry.row) in wanted]
        self._warn_of_repeated(entries)
        for entry in entries:  # they raise what is wrong
            _ = entry.voxel_size
            if needs_tilts:
                _ = entry.tilt
        return entries

    def _warn_of_repeated(self, entries: Sequence[TomogramEntry]) -> None:
        """Name files that stand in several rows, as where a row was copied and its name was not changed."""
        rows: dict[str, list[str]] = {}
        for entry in entries:
            file = entry.source_path
            rows.setdefault(file if "\0" in file else os.path.realpath(file), []).append(entry.row["rlnIndex"])
        if repeated := {file: indices for file, indices in rows.items() if len(indices) > 1}:
            file, indices = next(iter(repeated.items()))
            log.warning(
                "%s: %s stands in the rows of rlnIndex %s%s, and is taken as several tomograms. If that is a slip, "
                "another tomogram is missing.", self.path, file, " and ".join(indices),
                f" (and {len(repeated) - 1} other files so)" if len(repeated) > 1 else "",
            )  # fmt: skip

    def keep_inputs(self, outputs: Iterable[os.PathLike[str]], own: str | None = None) -> None:
        """Raise an EngineError if an output would replace a file that the table names in another column than `own`."""
        labels = [label for label in (*NAMING, *HALF_LABELS) if label != own]
        names = [self.star.text(row, label) for row in self.star.rows for label in labels]
        require_kept(outputs, [name for name in names if name and "\0" not in name])

    def claim(
        self, outputs: Mapping[Path, TomogramEntry], stage: str, column: str, option: str, result: Star | None = None
    ) -> dict[Path, bytes]:
        """Refuse to replace what is not this table's own.

        Parameters
        ----------
        outputs : mapping
            The files that will be written, and what of.
        stage : str
            The command.
        column : str
            Where a table names such files.
        option : str
            Gives their folder.
        result : Star, optional
            The table that names them, where that is another one.

        Returns
        -------
        dict
            The mark of each file, for `write_volume`; what an earlier run of the same command left bears it.

        Raises
        ------
        EngineError
            If a file exists that is an input, that another row names, or that this command did not make for the table;
            or as of `star.require_one_meaning`.
        """
        star = result or self.star
        require_one_meaning(star, [column])
        self.keep_inputs(outputs, None if result else column)
        marks = {path: mark_of(stage, star.path, entry.path, path.parent) for path, entry in outputs.items()}
        naming = {entry_of(name): row for row in star.rows if (name := star.text(row, column)) and "\0" not in name}
        # files of former versions bear no mark; of masks, these may be drawn by hand
        makers = (stage,) if column == MASK else (stage, None)
        for path, mark in marks.items():
            if not os.path.lexists(path):
                continue
            row = naming.get(entry_of(path))
            if row is not None and result is None and not _same_tomogram(row, outputs[path].row):
                why = f"it is that of another tomogram, {row['rlnMicrographName']}, by {star.path}"
            elif is_own(path, mark, makers if row is not None else ()):
                continue
            elif row is None:
                why = f"it is there already, and {star.path} does not name it: it may be another table's"
            else:
                why = f"it is there already, and bears no mark of {stage}: it may be your own, or another program's"
            raise EngineError(str(path), why, f"Give another folder with --{option}, or delete it.")
        return marks

    def update(self, entry: TomogramEntry, values: Mapping[str, object]) -> None:
        """Put values into a tomogram's row of the table as it is now: other cells may be others' work of meanwhile.

        Raises
        ------
        EngineError
            If the table can't be read or written, has this tomogram no longer, or changes all the time.
        """
        path = os.path.realpath(self.path)  # of a link, the table itself is written
        for attempt in range(1, ATTEMPTS + 1):
            since = file_state(path)
            star = read_star(path)
            row = next((row for row in star.rows if _same_tomogram(row, entry.row)), None)
            if row is None:
                raise EngineError(self.path, f"it has {entry.path} no longer", "Start again with the table as it is.")
            for label, value in values.items():
                self.star.set(entry.row, label, value)
                star.set(row, label, value)
            try:
                write_star(path, star, since)
                break
            except ChangedMeanwhile:
                if attempt == ATTEMPTS:
                    raise


def row_tilts(
    star: Star, row: dict[str, str], path: str, minimum: float | None = None, maximum: float | None = None
) -> TiltRange:
    """The tilt range that a row of a table says of a volume; degrees that are given here override it."""
    given = None not in (minimum, maximum)
    told = [star.text(row, label) is not None for label in TILTS]
    if not given and any(told) and not all(told):
        here, lacking = TILTS if told[0] else TILTS[::-1]
        if (maximum if told[0] else minimum) is None:
            raise EngineError(star.path, f"it has {here} of {path}, but not {lacking}", "Give both, or neither.")
    what = TILT_OPTIONS if given else f"{star.path}, rlnTiltMin and rlnTiltMax of {path}"
    if minimum is not None and not given:
        what = f"tilt_min, with rlnTiltMax of {path} in {star.path}"
    elif maximum is not None and not given:
        what = f"tilt_max, with rlnTiltMin of {path} in {star.path}"
    return declared_range(
        star.number(row, "rlnTiltMin", TILT_RANGE[0]) if minimum is None else minimum,
        star.number(row, "rlnTiltMax", TILT_RANGE[1]) if maximum is None else maximum,
        what,
    )


def tell_assumed_tilts(star: Star, rows: Sequence[dict[str, str]], names: Sequence[str]) -> None:
    """Log a line where a table does not tell the tilt ranges of rows, which have these names: the usual is assumed.

    It is a warning where other rows have theirs: that one was left out by mistake is then likely.
    """
    without = [name for name, row in zip(names, rows) if not any(star.text(row, label) for label in TILTS)]
    if without:
        log.log(
            logging.WARNING if len(without) < len(names) else logging.INFO,
            "%s: no tilt range (%s) of %s: %g..%g degrees are assumed.",
            star.path, " and ".join(TILTS), names_in_words(without), *TILT_RANGE,
        )  # fmt: skip


def warn_of_assumed_tilts(entries: Sequence[TomogramEntry]) -> None:
    """As `tell_assumed_tilts`, of tomograms of one table, at least one."""
    rows, names = zip(*((entry.row, entry.name) for entry in entries))
    tell_assumed_tilts(entries[0].star, rows, names)


def warn_of_lopsided_tilts(source: str, tilts: Mapping[str, TiltRange]) -> None:
    """Warn of tilt ranges without 0 degrees, by the names of their tomograms or subtomograms, in a table."""
    lopsided = {name: tilt for name, tilt in tilts.items() if not tilt.minimum <= 0 <= tilt.maximum}
    if lopsided:
        tilt = next(iter(lopsided.values()))
        log.warning(
            "%s: the tilt range of %s has no 0 degrees (%g..%g): if that is a slip, such as a missing minus sign, the "
            "network is told a wrong wedge.", source, names_in_words(list(lopsided)), tilt.minimum, tilt.maximum,
        )  # fmt: skip


def names_in_words(names: Sequence[str]) -> str:
    """Names of tomograms, of many the first.

    Examples
    --------
    >>> names_in_words(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _lacking(entries: Sequence[TomogramEntry], has: Callable[[TomogramEntry], object]) -> str | None:
    """Those that lack what others have, in words; None where all or none have it."""
    without = [entry.name for entry in entries if not has(entry)]
    return names_in_words(without) if 0 < len(without) < len(entries) else None


def require_one_kind(entries: Sequence[TomogramEntry], to_choose: str) -> None:
    """Raise an EngineError where work would be done on deconvolved and other tomograms; `to_choose`: how to choose."""
    without = _lacking(entries, lambda entry: entry.deconvolved)
    if without:
        raise EngineError(
            entries[0].star.path,
            f"only some of the tomograms are deconvolved, not {without}",
            f"Run deconv on these too, {to_choose}, or give --use_deconv_tomo False.",
        )


def warn_of_kinds(entries: Sequence[TomogramEntry]) -> None:
    """Warn where work is done on deconvolved and other tomograms."""
    without = _lacking(entries, lambda entry: entry.deconvolved)
    if without:
        log.warning(
            "%s: only some of the tomograms are deconvolved, not %s, which are taken as they are. Run deconv on these "
            "too, or give --use_deconv_tomo False.", entries[0].star.path, without,
        )  # fmt: skip


def warn_of_masks(entries: Sequence[TomogramEntry], what: str) -> None:
    """Warn where masks are missing or outdated.

    Where only some tomograms have masks, `what` is done anywhere in the others.
    """
    outdated = [entry.name for entry in entries if entry.mask_is_outdated()]
    if outdated:
        log.warning(
            "%s: the masks of %s were made of other voxels than the tomograms have now. Make them again, or put each "
            "into its tomogram's row.",
            entries[0].star.path, names_in_words(outdated),
        )  # fmt: skip
    without = _lacking(entries, lambda entry: entry.text(MASK))
    if without:
        log.warning(
            "%s: only some of the tomograms have masks, not %s: %s anywhere in these. Make masks of these too.",
            entries[0].star.path, without, what,
        )  # fmt: skip


def _same_tomogram(row: dict[str, str], other: dict[str, str]) -> bool:
    return all(row.get(label) == other[label] for label in ("rlnIndex", "rlnMicrographName"))
