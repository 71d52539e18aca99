"""Marks: what tells, in the header of a file or store, which command made it of what."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container

from isonet_scipion.engine.io.ome_zarr import is_store, stored_mark

MARK = b"isonet_scipion "  # how a label begins that is one
HEADER_BYTES, LABEL_BYTES = 1024, 80  # of an MRC file
DIGITS = 16  # of each digest


def mark_of(
    stage: str, table: str | os.PathLike[str], tomogram: str | os.PathLike[str], folder: str | os.PathLike[str]
) -> bytes:
    """A label that tells which command on which table made a file, in `folder`, out of which tomogram.

    It tells their places twice: on the disk, and as seen from the folder, so that all may be moved together.
    """
    table, folder = os.path.realpath(table), os.path.realpath(folder)
    # not through a link, as Scipion's import makes to data outside the project
    seen = (os.path.relpath(path, folder) for path in (table, os.path.abspath(tomogram)))
    return MARK + f"{stage} {_digits(table, os.path.realpath(tomogram))}{_digits(*seen)}".encode()


def _digits(*places: str) -> str:
    return hashlib.sha256(os.fsencode("\0".join(places))).hexdigest()[:DIGITS]


def is_marked(path: str | os.PathLike[str], mark: bytes) -> bool:
    """Whether a file or store is one that was written with a mark; False where it can't be read.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from isonet_scipion.engine.io.mrc import write_volume
    >>> mark, other = (mark_of(stage, "tomograms.star", "TS_01.mrc", "mask") for stage in ("make_mask", "deconv"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mask = f"{folder}/TS_01_mask.mrc"
    ...     write_volume(mask, np.ones((2, 3, 4), np.int8), 10.0, mark=mark)
    ...     print(is_marked(mask, mark), is_marked(mask, other), made_by(mask))
    True False make_mask
    """
    return is_same_mark(mark_in(path), mark)


def is_same_mark(found: bytes, mark: bytes) -> bool:
    """Whether a mark that was found, see `mark_in`, is `mark`, wherever both were moved together.

    Examples
    --------
    >>> mark = mark_of("make_mask", "tomograms.star", "TS_01.mrc", "mask")
    >>> is_same_mark(mark + b" more", mark), is_same_mark(b"", mark)
    (True, False)
    """
    (stage, places), (other_stage, others) = (_parts(each) for each in (mark, found))
    return stage == other_stage and any(place and place == other for place, other in zip(places, others))


def _parts(mark: bytes) -> tuple[bytes, tuple[bytes, bytes]]:
    """The command and the digits of both kinds that a mark holds; empty where it holds none."""
    _, stage, digits = (*mark.split()[:3], b"", b"", b"")[:3]
    return stage, (digits[:DIGITS], digits[DIGITS : 2 * DIGITS])


def made_by(path: str | os.PathLike[str]) -> str | None:
    """The command that wrote a file or store, by its mark; None where it has none or can't be read."""
    return maker_in(mark_in(path))


def is_own(path: str | os.PathLike[str], mark: bytes, makers: Container[str | None] = ()) -> bool:
    """Whether a file or store may be replaced by one with a mark.

    It may if it bears that mark, or, where a table names it as its own, if one of `makers` wrote it (None: it bears no
    mark, as of former versions).
    """
    found = mark_in(path)
    return is_same_mark(found, mark) or maker_in(found) in makers


def maker_in(mark: bytes) -> str | None:
    """The command that a mark names; None where it is empty.

    Examples
    --------
    >>> maker_in(mark_of("deconv", "tomograms.star", "TS_01.mrc", "deconv"))
    'deconv'
    """
    return _parts(mark)[0].decode("ascii", "replace") or None


def mark_in(path: str | os.PathLike[str]) -> bytes:
    """The mark of a file or store with what follows it; empty where it has none or can't be read."""
    if is_store(path):
        return stored_mark(path)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            _, found, told = file.read(HEADER_BYTES).partition(MARK)
    except (OSError, ValueError):  # a name may hold anything
        return b""
    return (found + told[: LABEL_BYTES - len(MARK)]).rstrip(b"\0 ") if found else b""
