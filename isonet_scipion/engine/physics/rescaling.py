"""Rescaling volumes to another voxel size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats


def rescaled_shape(shape: tuple[int, ...], step: float) -> tuple[int, ...]:
    """Shape of a rescaled volume; `step` is the new voxel size over the old one."""
    return tuple(max(2, round(length / step)) for length in shape)


def rescale(volume: Floats, voxel_size: float, new_voxel_size: float) -> Floats:
    """Resample a volume with cubic splines, after a Gaussian against aliasing where it shrinks.

    Parameters
    ----------
    volume : ndarray
        (z, y, x) float32.
    voxel_size, new_voxel_size : float
        In A.

    Returns
    -------
    ndarray
        float32; each side is the nearest whole number of new voxels, at least 2, and the corner stays in place.
    """
    step = new_voxel_size / voxel_size
    shape = rescaled_shape(volume.shape, step)
    if step > 1:
        volume = scipy.ndimage.gaussian_filter(volume, (step - 1) / 2, mode="mirror")
    # voxel i of the result is centred at (i + 1/2) new voxels, measured from the corner
    return scipy.ndimage.affine_transform(
        volume, np.diag([step] * 3), offset=(step - 1) / 2, output_shape=shape, order=3, mode="mirror"
    )
