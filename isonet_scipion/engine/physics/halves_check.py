"""Whether two volumes can be the halves of one tomogram: the same sample and grey scale, other noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter

from isonet_scipion.engine.physics.grey_scale import GreyScale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isonet_scipion.engine.arrays import Doubles, Floats, Reals

BINNED = 4  # voxels: means over so many on a side are compared, as single voxels are mostly noise
COPY = 1e-3  # of the deviation: two halves that differ by less have the same noise
MOST_UNLIKE = 2.0  # times: further apart are the deviations of no two halves
LEAST = 0.05  # correlation; one of less, or within chance, tells nothing
RESEMBLING = 0.3  # correlation of a tomogram and the mean of its halves; unlike in filters alone, they have more
# of the better half's correlation with the tomogram; in mere noise both are as the roots of the doses, so that less
# than that has only a half of less than a fifth of the dose
UNLIKE = 0.5
LEFT_OVER = 0.02  # of a tomogram's variance: its halves, weighted, explain all but this where it was made of them
OPPOSED = -0.25  # times the other's weight: less has no half in its tomogram
SAME = 0.1  # of the deviation: means that differ by less look alike in every picture
SIDES = 1, 4, 12, 24  # voxels of the blocks by whose means grey scales are compared: filters leave some of them alone
FEWEST = 16  # blocks that tell anything
MANY = 100  # blocks whose slope is certain to a tenth
COARSE = 25  # voxels
UNEVEN = 1.3  # times: halves whose grey scales differ by less weigh about the same in their mean
OTHER_SCALE = 1.7  # times: of halves that are sums, the scale is another by 2, of integers mostly by far more
CERTAIN = 4.0  # standard deviations of the correlation of unrelated volumes


class Fault(NamedTuple):
    """What is wrong with a pair, after their names, and what to do."""

    why: str
    remedy: str


OPPOSITE = Fault("what is bright in one is dark in the other", "Invert the contrast of one.")


def fault_of_halves(first: Sequence[Reals], second: Sequence[Reals]) -> Fault | None:
    """What shows that two volumes are not the halves of one tomogram; None where nothing does.

    Parameters
    ----------
    first, second : sequence of ndarray
        Boxes at the same places of both, (z, y, x) of any real type.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sample, one, other = rng.normal(size=(3, 1, 32, 32, 32))
    >>> fault_of_halves(sample + one, sample + other) is None
    True
    >>> fault_of_halves(sample + one, sample + one).why
    'they are the same volume'
    """
    a, b = (
        np.concatenate([np.ravel(box) for box in boxes]).astype(np.float32, copy=False) for boxes in (first, second)
    )
    deviations = a.std(), b.std()
    if min(deviations) == 0:
        return None
    if is_copy(a, b):
        return Fault("they are the same volume", "Name the reconstructions of the even and of the odd frames or tilts.")
    if max(deviations) > MOST_UNLIKE * min(deviations) or abs(a.mean() - b.mean()) > max(deviations):
        told = " and ".join(f"{part.mean():.4g} with a deviation of {part.std():.3g}" for part in (a, b))
        return Fault(f"their grey values are {told}", "Reconstruct both in the same way, or bring them to one scale.")
    return OPPOSITE if common(first, second) < 0 else None


def is_copy(first: Reals, second: Reals) -> bool:
    """Whether voxels of any real type are the same, but for a thousandth of their deviation."""
    # sums and differences in their own type may overflow
    a, b = (voxels.astype(np.float32, copy=False) for voxels in (first, second))
    return bool(np.sqrt(np.mean((a - b) ** 2)) < COPY * max(a.std(), b.std()))


def common(first: Sequence[Reals], second: Sequence[Reals]) -> float:
    """Correlation of two volumes' samples, 0 where there is none beyond chance; parameters as of `fault_of_halves`."""
    found, chance = _correlation(first, second)
    return found if abs(found) > max(LEAST, CERTAIN * chance) else 0.0


def stranger(halves: Sequence[Sequence[Reals]], whole: Sequence[Reals]) -> int | None:
    """Which of two halves has far less in common with their tomogram than the other, 0 or 1; None where neither.

    Parameters
    ----------
    halves : sequence
        The boxes of each, as of `fault_of_halves`.
    whole : sequence of ndarray
        Those of the tomogram.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sample, one, other = rng.normal(size=(3, 1, 32, 32, 32))
    >>> even, odd = sample + one, sample + other
    >>> print(stranger([even, odd], (even + odd) / 2), stranger([even, odd[:, ::-1]], (even + odd) / 2))
    None 1
    """
    (first, chance), (second, _) = (_correlation(half, whole) for half in halves)
    worse, better = sorted((first, second))
    if better < RESEMBLING or worse > UNLIKE * better - CERTAIN * chance:
        return None
    return 0 if first < second else 1


