"""Whether protein is dark: dense things are few and strong, so the grey values have their longer tail on that side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Reals

SMOOTHING = 1.0  # voxels, deviation of a Gaussian against noise
CERTAIN = 0.7  # skewness; tomograms of cells, filaments and simulations have -2.0 to -0.9 with dark protein


def contrast_warning(volumes: Sequence[Reals], inverted: bool) -> str | None:
    """What seems to be wrong with the declared contrast, in words; None where nothing can be told.

    Parameters
    ----------
    volumes : sequence of ndarray
        Boxes of a tomogram, or subtomograms, (z, y, x) of any real type.
    inverted : bool
        Whether protein is said to be bright.
    """
    smooth = np.concatenate(
        [scipy.ndimage.gaussian_filter(volume.astype(np.float32), SMOOTHING).ravel() for volume in volumes]
    ).astype(np.float64)
    if not np.isfinite(smooth).all():
        return None  # the stage itself tells it
    smooth -= smooth.mean()
    squares = np.square(smooth)
    variance = squares.mean()
    # a power is a hundred times as slow as products
    skewness = float(np.vdot(squares, smooth) / smooth.size / variance**1.5) if variance > 0 else 0.0
    if (-skewness if inverted else skewness) < CERTAIN:
        return None
    seen, said = ("dark", "bright") if inverted else ("bright", "dark")
    return f"by the grey values protein seems to be {seen}, but it is taken as {said}"
