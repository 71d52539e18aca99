"""The subtomograms that a network is trained on, read from disk when they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.conventions import TILT_RANGE
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import Volume, open_volume, read_float
from isonet_scipion.engine.physics.grey_scale import GreyScale, measure
from isonet_scipion.engine.physics.wedge import TiltRange

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats
    from isonet_scipion.engine.io.star import Star


@dataclass(frozen=True)
class Subtomogram:
    """One subtomogram on disk."""

    name: str
    path: str
    size: int  # voxels on a side
    tilt: TiltRange
    grey_scale: GreyScale  # of the negated voxels

    def volume(self) -> Volume:
        """Its file; opened anew each time, since thousands can't be open at once."""
        return open_volume(self.path)

    def normalised(self) -> Floats:
        """Its voxels (n, n, n) float32, normalised, protein bright."""
        return self.grey_scale.apply(-self.volume().data.astype(np.float32))


def read_subtomograms(table: Star, percentile: bool, tilt: tuple[float | None, float | None]) -> list[Subtomogram]:
    """Open all subtomograms of a table.

    Parameters
    ----------
    table : Star
        With rlnImageName, and rlnTiltMin and rlnTiltMax (degrees) where known.
    percentile : bool
        How to normalise; see `normalisation.measure`.
    tilt : tuple
        Tilt range in degrees to use instead of the table's; None: the table's, else the usual one.

    Returns
    -------
    list of Subtomogram

    Raises
    ------
    EngineError
        If one can't be read, is no cube, constant, or of another size than the first.
    """
    table.require(["rlnImageName"])
    subtomograms: list[Subtomogram] = []
    names: set[str] = set()
    for row in table.rows:
        volume = open_volume(row["rlnImageName"])
        if len(set(volume.shape)) > 1:
            raise EngineError(volume.path, f"its shape {volume.shape} is not a cube", "Extract cubic subtomograms.")
        size = len(volume.data)
        if subtomograms and size != subtomograms[0].size:
            raise EngineError(
                volume.path,
                f"its side is {size} voxels, the first one's {subtomograms[0].size}",
                "Extract all with one crop_size.",
            )
        data = read_float(volume)
        tilt_range = TiltRange(
            table.number(row, "rlnTiltMin", TILT_RANGE[0]) if tilt[0] is None else tilt[0],
            table.number(row, "rlnTiltMax", TILT_RANGE[1]) if tilt[1] is None else tilt[1],
        )
        grey_scale = measure(np.negative(data, out=data), percentile)
        stem = Path(volume.path).stem
        name = f"{len(subtomograms) + 1:06d}_{stem}" if stem in names else stem
        names.add(name)
        subtomograms.append(Subtomogram(name, volume.path, size, tilt_range, grey_scale))
    return subtomograms
