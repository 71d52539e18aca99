"""Correcting a whole tomogram with a network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from isonet_scipion.engine.normalisation import measure, normalise
from isonet_scipion.engine.tiling import Tiling, map_tiles


def correct(
    tomogram: np.ndarray,
    network: Callable[[np.ndarray], np.ndarray],
    tiling: Tiling,
    batch_size: int = 1,
    percentile: bool = True,
    normalized_output: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Fill the missing wedge of a tomogram.

    Parameters
    ----------
    tomogram : ndarray
        (z, y, x) float32, protein dark. It is overwritten.
    network : callable
        From (batch, z, y, x) to the same shape, normalised, protein bright.
    tiling : Tiling
        How the tomogram is cut up.
    batch_size : int
        Tiles per call of the network.
    percentile : bool
        How to normalise; as in training.
    normalized_output : bool
        True: IsoNet 0.2's grey scale (the negated result is normalised anew). False: the tomogram's.
    progress : callable
        Told how many tiles each call finished.

    Returns
    -------
    ndarray
        (z, y, x) float32, protein dark.
    """
    volume = np.negative(tomogram, out=tomogram)
    scale = measure(volume, percentile)
    volume -= np.float32(scale.offset)
    volume *= np.float32(1 / scale.scale)
    corrected = map_tiles(volume, tiling, network, batch_size, progress)
    corrected = normalise(corrected, percentile) if normalized_output else scale.undo(corrected)
    return np.negative(corrected, out=corrected)
