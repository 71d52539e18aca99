"""Training pairs: what the network is shown, and what it should make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import scipy.fft

from isonet_scipion.engine.conventions import Normalisation
from isonet_scipion.engine.physics.cube_rotations import TRAINING_ROTATIONS, CubeRotation
from isonet_scipion.engine.physics.fourier import frequencies
from isonet_scipion.engine.physics.grey_scale import normalise
from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge, wedge_filter
from isonet_scipion.engine.sampling.crops import centre_crop

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats


def first_estimate(
    subtomogram: Floats, tilt: TiltRange, normalisation: Normalisation = Normalisation.PERCENTILES
) -> Floats:
    """The estimate before any training: the normalised subtomogram, filtered with M, normalised.

    Parameters
    ----------
    subtomogram : ndarray
        (n, n, n) float32, normalised, protein bright.
    tilt : TiltRange
        Of its tilt series.
    normalisation : Normalisation
        Of its grey values.
    """
    return normalise(apply_wedge(subtomogram, tilt), normalisation)


def filled_target(
    subtomogram: Floats,
    estimate: Floats,
    tilt: TiltRange,
    normalisation: Normalisation = Normalisation.PERCENTILES,
) -> Floats:
    """normalise(M S + (1 - M) E): measured data where measured, the estimate elsewhere.

    Parameters
    ----------
    subtomogram, estimate : ndarray
        (n, n, n) float32, normalised, protein bright.
    tilt : TiltRange
        Of the tilt series.
    normalisation : Normalisation
        Of its grey values.
    """
    # M S + (1 - M) E = E + M (S - E): one filter instead of two
    return normalise(estimate + apply_wedge(subtomogram - estimate, tilt), normalisation)


@dataclass(frozen=True)
class PreparedSubtomogram:
    """All that the training pairs of one subtomogram are views of; see `prepare`."""

    target: Floats
    filtered: dict[tuple[Any, ...], Floats]
    tilt: TiltRange

    def pair(self, number: int) -> tuple[Floats, Floats]:
        """Input x and target y, views of (cube_size,)*3 float32, for TRAINING_ROTATIONS[number]."""
        turn = TRAINING_ROTATIONS[number]
        return turn.apply(self.filtered[_filter_key(turn, self.tilt)]), turn.apply(self.target)


def prepare(target: Floats, tilt: TiltRange, cube_size: int) -> PreparedSubtomogram:
    """Make the volumes that all training pairs of one subtomogram share.

    For a rotation R, x = centre crop of M (R T) and y = centre crop of R T. Since M (R T) = R (M_R T),
    with M_R the filter in the frame of T, five filtered volumes (ten for an asymmetric tilt range)
    serve all rotations.

    Parameters
    ----------
    target : ndarray
        T of `filled_target`, (n, n, n) float32.
    tilt : TiltRange
        Of the tilt series.
    cube_size : int
        Side of the pairs in voxels.
    """
    size = len(target)
    k = frequencies(size)
    spectrum = scipy.fft.rfftn(target)
    filtered = {}
    for key in dict.fromkeys(_filter_key(turn, tilt) for turn in TRAINING_ROTATIONS):
        z_axis, x_axis, mirrored = key
        kz, kx = k[z_axis], k[x_axis]
        rotated_filter = wedge_filter(-kz if mirrored else kz, kx, size / 2, tilt)
        volume = scipy.fft.irfftn(spectrum * rotated_filter, target.shape, overwrite_x=True)
        filtered[key] = centre_crop(volume, cube_size).copy()
    return PreparedSubtomogram(centre_crop(target, cube_size).copy(), filtered, tilt)


def _filter_key(turn: CubeRotation, tilt: TiltRange) -> tuple[int, int, bool]:
    """Axes of T along which kz and kx of R T lie, and whether one of them runs backwards (M is even in k)."""
    mirrored = not tilt.symmetric and turn.signs[0] * turn.signs[2] < 0
    return turn.axes[0], turn.axes[2], mirrored
