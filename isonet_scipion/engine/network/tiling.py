"""Covering a tomogram with overlapping tiles, and blending what comes back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Tuple

import numpy as np

from isonet_scipion.engine.arrays import release, release_now_and_then
from isonet_scipion.engine.conventions import ISONET_RAMP
from isonet_scipion.engine.errors import EngineError

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats, Integers, Mean, Reals

Shape = Tuple[int, ...]
HALO = 32  # voxels between a tile's core and its edge, where the network's zero padding shows, unless it was measured
# mirrored voxels beyond the tomogram's faces: where a grid is removed, and else, as the outermost voxels of a part come
# out as like the whole's with 4 as with more
BORDER, LEAST_BORDER = 8, 4
RAMP = 16


@dataclass(frozen=True)
class Tiling:
    """Tiles of `tile` voxels at steps of `step` voxels (z, y, x), blended by linear ramps.

    The first core starts at voxel `start`; a tile reaches (tile - step) / 2 voxels beyond its core on
    each side. Outside, the tomogram is mirrored. Where that is more than `border` voxels beyond the first
    or last voxel, the core there is longer instead.
    """

    tile: Shape
    step: Shape
    ramp: int
    start: int = 0
    border: int | None = None

    def counts(self, shape: Shape) -> Shape:
        """Number of tiles along each axis."""
        axes = zip(shape, self.step, (self.longer(axis) for axis in range(len(shape))))
        return tuple(max(1, -(-(length - self.start - 2 * longer) // step)) for length, step, longer in axes)

    def halo(self, axis: int) -> int:
        """Voxels between a tile's core and its edge."""
        return (self.tile[axis] - self.step[axis]) // 2

    def longer(self, axis: int) -> int:
        """Voxels by which the first and the last core are longer than the others."""
        return 0 if self.border is None else max(0, self.halo(axis) - self.border)

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
    if cube_size < ISONET_RAMP:
        raise EngineError(
            "cube_size",
            f"{cube_size} is less than {ISONET_RAMP}, over which tiles are blended",
            "Raise it, or crop_size, of which it is two thirds if not given; or leave out both for automatic tiles.",
        )
    if crop_size < cube_size + ISONET_RAMP:
        raise EngineError(
            "crop_size",
            f"{crop_size} is less than cube_size {cube_size} + {ISONET_RAMP}",
            "Raise crop_size, or leave out both for automatic tiles.",
        )
    return Tiling((crop_size,) * 3, (cube_size,) * 3, ISONET_RAMP, -ISONET_RAMP // 2)


def automatic_tiling(shape: Shape, divisor: Shape, tile_voxels: int, halo: int = HALO, border: int = BORDER) -> Tiling:
    """The tiles of at most `tile_voxels` voxels of which the fewest voxels go through the network.

    Parameters
    ----------
    shape : tuple of int
        Of the tomogram.
    divisor : tuple of int
        What sides and starts of tiles must be multiples of, so that all tiles sample the network alike.
    tile_voxels : int
        That fit into memory.
    halo : int
        Voxels between a tile's core and its edge along axes that are cut.
    border : int
        Mirrored voxels beyond the tomogram's faces.

    Raises
    ------
    EngineError
        If not even the smallest tile fits.
    """

    def sides(axis: int) -> dict[int, tuple[int, int]]:
        """Step and side of the tiles by their number along an axis."""
        unit = divisor[axis]
        whole = -(-(shape[axis] + 2 * border) // unit) * unit
        found = {1: (whole - 2 * border, whole)}
        beyond = -(-halo // unit) * unit
        inner = max(1, shape[axis] - 2 * max(0, beyond - border))
        for count in range(2, shape[axis] // max(RAMP, unit) + 2):
            step = -(-inner // (count * unit)) * unit
            if step < RAMP:
                break
            found.setdefault(-(-inner // step), (step, step + 2 * beyond))
        return found

    best = None
    along_z, along_y, along_x = (sides(axis) for axis in range(3))
    for (z, (_, depth)), (y, (_, height)) in itertools.product(along_z.items(), along_y.items()):
        # more tiles along x are always more voxels, so the first that fits is the best
        fitting = next((x for x, (_, width) in along_x.items() if depth * height * width <= tile_voxels), None)
        if fitting is not None:
            load = z * y * fitting * depth * height * along_x[fitting][1]
            best = min(best or (load, (z, y, fitting)), (load, (z, y, fitting)))
    if best is None:
        raise EngineError("memory", f"not even tiles of {tile_voxels} voxels fit", "Free memory or use another device.")
    chosen = [axis[count] for axis, count in zip((along_z, along_y, along_x), best[1])]
    return Tiling(tuple(tile for _, tile in chosen), tuple(step for step, _ in chosen), RAMP, border=border)


def map_tiles(
    volume: Reals | Mean,
    tiling: Tiling,
    function: Callable[[Floats], Floats],
    batch_size: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Floats:
    """Apply a function to all tiles and blend the results.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) of any real type; may be a memory map.
    tiling : Tiling
        The cover.
    function : callable
        From (batch, z, y, x) to the same shape, float32. It may overwrite what it gets, as the next tiles do.
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
    result[:] = 0  # pages that are read before they are written are asked of the system twice
    axes = [_axis_tiles(length, axis, tiling) for axis, length in enumerate(volume.shape)]
    places = itertools.product(*axes)
    tiles = np.empty((min(batch_size, int(np.prod(tiling.counts(volume.shape)))), *tiling.tile), np.float32)
    while batch := list(itertools.islice(places, batch_size)):
        for place, tile in zip(batch, tiles):
            _take(volume, [axis.source for axis in place], tile)
            release(volume)
        for place, tile in zip(batch, function(tiles[: len(batch)])):
            _add_blended(result, place, tile)
        progress(len(batch))
    return result


def _take(volume: Reals | Mean, sources: list[Integers], out: Floats) -> None:
    """volume[np.ix_(*sources)], by slices: mirrored indices go up or down in steps of 1 and turn on a repeated one."""
    parts = list(itertools.product(*map(_runs, sources[1:])))
    for number, (plane, z) in enumerate(zip(out, sources[0])):
        for (rows, taken_rows), (columns, taken_columns) in parts:
            plane[rows, columns] = volume[z, taken_rows, taken_columns]
        release_now_and_then(volume, number)


def _runs(source: Integers) -> list[tuple[slice, slice]]:
    """Slices of an index array and of what it takes, for each run in steps of 1 or -1."""
    bounds, runs = [0, *(np.flatnonzero(np.diff(source) == 0) + 1), len(source)], []
    for first, last in zip(bounds[:-1], bounds[1:]):
        start, end = int(source[first]), int(source[last - 1])
        down = end < start
        stop = (end - 1 if end else None) if down else end + 1
        runs.append((slice(first, last), slice(start, stop, -1 if down else 1)))
    return runs


@dataclass(frozen=True)
class _AxisTile:
    source: Integers  # voxel that each sample of the tile is taken from
    target: slice  # voxels it contributes to
    inside: slice  # samples of the tile that go there
    weights: Reals


def _axis_tiles(length: int, axis: int, tiling: Tiling) -> Iterator[_AxisTile]:
    tile, step, ramp = tiling.tile[axis], tiling.step[axis], tiling.ramp
    halo, longer, count = tiling.halo(axis), tiling.longer(axis), tiling.counts((length,) * 3)[axis]
    before = halo - tiling.start
    mirrored = np.pad(np.arange(length), (before, step + tile), mode="symmetric")
    for number in range(count):
        corner = tiling.start + number * step + longer - halo
        # where the core starts and ends
        start = 0 if number == 0 else corner + halo
        end = length if number == count - 1 else corner + halo + step
        first, last = max(0, start - ramp // 2), min(length, end + ramp // 2)
        position = np.arange(first, last) + 0.5
        rise = np.ones(last - first) if start <= 0 else (position - start) / ramp + 0.5
        fall = np.ones(last - first) if end >= length else (end - position) / ramp + 0.5
        weights = np.clip(np.minimum(rise, fall), 0, 1).astype(np.float32)
        source = mirrored[corner + before : corner + before + tile]
        yield _AxisTile(source, slice(first, last), slice(first - corner, last - corner), weights)


def _add_blended(result: Floats, place: tuple[_AxisTile, ...], tile: Floats) -> None:
    z, y, x = place
    plane_weights = y.weights[:, None] * x.weights
    weighted = np.empty_like(plane_weights)
    parts = result[z.target, y.target, x.target], z.weights, tile[z.inside, y.inside, x.inside]
    for plane, weight, values in zip(*parts):
        np.multiply(values, plane_weights, out=weighted)
        if weight < 1:
            weighted *= weight
        plane += weighted
