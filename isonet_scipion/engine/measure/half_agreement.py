"""Agreement of the two half tomograms: by region, and along the axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.measure.fourier_correlation import Curve, FourierCorrelation
from isonet_scipion.engine.physics.fourier import cone, filtered
from isonet_scipion.engine.physics.wedge import TiltRange, measured_half_space

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats

AXES = {"x": 2, "y": 1}  # along z nothing is measured
THRESHOLD = 0.143  # between halves, as much as 0.5 between their mean and the true signal


class HalfCurves:
    """Sums up Fourier shell correlations of halves, as they came and as the network corrected them."""

    def __init__(self, size: int, tilt: TiltRange) -> None:
        """For boxes of (size,)*3 voxels of a tilt series with the range `tilt`."""
        seen = measured_half_space(size, tilt)
        everything = np.ones_like(seen)
        self._regions = {("measured", "before"): seen, ("measured", "after"): seen, ("wedge", "after"): ~seen}
        for name, axis in AXES.items():
            self._regions[name, "before"] = cone(size, axis) & seen
            self._regions[name, "after"] = cone(size, axis) & everything
        self._sums = {key: FourierCorrelation(size, region) for key, region in self._regions.items()}
        self._added: set[str] = set()

    def add(self, when: str, even: Floats, odd: Floats) -> None:
        """Count in a box of the halves, (n, n, n) float32, `before` or `after` the correction."""
        self._added.add(when)
        for key, sums in self._sums.items():
            if key[1] == when:
                sums.add(*(filtered(half, self._regions[key]) for half in (even, odd)))

    def curve(self, region: str, when: str) -> Curve | None:
        """Correlation in a region (measured, wedge) or along an axis (x, y); None where nothing was added."""
        return self._sums[region, when].curve() if when in self._added and (region, when) in self._sums else None

    def resolution(self, axis: str, when: str, voxel_size: float) -> float | None:
        """Along x or y, in A: where the correlation falls below 0.143."""
        curve = self.curve(axis, when)
        return curve.resolution(THRESHOLD, voxel_size) if curve else None
