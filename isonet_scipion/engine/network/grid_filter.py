"""The frequencies of the grid that a network leaves which treats blocks of voxels alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from isonet_scipion.engine.physics.wedge_strength import faded

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats

WIDTH = 0.125  # deviation around each frequency, of the distance to the next: what fills the wedge loses 3 %
NEAR = 0.25  # the same, of what is compared with its surroundings, and there alone


def grid_filter(shape: tuple[int, ...], period: tuple[int, ...], to_nyquist: bool = False) -> Floats:
    """How much each component of a volume belongs to a grid.

    Parameters
    ----------
    shape : tuple of int
        Of the volume (z, y, x), in voxels.
    period : tuple of int
        Of the grid (z, y, x), in voxels; its fractions count too.
    to_nyquist : bool
        Count in all that `faded` takes away, too: there is little but a grid, and its lines are broader than elsewhere.

    Returns
    -------
    ndarray
        (z, y, x // 2 + 1) float32, laid out as the transform of a real volume: 1 at the grid's frequencies, falling
        as a Gaussian, for a grid is fainter where there is less to see; 0 around the mean.

    Examples
    --------
    >>> passed = grid_filter((32, 32, 32), (8, 8, 8))
    >>> float(passed[4, 0, 0]), float(passed[0, 8, 12]), float(passed[0, 0, 0])
    (1.0, 1.0, 0.0)
    >>> bool(passed.mean() < 0.04)
    True
    """
    steps = [scipy.fft.fftfreq(length) * every for length, every in zip(shape[:2], period)]
    steps.append(scipy.fft.rfftfreq(shape[2]) * period[2])
    z, y, x = (np.exp(-(((step - step.round()) / WIDTH) ** 2) / 2).astype(np.float32) for step in steps)
    passed: Floats = z[:, None, None] * y[:, None] * x
    passed[np.ix_(*(step.round() == 0 for step in steps))] = 0
    if to_nyquist:
        kz, ky = (2 * scipy.fft.fftfreq(length) for length in shape[:2])
        kx = 2 * scipy.fft.rfftfreq(shape[2])
        for plane, height in zip(passed, kz):  # a large tile's distances would take much memory at once
            plane[:] = 1 - (1 - plane) * faded(np.sqrt(height**2 + ky[:, None] ** 2 + kx**2))
    return passed


def near_grid(shape: tuple[int, ...], period: tuple[int, ...], reach: float | None = None) -> list[Floats]:
    """Which components of a volume are near each frequency of a grid, axis by axis.

    Parameters
    ----------
    shape : tuple of int
        Of the volume (z, y, x), in voxels.
    period : tuple of int
        Of the grid (z, y, x), in voxels; its fractions count too.
    reach : float, optional
        How far around each frequency, in steps from one to the next, they count; None: by a Gaussian.

    Returns
    -------
    list of ndarray
        For each axis float32 (frequencies of the grid, components along the axis), of the last one half of both.

    Examples
    --------
    >>> z, y, x = near_grid((16, 16, 16), (8, 8, 4), reach=0.5)
    >>> z.shape, x.shape, x[1].nonzero()[0].tolist()
    ((8, 16), (3, 9), [2, 3, 4, 5, 6])
    """
    found = []
    for axis, (length, every) in enumerate(zip(shape, period)):
        half = axis == len(shape) - 1
        place = (scipy.fft.rfftfreq(length) if half else scipy.fft.fftfreq(length)) * every
        distance = place - np.arange(every // 2 + 1 if half else every)[:, None]
        distance = np.abs(distance - every * np.round(distance / every))
        near = np.exp(-((distance / NEAR) ** 2) / 2) if reach is None else distance <= reach
        found.append(near.astype(np.float32))
    return found
