"""A table that is about to be replaced by one of the same files: what goes on, and what is told of the rest."""

from __future__ import annotations

import logging
from pathlib import Path

from isonet_scipion.engine.conventions import SUBTOMOGRAMS, TILT_RANGE
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.star import Star, as_comment
from isonet_scipion.engine.io.tomogram_entry import CTF_STATE, INVERTED, OPTICS, TILTS
from isonet_scipion.engine.wording import names_in_words

log = logging.getLogger(__name__)
OTHERWISE = "%s: other than in the table that was there: %s"
# where nothing tells
USUAL = {**dict(zip(TILTS, TILT_RANGE)), "rlnDefocus": 0, "rlnNumberSubtomo": SUBTOMOGRAMS, INVERTED: 0}
TYPED = (*USUAL, "rlnMaskBoundary", CTF_STATE, *OPTICS)  # columns that may have been typed


def require_known(earlier: Star, rows: list[dict[str, str]], label: str, kind: str) -> None:
    """Raise an EngineError if the table that is replaced has rows, but none of what the new one will name."""
    if earlier.rows and not any(rows):
        raise EngineError(
            earlier.path,
            f"it is there already, of other {kind}: {names_in_words([row[label] for row in earlier.rows])}",
            "Give another --output_star, or delete it if nothing that was typed into it is needed.",
        )


def left_out_rows(earlier: Star, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows of the table that is replaced which are not among those that the new one goes on with."""
    kept = {id(row) for row in rows}  # each with each would take minutes for 50000 subtomograms
    return [row for row in earlier.rows if id(row) not in kept]


def comments_with(earlier: Star, left_out: list[dict[str, str]]) -> list[str]:
    """The comments of the table that is replaced, and its rows that are left out: nothing else may tell of them."""
    return list(dict.fromkeys([*earlier.comments, *(as_comment(earlier, row) for row in left_out)]))


def warn_of_left_out(earlier: Star, left_out: list[dict[str, str]], files: str, source: str | None) -> None:
    """Name the rows that are left out since a folder or table has their files, of the column `files`, no longer."""
    told = [label for label in TYPED if any(is_unusual(earlier, row, label) for row in left_out)]
    log.warning(
        "%s: left out, since %s has them no longer: %s. Their rows stay as comments at its top%s.",
        earlier.path, source, names_in_words([row[files] for row in left_out]),
        f", which alone tell their {', '.join(told)}" if told else "",
    )  # fmt: skip


def is_unusual(earlier: Star, row: dict[str, str], label: str) -> bool:
    """Whether a cell of the table that is replaced is set, and not to what stands there where nothing tells."""
    cell = earlier.text(row, label)
    return cell is not None and (label not in USUAL or as_shown(cell) != f"{USUAL[label]:g}")


def changes_in_words(rows: list[dict[str, str]], star: Star, files: str) -> str:
    """What rows of the same files say otherwise than before, for each column: the first of them, how many more.

    `files` is the column of the files.
    """
    found: dict[str, list[str]] = {}
    for row, before in zip(star.rows, rows):
        for label in before.keys() & row.keys() - {"rlnIndex", "rlnSubtomoIndex", files}:
            if (was := as_shown(before[label])) != (now := as_shown(row[label])):
                name = Path(row[files]).name
                found.setdefault(label, []).append(f"{label} of {name} {now}, before {was}")
    more = {label: f" (and {len(said) - 1} more)" if len(said) > 1 else "" for label, said in found.items()}
    return "; ".join(found[label][0] + more[label] for label in star.labels if label in found)


def as_shown(cell: str) -> str:
    """A cell; a number with the digits that tell it."""
    try:
        return f"{float(cell):g}"
    except ValueError:
        return cell
