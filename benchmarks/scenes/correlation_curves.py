"""Correlation of truth and tomogram by resolution shell, and what is read off such a curve."""

from __future__ import annotations

import numpy as np

MIN_VOXELS = 60  # shells with fewer Fourier voxels are left out of a curve
EMPTY = 0.01  # wedge power below this share of the measured power counts as empty


def ratio(top, bottom, valid):
    out = np.full(len(top), np.nan)
    np.divide(top, bottom, out=out, where=valid & (bottom > 0))
    return out


def correlation_sums(regions, region, cross, power_gt, power, empty=EMPTY):
    """Per shell: sums of cross, ground-truth and tomogram power, and the number of voxels.

    The tomogram's power is taken as at least `empty` times its measured power in the same shell.
    What an empty wedge holds (leakage through the soft mask, interpolation noise) is weaker than
    that, and would otherwise be blown up to full strength by the normalisation.
    """
    c, g, p = (regions.sums(v, region) for v in (cross, power_gt, power))
    voxels, measured = regions.voxels(region), regions.voxels(regions.measured)
    floor = empty * regions.sums(power, regions.measured) / np.maximum(measured, 1)
    return c, g, np.maximum(p, floor * voxels), voxels


def correlation_curve(regions, region, cross, power_gt, power, empty=EMPTY):
    """Fourier correlation per shell; NaN where a shell has too few voxels, 0 where it is empty."""
    c, g, p, voxels = correlation_sums(regions, region, cross, power_gt, power, empty)
    enough = voxels >= MIN_VOXELS
    curve = ratio(c, np.sqrt(g * p), enough)
    curve[enough & (g * p <= 0)] = 0.0
    return curve


def mean_over(curve, select):
    values = curve[select & np.isfinite(curve)]
    return float(values.mean()) if len(values) else float("nan")


def median_over(curve, select):
    values = curve[select & np.isfinite(curve)]
    return float(np.median(values)) if len(values) else float("nan")


def resolution_at(freq, curve, threshold, coarsest):
    """Resolution (Angstrom) at which the curve first falls below the threshold.

    Searched from `coarsest` on; returns (value, note).  The note is '>' when already the first
    shell lies below (the value is then a lower limit of the true, coarser figure) and '<' when the
    curve never falls below up to the last shell.
    """
    valid = np.isfinite(curve) & (freq >= 1.0 / coarsest - 1e-9)
    f, c = freq[valid], curve[valid]
    if len(f) == 0:
        return float("nan"), ""
    below = np.flatnonzero(c < threshold)
    if len(below) == 0:
        return float(1 / f[-1]), "<"
    i = below[0]
    if i == 0:
        return float(1 / f[0]), ">"
    t = (c[i - 1] - threshold) / (c[i - 1] - c[i])
    return float(1 / (f[i - 1] + t * (f[i] - f[i - 1]))), ""
