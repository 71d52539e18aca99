"""Where in a tomogram a filled wedge can be believed.

A network that was trained on squared errors writes as strongly as it is sure: of a component that it estimates with
the correlation r to the truth it leaves the share r^2 of the power. So the power that was filled in, against that of
the sample, tells how far the filling agrees with the truth. The power of the sample, place by place, is told by what
was measured: by its strength above the noise, and by how much of it the network kept. How all these go together was
found on simulated tomograms (`benchmarks/confidence.py`), and is a `Calibration`.

It holds for results of the builtin model. Another model may write more strongly than it is sure, or keep noise: there
the calibration ranks the places, and how high they are as a whole follows from the tomogram's hidden-wedge test.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter
from scipy.optimize import brentq
from scipy.special import expit

from isonet_scipion.engine.arrays import release
from isonet_scipion.engine.physics.wedge import TiltRange, measured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isonet_scipion.engine.arrays import Doubles, Flags, Floats, Integers, Mean, Reals
    from isonet_scipion.engine.measure.fourier_correlation import Curve
    from isonet_scipion.engine.measure.quality import Evidence, Quality
    from isonet_scipion.engine.sampling.even_boxes import Corner
    from isonet_scipion.engine.sampling.mask_values import Mask

CELL = 8  # voxels on a side of the cells that powers are averaged over
CORE, RIM = 16, 2  # cells of a block that count, along each axis, and on each side that only filters reach
FINEST, KEPT = 2 / 3, 3 / 4  # of Nyquist: the finest waves that are looked at, and the grid that still holds them
BANDS = np.linspace(0.1, FINEST, 8)  # fractions of Nyquist between which powers are told apart
LEAST = 6  # cells along each axis, 48 voxels: of less no place can be told from another
FLOOR = 1e-6  # of a band's strongest power: less is none
LEVELS = (0.02, 0.98)  # that a band's mean over the tested boxes is set to, at the least and at the most
AGREED = 0.03  # the least agreement of before and after that the test's correlation is divided by
FURTHEST = 50.0  # that places' log-odds are shifted: beyond all that the calibration tells
TYPICAL = 0.95  # share of the cells that have less power than what a cell's is compared with: the sample, not the ice


class Term(NamedTuple):
    """One feature in a calibration: how it is brought to mean 0 and deviation 1, and what it counts."""

    mean: float
    deviation: float
    weight: float


@dataclass(frozen=True)
class Calibration:
    """A logistic regression from features of a place and band to the correlation of the filled wedge with the truth."""

    window: float  # voxels: deviation of the Gaussian that powers are averaged with
    intercept: float
    terms: dict[str, Term]

    def correlation(self, features: dict[str, Doubles]) -> Doubles:
        """What is expected: 0 to 1, in the shape of the features."""
        return expit(self.log_odds(features))

    def log_odds(self, features: dict[str, Doubles]) -> Doubles:
        """The same, before it is brought between 0 and 1."""
        total = np.full_like(next(iter(features.values())), self.intercept)
        for name, term in self.terms.items():
            total += term.weight * (features[name] - term.mean) / term.deviation
        return total


@dataclass(frozen=True)
class Confidence:
    """The confidence of each cell, of which a volume is made by interpolation."""

    cells: Floats  # (z, y, x) float32, 0 to 1
    shape: tuple[int, ...]  # of the tomogram

    def planes(self) -> Iterator[Floats]:
        """The xy-planes of the volume, one after the other: (y, x) float32."""
        along = [_interpolation(length, cells) for length, cells in zip(self.shape, self.cells.shape)]
        for row in along[0]:
            yield np.clip(along[1] @ np.tensordot(row, self.cells, 1) @ along[2].T, 0, 1)

    def mean(self, sample: Reals | Mask | None = None) -> float:
        """Over the volume, or where a mask of its shape is above 0.5."""
        if sample is None:
            return float(self.cells.mean())
        total = voxels = 0.0
        for number, plane in enumerate(self.planes()):
            inside = np.asarray(sample[number]) > 0.5
            total += float(plane[inside].sum())
            voxels += float(inside.sum())
        return total / voxels if voxels else float(self.cells.mean())


def confidence(evidence: Evidence, calibration: Calibration, tested: Quality | None = None) -> Confidence | None:
    """How far to believe what was filled into the wedge of a tomogram, place by place.

    Parameters
    ----------
    evidence : Evidence
        The tomogram before and after.
    calibration : Calibration
        How features go together.
    tested : Quality, optional
        Of a model that the calibration was not made on: with the hidden-wedge test, which then tells how high the
        values are as a whole. A network that was trained on the tomogram restores more of boxes along the axes than is
        right, and less of turned ones: the mean of both counts, where both were tested.

    Returns
    -------
    Confidence or None
        The correlation with the truth that is expected in the missing wedge, as a mean over waves of 0.1 to 2/3 of
        Nyquist, within some 48 voxels. None where the tomogram is too small.
    """
    if min(evidence.after.shape) < LEAST * CELL:
        return None
    powers = local_powers(evidence)
    odds = calibration.log_odds(features(powers, evidence.tilt, calibration.window / CELL))
    if tested is not None and tested.restored is not None and tested.side is not None:
        inside = _cells_of(tested.corners, tested.side, odds.shape[1:])
        curves = [curve for curve in (tested.restored, tested.restored_along) if curve is not None]
        told = [levels(curve, powers, inside) for curve in curves]
        odds = shifted(odds, inside, np.mean(told, axis=0))
    return Confidence(expit(odds).mean(axis=0).astype(np.float32), evidence.after.shape)


@dataclass(frozen=True)
class LocalPowers:
    """Mean squares of band-passed volumes in cells: (bands, z, y, x) float64 each."""

    before: Doubles  # where measured
    after: Doubles
    both: Doubles  # mean product of the two
    filled: Doubles  # after, in the wedge


def levels(restored: Curve, powers: LocalPowers, inside: Flags) -> Doubles:
    """What the hidden-wedge test says of each band: (bands,).

    The test compares with noisy data, which keeps it low. A network that removes noise shows by the agreement of its
    result with these data how much of them it is.

    Parameters
    ----------
    restored : Curve
        Of the test.
    powers : LocalPowers
        Of the tomogram.
    inside : ndarray of bool
        Cells of the tested boxes.
    """
    before, after, both = (one[:, inside].sum(axis=1) for one in (powers.before, powers.after, powers.both))
    agreement = both / np.sqrt(np.maximum(before * after, 1e-30))
    known = np.flatnonzero(np.isfinite(restored.values))
    if not len(known):
        return np.full(len(before), np.nan)
    nyquist = len(restored.values) - 1
    within = [np.linspace(low, high, 5) * nyquist for low, high in zip(BANDS[:-1], BANDS[1:])]
    found = np.array([np.interp(places, known, restored.values[known]).mean() for places in within])
    return np.clip(found / np.maximum(agreement, AGREED), *LEVELS)


def shifted(odds: Doubles, inside: Flags, wanted: Doubles) -> Doubles:
    """Log-odds (bands, z, y, x), of each band as much higher or lower that its mean inside is as wanted, if known."""
    return np.stack([band + _shift(band[inside], level) for band, level in zip(odds, wanted)])


def _shift(odds: Doubles, level: float) -> float:
    if not np.isfinite(level):
        return 0.0
    return float(brentq(lambda shift: expit(odds + shift).mean() - level, -FURTHEST, FURTHEST))


def _cells_of(corners: tuple[Corner, ...], side: int, shape: tuple[int, ...]) -> Flags:
    """Which cells lie in boxes of a side, in voxels."""
    inside = np.zeros(shape, bool)
    for corner in corners:
        inside[tuple(slice(start // CELL, -(-(start + side) // CELL)) for start in corner)] = True
    return inside


def features(powers: LocalPowers, tilt: TiltRange, window: float) -> dict[str, Doubles]:
    """What is told of each band and cell: (bands, z, y, x) each. No grey scale counts, nor a linear change of it.

    Parameters
    ----------
    powers : LocalPowers
        Of the tomogram.
    tilt : TiltRange
        Of the tilt series.
    window : float
        Deviation, in cells, of the Gaussian that powers are averaged with.
    """
    gain = powers.both.sum() / max(powers.after.sum(), 1e-30)  # the output's grey scale may be another

    def smooth(values: Doubles) -> Doubles:
        whole = gaussian_filter(np.ones(values.shape[1:]), window, mode="constant")
        return gaussian_filter(values, (0, window, window, window), mode="constant") / whole

    before, both = smooth(powers.before), gain * smooth(powers.both)
    after, filled = (gain**2 * smooth(one) for one in (powers.after, powers.filled))
    least = FLOOR * before.max(axis=(1, 2, 3), keepdims=True) + 1e-30
    removed = np.maximum(before - 2 * both + after, least)
    before, after, filled = (np.maximum(one, least) for one in (before, after, filled))
    covered = (tilt.maximum - tilt.minimum) / 180
    typical = np.quantile(after, TYPICAL, axis=(1, 2, 3), keepdims=True)
    bands = np.arange(len(after)) / len(after)
    return {
        "filled": np.log(filled / (1 - covered)) - np.log(after / covered),
        "kept": np.log(after / removed),
        "strength": np.log(after / typical),
        "covered": np.full_like(after, covered),
        "band": np.broadcast_to(bands[:, None, None, None], after.shape),
    }


def local_powers(evidence: Evidence) -> LocalPowers:
    """Go through a tomogram before and after, block by block."""
    shape = evidence.after.shape
    cells = tuple(-(-length // CELL) for length in shape)
    sums = np.zeros((4, len(BANDS) - 1, *cells))
    for place in itertools.product(*(list(_blocks(length)) for length in shape)):
        before, after = (
            _spectrum(evidence.before.show(_taken(volume, place)))
            for volume in (evidence.before.voxels, evidence.after)
        )
        lengths = tuple(len(block.source) for block in place)
        seen, bands = _regions(lengths, evidence.tilt)
        target = (slice(None), *(block.target for block in place))
        inner = tuple(block.inner for block in place)
        for number, band in enumerate(bands):
            one, two, wedge = (
                _on_fewer(spectrum, region & band, lengths)
                for spectrum, region in ((before, seen), (after, seen), (after, ~seen))
            )
            for kind, (a, b) in enumerate(((one, one), (two, two), (one, two), (wedge, wedge))):
                sums[(kind, number, *target[1:])] = _pooled(a * b)[inner]
    return LocalPowers(*sums)


class _Block(NamedTuple):
    """A piece of an axis."""

    source: Integers  # voxel that each sample is taken from: mirrored beyond the faces
    target: slice  # cells of the tomogram that it gives
    inner: slice  # where they are among its own


def _blocks(length: int) -> Iterator[_Block]:
    cells = -(-length // CELL)
    mirrored = np.pad(np.arange(length), (RIM * CELL, RIM * CELL + CELL), mode="symmetric")
    count = max(1, round(cells / CORE))
    bounds = np.linspace(0, cells, count + 1).round().astype(int)
    for first, last in zip(bounds[:-1], bounds[1:]):
        source = mirrored[first * CELL : (last + 2 * RIM) * CELL]
        yield _Block(source, slice(first, last), slice(RIM, RIM + last - first))


def _taken(volume: Reals | Mean, place: tuple[_Block, ...]) -> Floats:
    z, y, x = (block.source for block in place)
    low = [int(source.min()) for source in (z, y, x)]
    box = np.asarray(volume[tuple(slice(a, int(s.max()) + 1) for a, s in zip(low, (z, y, x)))], np.float32)
    release(volume)
    return box[np.ix_(z - low[0], y - low[1], x - low[2])]


def _spectrum(block: Floats) -> Reals:
    """The transform of a block, cut to what a grid of KEPT times its samples holds."""
    spectrum = scipy.fft.rfftn(block) * np.float32(KEPT**3)  # so that the values stay, on fewer samples
    for axis, length in enumerate(block.shape[:2]):
        half = int(length * KEPT) // 2
        spectrum = np.concatenate(
            [spectrum.take(range(half), axis), spectrum.take(range(length - half, length), axis)], axis
        )
    return spectrum[:, :, : int(block.shape[2] * KEPT) // 2 + 1]


@lru_cache(maxsize=8)
def _regions(lengths: tuple[int, ...], tilt: TiltRange) -> tuple[Flags, list[Flags]]:
    """Where a spectrum of `_spectrum` was measured, and its bands; bool."""
    z, y, x = (2 * np.fft.fftfreq(int(n * KEPT)) * KEPT for n in lengths)  # fractions of Nyquist
    kz, ky, kx = z[:, None, None], y[None, :, None], np.abs(x[None, None, : len(x) // 2 + 1])
    radius = np.sqrt(kz**2 + ky**2 + kx**2)
    seen = np.broadcast_to(measured(kz, kx, tilt), radius.shape)
    return seen, [(radius >= low) & (radius < high) for low, high in zip(BANDS[:-1], BANDS[1:])]


def _on_fewer(spectrum: Reals, region: Flags, lengths: tuple[int, ...]) -> Floats:
    """A block on the coarser grid, with nothing left outside a region of Fourier space."""
    shape = tuple(int(length * KEPT) for length in lengths)
    return scipy.fft.irfftn(spectrum * region, shape)


def _pooled(values: Floats) -> Doubles:
    """Means over cells of a block on the coarser grid."""
    side = int(CELL * KEPT)
    z, y, x = (length // side for length in values.shape)
    return values.reshape(z, side, y, side, x, side).mean(axis=(1, 3, 5), dtype=np.float64)


def _interpolation(length: int, cells: int) -> Floats:
    """Weights (length, cells) of linear interpolation between the centres of cells."""
    place = np.clip((np.arange(length) + 0.5) / CELL - 0.5, 0, cells - 1)
    first = np.minimum(place.astype(int), max(0, cells - 2))
    weights = np.zeros((length, cells), np.float32)
    weights[np.arange(length), first] = 1 - (place - first)
    weights[np.arange(length), np.minimum(first + 1, cells - 1)] += (place - first).astype(np.float32)
    return weights
