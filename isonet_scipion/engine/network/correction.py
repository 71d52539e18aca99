"""Correcting a whole tomogram with a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from isonet_scipion.engine.network.tiling import Tiling, map_tiles
from isonet_scipion.engine.network.unet import NetworkSettings, run_network
from isonet_scipion.engine.physics.cube_rotations import half_turns
from isonet_scipion.engine.physics.grey_scale import Shown, measure, normalise

if TYPE_CHECKING:
    import keras

    from isonet_scipion.engine.arrays import Floats, Reals
    from isonet_scipion.engine.physics.wedge import TiltRange

# deviation of the Gaussian that halves waves of length 1: exp(-2 (pi HALF_WIDTH)^2) = 1/2
HALF_WIDTH = math.sqrt(math.log(2) / 2) / math.pi


def correct(
    tomogram: Reals,
    network: Callable[[Floats], Floats],
    tiling: Tiling,
    batch_size: int = 1,
    percentile: bool = True,
    normalized_output: bool = False,
    progress: Callable[[int], None] = lambda done: None,
    kept_beyond: float | None = None,
) -> Floats:
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
    kept_beyond : float, optional
        Features of more voxels than this, which the training could not show to the network, stay the tomogram's own.

    Returns
    -------
    ndarray
        (z, y, x) float32, protein dark.

    Examples
    --------
    A network that changes nothing, for the sake of the example; `corrector` makes one of a model.

    >>> from isonet_scipion.engine.network.tiling import isonet_tiling
    >>> tomogram = np.random.default_rng(0).normal(size=(24, 40, 40)).astype(np.float32)
    >>> corrected = correct(tomogram.copy(), lambda tiles: tiles, isonet_tiling(32, 56))
    >>> bool(np.allclose(corrected, tomogram, atol=1e-4))
    True
    """
    volume = np.negative(tomogram, out=tomogram)
    shown = Shown(tomogram, measure(volume, percentile))
    corrected = filled(shown.normalise(volume), network, tiling, batch_size, progress, kept_beyond)
    if normalized_output:
        return np.negative(normalise(corrected, percentile))
    return shown.back(corrected)


def filled(
    volume: Floats,
    network: Callable[[Floats], Floats],
    tiling: Tiling,
    batch_size: int = 1,
    progress: Callable[[int], None] = lambda done: None,
    kept_beyond: float | None = None,
) -> Floats:
    """As `correct`, of a volume as the network sees it, and on that grey scale.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) float32, normalised, protein bright. It is overwritten.
    network, tiling, batch_size, progress, kept_beyond
        As for `correct`.

    Returns
    -------
    ndarray
        (z, y, x) float32, normalised, protein bright.
    """
    corrected = map_tiles(volume, tiling, network, batch_size, progress)
    if kept_beyond:
        volume -= corrected
        corrected += gaussian_filter(volume, HALF_WIDTH * kept_beyond, output=volume)
    return corrected


def corrector(model: keras.Model, network: NetworkSettings, tilt: TiltRange) -> Callable[[Floats], Floats]:
    """What a model makes of tiles of a tomogram.

    Parameters
    ----------
    model : keras.Model
        The network.
    network : NetworkSettings
        Its shape.
    tilt : TiltRange
        Of the tilt series.

    Returns
    -------
    callable
        From (batch, z, y, x), with sides that are multiples of the network's divisor, to the same shape, float32. A
        network with a stem leaves a grid of its blocks: there it is the mean over the copies of a tile that are turned
        by 180 degrees, in which most of the grid cancels.
    """
    turns = half_turns(tilt.symmetric) if network.stem > 1 else half_turns(False)[:1]

    def correct_tiles(tiles: Floats) -> Floats:
        mean = np.zeros(tiles.shape, np.float32)
        for turn in turns:
            copies = np.stack([turn.apply(tile) for tile in tiles])
            for total, corrected in zip(mean, run_network(model, copies)):
                total += turn.apply(corrected)
        return mean / np.float32(len(turns))

    return correct_tiles
