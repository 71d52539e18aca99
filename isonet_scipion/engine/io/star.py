"""STAR tables: one loop of text cells, written with emtable; it takes a row that begins with data_ for the end."""

from __future__ import annotations

import itertools
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emtable import Table

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import State, replacing, require_file

log = logging.getLogger(__name__)
NOT_SET = "None"
SUBTOMOGRAM_LABELS = ("rlnImageName", "rlnCubeSize")  # that all tables of subtomograms have
TABLE_REMEDY = "Give a STAR file; prepare_star makes one of a folder of tomograms."
MOST_NAME = 200  # bytes of a tomogram's name, to which stages add
_CELL = re.compile(r'"([^"]*)"(?=\s|$)|\'([^\']*)\'(?=\s|$)|(\S+)')


@dataclass
class Star:
    """A table: `rows` are dictionaries from label (without underscore) to text, `comments` whole lines."""

    labels: list[str]
    rows: list[dict[str, str]] = field(default_factory=list)
    path: str = "table"
    name: str = ""  # of the data block: data_NAME
    comments: list[str] = field(default_factory=list)

    def require(self, labels: Sequence[str]) -> None:
        """Raise an EngineError unless the table has rows and all `labels`."""
        missing = [label for label in labels if label not in self.labels]
        self._require_spelling(missing)
        if missing:
            raise EngineError(
                self.path,
                f"the column {', '.join('_' + m for m in missing)} is missing",
                "Make the table again or add it.",
            )
        if not self.rows:
            raise EngineError(self.path, "the table has no rows", "Make the table again.")

    def text(self, row: dict[str, str], label: str) -> str | None:
        """The cell's text; None where the column is missing or says None.

        Raises
        ------
        EngineError
            If it is missing, but a column of the same letters, large or small, is there: it would be left out.
        """
        if label not in row:
            self._require_spelling([label])
        value = row.get(label, NOT_SET)
        return None if value == NOT_SET or value == "" else value

    def number(self, row: dict[str, str], label: str, default: float | None = None) -> float:
        """The cell as a finite number.

        Raises
        ------
        EngineError
            If it is no number, or not set and there is no default.
        """
        text = self.text(row, label)
        if text is None:
            if default is None:
                raise EngineError(self.path, f"_{label} is not set in row {self._position(row)}", "Fill it in.")
            return default
        try:
            value = float(text) if text.isascii() and "_" not in text else math.nan  # Python takes 1_2 for 12
        except ValueError:
            value = float("nan")
        if not abs(value) < float("inf"):
            raise EngineError(
                self.path, f"_{label} is '{text}' in row {self._position(row)}, not a number", "Correct the table."
            )
        return value

    def integer(self, row: dict[str, str], label: str, default: int | None = None) -> int:
        """The cell as a whole number; raises an EngineError as `number` does."""
        value = self.number(row, label, default)
        if value != int(value):
            raise EngineError(
                self.path, f"_{label} is {value} in row {self._position(row)}, not a whole number", "Correct the table."
            )
        return int(value)

    def set(self, row: dict[str, str], label: str, value: object) -> None:
        """Put a value into a row, with a new column at the end where the label is new."""
        if label not in self.labels:
            self.labels.append(label)
        row[label] = f"{value:.6f}" if isinstance(value, float) else str(value)

    def _require_spelling(self, missing: Sequence[str]) -> None:
        meant = {label.lower(): label for label in missing}
        for label in self.labels:
            if (right := meant.get(label.lower(), label)) != label:
                raise EngineError(
                    self.path, f"its column _{label} is not known, but _{right} is", f"Rename it to _{right}."
                )

    def _position(self, row: dict[str, str]) -> int:
        return next(number for number, other in enumerate(self.rows, 1) if other is row)


def _split_cells(line: str) -> list[str]:
    return [double or single or plain for double, single, plain in _CELL.findall(line)]


def _is_row(cells: list[str], count: int) -> bool:
    """Whether they are as many as there are labels, with at most a comment behind them."""
    return len(cells) == count or (len(cells) > count and cells[count].startswith("#"))


def read_star(path: str | os.PathLike[str], labels: Sequence[str] = ()) -> Star:
    """Read the table of a STAR file.

    Parameters
    ----------
    path : path
        The STAR file; cells with spaces stand in quotes.
    labels : sequence of str
        Columns by which the table is known, where the file holds several.

    Returns
    -------
    Star
        Its labels and rows, all as text.

    Raises
    ------
    EngineError
        If the file is missing, not text, not a STAR table, or holds several and not just one has all `labels`.
    """
    blocks, comments = _read_blocks(path)
    known = [block for block in blocks if labels and set(labels) <= set(_labels(block))]
    if len(blocks) > 1 and len(known) != 1:
        raise EngineError(str(path), f"it holds {len(blocks)} tables", "Keep only the one that is meant.")
    return _as_star((known or blocks)[0], path, comments)


