"""How much of the signal that was measured a network keeps: a network that denoises weakens the signal, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.measure.fourier_correlation import FourierCorrelation
from isonet_scipion.engine.physics.fourier import filtered
from isonet_scipion.engine.physics.wedge import TiltRange, measured_half_space

if TYPE_CHECKING:
    from collections.abc import Callable

    from isonet_scipion.engine.arrays import Doubles, Floats
    from isonet_scipion.engine.physics.transfer import Transfer


class SignalKept:
    """Compares what two half tomograms have in common before and after a network has corrected each."""

    def __init__(self, size: int, tilt: TiltRange) -> None:
        """For boxes of (size,)*3 voxels of a tilt series with the range `tilt`."""
        self._seen = measured_half_space(size, tilt)
        self._before, self._after = FourierCorrelation(size, self._seen), FourierCorrelation(size, self._seen)

    def add(self, halves: Floats, network: Callable[[Floats], Floats]) -> None:
        """Count in a box of the even and the odd half.

        Parameters
        ----------
        halves : ndarray
            (2, n, n, n) float32, normalised, protein bright.
        network : callable
            From (2, n, n, n) to the same shape.
        """
        for sums, pair in ((self._before, halves), (self._after, network(halves))):
            sums.add(*(filtered(half, self._seen) for half in pair))

    def amplitudes(self, transfer: Transfer | None = None) -> Doubles:
        """The share of the signal's amplitude that is left in each shell, from 0 to 1.

        Where the halves have nothing in common, that of the nearest shell where they have; 1 without any.

        Parameters
        ----------
        transfer : Transfer, optional
            Of a CTF-aware network: of the density, which it makes, the halves show what the transfer leaves.
        """
        shares = self._after.amplitude(self._before)
        shell = np.arange(len(shares))
        if transfer is not None:
            shares = shares * transfer.at(shell / (len(shares) - 1) / 2 / transfer.voxel_size)
        known = np.isfinite(shares)
        if not known.any():
            return np.ones_like(shares)
        return np.clip(np.interp(shell, shell[known], shares[known]), 0, 1)