def exchanged(halves: Sequence[Sequence[Reals]], whole: Sequence[Reals]) -> int | None:
    """Which of two halves is the tomogram itself, and that the half, 0 or 1; None where neither.

    A half is the tomogram less the other half: one of the weights by which they add up is then negative. Parameters are
    as of `stranger`.

    Examples
    --------
    >>> sample, one, other = np.random.default_rng(0).normal(size=(3, 1, 32, 32, 32))
    >>> even, odd = sample + one, sample + other
    >>> print(exchanged([even, odd], (even + odd) / 2), exchanged([(even + odd) / 2, odd], even))
    None 0
    """
    voxels = np.stack([np.concatenate([np.ravel(box) for box in boxes]) for boxes in (*halves, whole)])
    covariance = np.cov(voxels.astype(np.float32, copy=False), dtype=np.float64)
    of_halves, with_whole, variance = covariance[:2, :2], covariance[:2, 2], covariance[2, 2]
    weights = np.linalg.lstsq(of_halves, with_whole, rcond=None)[0]
    if variance - weights @ with_whole > LEFT_OVER * variance or not min(weights) < OPPOSED * max(weights) < 0:
        return None
    return int(np.argmax(weights))


def _correlation(first: Sequence[Reals], second: Sequence[Reals]) -> tuple[float, float]:
    """Of two volumes' samples, and its deviation for unrelated ones; 0 where a volume is blank or too small."""
    a, b = (np.concatenate([_binned(box) for box in boxes]) for boxes in (first, second))
    if not len(a) or a.std() == 0 or b.std() == 0:
        return 0.0, 1.0
    return float(np.corrcoef(a, b)[0, 1]), float(len(a) ** -0.5)


def scale_between(source: Sequence[Reals], target: Sequence[Reals]) -> GreyScale | None:
    """The map from the grey scale of one volume to that of another of the same sample; None where they have the same.

    On one scale, noise makes a volume's deviation larger, but lets neither volume follow the other with a slope above
    1. A filter does so in means over some voxels, but hardly in all: what takes away fine detail leaves coarse detail
    alone, or takes it away as well. Where the slope is above it in means over few and over many voxels, the map brings
    mean and deviation to the target's; where only the means differ, the mean.

    Parameters
    ----------
    source, target : sequence of ndarray
        Boxes at the same places of both, (z, y, x) of any real type.

    Examples
    --------
    >>> sample, noise = np.random.default_rng(0).normal(size=(2, 1, 48, 48, 48))
    >>> scale_between(sample + noise, sample) is None
    True
    >>> found = scale_between(sample, 1000 * sample + 500)
    >>> round(found.offset, 3), round(found.scale, 6)
    (-0.5, 0.001)
    """
    bands = [[_means_over(side, boxes) for boxes in (source, target)] for side in SIDES]
    voxels, *means = (band for band in bands if len(band[0]) >= FEWEST)
    if len(means) < 2 or min(part.std() for part in (*voxels, *means[-1])) == 0:
        return None
    offset, wanted = (part.mean() for part in voxels)
    is_same = min(_steepest_slope(*band) for band in (voxels, *means)) <= OTHER_SCALE
    if is_same and abs(offset - wanted) <= SAME * max(part.std() for part in voxels):
        return None
    # that of the sample: single voxels are mostly noise, or smoothed
    scale = 1.0 if is_same else means[-1][0].std() / means[-1][1].std()
    return GreyScale(float(offset - wanted * scale), float(scale))


def uneven(first: Sequence[Reals], second: Sequence[Reals]) -> float | None:
    """How many times stronger one half's grey values are than the other's, at least; None where that is not certain.

    Noise lets neither follow the other with a slope above 1 if both have one scale, whatever their doses. Parameters
    are as of `fault_of_halves`.

    Examples
    --------
    >>> sample, one, other = np.random.default_rng(0).normal(size=(3, 1, 48, 48, 48))
    >>> uneven(5 * sample + one, 5 * sample + other) is None
    True
    >>> print(round(uneven(5 * sample + one, 1.5 * (5 * sample + other)), 1))
    1.4
    """
    # what is coarser, as gradients of ice, may differ between halves of one scale
    fine = [[box - uniform_filter(np.asarray(box, np.float64), COARSE, mode="nearest") for box in boxes]
            for boxes in (first, second)]  # fmt: skip
    bands = [[_means_over(side, boxes) for boxes in fine] for side in SIDES]
    slopes = [_steepest_slope(*band) for band in bands if len(band[0]) >= MANY and min(map(np.std, band)) > 0]
    return max(slopes) if slopes and max(slopes) > UNEVEN else None


def _means_over(side: int, boxes: Sequence[Reals]) -> Doubles:
    return np.concatenate([_binned(box, side) for box in boxes]).astype(np.float64)


def _steepest_slope(first: Doubles, second: Doubles) -> float:
    """Of the lines by which either follows the other."""
    return float(np.cov(first, second, bias=True)[0, 1] / min(first.var(), second.var()))


def _binned(box: Reals, side: int = BINNED) -> Floats:
    """Means over blocks of `side` voxels on a side, flat; what is left at the ends does not count."""
    z, y, x = (length // side for length in box.shape)
    inner = np.asarray(box[: z * side, : y * side, : x * side], np.float32)
    return inner.reshape(z, side, y, side, x, side).mean(axis=(1, 3, 5)).ravel()