def find_table(path: str | os.PathLike[str], *kinds: Sequence[str]) -> Star | None:
    """The table of a STAR file that is of the first of some kinds, each of which is known by its labels.

    None where there is none of any. Errors as of `read_star`, also where several are of that kind.
    """
    blocks, comments = _read_blocks(path)
    for labels in kinds:
        known = [block for block in blocks if set(labels) <= set(_labels(block))]
        if len(known) > 1:
            columns = ", ".join(f"_{label}" for label in labels)
            why = f"it holds {len(known)} tables with {columns}"
            raise EngineError(str(path), why, "Join them into one, or keep only the one that is meant.")
        if known:
            return _as_star(known[0], path, comments)
    return None


def _read_blocks(path: str | os.PathLike[str]) -> tuple[list[list[str]], list[str]]:
    """The lines of each table of a file, and its comments."""
    if os.path.isdir(path):
        raise EngineError(str(path), "it is a folder, not a table", TABLE_REMEDY)
    file = require_file(path, "STAR file")
    try:
        text = file.read_text(encoding="utf-8-sig")
        return _blocks(text), [line.strip() for line in text.split("\n") if line.strip().startswith("#")]
    except UnicodeDecodeError as error:
        raise EngineError(str(path), "it is no text (UTF-8), so not a table", TABLE_REMEDY) from error
    except ValueError as error:
        raise _no_table(path, error) from error


def _as_star(block: list[str], path: str | os.PathLike[str], comments: list[str]) -> Star:
    try:
        block = _looped(block)
        labels = _labels(block)
        cells = _cells(block, labels)
    except ValueError as error:
        raise _no_table(path, error) from error
    rows = [dict(zip(labels, row)) for row in cells]
    # as lines of their own, which tell their rows: behind these, other programs do not expect them
    behind = [f"# {' '.join(row[:2])}: {' '.join(row[len(labels) :])}" for row in cells if len(row) > len(labels)]
    return Star(labels, rows, str(path), block[0].split()[0][len("data_") :], comments + behind)


def _no_table(path: str | os.PathLike[str], error: Exception) -> EngineError:
    return EngineError(
        str(path),
        f"it is not a STAR table ({error})",
        "It needs a line data_ (not indented), a line loop_, lines _label, and as many cells in each row as labels.",
    )


def _looped(block: list[str]) -> list[str]:
    """A block without loop, of lines `_label value` as some programs write tables of one row, as one with a loop."""
    pairs = [line.split(maxsplit=1) for line in block[1:]]
    if not pairs or any(_only_word(line) == "loop_" for line in block) or not all(len(pair) == 2 for pair in pairs):
        return block
    if not all(label[0] == "_" and value[0] != "#" and _is_row(_split_cells(value), 1) for label, value in pairs):
        return block
    ends = [next(_CELL.finditer(value)).end() for _, value in pairs]
    cells, comments = zip(*((value[:end], value[end:]) for (_, value), end in zip(pairs, ends)))
    return [block[0], "loop_", *(label for label, _ in pairs), " ".join(cells + comments)]


def table_to_replace(path: str | os.PathLike[str], labels: Sequence[str]) -> Star:
    """The table that is about to be written anew; an empty one where there is none yet.

    Parameters
    ----------
    path : path
        The file to write.
    labels : sequence of str
        That all such tables have.

    Raises
    ------
    EngineError
        If the file is no such table: it would be lost.
    """
    if not os.path.lexists(path):
        return Star([], path=str(path))
    try:
        table = read_star(path)
        table.require(labels)
    except EngineError as error:
        raise EngineError(
            str(path), "it is there already, and no table that this command writes", "Give another name, or delete it."
        ) from error
    return table


def discard_outdated(path: str | os.PathLike[str], outputs: Iterable[str | os.PathLike[str]]) -> None:
    """Delete the table that is about to be written anew, where files that it may name are about to be replaced.

    An interrupted run then leaves no table that names old and new ones as if they were alike.
    """
    there = [output for output in outputs if os.path.lexists(output)]
    if there:
        Path(path).unlink(missing_ok=True)
    for output in there:  # of those that are left, nothing would tell whose they are
        Path(output).unlink()


