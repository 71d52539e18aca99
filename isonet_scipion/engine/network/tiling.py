"""Covering a tomogram with overlapping tiles, and blending what comes back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.conventions import ISONET_RAMP
from isonet_scipion.engine.errors import EngineError

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats, Integers, Reals

Shape = "tuple[int, int, int]"
HALO = 32  # voxels between a tile's core and its edge, where the network's zero padding shows
BORDER = 8  # the same along axes that are not cut: mirrored voxels beyond the tomogram's faces
RAMP = 16


@dataclass(frozen=True)
class Tiling:
    """Tiles of `tile` voxels at steps of `step` voxels (z, y, x), blended by linear ramps.

    The first core starts at voxel `start`; a tile reaches (tile - step) / 2 voxels beyond its core on
    each side. Outside, the tomogram is mirrored.
    """

    tile: Shape
    step: Shape
    ramp: int
    start: int = 0

    def counts(self, shape: Shape) -> Shape:
        """Number of tiles along each axis."""
        return tuple(-(-(length - self.start) // step) for length, step in zip(shape, self.step))

    def load(self, shape: Shape) -> float:
        """Voxels that go through the network, as a multiple of the tomogram's."""
        return float(np.prod(self.counts(shape)) * np.prod(self.tile) / np.prod(shape))


def isonet_tiling(cube_size: int, crop_size: int) -> Tiling:
    """IsoNet 0.2's scheme: cubes of crop_size^3 at steps of cube_size.

    Raises
    ------
    EngineError
        If the tiles are too small for IsoNet 0.2's ramps.
    """
    if cube_size < ISONET_RAMP or crop_size < cube_size + ISONET_RAMP:
        raise EngineError(
            "crop_size",
            f"{crop_size} is less than cube_size {cube_size} + {ISONET_RAMP}, or cube_size is below {ISONET_RAMP}",
            "Raise crop_size, or leave out both for automatic tiles.",
        )
    return Tiling((crop_size,) * 3, (cube_size,) * 3, ISONET_RAMP, -ISONET_RAMP // 2)


def automatic_tiling(shape: Shape, divisor: Shape, tile_voxels: int) -> Tiling:
    """The fewest tiles of at most `tile_voxels` voxels, whole in z where that fits.

    Parameters
    ----------
    shape : tuple of int
        Of the tomogram.
    divisor : tuple of int
        What sides and starts of tiles must be multiples of, so that all tiles sample the network alike.
    tile_voxels : int
        That fit into memory.

    Raises
    ------
    EngineError
        If not even the smallest tile fits.
    """

    def side(axis: int, count: int) -> tuple[int, int]:
        unit = divisor[axis]
        step = -(-shape[axis] // (count * unit)) * unit
        halo = -(-(HALO if count > 1 else BORDER) // unit) * unit
        return step, step + 2 * halo

    counts = [1, 1, 1]
    while np.prod([side(axis, counts[axis])[1] for axis in range(3)]) > tile_voxels:
        # split the side with the longest core; z, the thin one, only when it is no longer thin
        cores = [side(axis, counts[axis])[0] for axis in range(3)]
        longest = max(range(3), key=lambda axis: (cores[axis], axis))
        if cores[longest] <= max(RAMP, divisor[longest]):
            raise EngineError(
                "memory", f"not even tiles of {tile_voxels} voxels fit", "Free memory or use another device."
            )
        counts[longest] += 1
    sides = [side(axis, counts[axis]) for axis in range(3)]
    return Tiling(tuple(tile for _, tile in sides), tuple(step for step, _ in sides), RAMP)


def map_tiles(
    volume: Floats,
    tiling: Tiling,
    function: Callable[[Floats], Floats],
    batch_size: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Floats:
    """Apply a function to all tiles and blend the results.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) float32.
    tiling : Tiling
        The cover.
    function : callable
        From (batch, z, y, x) to the same shape, float32.
    batch_size : int
        Tiles per call; the last call may have fewer.
    progress : callable
        Told how many tiles each call finished.

    Returns
    -------
    ndarray
        (z, y, x) float32: the sum of all tiles with weights that add up to 1 everywhere.
    """
    result = np.zeros(volume.shape, np.float32)
    axes = [_axis_tiles(length, axis, tiling) for axis, length in enumerate(volume.shape)]
    places = itertools.product(*axes)
    while batch := list(itertools.islice(places, batch_size)):
        tiles = np.stack([volume[np.ix_(*(axis.source for axis in place))] for place in batch])
        for place, tile in zip(batch, function(tiles)):
            _add_blended(result, place, tile)
        progress(len(batch))
    return result


@dataclass(frozen=True)
class _AxisTile:
    source: Integers  # voxel that each sample of the tile is taken from
    target: slice  # voxels it contributes to
    inside: slice  # samples of the tile that go there
    weights: Reals


def _axis_tiles(length: int, axis: int, tiling: Tiling) -> Iterator[_AxisTile]:
    tile, step, ramp = tiling.tile[axis], tiling.step[axis], tiling.ramp
    halo = (tile - step) // 2
    before = halo - tiling.start
    mirrored = np.pad(np.arange(length), (before, step + tile), mode="symmetric")
    for start in range(tiling.start, length, step):
        first, last = max(0, start - ramp // 2), min(length, start + step + ramp // 2)
        position = np.arange(first, last) + 0.5
        rise = np.ones(last - first) if start <= 0 else (position - start) / ramp + 0.5
        fall = np.ones(last - first) if start + step >= length else (start + step - position) / ramp + 0.5
        weights = np.clip(np.minimum(rise, fall), 0, 1).astype(np.float32)
        corner = start - halo
        source = mirrored[corner + before : corner + before + tile]
        yield _AxisTile(source, slice(first, last), slice(first - corner, last - corner), weights)


def _add_blended(result: Floats, place: tuple[_AxisTile, ...], tile: Floats) -> None:
    z, y, x = place
    plane_weights = y.weights[:, None] * x.weights
    for plane, weight, values in zip(result[z.target], z.weights, tile[z.inside, y.inside, x.inside]):
        plane[y.target, x.target] += weight * plane_weights * values
