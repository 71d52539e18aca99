"""Parts of a volume that hold one value, as the padding of AreTomo, Warp and RELION: they are no data.

Each section may be padded with a value of its own, such as its mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np
import scipy.ndimage

from isonet_scipion.engine.arrays import Doubles, Flags, Floats, Integers, Reals, release, release_now_and_then

SAMPLED = 24  # planes in which the values are looked for
LEVEL_PLANES = 4  # about so many planes tell how far apart grey values are
MOST_VALUES = 4
LEAST_SHARE = 0.005  # of the voxels; less shifts no percentile
ABOVE_NEIGHBOURS = 5.0  # smooth data in few grey levels have flat places too, but of neighbouring levels alike
MANY_LEVELS = 10.0  # of them within the deviation: sections of fewer may have flat places of one level alone

Box = Tuple[slice, ...]


@dataclass(frozen=True)
class Border:
    """Where a volume holds one value instead of data."""

    box: Box  # the smallest that holds all data
    empty: Flags | None  # bool, of the box: its voxels without data; None: all are data
    values: tuple[float, ...]
    share: float  # of the volume's voxels that are no data
    shape: tuple[int, ...]  # of the volume
    by_section: bool = False  # there are other values, in each section its own

    def describe(self) -> str:
        """In words, after a file's name."""
        values = ", ".join([f"{value:g}" for value in self.values] + ["a value of each section"] * self.by_section)
        return f"{100 * self.share:.1f} % of its voxels are a border or blank ({values}), which is left out"

    @property
    def inner_shape(self) -> tuple[int, int, int]:
        """Of the box."""
        depth, height, width = (axis.stop - axis.start for axis in self.box)
        return depth, height, width

    def inner(self, volume: Floats) -> Reals:
        """The box of a volume of the same shape: a view, or where it has empty places a float32 copy, mirrored there.

        What is mirrored has the grey values of the data beside it, so that filters see no step.
        """
        return volume[self.box] if self.empty is None else mirrored_into(volume[self.box], self.empty)

    def without(self, mask: Reals) -> Reals:
        """A mask of the box, (z, y, x) bool, as one of the whole volume of which no voxel lies in the border."""
        whole = np.zeros(self.shape, bool)
        whole[self.box] = mask if self.empty is None else mask & ~self.empty
        return whole

    def data(self) -> Reals:
        """True where the volume holds data: (z, y, x) bool, of the whole volume."""
        return self.without(np.ones(self.inner_shape, bool))

    def put_back(self, volume: Floats, inner: Reals, out: Reals) -> None:
        """Fill `out` with what was made of the box, and around and between it with the voxels of `volume`.

        Parameters
        ----------
        volume : ndarray
            The whole, (z, y, x) of any real type.
        inner : ndarray
            Of the box; may be the view of it in `out`.
        out : ndarray
            float32, as the whole; may be a memory map.
        """
        z, y, x = self.box
        for place in range(len(volume)):
            made = inner[place - z.start].copy() if z.start <= place < z.stop else None
            out[place] = volume[place]
            if made is not None:
                if self.empty is not None:
                    hole = self.empty[place - z.start]
                    made[hole] = volume[place, y, x][hole]
                out[place, y, x] = made
            release(out)


