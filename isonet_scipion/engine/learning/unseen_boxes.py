"""The hidden-wedge measure of a training: what it never sees, the same after each iteration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.arrays import Floats, Integers, release
from isonet_scipion.engine.measure.hidden_wedge import WedgeMeasure, restored_wedge
from isonet_scipion.engine.sampling.crops import centre_crop
from isonet_scipion.engine.sampling.training_positions import BOXES

if TYPE_CHECKING:
    from isonet_scipion.engine.io.subtomograms import Subtomogram
    from isonet_scipion.engine.learning.one_pass_batches import TomogramSource


class UnseenBoxes:
    """Boxes around unseen centres, in which a network is tried."""

    def __init__(self, tomograms: Sequence[TomogramSource], side: int) -> None:
        """Take unseen boxes of `side`^3 voxels, that of the crops: at least one in each tomogram."""
        self.tomograms, self.side = tomograms, side
        most = max(1, BOXES // len(tomograms))
        self.centres = [apart(tomogram.split(side)[1], side, most) for tomogram in tomograms]

    def restored_wedge(self, network: Callable[[Floats], Floats]) -> WedgeMeasure | None:
        """How well a network, from (1, n, n, n) to the same shape, restores a hidden wedge of them.

        Of halves, it is shown the mean, as in the prediction.
        """
        return restored_wedge(
            self.side,
            ((one.tilt, self._boxes(one, places)) for one, places in zip(self.tomograms, self.centres)),
            network,
        )

    def _boxes(self, tomogram: TomogramSource, centres: Integers) -> Iterator[Floats]:
        for centre in centres:
            yield tomogram.crops(centre, self.side).mean(axis=0, keepdims=True)
        for volume in tomogram.volumes:
            release(volume)


def restored_wedge_of_subtomograms(
    subtomograms: Sequence[Subtomogram],
    divisor: Sequence[int],
    network: Callable[[Floats], Floats],
) -> WedgeMeasure | None:
    """How well a network restores a hidden wedge of the middle of subtomograms, all of one size.

    Parameters
    ----------
    subtomograms : sequence of Subtomogram
        Unseen ones; none: nothing is known.
    divisor : sequence of int
        What the sides of the network's input must be multiples of.
    network : callable
        From (1, n, n, n) to the same shape.
    """
    if not subtomograms:
        return None
    step = math.lcm(*divisor)
    side = subtomograms[0].size // step * step
    groups = [
        (tilt, (centre_crop(one.normalised(), side)[None] for one in subtomograms if one.tilt == tilt))
        for tilt in dict.fromkeys(one.tilt for one in subtomograms)
    ]
    return restored_wedge(side, groups, network)


def apart(centres: Integers, side: int, most: int) -> Integers:
    """The first of some centres, (n, 3), whose boxes of `side`^3 voxels do not overlap; at most `most`."""
    chosen = [centres[0]]
    for centre in centres[1:]:
        if len(chosen) < most and all(np.abs(centre - other).max() >= side for other in chosen):
            chosen.append(centre)
    return np.stack(chosen)
