"""Fourier correlation of volumes, shell by shell, over any region of Fourier space.

Each box is faded out towards its faces before it is transformed. What is to be told apart by region
must be told apart before that, with `filtered`: fading smears each component over its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from scipy.ndimage import uniform_filter1d

from isonet_scipion.engine.arrays import Floats
from isonet_scipion.engine.physics.fourier import frequencies

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Flags, Floats, Reals

FADED = 0.5  # share of a box's side over which it fades in and out
FEWEST = 6.0  # independent coefficients below which a shell has no value
TRACE = 1e-5  # of the power of the strongest shell's components: what is left at the faces of a box reaches 3e-6
COUNTED = 0.5  # correlation; a shell in which chance may reach more is passed over in the search for what is above it
BAND = (0.1, 2 / 3)  # fractions of Nyquist that a mean is taken over: 200 to 30 A at 10 A per voxel
CERTAIN = 3.0  # chance levels that a correlation must be above to count
UNTOLD = 0.25  # correlation; a coarse shell in which chance may reach more does not tell that finer ones are wrong


@lru_cache(maxsize=4)
def _taper(size: int) -> Floats:
    # half a voxel off the faces, so that no voxel has the weight 0
    place = (np.arange(size) + 0.5) / size
    return np.sin(np.pi / 2 * np.clip(2 / FADED * np.minimum(place, 1 - place), 0, 1)).astype(np.float32) ** 2


def independent_share(size: int) -> float:
    """Share of a faded box's Fourier components that are independent: (sum w^2)^2 / (n sum w^4), each axis."""
    squares = _taper(size).astype(np.float64) ** 2
    return float((squares.sum() ** 2 / (size * np.square(squares).sum())) ** 3)


