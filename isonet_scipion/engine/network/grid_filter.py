"""The frequencies of the grid that a network leaves which treats blocks of voxels alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from isonet_scipion.engine.physics.wedge_strength import faded

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats

WIDTH = 0.125  # deviation around each frequency, of the distance to the next: what fills the wedge loses 3 %


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
