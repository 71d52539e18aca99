"""The number formats in which results are stored: half the space of float32, and what rounding costs."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats, Reals

log = logging.getLogger(__name__)
SCALE = "isonetCorrectedScale"  # column: grey value of a voxel of rlnCorrectedTomoName over what its file holds
MOST_LOSS = 0.01  # of the standard deviation, that rounding may change; more would show
FINE_STEPS = 100.0  # standard deviation in whole numbers above which these need no scale
SAMPLE = 1 << 20  # voxels that the standard deviation is estimated from
SMALLEST_SPREAD = 2.0**-8  # standard deviation below which half precision runs out of small numbers


@dataclass(frozen=True)
class Stored:
    """Voxels as a file holds them; `scale` times them are the grey values, but for rounding."""

    voxels: Reals
    scale: float
    loss: float  # root mean square of what rounding changed, over the standard deviation


def stored(values: Floats, kind: str) -> Stored:
    """Round grey values to a number format, scaled where they don't fit it.

    Parameters
    ----------
    values : ndarray
        (z, y, x) float32.
    kind : str
        One of OUTPUT_TYPES. int16 keeps whole numbers unscaled where these are fine enough.

    Returns
    -------
    Stored
        Of the same shape.
    """
    if kind == "float32":
        return Stored(values, 1.0, 0.0)
    dtype: Any = np.dtype(kind)
    largest, spread = max(abs(float(values.min())), abs(float(values.max()))), _spread(values)
    scale = np.float32(_scale(largest, spread, kind))
    voxels, squares = np.empty(values.shape, dtype), 0.0
    for plane, out in zip(values, voxels):
        out[:] = np.rint(plane / scale) if dtype.kind == "i" else plane / scale
        squares += float(np.sum((out.astype(np.float32) * scale - plane) ** 2, dtype=np.float64))
    return Stored(voxels, float(scale), math.sqrt(squares / values.size) / spread if spread else 0.0)


def _spread(values: Floats) -> float:
    """Standard deviation of most voxels: a few that are far off, such as gold, do not count."""
    step = max(1, round((values.size / SAMPLE) ** (1 / 3)))
    low, high = np.percentile(values[::step, ::step, ::step], (16, 84))
    return float(high - low) / 2 or float(values.std(dtype=np.float64))


def _scale(largest: float, spread: float, kind: str) -> float:
    """1 where the values fit the format as they are."""
    most = float(np.iinfo(np.int16).max if kind == "int16" else np.finfo(np.float16).max)
    if largest == 0 or (largest <= most and spread >= (FINE_STEPS if kind == "int16" else SMALLEST_SPREAD)):
        return 1.0
    # of half precision by a power of two, which rounds nothing
    return largest / most if kind == "int16" else 2.0 ** math.ceil(math.log2(largest / (most / 2)))


def stored_or_float32(values: Floats, kind: str, name: str) -> Stored:
    """As `stored`, but float32 where rounding would show; the log says the scale and the loss, or that."""
    made = stored(values, kind)
    if made.loss > MOST_LOSS:
        log.warning(
            "%s: %s would change it by %.1f %% of its standard deviation, so it is written as float32.",
            name,
            kind,
            100 * made.loss,
        )
        return stored(values, "float32")
    if kind != "float32":
        scaled = "" if made.scale == 1 else f", grey value = {made.scale:.6g} x voxel (column {SCALE})"
        log.info("%s: %s%s; rounding changes it by %.2g %% of its deviation", name, kind, scaled, 100 * made.loss)
    return made


def grey_values(voxels: Reals, scale: float) -> Reals:
    """What `stored` rounded, of voxels that may be a memory map: that itself where there is no scale."""
    return voxels if scale == 1 else np.multiply(voxels, np.float32(scale), dtype=np.float32)
