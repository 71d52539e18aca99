"""What a deconvolved tomogram or a mask was made of: told in its header, so that a later change is seen."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from isonet_scipion.engine.arrays import release
from isonet_scipion.engine.io.marks import maker_in, mark_in
from isonet_scipion.engine.sampling.even_boxes import sample_corners

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isonet_scipion.engine.io.volume import Volume

PASSING = ("prepare_star", "resize")  # commands whose files are what those are that they were made of
ORIGIN = b" of "  # between a mark and what a file was made of
SIDE, BOXES = 32, 12  # voxels of the boxes that stand for a tomogram, and their number
VOXEL_DIGITS, NUMBER_DIGITS = 12, 6  # as many as a header's label has room for


class Origin(NamedTuple):
    """What a file was made of, and how."""

    voxels: str  # `voxels_digest`
    how: str = ""  # `numbers_digest`; empty where that is not told

    def __str__(self) -> str:
        """As in a header, which `origin_in` reads.

        >>> str(Origin("0123456789ab", "012345")), str(Origin("0123456789ab"))
        ('0123456789ab-012345', '0123456789ab')
        """
        return "-".join(filter(None, self))


def voxels_digest(*volumes: Volume) -> str:
    """12 digits that change with voxels of tomograms: of boxes spread over each, whatever its format and place.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from isonet_scipion.engine.io.mrc import open_volume, write_volume
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for value in (0, 1):
    ...         write_volume(f"{folder}/{value}.mrc", np.full((2, 3, 4), value, np.float32), 10.0)
    ...     print(voxels_digest(open_volume(f"{folder}/0.mrc")) == voxels_digest(open_volume(f"{folder}/1.mrc")))
    False
    """
    digest = hashlib.sha256()
    for volume in volumes:
        digest.update(repr(volume.shape).encode())
        for corner in sample_corners(volume.shape, SIDE, BOXES):
            box = volume.data[tuple(slice(start, start + SIDE) for start in corner)]
            digest.update(np.ascontiguousarray(box, np.dtype("<f4")).tobytes())
            release(volume.data)
    return digest.hexdigest()[:VOXEL_DIGITS]


def numbers_digest(numbers: Iterable[float]) -> str:
    """6 digits that change with any of some numbers.

    Examples
    --------
    >>> numbers_digest([30000, 2.7]) == numbers_digest([30000.0, 2.7]) != numbers_digest([31000.0, 2.7])
    True
    """
    return hashlib.sha256(repr([float(number) for number in numbers]).encode()).hexdigest()[:NUMBER_DIGITS]


def with_origin(mark: bytes, origin: Origin | str) -> bytes:
    """A mark that tells as well what a file was made of: an origin, or the command that `first_maker` is to find.

    Examples
    --------
    >>> from isonet_scipion.engine.io.marks import mark_of
    >>> len(with_origin(mark_of("make_mask", "tomograms.star", "TS_01.mrc", "mask"), Origin("0123456789ab", "012345")))
    80
    """
    return mark + ORIGIN + str(origin).encode("ascii")


def first_maker(path: str | os.PathLike[str]) -> str | None:
    """The command that made a file, or what it was rescaled from or is the mean of; None where that is others'."""
    maker, origin = _told_in(path)
    return origin if maker in PASSING else maker


def origin_in(path: str | os.PathLike[str], stage: str) -> Origin | None:
    """What `with_origin` told of a file that the command `stage` made; None of others, or where nothing is told."""
    maker, origin = _told_in(path)
    return Origin(*origin.split("-", 1)) if origin and maker == stage else None


def _told_in(path: str | os.PathLike[str]) -> tuple[str | None, str | None]:
    """The command that made a file, and what it told of its origin; None where nothing is told."""
    mark, told, origin = mark_in(path).partition(ORIGIN)
    return maker_in(mark), origin.decode("ascii", "replace") if told else None
