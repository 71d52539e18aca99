"""Voxels far beyond all others, such as gold beads: few of them outweigh the whole sample in any sum of squares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import binary_dilation

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats

SHARE = 98.0  # percentile of the distances from the median: what is sample has more voxels than the rest
BEYOND = 3.0  # times as far; in noise that is 7 standard deviations


def without_spikes(box: Floats) -> tuple[Floats, bool]:
    """A box with the median in the place of its spikes and of what touches them, and whether it has any.

    Parameters
    ----------
    box : ndarray
        (z, y, x) float32; one that holds what is not finite stays as it is.

    Returns
    -------
    ndarray, bool
        The box itself where it has none.

    Examples
    --------
    >>> box = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    >>> box[8, 8, 8] = -100
    >>> calm, had_spikes = without_spikes(box)
    >>> bool(abs(calm).max() < 5), had_spikes
    (True, True)
    """
    middle = np.median(box)
    distances = np.abs(box - middle)
    spikes = distances > BEYOND * np.percentile(distances, SHARE)
    if middle != middle or not spikes.any():
        return box, False
    return np.where(binary_dilation(spikes), middle, box), True
