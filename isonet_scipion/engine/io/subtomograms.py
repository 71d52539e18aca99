"""The subtomograms that a network is trained on, read from disk when they are needed."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.arrays import fingerprint
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import State, file_state
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.star import require_one_meaning
from isonet_scipion.engine.io.table_checks import tell_assumed_tilts, warn_of_changed_tilts
from isonet_scipion.engine.io.tomogram_entry import row_tilts
from isonet_scipion.engine.io.volume import Volume, read_float
from isonet_scipion.engine.physics.borders import find_border, mirrored_into
from isonet_scipion.engine.physics.grey_scale import GreyScale, Shown, measure
from isonet_scipion.engine.physics.withheld_tilts import withheld_part
from isonet_scipion.engine.wording import names_in_words

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats, Reals
    from isonet_scipion.engine.conventions import Normalisation
    from isonet_scipion.engine.io.star import Star
    from isonet_scipion.engine.physics.wedge import TiltRange

log = logging.getLogger(__name__)
VOXELS = "isonetVoxels"  # column: the fingerprint of the voxels that a row was written with
MOST_BLANK = 0.5  # share of a subtomogram without data up to which it is learned from


@dataclass(frozen=True)
class Subtomogram:
    """One subtomogram on disk."""

    name: str
    path: str
    size: int  # voxels on a side
    tilt: TiltRange
    grey_scale: GreyScale  # of the negated voxels
    voxel_size: float = 0.0  # A, 0 where neither table nor header tells it
    has_border: bool = False  # a part of it holds one value: what is beside it is mirrored there
    withheld: TiltRange | None = None  # its whole range, where the outermost tilts of that are kept from who reads it
    fingerprint: int = 0  # of the file's voxels
    state: State = None  # of the file when it was read

    def volume(self) -> Volume:
        """Its file; opened anew each time, since thousands can't be open at once.

        Raises
        ------
        EngineError
            If it can't be read, or is another one than was read at first: its grey scale and tilts are not known.
        """
        volume = open_volume(self.path)
        if self.state is not None and _state(self.path) != self.state:
            raise EngineError(
                self.path,
                "it was replaced while the training ran",
                "Train on the new ones, with another result_dir; while a training runs, extract to another folder.",
            )
        return volume

    def normalised(self) -> Floats:
        """Its voxels (n, n, n) float32, normalised, protein bright."""
        voxels = self.volume().data
        shown = Shown(voxels, self.grey_scale).show(_without_border(voxels) if self.has_border else voxels)
        return shown if self.withheld is None else shown - withheld_part(shown, self.withheld)


def _state(path: str) -> State:
    """What changes when a file, or what a link leads to, is replaced; None where it can't be told."""
    try:
        return file_state(os.path.realpath(path))
    except (OSError, ValueError):  # who opens it tells what is wrong
        return None


def _without_border(voxels: Reals) -> Reals:
    border = find_border(voxels)
    return voxels if border is None else mirrored_into(voxels, ~border.data())


def side_of_cube(volume: Volume, first: int | None = None) -> int:
    """Side of a subtomogram in voxels; an EngineError where it is no cube, or not as large as the first one, if any."""
    if len(set(volume.shape)) > 1:
        raise EngineError(volume.path, f"its shape {volume.shape} is not a cube", "Extract cubic subtomograms.")
    size = volume.shape[0]
    if first not in (None, size):
        why = f"its side is {size} voxels, the first one's {first}"
        raise EngineError(volume.path, why, "Extract all with one size (crop_size).")
    return size


def read_subtomograms(
    table: Star, normalisation: Normalisation, tilt: tuple[float | None, float | None]
) -> list[Subtomogram]:
    """Open the subtomograms of a table; those that are blank, or for the most part a border, are left out and told.

    Parameters
    ----------
    table : Star
        With rlnImageName, and rlnPixelSize (A), rlnTiltMin and rlnTiltMax (degrees) where known, and of `extract`
        isonetVoxels. It loses the rows that are left out.
    normalisation : Normalisation
        Of their grey values.
    tilt : tuple
        Tilt range in degrees to use instead of the table's; None: the table's, otherwise the usual one.

    Returns
    -------
    list of Subtomogram

    Raises
    ------
    EngineError
        If one can't be read, is no cube, of another size than the first, has other voxels than the table was written
        for, or its tilt range is impossible, or all are blank; or as of `star.require_one_meaning`.
    """
    table.require(["rlnImageName"])
    require_one_meaning(table, ["rlnImageName"])
    subtomograms: list[Subtomogram] = []
    names: set[str] = set()
    blank, bordered, kept = [], [], []
    for row in table.rows:
        state = _state(row["rlnImageName"])  # first: what comes in between is another one to `Subtomogram.volume`
        volume = open_volume(row["rlnImageName"])
        size = side_of_cube(volume, subtomograms[0].size if subtomograms else None)
        border = find_border(volume.data)
        if (volume.data == volume.data[0, 0, 0]).all() or (border is not None and border.share > MOST_BLANK):
            blank.append(volume.path)
            continue
        data = read_float(volume)
        voxels = fingerprint(data)
        if table.integer(row, VOXELS, voxels) != voxels:
            raise EngineError(
                volume.path,
                f"it has other voxels than when {table.path} was written: it was replaced since, as by another extract",
                f"Extract anew, or take the column _{VOXELS} out of the table if you changed them yourself.",
            )
        if border is not None:
            bordered.append(volume.path)
            data = mirrored_into(data, ~border.data())
        tilt_range = row_tilts(table, row, volume.path, *tilt)
        grey_scale = measure(np.negative(data, out=data), normalisation)
        stem = Path(volume.path).stem
        name = f"{len(subtomograms) + 1:06d}_{stem}" if stem in names else stem
        names.add(name)
        usual = subtomograms[0].voxel_size if subtomograms else volume.voxel_size
        voxel_size, has_border = table.number(row, "rlnPixelSize", usual), border is not None
        subtomograms.append(
            Subtomogram(name, volume.path, size, tilt_range, grey_scale, voxel_size, has_border, None, voxels, state)
        )
        kept.append(row)
    if not subtomograms:
        raise EngineError(
            table.path, f"all its subtomograms are blank ({len(blank)})", "Extract them where the sample is."
        )
    if blank:
        log.warning("%s: left out, as blank: %s", table.path, names_in_words(blank))
    if bordered:
        told = names_in_words(bordered)
        log.warning("%s: a border without data, which is filled by mirroring, is in %s", table.path, told)
    table.rows = kept
    if tilt == (None, None):
        tell_assumed_tilts(table, kept, [Path(one.path).stem for one in subtomograms])
        warn_of_changed_tilts(table)
    return subtomograms