def require_one_meaning(star: Star, labels: Iterable[str]) -> None:
    """Refuse names of files beside the table that are others, or none, from the working folder, as commands take them.

    Parameters
    ----------
    star : Star
        A table that was read.
    labels : iterable of str
        Its columns of files.

    Raises
    ------
    EngineError
        If there is a file beside the table for a name, and not the same from the working folder: it may be meant.
    """
    folders = [os.path.dirname(path) or os.curdir for path in (star.path, os.path.realpath(star.path))]
    elsewhere = [folder for folder in folders if os.path.exists(folder) and not os.path.samefile(folder, os.curdir)]
    if not elsewhere:  # as nearly always
        return
    names = dict.fromkeys(name for label in labels for row in star.rows if (name := star.text(row, label)))
    for name, folder in itertools.product(names, elsewhere):
        beside = os.path.join(folder, name)
        if not os.path.exists(beside) or (os.path.exists(name) and os.path.samefile(name, beside)):
            continue
        here = os.path.abspath(name) if os.path.exists(name) else "no file"
        raise EngineError(
            star.path,
            f"it names {name}, which is {here} from the working folder, but {os.path.abspath(beside)} beside the table",
            "Run the command in the folder of the table, or put absolute names into it.",
        )


def warn_of_lost_columns(path: str | os.PathLike[str], earlier: Star, star: Star) -> None:
    """Log one line about columns of the table that was at `path` which the one that replaced it lacks."""
    lost = [label for label in earlier.labels if label not in star.labels]
    if lost:
        log.warning("%s: the table that was there is replaced; it also had %s", path, ", ".join(lost))


def _blocks(text: str) -> list[list[str]]:
    """The lines of each data_ block, without empty ones and comments."""
    blocks: list[list[str]] = []
    for line in text.split("\n"):
        if line.startswith("data_") and _only_word(line):
            blocks.append([])
        if blocks and line.strip() and line.strip()[0] != "#":
            blocks[-1].append(line)
    if not blocks:
        raise ValueError("no line is a single word data_")
    return blocks


def _only_word(line: str) -> str:
    """The word of a line that has no other, apart from a comment; more are a row, whose first cell may be data_02."""
    words = line.split(maxsplit=1)
    return words[0] if len(words) == 1 or (words and words[1][0] == "#") else ""


def _labels(block: list[str]) -> list[str]:
    lines = (line for line in block[1:] if _only_word(line) != "loop_")
    return [line.split()[0][1:] for line in itertools.takewhile(lambda line: line.lstrip().startswith("_"), lines)]


def _cells(block: list[str], labels: list[str]) -> list[list[str]]:
    """The cells of each row of a block, and a comment's words; a ValueError unless it has a loop and rows fit."""
    if not labels or _only_word(block[1]) != "loop_":
        raise ValueError("lines _label after a line loop_ are missing")
    repeated = {label for label, count in Counter(labels).items() if count > 1}
    if repeated:
        raise ValueError(f"the column {', '.join('_' + label for label in sorted(repeated))} stands there twice")
    # emtable, with which Scipion reads what is written, takes no others
    strange = [label for label in labels if not label.isidentifier()]
    if strange:
        raise ValueError(f"the column _{strange[0]} has not only letters, digits and underscores in its name")
    rows = [_split_cells(line) for line in block[2 + len(labels) :]]
    for number, row in enumerate(rows, 1):
        if not _is_row(row, len(labels)):
            raise ValueError(f"row {number} has {len(row)} cells, not {len(labels)}; quote names with spaces")
    return rows


