"""Models as IMOD draws them, for the tests of both halves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from imodmodel import ImodModel
from imodmodel.models import Contour, ModelHeader, Object

if TYPE_CHECKING:
    from pathlib import Path

SQUARE = [(10, 20, 4), (30, 20, 4), (30, 50, 4), (10, 50, 4)]
SHAPE = (40, 60, 80)


def write_model(
    path: Path,
    *objects: list[list[tuple[float, float, float]]],
    size: tuple[int, int, int] = SHAPE,
    flipped: bool = False,
    scattered: tuple[int, ...] = (),
    opened: tuple[int, ...] = (),
) -> Path:
    model = ImodModel(
        header=ModelHeader(zmax=size[0], ymax=size[1], xmax=size[2]),
        objects=[Object(contours=[Contour(points=np.array(c, float)) for c in contours]) for contours in objects],
    )
    model.header.flags.model_last_viewed_onYZ_flipped_or_rotated = flipped
    for number, item in enumerate(model.objects):
        item.update_sizes()
        item.header.flags.scattered, item.header.flags.open = number in scattered, number in opened
    model.update_sizes()
    model.to_file(path)
    return path
