"""The table of tomograms: which of them a stage works on, and what it may write and adds to their rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import ATTEMPTS, ChangedMeanwhile, entry_of, file_state, require_kept
from isonet_scipion.engine.io.marks import is_own, mark_of
from isonet_scipion.engine.io.star import (
    SUBTOMOGRAM_LABELS,
    Star,
    parse_index_list,
    read_star,
    require_one_meaning,
    tomogram_names,
    write_star,
)
from isonet_scipion.engine.io.table_checks import warn_of_repeated
from isonet_scipion.engine.io.tomogram_entry import HALF_LABELS, MASK, TomogramEntry

NAMING = ("rlnMicrographName", "rlnDeconvTomoName", MASK, "rlnCorrectedTomoName")  # columns of files


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

    def select(self, tomo_idx: str | None, needs_tilts: bool = False, tells: bool = True) -> list[TomogramEntry]:
        """The chosen tomograms, with possible voxel sizes and, where they are needed, tilts.

        With `tells` what is odd with them is logged.
        """
        chosen = parse_index_list(tomo_idx, self.star)
        wanted = {id(row) for row in chosen}
        entries = [entry for entry in self.entries() if id(entry.row) in wanted]
        if tells:
            warn_of_repeated(entries)
        for entry in entries:  # they raise what is wrong
            _ = entry.voxel_size
            if needs_tilts:
                _ = entry.tilt
        return entries

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


def _same_tomogram(row: dict[str, str], other: dict[str, str]) -> bool:
    return all(row.get(label) == other[label] for label in ("rlnIndex", "rlnMicrographName"))