def write_star(path: str | os.PathLike[str], star: Star, since: State | bool = True) -> None:
    """Write a table; the file is replaced only when the new one is whole; `since` as in `files.replacing`.

    Comments, which may be rows that the user took out, come before the table: there all programs skip them.

    Raises
    ------
    EngineError
        If it can't be written, or a cell holds a line break or both kinds of quotes.
    """
    cells = [[_quoted(row.get(label, NOT_SET), path) for label in star.labels] for row in star.rows]
    with replacing(path, since) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.writelines(f"{comment}\n" for comment in star.comments)
        file.write(f"\ndata_{star.name}\n\n")
        writer = Table.Writer(file)
        writer.writeHeader([Table.Column(f"{label} #{number}") for number, label in enumerate(star.labels, 1)])
        if cells:
            widths = [max(len(cell) for cell in column) for column in zip(*cells)]
            for row in cells:
                file.write(" ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() + "\n")
        writer.writeNewline()


def as_comment(star: Star, row: dict[str, str]) -> str:
    """A row as a line of `Star.comments`, with its labels, since the columns of later tables may differ.

    Examples
    --------
    >>> row = {"rlnIndex": "1", "rlnMicrographName": "day 1/TS_01.mrc", "rlnMaskBoundary": "None"}
    >>> as_comment(Star(list(row), [row]), row)
    '# rlnIndex 1 rlnMicrographName "day 1/TS_01.mrc"'
    """
    told = [(label, cell) for label in star.labels if (cell := star.text(row, label))]
    return " ".join(["#", *(f"{label} {_quoted(cell, star.path)}" for label, cell in told)])


def words_of(comment: str) -> list[str]:
    """The cells of a row that was made a comment, by `as_comment` or by a # before it.

    Examples
    --------
    >>> words_of("#3 'day 1/TS_03.mrc' 10.0")
    ['3', 'day 1/TS_03.mrc', '10.0']
    """
    return _split_cells(comment.lstrip("# "))


def _quoted(cell: str, path: str | os.PathLike[str]) -> str:
    quote = '"' if '"' not in cell else "'"
    if quote in cell or "\n" in cell or "\r" in cell or not _is_text(cell):
        raise EngineError(str(path), f"the text {cell!r} can't stand in a STAR table", "Rename the file.")
    # a bare cell must not look like a label, a comment or, to emtable and starfile, the start of another table
    bare = cell and not re.search(r"[\s'\"#]|^(_|data_|loop_)", cell)
    return cell if bare else f"{quote}{cell}{quote}"


def _is_text(cell: str) -> bool:
    """Whether it can be written; names of files may hold bytes that are no text."""
    try:
        cell.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def parse_index_list(text: str | None, star: Star) -> list[dict[str, str]]:
    """The rows whose rlnIndex is in a list such as `1,2,4` or `5-10,15`; all rows for None.

    Raises
    ------
    EngineError
        If the list can't be read or names an index that the table lacks, or an index is negative or not the only one.
    """
    present: dict[int, dict[str, str]] = {}
    for row in star.rows:
        index = star.integer(row, "rlnIndex")
        if index < 0 or index in present:
            why = f"_rlnIndex {index} is negative" if index < 0 else f"_rlnIndex {index} stands in two rows"
            raise EngineError(star.path, why, "Number the rows 1, 2, 3.")
        present[index] = row
    if text is None:
        return star.rows
    wanted: set[int] = set()
    for part in str(text).split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+))?\s*", part)
        if not match:
            raise EngineError("tomo_idx", f"'{text}' is not a list of indices", "Write it like 1,2,4 or 5-10,15.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            why = f"'{part.strip()}' runs backwards, and would choose none"
            raise EngineError("tomo_idx", why, f"Write it {last}-{first}.")
        wanted.update(range(first, min(last, first + 1_000_000) + 1))
    if not wanted <= present.keys():
        raise EngineError(
            str(star.path),
            f"it has no rlnIndex {min(wanted - present.keys())}",
            "Choose tomo_idx from the table's rlnIndex.",
        )
    return [row for index, row in present.items() if index in wanted]


def tomogram_names(star: Star) -> list[str]:
    """A distinct base name for each row: rlnTomoName, else the file's stem, with the index where two are equal.

    Raises
    ------
    EngineError
        If two rows would get one name, so that one would be written over the other.
    """
    names = []
    for row in star.rows:
        name = star.text(row, "rlnTomoName") or Path(row["rlnMicrographName"]).stem
        names.append(re.sub(r"[/\\]", "_", name))
    counts = Counter(names)
    indexed = [f"{name}_{row['rlnIndex']}" for name, row in zip(names, star.rows)]
    result = [other if counts[name] > 1 else name for name, other in zip(names, indexed)]
    result = result if len(set(result)) == len(result) else indexed
    for name in result:
        if name in (".", "..") or len(os.fsencode(name)) > MOST_NAME:
            raise EngineError(
                star.path,
                f"the tomogram's name {name!r} can't be that of a file",
                f"Give an rlnTomoName of at most {MOST_NAME} characters.",
            )
    first: dict[str, int] = {}
    for number, name in enumerate(result, 1):
        if first.setdefault(name, number) != number:
            raise EngineError(
                star.path,
                f"rows {first[name]} and {number} would both be written as {name}",
                "Give each tomogram an rlnTomoName, or an rlnIndex, of its own.",
            )
    return result