class FourierCorrelation:
    """Sums over pairs of boxes, from which the correlation in each shell follows."""

    def __init__(self, size: int, region: Flags) -> None:
        """Correlate boxes of (size,)*3 voxels in a region, bool (n, n, n // 2 + 1)."""
        self.size = size
        kz, ky, kx = frequencies(size)
        shell = np.rint(np.sqrt(kz**2 + ky**2 + kx**2)).astype(int)
        self._region = region & (shell <= size // 2)
        self._shell = shell[self._region]
        # components with 0 < kx < Nyquist stand for their conjugates too
        twice = np.broadcast_to(np.where((kx > 0) & (kx < size / 2), 2.0, 1.0), shell.shape)
        self._weight = twice[self._region]
        self._sums = np.zeros((3, size // 2 + 1))
        self._boxes = 0

    def add(self, first: Floats, second: Floats) -> None:
        """Count in a pair of boxes, (n, n, n) float32, the second of data."""
        a, b = (self._components(volume) for volume in (first, second))
        for total, values in zip(self._sums, ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)):
            total += np.bincount(self._shell, self._weight * values, len(total))
        self._boxes += 1

    def _components(self, volume: Floats) -> Reals:
        taper = _taper(self.size)
        faded = (volume - volume.mean()) * taper * taper[:, None] * taper[:, None, None]
        return scipy.fft.rfftn(faded)[self._region]

    def curve(self, empty: float = 0.0) -> Curve:
        """The correlation in each shell; 0 where the first has no more than a share `empty` of the second's power.

        NaN where the second, as filtered data beyond the filter's limit, has no more than a trace of it.
        """
        count = self._count()
        independent = count * self._boxes * independent_share(self.size)
        cross, first, second = self._sums
        enough = (independent >= FEWEST) & (np.arange(len(count)) > 0)
        power = second[1:] / np.maximum(count[1:], 1)
        enough[1:] &= power >= TRACE * power.max()
        with np.errstate(invalid="ignore", divide="ignore"):
            holds = (first > empty * second) & (second > 0)
            values = np.where(holds, cross / np.sqrt(first * second), 0.0)
            return Curve(np.where(enough, values, np.nan), np.where(enough, independent**-0.5, np.nan))

    def _count(self) -> Doubles:
        """Components of a box in each shell."""
        return np.bincount(self._shell, self._weight, self._sums.shape[1]).astype(np.float64, copy=False)

    def factors(self, empty: float = 0.0) -> Doubles:
        """What the first is to be multiplied by in each shell to be nearest to the second; NaN as in `curve`.

        Noise in the second, unlike noise in the first, does not bias them. As what can be restored falls off towards
        finer detail, so do they: a shell above coarser ones counts together with these, each by its certainty. NaN
        also where the first has no more than a share `empty` of the second's power.
        """
        cross, first, second = self._sums
        known = np.isfinite(self.curve().values) & (first > empty * second) & (second > 0)
        cross, first, second, count = (sums[known] for sums in (cross, first, second, self._count()))
        values = np.full(len(known), np.nan)
        values[known] = _falling(cross / first, count * first / second)
        return values

    def amplitude(self, before: FourierCorrelation) -> Doubles:
        """Amplitude in each shell of what the pairs have in common, as a share of what those of `before` have.

        Noise that differs within each pair does not bias it. The mean with the two neighbouring shells, by their
        certainty, counts. NaN where the pairs of `before` have nothing in common beyond chance.
        """
        curve = before.curve()
        known = np.isfinite(curve.values) & (curve.values > CERTAIN * curve.chance)
        return np.sqrt(np.maximum(_smooth_ratio(self._sums[0], before._sums[0], before._sums[1], known), 0))


def _falling(values: Doubles, weight: Doubles) -> Doubles:
    """The values that never rise and are nearest to some in the weighted square (isotonic regression).

    By its min-max formula: Robertson, Wright & Dykstra (1988), Order Restricted Statistical Inference, 1.4.
    """
    sums, weights = (np.concatenate([[0.0], np.cumsum(one)]) for one in (values * weight, weight))
    with np.errstate(invalid="ignore", divide="ignore"):  # of runs that end before they begin, which do not count
        means = (sums[1:] - sums[:-1, None]) / (weights[1:] - weights[:-1, None])  # of values i to j
    largest = np.maximum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
    return np.minimum.accumulate(largest, axis=0).diagonal()


def _smooth_ratio(top: Doubles, bottom: Doubles, power: Doubles, known: Flags) -> Doubles:
    """Ratio of two sums in each known shell, with the two neighbouring shells; one of more power counts less."""
    weight = np.divide(1.0, power, out=np.zeros_like(power), where=known)
    top, bottom = (uniform_filter1d(values * weight, 3, mode="constant") for values in (top, bottom))
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=known)


@dataclass(frozen=True)
class Curve:
    """Correlation by shell; shell i is at i cycles per box side, the last one at Nyquist.

    NaN: of too few components, or nothing but a trace of the data's power.

    `chance` is the standard deviation of the correlation of unrelated volumes, 1 / sqrt(independent components).
    """

    values: Doubles
    chance: Doubles

    @cached_property
    def _band(self) -> Flags:
        fraction = np.arange(len(self.values)) / (len(self.values) - 1)
        return (fraction >= BAND[0]) & (fraction <= BAND[1]) & np.isfinite(self.values)

    @property
    def mean(self) -> float:
        """Over the shells from 0.1 to 2/3 of Nyquist, each counting the same; NaN without any."""
        return float(self.values[self._band].mean()) if self._band.any() else float("nan")

    @property
    def mean_chance(self) -> float:
        """Standard deviation of `mean` for unrelated volumes."""
        shells = self._band.sum()
        return float(np.sqrt(np.square(self.chance[self._band]).sum()) / shells) if shells else float("nan")

    def resolution(self, threshold: float, voxel_size: float) -> float | None:
        """Where the curve first falls below a threshold, in A; None where it is below from the start.

        The mean with the two neighbouring shells counts, against the scatter of single ones. The coarsest shells, of
        so few components that chance may reach 1, are passed over, and those below the threshold in which it may reach
        `UNTOLD`, unless these are more than half of the rest.

        Parameters
        ----------
        threshold : float
            Correlation.
        voxel_size : float
            In A. The result is at least twice that.
        """
        return self._falls(1.0, np.full_like(self.values, threshold), voxel_size)

    def above_chance(self, voxel_size: float) -> float | None:
        """Where the curve first falls to what chance gives (`CERTAIN` deviations), in A; None where it is not above.

        As `resolution`; passed over are the shells in which chance may reach `COUNTED`.
        """
        return self._falls(COUNTED, CERTAIN * self.chance, voxel_size)

    @property
    def tells(self) -> bool:
        """Whether `above_chance` of None means that there is nothing.

        It does not where chance may reach `UNTOLD` in all shells of the mean, or one of them that was passed over is
        above chance: the boxes were too few or too small.
        """
        most, values = CERTAIN * self.chance[self._band], self.values[self._band]
        return bool((most < UNTOLD).any()) and not ((most >= COUNTED) & (values > most)).any()

    def _falls(self, most_chance: float, limits: Doubles, voxel_size: float) -> float | None:
        """Resolution (A) where the curve first falls below its limits, among shells with less chance than that."""
        shells = np.flatnonzero(np.isfinite(self.values) & (CERTAIN * self.chance < most_chance))
        over = uniform_filter1d(self.values[shells], 3, mode="nearest") - limits[shells]
        first = int(np.argmax((over >= 0) | (CERTAIN * self.chance[shells] < UNTOLD))) if len(over) else 0
        if first > len(over) // 2:
            return None  # these are no coarse ones any more: the few fine ones that are left can't stand for all
        shells, over = shells[first:], over[first:]
        if not len(over) or over[0] < 0:
            return None
        below = np.flatnonzero(over < 0)
        if not len(below):
            place = float(shells[-1])
        else:
            last = below[0] - 1
            place = shells[last] + over[last] / (over[last] - over[below[0]]) * (shells[below[0]] - shells[last])
        return float(2 * (len(self.values) - 1) * voxel_size / place)
