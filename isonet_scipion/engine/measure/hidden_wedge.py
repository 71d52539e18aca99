"""The hidden-wedge test: how well the network restores what was measured but is hidden from it.

A box is tipped by 90 degrees about x, so that measured components take the place of the missing wedge, and the wedge is
cut out of it as out of a training pair. What the network puts there is compared with what was measured there. A long
training on the same tomogram has seen what is hidden, as its target, in this position: for its network, boxes are
turned by 45 degrees about z before. The tipped box lacks its own wedge too, so that the network has less to go by than
in the true task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import rotate

from isonet_scipion.engine.measure.fourier_correlation import CERTAIN, Curve, FourierCorrelation
from isonet_scipion.engine.physics.cube_rotations import CubeRotation
from isonet_scipion.engine.physics.fourier import filtered, frequencies
from isonet_scipion.engine.physics.wedge import TiltRange, measured_half_space, wedge_filter
from isonet_scipion.engine.physics.wedge_strength import WedgeStrength

if TYPE_CHECKING:
    from collections.abc import Callable

    from isonet_scipion.engine.arrays import Flags, Floats
    from isonet_scipion.engine.measure.signal_kept import SignalKept
    from isonet_scipion.engine.physics.transfer import Transfer

EMPTY = 1e-4  # of the hidden components' power: less is a trace, whatever it correlates with
UNSEEN_TURN = 45.0  # degrees: a training turns by multiples of 90
ORDER = 3  # of the splines that turn a box
BEYOND = 2.0  # deviations by which more is restored than noise allows: only a perfect network comes near, by chance
LEAST_STRENGTH = 0.1  # that a test in a few boxes is sure of: what is right at places must not go altogether
TIPPED = CubeRotation().turned(1, 0, 1)  # y takes the place of z


class HiddenWedgeTest:
    """Hides a second wedge in boxes, has it filled, and sums up the correlation with what was hidden."""

    def __init__(self, size: int, tilt: TiltRange, turn: float) -> None:
        """Test boxes of (size,)*3 voxels of a tilt series with the range `tilt`, turned about z by `turn` degrees."""
        self._turn = turn
        self._shown, self.hidden = hidden_region(size, tilt, turn)
        self._restored = FourierCorrelation(size, self.hidden)
        self._halves = FourierCorrelation(size, self.hidden)

    def add(self, parts: Floats, network: Callable[[Floats], Floats], number: int = 0) -> None:
        """Test a box, whose correction is the mean of its corrected parts: itself, or its halves.

        Parameters
        ----------
        parts : ndarray
            (parts, n, n, n) float32, normalised, protein bright.
        network : callable
            From (parts, n, n, n) to the same shape.
        number : int
            Of the box: every second one is turned the other way, as samples differ by direction.
        """
        tipped = [turned(part, self._turn, number) for part in parts]
        restored = network(np.stack([filtered(part, self._shown) for part in tipped])).mean(axis=0)
        self._restored.add(filtered(restored, self.hidden), filtered(np.mean(tipped, axis=0), self.hidden))

    def add_halves(self, even: Floats, odd: Floats, number: int = 0) -> None:
        """Take a box of the two half tomograms into account: their agreement tells how much of the data is noise."""
        self._halves.add(*(filtered(turned(half, self._turn, number), self.hidden) for half in (even, odd)))

    def curve(self) -> Curve:
        """Correlation of the restored with the hidden components."""
        return self._restored.curve(EMPTY)

    def strength(self, kept: SignalKept | None = None, transfer: Transfer | None = None) -> WedgeStrength | None:
        """How strongly what is filled into the missing wedge is to count.

        Each shell's factor is the one that brings what was restored nearest to what was hidden, at most 1. It is
        weakened as much as the network weakens the signal where that was measured, so that both are equally strong.

        Parameters
        ----------
        kept : SignalKept, optional
            What the network keeps of the measured signal of the same tomogram; None: taken to be all of it.
        transfer : Transfer, optional
            Of a CTF-aware network, which makes the density.

        Returns
        -------
        WedgeStrength or None
            None where nothing tells.
        """
        factors = self._restored.factors(EMPTY)
        known = np.isfinite(factors)
        if not known.any():
            return None
        fractions = np.arange(len(factors)) / (len(factors) - 1)
        if transfer is not None:
            factors = factors / np.maximum(transfer.at(fractions / 2 / transfer.voxel_size), EMPTY)
        factors = np.clip(factors, 0, 1)
        if kept is not None:
            factors = factors * kept.amplitudes(transfer)
        told = np.clip(factors[known], LEAST_STRENGTH, 1)
        return WedgeStrength(tuple(fractions[known].tolist()), tuple(told.tolist()))

    def ceiling(self) -> Curve:
        """Correlation that a perfect restoration would have with the noisy data: sqrt(2 FSC / (1 + FSC)).

        Rosenthal & Henderson (2003), J. Mol. Biol. 333, 721, for the mean of two halves.
        """
        halves = self._halves.curve()
        fsc = np.clip(halves.values, 0, 1)
        return Curve(np.sqrt(2 * fsc / (1 + fsc)), halves.chance)

    def is_above_ceiling(self) -> bool:
        """Whether more was restored than the noise of the halves allows, by more than chance.

        Then it is not the noise of the tomogram, or the network has learned noise.
        """
        restored, halves = self.curve(), self._halves.curve()
        told = restored.values > CERTAIN * restored.chance
        if not told.any():
            return False
        r, chance = restored.values[told], restored.chance[told]
        # what the halves' agreement would have to be: there, other than in the ceiling, chance leaves the mean as it is
        lacking = r**2 / (2 - r**2) - halves.values[told]
        of_r = 4 * r * (1 - r**2) / (2 - r**2) ** 2  # how much of the chance of r is in it
        scatter = chance * np.sqrt(1 + of_r**2)
        return bool(lacking.sum() > BEYOND * np.sqrt(np.square(scatter).sum()))


def turned(box: Floats, turn: float, number: int = 0) -> Floats:
    """A box (n, n, n) as the network is tested on it, in the frame of `hidden_region`; `number` as in `add`."""
    if number % 2:  # half a turn about y is as good as a turn the other way, and leaves the wedge
        box = box[::-1, :, ::-1]
    if turn:  # beyond its sides it is mirrored
        box = rotate(box, turn, (1, 2), reshape=False, order=ORDER, mode="reflect")
    return TIPPED.apply(box)


def hidden_region(size: int, tilt: TiltRange, turn: float) -> tuple[Flags, Flags]:
    """What a network is shown of a turned box, and what is hidden from it though it was measured.

    Parameters
    ----------
    size : int
        Side of the box in voxels.
    tilt : TiltRange
        Of the tilt series.
    turn : float
        Degrees from y towards x by which the box was turned about z before it was tipped.

    Returns
    -------
    shown, hidden : ndarray of bool
        (n, n, n // 2 + 1), in the frame of the turned and tipped box. No component is in both.
    """
    k = frequencies(size)
    before = [k[0]] * 3  # frequencies along the axes of the box before it was tipped
    for axis, source in enumerate(TIPPED.axes):
        before[source] = TIPPED.signs[axis] * k[axis]
    angle = np.radians(turn)
    across = np.cos(angle) * before[2] - np.sin(angle) * before[1]  # along x before its turn, from y towards x
    measured = wedge_filter(before[0], across, size / 2, tilt) > 0
    passed = measured_half_space(size, tilt)
    return measured & passed, measured & ~passed
