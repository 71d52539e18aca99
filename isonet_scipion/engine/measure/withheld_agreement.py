"""How well a network restores tilts that were withheld from its training: a measure that follows the training.

As the free R factor of crystallography, it rests on data that neither inputs nor targets of the training hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.fft

from isonet_scipion.engine.physics.withheld_tilts import withheld_sectors

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Flags, Floats, Integers
    from isonet_scipion.engine.physics.wedge import TiltRange

# fractions of Nyquist between shells: in simulations finer ones, and more weight of the coarse ones, told less
SHELLS = np.linspace(0.1, 0.6, 11)
FEWEST = 6  # components below which a shell tells nothing
EMPTY = 1e-6  # of what was measured: less power is a trace, whatever it correlates with


class Agreement(NamedTuple):
    """Of what was restored with what was measured."""

    correlation: float
    chance: float  # its chance level, a standard deviation


class WithheldAgreement:
    """Sums over boxes, from which the mean over shells of the correlation in the withheld sectors follows."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        # of each shell: components, products of the two, powers of what was restored and measured, and of both
        self._sums = np.zeros((5, len(SHELLS) - 1))

    def add(self, shown: Floats, made: Floats, withheld: Floats, tilt: TiltRange) -> None:
        """Count in a box.

        Parameters
        ----------
        shown : ndarray
            (z, y, x) float32: what the network was shown, without the withheld tilts.
        made : ndarray
            Same shape: its output. What it has left as it was tells nothing, and a box's faces would smear it into
            the sectors: the difference from `shown` is what counts.
        withheld : ndarray
            Same shape: what the withheld tilts have measured there (`withheld_part` of the whole tomogram).
        tilt : TiltRange
            Of the tilt series, the withheld tilts included.
        """
        region, shells = _region(shown.shape, tilt)
        restored, measured = (scipy.fft.rfftn(volume, overwrite_x=True)[region] for volume in (made - shown, +withheld))
        powers = [np.square(np.abs(values), dtype=np.float64) for values in (restored, measured)]
        products = (restored * measured.conj()).real
        for total, values in zip(self._sums, (None, products, *powers, powers[0] * powers[1])):
            total += np.bincount(shells, values, len(total))

    def result(self) -> Agreement | None:
        """None where the boxes, or their sectors, are too small to tell."""
        count, cross, restored, measured, squares = self._sums[:, self._sums[0] >= FEWEST]
        if not len(count) or not np.isfinite(self._sums).all() or not measured.all():
            return None
        found = restored > EMPTY * measured
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.where(found, cross / np.sqrt(restored * measured), 0.0)
            chances = np.where(found, np.sqrt(squares / 2 / (restored * measured)), (2 * count) ** -0.5)
        return Agreement(float(values.mean()), float(np.linalg.norm(chances)) / len(count))


def _region(shape: tuple[int, ...], tilt: TiltRange) -> tuple[Flags, Integers]:
    """The components that count, (z, y, x // 2 + 1) bool, and the shell of each."""
    k = [2 * scipy.fft.fftfreq(length) for length in shape[:2]] + [2 * scipy.fft.rfftfreq(shape[2])]
    radius = np.sqrt(k[0][:, None, None] ** 2 + k[1][:, None] ** 2 + k[2] ** 2)
    inside = (radius >= SHELLS[0]) & (radius < SHELLS[-1]) & withheld_sectors(shape[0], shape[2], tilt)
    return inside, np.searchsorted(SHELLS, radius[inside], side="right") - 1
