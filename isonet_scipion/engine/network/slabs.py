"""Layers at full resolution, applied to a volume slab by slab: they hold many channels and see but a few voxels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

SLAB_VOXELS = 1 << 22  # at most, but for what a slab sees beyond itself


def in_slabs(
    layers: Callable[[list[Any]], Any],
    volumes: Sequence[Any],
    reach: int,
    step: int = 1,
    most: int = SLAB_VOXELS,
) -> Any:
    """What layers make of volumes, to the last bit, with memory for their channels in one slab alone.

    Parameters
    ----------
    layers : callable
        From a list of tensors like `volumes` to one.
    volumes : sequence of tensor
        (batch, z, y, x, channel); the first one with a sample per voxel, the others with one per voxel or per block of
        `step` voxels along each axis.
    reach : int
        Voxels beyond a place that the result there depends on.
    step : int
        What all slabs begin and end at multiples of; the volumes' sides are multiples, too.
    most : int
        Voxels in a slab without what it sees beyond itself.

    Returns
    -------
    tensor
        As `layers` make it of the whole volumes: with a sample per voxel or block.

    Examples
    --------
    >>> from isonet_scipion.engine.process.device import choose_devices
    >>> devices = choose_devices("-1")
    >>> from keras import ops
    >>> volume = ops.ones((1, 4, 4, 16, 1))
    >>> mean = lambda parts: ops.average_pool(parts[0], 3, 1, "same")
    >>> bool(ops.all(in_slabs(mean, [volume], reach=1, most=64) == mean([volume])))
    True
    """
    from keras import ops

    shape = tuple(volumes[0].shape)
    axis = max((1, 2, 3), key=lambda number: shape[number])
    length = shape[axis]
    count = -(-math.prod(shape[:4]) // most)
    own = -(-length // (count * step)) * step
    beyond = -(-reach // step) * step
    taken = own + 2 * beyond
    if taken >= length:
        return layers(list(volumes))

    def part(volume: Any, first: int, last: int) -> Any:
        block = length // volume.shape[axis]
        return volume[(slice(None),) * axis + (slice(first // block, last // block),)]

    made = []
    for first in range(0, length, own):
        # moved inwards at the faces, so that all have one shape and are compiled once
        start = min(max(first - beyond, 0), length - taken)
        result = layers([part(volume, start, start + taken) for volume in volumes])
        block = taken // result.shape[axis]
        inside = slice((first - start) // block, (min(first + own, length) - start) // block)
        made.append(result[(slice(None),) * axis + (inside,)])
    return ops.concatenate(made, axis)
