"""How much a volume shows of a grid, as networks leave it that treat blocks of voxels alike."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Reals

PERIOD = 8  # voxels: the longest period that is looked for; the others are its fractions
PERIODS = 4  # in a piece whose power is measured, along each axis
SIDE = PERIODS * PERIOD  # of the pieces whose power is averaged


def grid_peak(volume: Reals) -> float:
    """Power at the frequencies of grids of 2 to PERIOD voxels, over that around them: the largest ratio, 1 for noise.

    Parameters
    ----------
    volume : ndarray
        (z, y, x), each side at least SIDE voxels. Small ones scatter: noise of 64 x 128 x 128 voxels gives up to 1.6.

    Raises
    ------
    ValueError
        If it is too small.
    """
    if min(volume.shape) < SIDE:
        raise ValueError(f"sides of {volume.shape} are below {SIDE} voxels")
    fade = np.hanning(SIDE + 2)[1:-1]
    window = (fade[:, None, None] * fade[:, None] * fade).astype(np.float32)
    power = np.zeros((SIDE,) * 3)
    for corner in itertools.product(*(range(0, side - SIDE + 1, SIDE // 2) for side in volume.shape)):
        piece = volume[tuple(slice(start, start + SIDE) for start in corner)]
        power += np.square(np.abs(scipy.fft.fftn((piece - piece.mean()) * window)))

    ratio, _ = standing_out(power)
    return float(ratio.ravel()[1:].max())


def standing_out(power: Doubles) -> tuple[Doubles, Doubles]:
    """How much the waves of a grid stand out of those halfway to the next ones.

    Parameters
    ----------
    power : ndarray
        (z, y, x), of the components of volumes in a Hann window, PERIODS periods of the grid along each axis.

    Returns
    -------
    ratio, around : ndarray
        For each wave of the grid (z, y, x): its power over the mean of that around it, and this mean. The first wave is
        the mean of the volumes.
    """

    def total(centre: tuple[int, ...], reach: int) -> float:
        box = (np.arange(at - reach, at + reach + 1) % side for at, side in zip(centre, power.shape))
        return float(power[np.ix_(*box)].sum())

    # the window spreads a peak over one component to either side: its surroundings are those two away
    waves = power[::PERIODS, ::PERIODS, ::PERIODS]
    centres = itertools.product(*(range(0, side, PERIODS) for side in power.shape))
    ring = np.array([max(total(at, 2) - total(at, 1), 1e-30) for at in centres]).reshape(waves.shape)
    count = 5**3 - 3**3
    return waves * count / ring, ring / count
