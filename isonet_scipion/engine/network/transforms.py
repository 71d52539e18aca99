"""Filters of volumes on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from isonet_scipion.engine.network.grid_filter import near_grid

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats

TINY = 1e-30
INSIDE, AROUND = 0.125, (0.3, 0.5)  # what is compared, as distances from its frequencies in steps from one to the next


def transferred(volumes: Any, filters: Any) -> Any:
    """Filter volumes (b, z, y, x) with filters (b or 1, z, y, x // 2 + 1), laid out as transforms of real volumes."""
    kept = ops.transpose(filters, (0, 3, 1, 2))
    rows = ops.ifft2(tuple(part * kept for part in _transform(volumes)))
    return ops.irfft(tuple(ops.transpose(part, (0, 2, 3, 1)) for part in rows), fft_length=volumes.shape[-1])


def without(volumes: Any, filters: Any, edge: int) -> Any:
    """Volumes less what filters, which pass no mean, pass of them; both as for `transferred`.

    What is taken away fades out over the `edge` outermost voxels: the steps between opposite faces, which a transform
    takes for detail, would ring in the middle.
    """
    return volumes - transferred(_faded(volumes, edge), filters)


def levelled(volumes: Any, references: Any, period: tuple[int, ...], edge: int) -> Any:
    """Volumes in which no wave of a grid stands out of those around it, unless it does so in others.

    Parameters
    ----------
    volumes, references : tensor
        (b, z, y, x); the sides are multiples of `period`.
    period : tuple of int
        Of the grid (z, y, x), in voxels; its fractions count too.
    edge : int
        As for `without`.

    Returns
    -------
    tensor
        Like `volumes`.
    """
    shape = tuple(volumes.shape[1:])
    allowed = ops.maximum(_standing_out(references, period, edge), 1.0)
    lost = 1 - ops.sqrt(ops.minimum(1.0, allowed / ops.maximum(_standing_out(volumes, period, edge), TINY)))
    grid = np.ones(lost.shape[1:], np.float32)
    grid[0, 0, 0] = 0  # the mean is none of its waves
    lost = lost * ops.convert_to_tensor(grid)
    return without(volumes, _weighted(lost, [weights.T for weights in near_grid(shape, period)]), edge)


def _standing_out(volumes: Any, period: tuple[int, ...], edge: int) -> Any:
    """Mean power near each of a grid's frequencies over that around it, (b, z, y, x) by their numbers."""
    shape = tuple(volumes.shape[1:])
    real, imaginary = _transform(_faded(volumes, edge))
    power = ops.transpose(real**2 + imaginary**2, (0, 2, 3, 1))

    def sums(reach: float) -> tuple[Any, Floats]:
        boxes = near_grid(shape, period, reach)
        z, y, x = (box.sum(axis=1) for box in boxes)
        return _weighted(power, boxes), z[:, None, None] * y[:, None] * x

    (inside, inner), (around, outer), (all_around, outermost) = (sums(reach) for reach in (INSIDE, *AROUND))
    ring = outermost - outer
    # where nothing is between two of the frequencies, none stands out
    weights = ops.convert_to_tensor(np.where(ring > 0, ring / inner, 0).astype(np.float32))
    return inside * weights / ops.maximum(all_around - around, TINY)


def _weighted(volumes: Any, weights: list[Floats]) -> Any:
    """Sums over the axes z, y, x of volumes (b, z, y, x) with weights (sums, length) of each."""
    for matrix in weights:
        # the axis that was first is the last one then, so that three turns bring them back in order
        volumes = ops.tensordot(volumes, ops.convert_to_tensor(matrix), ((1,), (1,)))
    return volumes


def _transform(volumes: Any) -> tuple[Any, Any]:
    """Real and imaginary parts of volumes' transforms, (b, x // 2 + 1, z, y)."""
    real, imaginary = ops.fft2(tuple(ops.transpose(part, (0, 3, 1, 2)) for part in ops.rfft(volumes)))
    return real, imaginary


def _faded(volumes: Any, edge: int) -> Any:
    """Volumes less their means, falling to nothing over the `edge` outermost voxels."""
    faded = volumes - ops.mean(volumes, axis=(1, 2, 3), keepdims=True)
    for axis, length in enumerate(volumes.shape[1:]):
        place = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
        fade = np.sin(np.pi / 2 * np.clip(place / edge, 0, 1)) ** 2
        faded = faded * ops.convert_to_tensor(fade.astype(np.float32).reshape(-1, *[1] * (2 - axis)))
    return faded
