"""The hidden-wedge measure of a training: unseen boxes of its tomograms, the same after each iteration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from isonet_scipion.engine.arrays import release
from isonet_scipion.engine.learning.one_pass_batches import TomogramSource
from isonet_scipion.engine.measure.hidden_wedge import HiddenWedgeTest
from isonet_scipion.engine.sampling.training_positions import BOXES


class UnseenBoxes:
    """Boxes around unseen centres, in which a network is tried."""

    def __init__(self, tomograms: Sequence[TomogramSource], side: int) -> None:
        """Take unseen boxes of `side`^3 voxels, that of the crops: at least one in each tomogram."""
        self.tomograms, self.side = tomograms, side
        most = max(1, BOXES // len(tomograms))
        self.centres = [apart(tomogram.split(side)[1], side, most) for tomogram in tomograms]

    def restored_wedge(self, network: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float] | None:
        """How well a network restores a hidden wedge; see `heldout`.

        Noise is not allowed for, as it is the same for all iterations.

        Parameters
        ----------
        network : callable
            From (halves, n, n, n) float32, normalised, protein bright, to the same shape.

        Returns
        -------
        tuple of float or None
            Correlation, the mean over tomograms, and its chance level (a standard deviation). None where the boxes or
            the tilt ranges have too few components to tell.
        """
        curves = [self._test(*pair, network).curve() for pair in zip(self.tomograms, self.centres)]
        value = float(np.mean([curve.mean for curve in curves]))
        chance = float(np.linalg.norm([curve.mean_chance for curve in curves])) / len(curves)
        return (value, chance) if np.isfinite(value) else None

    def _test(
        self, tomogram: TomogramSource, centres: np.ndarray, network: Callable[[np.ndarray], np.ndarray]
    ) -> HiddenWedgeTest:
        test = HiddenWedgeTest(self.side, tomogram.tilt)
        for centre in centres:
            test.add(tomogram.crops(centre, self.side), network)
        for volume in tomogram.volumes:
            release(volume)
        return test


def apart(centres: np.ndarray, side: int, most: int) -> np.ndarray:
    """The first of some centres, (n, 3), whose boxes of `side`^3 voxels do not overlap; at most `most`."""
    chosen = [centres[0]]
    for centre in centres[1:]:
        if len(chosen) < most and all(np.abs(centre - other).max() >= side for other in chosen):
            chosen.append(centre)
    return np.stack(chosen)
