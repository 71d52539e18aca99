"""Tilts that are kept from a training, to test it by: the outermost measured ones, on both sides of the missing wedge.

They are sectors of Fourier space, the same for every ky: a tomogram is filtered in its xz-planes, each by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from isonet_scipion.engine.arrays import release
from isonet_scipion.engine.physics.wedge import TiltRange, filter_planes, measured

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Flags, Floats, Reals

WITHHELD = 0.05  # of the measured directions, in all
SLAB_VOXELS = 1 << 24  # that are filtered at a time


def narrowed(tilt: TiltRange) -> TiltRange:
    """The tilt range that is left.

    Examples
    --------
    >>> narrowed(TiltRange(-60, 60))
    TiltRange(minimum=-57.0, maximum=57.0)
    """
    less = WITHHELD / 2 * (tilt.maximum - tilt.minimum)
    return TiltRange(tilt.minimum + less, tilt.maximum - less)


def withheld_sectors(depth: int, width: int, tilt: TiltRange) -> Flags:
    """Where the xz-plane of a transform was measured by the tilts that are withheld.

    Parameters
    ----------
    depth, width : int
        Of the volume along z and x, in voxels.
    tilt : TiltRange
        Of the tilt series.

    Returns
    -------
    ndarray of bool
        (depth, 1, width // 2 + 1), laid out as the transform of a real volume over z and x. Nyquist's rows, which
        stand for two directions at once, are in no sector.
    """
    kz = scipy.fft.fftfreq(depth)[:, None, None]
    kx = scipy.fft.rfftfreq(width)[None, None, :]
    inside = (np.abs(kz) < 0.5) & (kx < 0.5)
    return measured(kz, kx, tilt) & ~measured(kz, kx, narrowed(tilt)) & inside


def withheld_part(volume: Reals, tilt: TiltRange) -> Floats:
    """What the withheld tilts have left in a volume: it without this is what a training may see.

    What the outermost views have left just beyond the range stays: without it a training learns the wedge much later
    (benchmarks/FOLLOWING.md).

    Parameters
    ----------
    volume : ndarray
        (z, y, x) of any real type.
    tilt : TiltRange
        Of the tilt series.

    Returns
    -------
    ndarray
        Same shape, float32.

    Examples
    --------
    >>> volume = np.random.default_rng(0).normal(size=(32, 2, 48)).astype(np.float32)
    >>> seen = volume - withheld_part(volume, TiltRange(-60, 60))
    >>> bool(np.abs(withheld_part(seen, TiltRange(-60, 60))).max() < 1e-5)
    True
    """
    depth, _, width = volume.shape
    return filter_planes(np.asarray(volume, np.float32), withheld_sectors(depth, width, tilt))


def withhold(volume: Reals, tilt: TiltRange, into: Floats) -> None:
    """Write a volume without what the withheld tilts have left in it.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) of any real type; may be a memory map, of which a few y are read at a time.
    tilt : TiltRange
        Of the tilt series.
    into : ndarray
        Same shape, float32; may be a memory map.
    """
    depth, height, width = volume.shape
    step = max(1, SLAB_VOXELS // (depth * width))
    for first in range(0, height, step):
        slab = np.array(volume[:, first : first + step], np.float32)
        slab -= withheld_part(slab, tilt)
        into[:, first : first + step] = slab
        release(volume)
        release(into)
