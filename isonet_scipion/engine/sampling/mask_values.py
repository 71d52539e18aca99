"""What the values of a mask mean: which voxels are inside, for masks as other programs write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isonet_scipion.engine.arrays import MASK, Flags, Reals, release
from isonet_scipion.engine.errors import EngineError

MOST_VALUES = 4096  # told apart; a mask with more is soft
SOFT_RIPPLE = 0.25  # by which interpolation may leave 0..1
AT_THE_ENDS = 0.5  # share of the voxels of a soft mask in other units that have its lowest or highest value
ALIKE = 0.5  # share of the neighbours of voxels between the ends that are equal, where values are labels
FEW_LABELS = 32  # more whole numbers, of which the highest is the most frequent, are a soft mask in bytes
TAIL = 0.1  # of the range of values, above the lowest: an edge fades there
REMEDY = "Write it with 1 inside and 0 outside."


@dataclass(frozen=True)
class MaskRule:
    """Which values are inside: those above one, or all but one."""

    above: float | None = None
    outside: float | None = None
    assumed: str | None = None  # in words, after the file's name; None for 0 and 1

    def holds(self, values: Reals) -> Flags:
        """True inside, for values of any shape."""
        inside: Flags = values > self.above if self.above is not None else values != self.outside
        return inside


class Mask:
    """A mask whose planes and boxes are True inside; its voxels may be a memory map, and stay as they are."""

    def __init__(self, voxels: Reals, rule: MaskRule | None = None) -> None:
        """For voxels (z, y, x) of any real type; without a rule it is that of their values, see `mask_rule`."""
        self._voxels, self.shape = voxels, voxels.shape
        self.rule = mask_rule(voxels) if rule is None else rule

    def __getitem__(self, place: Any) -> Reals:
        return self.rule.holds(np.asarray(self._voxels[place]))

    def __len__(self) -> int:
        return len(self._voxels)

    def box(self, box: tuple[slice, ...]) -> Mask:
        """A part of it, with the same rule."""
        return Mask(self._voxels[box], self.rule)

    def count(self) -> int:
        """Voxels inside."""
        total = 0
        for z in range(len(self)):
            total += int(np.count_nonzero(self[z]))
        release(self._voxels)
        return total

    def share(self) -> float:
        """Of the voxels that are inside, from 0 to 1."""
        return self.count() / int(np.prod(self.shape, dtype=object))


def mask_rule(voxels: Reals) -> MaskRule:
    """Decide what is inside.

    Two values: the higher one, or the one that is not 0. Three and more whole numbers that form regions are labels, of
    which all but the lowest, which must be 0 (or the least of signed bytes, as which IMOD stores 0), are inside.
    Others from 0 to 1 are a soft mask, inside above 0.5; in other units it is halfway if most voxels have the lowest or
    the highest value.

    Parameters
    ----------
    voxels : ndarray
        (z, y, x) of any real type; may be a memory map.

    Raises
    ------
    EngineError
        If it can't be decided, or a voxel is no number.
    """
    values = _Values(voxels)
    low, high = values.low, values.high
    if not (np.isfinite(low) and np.isfinite(high)):
        raise EngineError(MASK, "it holds NaN or infinite voxels", REMEDY)
    zero = -128.0 if voxels.dtype == np.int8 and low < -126 else 0.0  # as IMOD stores 0
    if low == high:
        if low == zero:
            return MaskRule(outside=low)
        if low - zero in (1, 255):
            return MaskRule(above=-np.inf, assumed=f"all its voxels are {low:g}, so all are taken as inside")
        raise EngineError(MASK, f"all its voxels are {low:g}, which may mean inside or outside", REMEDY)
    if values.number == 2:
        if (low, high) == (0, 1):
            return MaskRule(outside=0.0)
        if (low, high) == (-128, 0):
            raise EngineError(MASK, "its voxels are -128 and 0, of which either may mean outside", REMEDY)
        outside, inside = (high, low) if high == 0 else (low, high)
        return MaskRule(outside=outside, assumed=f"its voxels are {low:g} and {high:g}: {inside:g} is taken as inside")
    if values.are_labels:
        if low != zero:
            raise EngineError(
                MASK, f"its voxels are labels from {low:g} to {high:g}, of which none is 0 for outside", REMEDY
            )
        labels = f"its voxels are {values.number} labels from {low:g} to {high:g}"
        return MaskRule(outside=low, assumed=f"{labels}: all but {low:g} are taken as inside")
    halfway = (low + high) / 2
    if low >= -SOFT_RIPPLE and 0.5 < high <= 1 + SOFT_RIPPLE:
        halfway = 0.5
    elif values.at_the_ends < AT_THE_ENDS:
        raise EngineError(
            MASK, f"its voxels are grey values from {low:g} to {high:g}, as of a tomogram, not of a mask", REMEDY
        )
    return MaskRule(
        above=halfway,
        assumed=f"its voxels go from {low:g} to {high:g} with a soft edge: those above {halfway:g} are taken as inside",
    )


class _Values:
    """How often which values are there."""

    def __init__(self, voxels: Reals) -> None:
        counts: dict[float, int] | None = {}
        self.low, self.high = np.inf, -np.inf
        ends: dict[float, int] = {}
        equal = neighbours = 0
        for z in range(len(voxels)):
            plane = np.asarray(voxels[z])
            if plane.dtype == np.float16:
                plane = plane.astype(np.float32)  # compared faster
            low, high = plane.min(), plane.max()
            at_low, at_high = (int(np.count_nonzero(plane == end)) for end in (low, high))
            between = (plane != low) & (plane != high)
            if between.any():
                for same, at in (
                    (plane[:, 1:] == plane[:, :-1], between[:, 1:]),
                    (plane[1:] == plane[:-1], between[1:]),
                ):
                    equal += int(np.count_nonzero(same & at))
                    neighbours += int(np.count_nonzero(at))
            own: dict[float, int] | None = {float(low): at_low, float(high): at_high}
            if counts is not None and at_low + (at_high if high > low else 0) < plane.size:
                found, often = np.unique(plane, return_counts=True)
                own = dict(zip(found.tolist(), often.tolist())) if len(found) <= MOST_VALUES else None
            if own is None or counts is None:
                counts, own = None, {float(low): at_low, float(high): at_high}
            else:
                for value, count in own.items():
                    counts[value] = counts.get(value, 0) + count
                counts = counts if len(counts) <= MOST_VALUES else None
            # NaN spreads, and is told by the caller
            self.low, self.high = float(np.minimum(self.low, low)), float(np.maximum(self.high, high))
            for value, count in own.items():
                ends[value] = ends.get(value, 0) + count
            ends = {value: ends[value] for value in (self.low, self.high) if value in ends}
        release(voxels)
        self._counts = counts
        self.number = len(counts) if counts is not None else MOST_VALUES + 1
        self.at_the_ends = sum(ends.values()) / voxels.size
        self._alike = equal / neighbours if neighbours else 1.0

    @property
    def are_labels(self) -> bool:
        """Whether they are whole numbers that form regions, and no soft mask in bytes."""
        counts = self._counts
        if counts is None or self._alike < ALIKE or not all(float(value).is_integer() for value in counts):
            return False
        edge = self.low + TAIL * (self.high - self.low)
        most = max((value for value in counts if value > edge), key=lambda value: counts[value])
        return not (len(counts) > FEW_LABELS and most == self.high)
