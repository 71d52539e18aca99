"""How much of a grid's waves stays in what a network has made, so that none stands out of those around it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from isonet_scipion.engine.measure.grid import PERIODS, standing_out
from isonet_scipion.engine.network.tiling import BORDER, Tiling, map_tiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from isonet_scipion.engine.arrays import Floats
    from isonet_scipion.engine.physics.grey_scale import Shown

MOST_PIECES = 8  # along each axis
CLEAR = 1.5  # times the power around it: less happens in samples
NOISE = 0.2  # of the tomogram's power around a wave: where less is left, nearly all was noise
WIDTH = 0.25  # deviation of what is taken around each frequency, of the distance to the next


def levelled(made: Floats, shown: Shown, tiling: Tiling, period: tuple[int, int, int]) -> Floats:
    """What a network has made of a tomogram, with its grid's waves brought down to the power around them.

    Parameters
    ----------
    made : ndarray
        (z, y, x) float32.
    shown : Shown
        The tomogram. What stands out there is its own, and stays.
    tiling : Tiling
        By which it is filtered; the sides of its tiles are multiples of `period`.
    period : tuple of int
        Of the grid (z, y, x), in voxels; its fractions count too.

    Returns
    -------
    ndarray
        Like `made`, which it is if nothing stands out. All tiles are filtered alike.
    """
    from keras import ops

    from isonet_scipion.engine.network.transforms import without

    levels = grid_levels(lambda place: made[place], lambda place: shown.show(shown.voxels[place]), made.shape, period)
    if (levels == 1).all():
        return made
    lost = ops.convert_to_tensor(_spread(1 - levels, tiling.tile, period)[None])

    def filtered(tiles: Floats) -> Floats:
        kept: Floats = ops.convert_to_numpy(without(ops.convert_to_tensor(tiles), lost, BORDER))
        return kept

    return map_tiles(made, tiling, filtered)


def grid_levels(
    made: Callable[[tuple[slice, ...]], Floats],
    source: Callable[[tuple[slice, ...]], Floats],
    shape: tuple[int, ...],
    period: tuple[int, int, int],
) -> Floats:
    """What each wave of a grid is to be multiplied by in what a network made, by power in pieces all over the volumes.

    Parameters
    ----------
    made, source : callable
        Pieces of the result, and of what it was made of, at three slices (z, y, x).
    shape : tuple of int
        Of both volumes.
    period : tuple of int
        Of the grid (z, y, x), in voxels.

    Returns
    -------
    ndarray
        float32, for each of the frequencies (z, y, x) of the grid, laid out as a transform of one period: less than 1
        where nearly all around it was taken as noise, and it stands out clearly, as it does not in the source. 1 if the
        volumes are too small for a piece.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(64, 64, 64)).astype(np.float32)
    >>> made = 0.3 * noise + (0.1 * np.cos(np.pi * np.arange(64))).astype(np.float32)  # a wave along x
    >>> levels = grid_levels(lambda place: made[place], lambda place: noise[place], noise.shape, (8, 8, 8))
    >>> bool(levels[0, 0, 4] < 0.5), bool(levels[0, 3, 4] > 0.8)
    (True, True)
    """
    sides = [PERIODS * every for every in period]
    if any(length < side for length, side in zip(shape, sides)):
        return np.ones(period, np.float32)
    fade = [np.hanning(side + 2)[1:-1].astype(np.float32) for side in sides]
    window = fade[0][:, None, None] * fade[1][:, None] * fade[2]
    starts = [
        np.linspace(0, length - side, min(MOST_PIECES, length // side)).astype(int)
        for length, side in zip(shape, sides)
    ]
    powers = np.zeros((2, *sides))
    for corner in itertools.product(*starts):
        place = tuple(slice(start, start + side) for start, side in zip(corner, sides))
        for power, piece in zip(powers, (made(place), source(place))):
            power += np.square(np.abs(scipy.fft.fftn((piece - piece.mean()) * window)))
    (ours, left), (theirs, before) = (standing_out(power) for power in powers)
    # of noise a ratio of power deviates from 1 by the root of the number of pieces
    clear = max(CLEAR, 1 + 3 / np.sqrt(np.prod([len(along) for along in starts])))
    is_grid = (ours > clear) & (theirs < clear) & (left < NOISE * before)
    levels = np.where(is_grid, np.sqrt(1 / np.maximum(ours, 1)), 1).astype(np.float32)
    levels[0, 0, 0] = 1  # the mean is none of the waves
    return levels


def _spread(lost: Floats, shape: tuple[int, ...], period: tuple[int, ...]) -> Floats:
    """A filter of volumes, laid out as transforms of real ones: what is lost at and around a grid's frequencies."""
    spread = lost
    for axis, (length, every) in enumerate(zip(shape, period)):
        frequencies = scipy.fft.rfftfreq(length) if axis == 2 else scipy.fft.fftfreq(length)
        distance = frequencies[:, None] * every - np.arange(every)
        distance -= every * np.round(distance / every)
        near = np.exp(-((distance / WIDTH) ** 2) / 2).astype(np.float32)
        spread = np.moveaxis(np.tensordot(spread, near, ((axis,), (1,))), -1, axis)
    return np.ascontiguousarray(spread)
