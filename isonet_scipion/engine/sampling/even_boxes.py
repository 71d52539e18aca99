"""Where in a tomogram a few boxes stand for the whole sample."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Tuple

import numpy as np

from isonet_scipion.engine.arrays import release, release_now_and_then
from isonet_scipion.engine.sampling.spikes import without_spikes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isonet_scipion.engine.arrays import Floats, Mean, Reals
    from isonet_scipion.engine.sampling.mask_values import Mask

LARGEST, SMALLEST = 64, 16  # sides in voxels
ENOUGH = 0.5  # a box is sample if it holds this share of what the fullest one holds

Corner = Tuple[int, ...]


def box_side(shape: tuple[int, ...], divisor: tuple[int, int, int]) -> int | None:
    """Side of the boxes: the largest even one that fits and that the network takes, at most 64 voxels.

    Of odd sides the last shell of a Fourier correlation is not at Nyquist.

    Parameters
    ----------
    shape : tuple of int
        Of the tomogram.
    divisor : tuple of int
        What the sides of the network's input must be multiples of.

    Returns
    -------
    int or None
        None if the tomogram is too small for one of 16 voxels.
    """
    unit = int(np.lcm.reduce((2, *divisor)))
    side = min(*shape, LARGEST) // unit * unit
    return side if side >= SMALLEST else None


def sample_corners(shape: tuple[int, ...], side: int, most: int) -> list[Corner]:
    """Corners of at most `most` boxes of `side` voxels (or the volume's, where that is less) spread over a volume."""
    axes = [range(0, max(1, length - side + 1), max(1, side)) for length in shape]
    starts = [[place + (max(0, length - side) - axis[-1]) // 2 for place in axis] for axis, length in zip(axes, shape)]
    corners = list(itertools.product(*starts))
    return [corners[place] for place in np.unique(np.linspace(0, len(corners) - 1, most).round().astype(int))]


def choose_boxes(volume: Reals | Mean, side: int, most: int, mask: Reals | Mask | None = None) -> list[Corner]:
    """Corners of boxes that do not overlap, spread evenly over the sample.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) of any real type; may be a memory map.
    side : int
        Of a box, in voxels.
    most : int
        Number of boxes, at least 1; fewer if there are no more.
    mask : ndarray, optional
        Same shape, above 0.5 in the sample. Without it, boxes with contrast are sample; spikes are none.
    """
    axes = [range(length % side // 2, length - side + 1, side) for length in volume.shape]
    corners = list(itertools.product(*axes))
    if mask is not None:
        content = [float((box > 0.5).mean()) for box in _every_other(mask, corners, side)]
    else:
        content = [float(without_spikes(box)[0].std(dtype=np.float64)) for box in _every_other(volume, corners, side)]
    sample = [corner for corner, held in zip(corners, content) if held >= ENOUGH * max(content)]
    count = min(most, len(sample))
    return [sample[int((number + 0.5) * len(sample) / count)] for number in range(count)]


def _every_other(volume: Any, corners: list[Corner], side: int) -> Iterator[Floats]:
    """So many voxels of the boxes at some corners that they tell as well what is in them: every 2nd, 4th of large."""
    step = max(2, side // 16)
    for number, corner in enumerate(corners):
        yield np.array(volume[tuple(slice(start, start + side, step) for start in corner)], np.float32)
        release_now_and_then(volume, number)  # boxes side by side have pages in common
    release(volume)


def cut(volume: Any, corner: Corner, side: int) -> Floats:
    """The box at a corner as a new float32 array."""
    box = np.array(volume[tuple(slice(start, start + side) for start in corner)], np.float32)
    release(volume)  # of a memory map far more pages come in than the box has
    return box
