"""How much of what a network fills into the missing wedge of a tomogram its own tests support."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.measure.hidden_wedge import UNSEEN_TURN, HiddenWedgeTest
from isonet_scipion.engine.measure.quality import affordable_boxes, calm_boxes
from isonet_scipion.engine.measure.signal_kept import SignalKept
from isonet_scipion.engine.physics.wedge_strength import mean_strength
from isonet_scipion.engine.sampling.even_boxes import box_side

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from isonet_scipion.engine.arrays import Floats, Mean, Reals
    from isonet_scipion.engine.physics.grey_scale import GreyScale, Shown
    from isonet_scipion.engine.physics.transfer import Transfer
    from isonet_scipion.engine.physics.wedge import TiltRange
    from isonet_scipion.engine.physics.wedge_strength import WedgeStrength
    from isonet_scipion.engine.sampling.mask_values import Mask

KEPT_EVERY = 2  # the halves of each 2nd box are corrected too


def supported_strength(
    shown: Shown,
    halves: Sequence[Reals | Mean],
    network: Callable[[Floats], Floats],
    divisor: tuple[int, int, int],
    tilt: TiltRange,
    transfer: Transfer | None = None,
    sample: Reals | Mask | None = None,
    to_shown: GreyScale | None = None,
) -> tuple[WedgeStrength | None, str]:
    """How strongly what a network fills in is to count, by hidden-wedge tests on boxes of the tomogram.

    Parameters
    ----------
    shown : Shown
        The tomogram as the network sees it.
    halves : sequence of ndarray
        Its even and odd half, (z, y, x); empty without them. They tell what the network keeps of the signal.
    network : callable
        From (b, n, n, n) float32 to the same shape.
    divisor : tuple of int
        By which the sides (z, y, x) of its input are divisible.
    tilt : TiltRange
        Of the tilt series.
    transfer : Transfer, optional
        Of a CTF-aware network.
    sample : ndarray or Mask, optional
        Where boxes may be; anywhere without.
    to_shown : GreyScale, optional
        From the halves' grey scale to that of `shown`, where it is another.

    Returns
    -------
    strength : WedgeStrength or None
        None where nothing tells, as in a tomogram without room for a box.
    remark : str
        On the boxes of the test; may be empty.
    """
    side = box_side(shown.voxels.shape, divisor)
    if side is None:
        return None, ""
    # what lies along the axes a network may have learned; turned boxes show it less than its task does
    tests, kept = [HiddenWedgeTest(side, tilt, turn) for turn in (0.0, UNSEEN_TURN)], SignalKept(side, tilt)

    def one_by_one(boxes: Floats) -> Floats:  # each number of them would be compiled anew
        return np.concatenate([network(box[None]) for box in boxes])

    corners, remark = affordable_boxes(shown.voxels, side, sample)
    for number, corner in enumerate(corners):
        box, *pair = calm_boxes((shown.voxels, *halves), corner, side)
        tests[number % 2].add(shown.show(box)[None], network, number // 2)
        if halves and number % KEPT_EVERY == 0:
            on_its_scale = pair if to_shown is None else map(to_shown.apply, pair)
            kept.add(np.stack([shown.show(half) for half in on_its_scale]), one_by_one)
    return mean_strength([test.strength(kept if halves else None, transfer) for test in tests]), remark