def find_border(volume: Floats) -> Border | None:
    """Where a volume holds one of a few values over more than half a percent of its voxels; None where it does not.

    A voxel counts if it lies in a block of 3^3 voxels of that value, at a face in one of 3^2, or in a whole plane of
    it: single voxels that happen to have the most frequent grey value are data. Each section may have a value of its
    own.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) of any real type; may be a memory map.

    Returns
    -------
    Border or None
        None also where all voxels are equal.
    """
    if min(volume.shape[1:]) < 3:
        return None
    planes = _sampled_planes(volume)
    empty, found, step = np.zeros(volume.shape, bool), [], _level_step(volume, planes)
    for value in _flat_values(volume, planes, step):
        flat = _flat(volume, np.full(len(volume), value))
        if flat.mean() > LEAST_SHARE / 2:
            found.append(float(value))
            empty |= flat
    own = _values_of_sections(volume, planes, step, found)
    release(volume)
    if not found and own is None:
        return None
    by_section = False
    if own is not None:
        flat = _flat(volume, own) & ~empty
        by_section = bool(flat.mean() > LEAST_SHARE / 2)
        empty |= flat & by_section
    share = float(empty.mean())
    if share < LEAST_SHARE or share == 1.0:
        return None
    box = []
    for axis in range(3):
        held = np.flatnonzero(~empty.all(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(int(held[0]), int(held[-1]) + 1))
    inside = empty[tuple(box)]
    return Border(tuple(box), inside.copy() if inside.any() else None, tuple(found), share, volume.shape, by_section)


def _sampled_planes(volume: Floats) -> Integers:
    """Places of planes all over a volume, and of some of those that seem to be blank."""
    middle = np.asarray(volume[:, volume.shape[1] // 2])
    blank = np.flatnonzero((middle == middle[:, :1]).all(axis=1))
    return np.unique(np.concatenate([_spread(np.arange(len(volume))), _spread(blank)]))


def _flat_values(volume: Floats, planes: Integers, step: float) -> list[float]:
    """Values that fill blocks of 3^2 voxels, or whole rows or columns, of some planes, the most frequent first."""
    flat = []
    for z in planes:
        plane = np.asarray(volume[z])
        flat.append(_flat_pixels(plane))
        # planes along z that are narrower than a block
        flat += [lines[(lines == lines[:, :1]).all(axis=1)].ravel() for lines in (plane, plane.T)]
    release(volume)
    values, counts = np.unique(np.concatenate(flat), return_counts=True)
    chosen = np.flatnonzero(counts >= LEAST_SHARE / 2 * len(planes) * volume[0].size)
    levels = values.astype(np.float64)

    def stands_out(place: int) -> bool:
        others = [other for other in (place - 1, place + 1) if 0 <= other < len(levels)]
        beside = [counts[other] for other in others if abs(levels[other] - levels[place]) < 1.5 * step]
        return bool(counts[place] > ABOVE_NEIGHBOURS * max(beside, default=0))

    most_first = sorted(filter(stands_out, chosen), key=lambda place: -counts[place])
    return [float(values[place]) for place in most_first[:MOST_VALUES]]


def _values_of_sections(volume: Floats, planes: Integers, step: float, known: list[float]) -> Doubles | None:
    """The value that each section is padded with apart from `known` ones, NaN: with none; None: hardly any is."""
    size = volume[0].size

    def of_section(z: int) -> tuple[float, int]:
        release_now_and_then(volume, z)
        return _prevailing(_flat_pixels(np.asarray(volume[z])), size, known)

    if sum(of_section(z)[1] for z in planes) < LEAST_SHARE * len(planes) * size:
        return None
    few = planes[:: max(1, len(planes) // LEVEL_PLANES)]
    if max(float(np.std(volume[z], dtype=np.float64)) for z in few) < MANY_LEVELS * step:
        return None
    return np.array([of_section(z)[0] for z in range(len(volume))])


def _prevailing(flat: Reals, size: int, known: list[float]) -> tuple[float, int]:
    """The value of most flat pixels of a section of `size`, apart from `known` ones, and how many; NaN and 0: none."""
    values, counts = np.unique(flat[~np.isin(flat, known)], return_counts=True)
    fewer, most = np.sort(np.concatenate([[0, 0], counts]))[-2:]
    if most < LEAST_SHARE * size or most <= ABOVE_NEIGHBOURS * fewer:
        return np.nan, 0
    return float(values[np.argmax(counts)]), int(most)


def _level_step(volume: Floats, planes: Integers) -> float:
    """The least difference between grey values: next to nothing, but where they were rounded to few levels."""
    found = []
    for z in planes[:: max(1, len(planes) // LEVEL_PLANES)]:
        levels = np.unique(np.asarray(volume[z], np.float64))
        found += [float(np.diff(levels).min())] if len(levels) > 1 else []
    release(volume)
    return min(found, default=0.0)


def _spread(places: Integers) -> Integers:
    """At most SAMPLED of some places, at even distances."""
    return places[np.linspace(0, max(len(places) - 1, 0), min(SAMPLED, len(places))).round().astype(int)]


def _flat_pixels(plane: Reals) -> Reals:
    """Pixels of a plane in whose block of 3^2 all are equal."""
    wider = np.pad(plane, 2, "edge")  # beyond the faces all are as there: a layer of one voxel is a block, too
    inside: Reals = wider[1:-1, 1:-1][_flat_blocks(wider)]
    return inside


def _flat_blocks(plane: Reals) -> Flags:
    """Whether the block of 3^2 pixels around each inner pixel holds one value."""
    along = plane[:, 1:] == plane[:, :-1]
    along = along[:, 1:] & along[:, :-1]
    down = plane[1:, 1:-1] == plane[:-1, 1:-1]
    return along[1:-1] & along[2:] & along[:-2] & down[1:] & down[:-1]


def _flat(volume: Floats, values: Doubles) -> Flags:
    """Voxels in blocks of 3^3, at a face of 3^2, or in whole planes, of a value; beyond the faces all have it.

    `values`: of each section, which are the same but for what is padded section by section.
    """
    equal = np.empty(volume.shape, bool)
    for z in range(len(volume)):
        np.equal(volume[z], float(values[z]), out=equal[z])
    release(volume)
    # for tips of turned borders; whole numbers may have the value by chance
    times = 1 if volume.dtype.kind in "iu" else 3
    flat = _in_blocks(equal, times)
    for axis in range(3):
        planes, of_planes = np.moveaxis(flat, axis, 0), np.moveaxis(equal, axis, 0)
        planes[equal.all(axis=tuple(other for other in range(3) if other != axis))] = True
        for face in (0, -1):  # where the tips are one voxel thick
            planes[face] |= _in_blocks(of_planes[face], times)
    return flat


def _in_blocks(equal: Flags, times: int) -> Flags:
    """Those in blocks of 3 voxels on a side, or up to `times` voxels from the middle of one."""
    flat = equal
    for axis in range(equal.ndim):
        flat = _with_neighbours(flat, axis, np.logical_and)
    for _ in range(times):
        for axis in range(equal.ndim):
            flat = _with_neighbours(flat, axis, np.logical_or)
        flat &= equal
    return flat


def _with_neighbours(flags: Flags, axis: int, join: np.ufunc) -> Flags:
    joined = flags.copy()
    source, target = np.moveaxis(flags, axis, 0), np.moveaxis(joined, axis, 0)
    join(target[1:], source[:-1], out=target[1:])
    join(target[:-1], source[1:], out=target[:-1])
    return joined


def mirrored_into(volume: Floats, empty: Flags) -> Reals:
    """A float32 copy of a volume whose empty voxels are filled with the data beside them, mirrored at their edge.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) of any real type.
    empty : ndarray of bool
        Same shape; not all True.
    """
    filled = volume.astype(np.float32)
    holds = ~empty.all(axis=(1, 2))
    before, source = None, None
    for z in np.flatnonzero(holds & empty.any(axis=(1, 2))):
        hole = empty[z]
        if before is None or source is None or not np.array_equal(hole, before):
            before, source = hole, _mirrored_places(hole)
        filled[z][hole] = filled[z][source[0], source[1]]
    if not holds.all():
        line = _mirrored_places(~holds[:, None])[0]  # of the planes without data
        filled[~holds] = filled[line]
    return filled


def put_back_nearest(volume: Reals, empty: Flags, step: float, rescaled: Floats) -> None:
    """Fill a rescaled volume, where the volume is empty, with the nearest of its voxels: a border stays one.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) of any real type.
    empty : ndarray of bool
        Same shape.
    step : float
        Voxels of `volume` from one of `rescaled` to the next.
    rescaled : ndarray
        (z, y, x) float32, which is changed.
    """
    nearest = [
        np.minimum(((np.arange(new) + 0.5) * step).astype(int), old - 1)
        for new, old in zip(rescaled.shape, volume.shape)
    ]
    columns = np.ix_(*nearest[1:])
    for plane, z in zip(rescaled, nearest[0]):
        hole = empty[z][columns]
        plane[hole] = np.asarray(volume[z])[columns][hole]


def _mirrored_places(hole: Flags) -> tuple[Integers, Integers]:
    """For each pixel of a hole the place of the pixel, beyond the nearest edge, that is mirrored into it."""
    nearest = scipy.ndimage.distance_transform_edt(hole, return_distances=False, return_indices=True)
    nearest = nearest[:, hole]
    mirrored = 2 * nearest - np.stack(np.nonzero(hole))
    outside = ((mirrored < 0) | (mirrored >= np.array(hole.shape)[:, None])).any(axis=0)
    mirrored = np.where(outside, nearest, mirrored)
    mirrored = np.where(hole[mirrored[0], mirrored[1]], nearest, mirrored)
    return mirrored[0], mirrored[1]
