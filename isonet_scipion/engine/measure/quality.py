"""How far a corrected tomogram can be believed: numbers that need no ground truth."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

import numpy as np

from isonet_scipion.engine.arrays import Doubles, Floats, Mean, Reals
from isonet_scipion.engine.measure.fourier_correlation import CERTAIN, Curve, FourierCorrelation
from isonet_scipion.engine.measure.half_agreement import HalfCurves
from isonet_scipion.engine.measure.hidden_wedge import UNSEEN_TURN, HiddenWedgeTest
from isonet_scipion.engine.measure.verdict import Verdict
from isonet_scipion.engine.measure.wedge_power import power_ratio, xz_power
from isonet_scipion.engine.physics.fourier import filtered
from isonet_scipion.engine.physics.wedge import TiltRange, measured_half_space
from isonet_scipion.engine.sampling.even_boxes import Corner, box_side, choose_boxes, cut
from isonet_scipion.engine.sampling.spikes import calmed, near_spikes, without_spikes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isonet_scipion.engine.physics.grey_scale import Shown
    from isonet_scipion.engine.sampling.mask_values import Mask

log = logging.getLogger(__name__)
COST = 0.3  # of a large tomogram's voxels, at most, go through the network again: a quarter of what the prediction took
HALVES_EVERY = 4  # the halves of each 4th box are corrected too
FEWEST_BOXES, MOST_BOXES = 8, 16  # where there are as many: what few boxes say differs much from what all do
THRESHOLD = 0.5  # correlation with the true signal at the resolution that is given

Network = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Evidence:
    """What a report is made from: volumes (z, y, x), the box of a tomogram that holds data; may be memory maps.

    With `halves_fit` the network can be applied to the halves: they are of the same kind as `before`. With `by_halves`
    `after` is the mean of what the network made of each half. With `noise_known` it learned from whole tomograms, and
    may restore their noise: what halves say of noise does not hold for what it restores. `turn`, in degrees, is that of
    the boxes of the hidden-wedge test; with `along_axes` they are tested without it, too, as a confidence needs.
    """

    before: Shown
    after: Reals  # with the contrast of `before`
    tilt: TiltRange
    voxel_size: float  # A
    sample: Reals | Mask | None = None  # True where boxes may be; None: where there is contrast
    halves: tuple[Shown, ...] | None = None
    halves_fit: bool = False
    by_halves: bool = False
    noise_known: bool = False
    turn: float = UNSEEN_TURN
    along_axes: bool = False
    spectra: tuple[Doubles | None, Doubles | None] = (None, None)  # by `xz_power`, of before and after, where known
    name: str = "tomogram"  # what the log calls it


@dataclass(frozen=True)
class Quality:
    """Numbers of a report; None where the tomogram is too small or has no halves."""

    voxel_size: float  # A
    tilt: TiltRange
    power_before: float  # in the wedge, over that outside
    power_after: float
    side: int | None = None  # of the boxes that the curves come from
    corners: tuple[Corner, ...] = ()  # of these boxes
    restored: Curve | None = None  # of the hidden-wedge test, as compared with the noisy data
    restored_along: Curve | None = None  # likewise, of boxes along the axes, where `restored` is of turned ones
    ceiling: Curve | None = None  # the most that noise lets it be; None also where halves do not tell the noise
    agreement: Curve | None = None  # of before and after where measured
    half_curves: HalfCurves | None = None

    @property
    def boxes(self) -> int:
        """How many boxes the curves come from."""
        return len(self.corners)

    @property
    def restored_wedge(self) -> tuple[float, float] | None:
        """Restored wedge correlation and its chance level (a standard deviation); noise is allowed for by halves."""
        if self.restored is None or not math.isfinite(self.restored.mean):
            return None
        most = self._most
        return min(1.0, self.restored.mean / most), self.restored.mean_chance / most

    @property
    def above_chance(self) -> float | None:
        """Where what was restored falls to chance, in A; None where it never is more. Verdicts follow from it."""
        return None if self.restored is None else self.restored.above_chance(self.voxel_size)

    @property
    def restored_resolution(self) -> float | None:
        """Where the restored wedge correlation falls below 0.5, or to chance, in A; None where it never is above."""
        if self.restored is None or self.above_chance is None:
            return None
        floor = self.ceiling.values if self.ceiling is not None else np.ones_like(self.restored.values)
        values, chance = self.restored.values, self.restored.chance
        # where noise drowns the data nothing can be told, which counts as not restored
        told = floor > CERTAIN * chance
        most = np.where(told, floor, 1.0)
        half = Curve(np.where(told, values, 0.0) / most, chance / most).resolution(THRESHOLD, self.voxel_size)
        return None if half is None else max(half, self.above_chance)

    @property
    def verdict(self) -> Verdict:
        """What can be believed of the filled wedge."""
        mean = self.restored_wedge and self.restored_wedge[0]
        tells = self.restored is None or self.restored.tells
        return Verdict(mean, self.restored_resolution, self.above_chance, tells, 2 * self.voxel_size)

    def resolution(self, axis: str, when: str) -> float | None:
        """Along x, y or z, in A, `before` or `after`; None where unknown, or nothing was measured.

        Along x and y by the halves, along z, where only the network puts something, by the hidden-wedge test.
        """
        if axis == "z":
            return self.restored_resolution if when == "after" else None
        return self.half_curves.resolution(axis, when, self.voxel_size) if self.half_curves else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what is not known is None."""
        value, chance = self.restored_wedge or (None, None)
        curves = {"restored": self.restored, "noise_ceiling": self.ceiling, "agreement": self.agreement}
        if self.half_curves:
            for region, when in (("measured", "before"), ("measured", "after"), ("wedge", "after")):
                curves[f"halves_{region}_{when}"] = self.half_curves.curve(region, when)
        return {
            "restored_wedge_correlation": value,
            "restored_wedge_chance": chance,
            "restored_wedge_allows_for_noise": self.ceiling is not None and self._most == self.ceiling.mean,
            "restored_wedge_resolution_A": self.restored_resolution,
            "restored_wedge_above_chance_A": self.above_chance,
            "restored_wedge_known": self.verdict.known,
            "verdict": self.verdict.words,
            "agreement_with_measured": _finite(self.agreement.mean) if self.agreement else None,
            "wedge_power_before": _finite(self.power_before),
            "wedge_power_after": _finite(self.power_after),
            "resolution_A": {
                axis: {when: self.resolution(axis, when) for when in ("before", "after")} for axis in "xyz"
            },
            "boxes": self.boxes,
            "box_side": self.side,
            "shell_resolution_A": [2 * self.voxel_size * (self.side // 2) / i for i in range(1, self.side // 2 + 1)]
            if self.side
            else [],
            "curves": {
                name: {"values": _numbers(curve.values), "chance": _numbers(curve.chance)}
                for name, curve in curves.items()
                if curve
            },
        }

    @property
    def _most(self) -> float:
        limit = self.ceiling.mean if self.ceiling is not None else 1.0
        known = self.restored is not None and limit > CERTAIN * self.restored.mean_chance
        return limit if known else 1.0


def measure_quality(evidence: Evidence, network: Network, divisor: tuple[int, int, int]) -> Quality:
    """Make all numbers of a report.

    Parameters
    ----------
    evidence : Evidence
        The tomogram before and after, and what goes with it.
    network : callable
        From (n, n, n) to the same shape, normalised, protein bright.
    divisor : tuple of int
        What the sides of its input must be multiples of.

    Examples
    --------
    A network that changes nothing restores nothing.

    >>> from isonet_scipion.engine.physics.grey_scale import Shown, measure
    >>> from isonet_scipion.engine.physics.wedge import apply_wedge
    >>> cube = apply_wedge(np.random.default_rng(0).normal(size=(32, 32, 32)).astype(np.float32), TiltRange())
    >>> evidence = Evidence(Shown(cube, measure(-cube)), cube, TiltRange(), voxel_size=10.0)
    >>> quality = measure_quality(evidence, lambda box: box, (8, 8, 8))
    >>> quality.restored_wedge[0], quality.restored_resolution
    (0.0, None)
    """
    tilt = evidence.tilt
    volumes = zip((evidence.before.voxels, evidence.after), evidence.spectra)
    powers = [power_ratio(xz_power(volume) if known is None else known, tilt) for volume, known in volumes]
    basis: dict[str, Any] = {
        "voxel_size": evidence.voxel_size,
        "tilt": tilt,
        "power_before": powers[0],
        "power_after": powers[1],
    }
    side = box_side(evidence.after.shape, divisor)
    if side is None:
        log.warning("%s: too small for the hidden-wedge test.", evidence.name)
        return Quality(**basis)
    fitting = evidence.halves if evidence.halves_fit else None
    parts = fitting if fitting and evidence.by_halves else (evidence.before,)
    passes = len(parts) + (2 / HALVES_EVERY if fitting else 0)
    corners, remark = affordable_boxes(evidence.before.voxels, side, evidence.sample, passes)
    seen = measured_half_space(side, tilt)
    test, agreement = HiddenWedgeTest(side, tilt, evidence.turn), FourierCorrelation(side, seen)
    along = HiddenWedgeTest(side, tilt, 0.0) if evidence.along_axes and evidence.turn else None
    halves = HalfCurves(side, tilt) if evidence.halves else None
    if remark:
        log.warning("%s: in the hidden-wedge test %s.", evidence.name, remark)
    pair = [half.voxels for half in evidence.halves or ()]
    for number, corner in enumerate(corners):
        before, *even_odd, after = calm_boxes((evidence.before.voxels, *pair), corner, side, evidence.after)
        shown = [part.show(box) for part, box in zip(parts, even_odd if parts is fitting else [before])]
        for each in (test, along) if along else (test,):
            each.add(np.stack(shown), lambda boxes: np.stack([network(box) for box in boxes]), number)
        agreement.add(filtered(after, seen), filtered(before, seen))
        if halves:
            even, odd = even_odd
            if not evidence.noise_known:
                test.add_halves(even, odd, number)
            halves.add("before", even, odd)
            if fitting and number % HALVES_EVERY == 0:
                corrected = (network(half.show(box)) for half, box in zip(fitting, (even, odd)))
                halves.add("after", *corrected)
    ceiling = test.ceiling() if halves and not evidence.noise_known else None
    if ceiling and test.is_above_ceiling():
        log.warning(
            "%s: more of the wedge was restored (%.2f) than noise allows by the halves (%.2f): they do not tell the "
            "noise of this tomogram, which is not allowed for. Are both its halves?",
            evidence.name, test.curve().mean, ceiling.mean,
        )  # fmt: skip
        ceiling = None
    return Quality(
        **basis,
        side=side,
        corners=tuple(corners),
        restored=test.curve(),
        restored_along=along.curve() if along else None,
        ceiling=ceiling,
        agreement=agreement.curve(),
        half_curves=halves,
    )


def affordable_boxes(
    volume: Reals | Mean, side: int, sample: Reals | Mask | None, passes: float = 1
) -> tuple[list[Corner], str]:
    """Corners of the boxes of `side` voxels that `passes` of the network may go through, by COST and these limits.

    Boxes with spikes, which would outweigh the sample, are left out where at least half of them have none. Returned
    with what was done about them, in words.
    """
    most = int(np.clip(COST * volume.size / (side**3 * passes), FEWEST_BOXES, MOST_BOXES))
    corners = choose_boxes(volume, side, most, sample)
    calm = [corner for corner in corners if not without_spikes(cut(volume, corner, side))[1]]
    if len(calm) == len(corners):
        return corners, ""
    told = f"{len(corners) - len(calm)} of {len(corners)} boxes hold voxels far beyond all others, such as gold beads"
    if 2 * len(calm) < len(corners):
        return corners, f"{told}: these voxels are replaced, and what is told is less certain"
    return calm, f"{told}, and are left out"


def calm_boxes(inputs: Sequence[Reals | Mean], corner: Corner, side: int, *results: Reals) -> list[Floats]:
    """The boxes at a corner of inputs of a network and of what it made of them, as new float32 arrays.

    What is a spike in any input is replaced in all, so that the same voxels are compared. Results have none of their
    own: with less noise, their darkest particles would be taken for spikes.
    """
    boxes = [cut(volume, corner, side) for volume in (*inputs, *results)]
    found = [spikes for box in boxes[: len(inputs)] if (spikes := near_spikes(box)) is not None]
    return [calmed(box, np.any(found, axis=0)) for box in boxes] if found else boxes


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _numbers(values: Doubles) -> list[float | None]:
    return [_finite(value) for value in values[1:]]
