"""Sums of Gaussians: what all but membranes is drawn with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GAUSS_CUT = 3.3  # Gaussians are drawn out to this many sigmas


@dataclass
class Blobs:
    """Gaussians: centres (n, 3) in (z, y, x) Angstrom, sigmas (n,) in Angstrom, peaks (n,)."""

    pos: np.ndarray
    sigma: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, pos, sigma, weight=1.0) -> Blobs:
        pos = np.atleast_2d(np.asarray(pos, float))
        n = len(pos)
        return cls(
            pos,
            np.broadcast_to(np.asarray(sigma, float), n).copy(),
            np.broadcast_to(np.asarray(weight, float), n).copy(),
        )

    def __add__(self, other: Blobs) -> Blobs:
        return Blobs(
            np.vstack([self.pos, other.pos]), np.append(self.sigma, other.sigma), np.append(self.weight, other.weight)
        )

    def moved(self, matrix=None, shift=(0.0, 0.0, 0.0)) -> Blobs:
        pos = self.pos if matrix is None else self.pos @ np.asarray(matrix).T
        return Blobs(pos + np.asarray(shift, float), self.sigma, self.weight)

    def centred(self) -> Blobs:
        return self.moved(shift=-np.average(self.pos, axis=0, weights=self.weight))

    @property
    def radius(self) -> float:
        return float(np.max(np.linalg.norm(self.pos, axis=1) + 2 * self.sigma))


def draw_blobs(blobs: Blobs, apix: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (patch, corner): the sum of Gaussians, and the voxel index of patch[0, 0, 0]."""
    pos, sigma = blobs.pos / apix, np.maximum(blobs.sigma / apix, 0.65)
    reach = GAUSS_CUT * sigma[:, None]
    low = np.floor(pos - reach).astype(int)
    high = np.ceil(pos + reach).astype(int) + 1
    corner = low.min(axis=0)
    patch = np.zeros(high.max(axis=0) - corner, np.float32)
    for p, s, w, lo, hi in zip(pos, sigma, blobs.weight, low, high):
        axes = [np.exp(-0.5 * ((np.arange(a, b) - c) / s) ** 2).astype(np.float32) for a, b, c in zip(lo, hi, p)]
        a, b = lo - corner, hi - corner
        patch[a[0] : b[0], a[1] : b[1], a[2] : b[2]] += w * axes[0][:, None, None] * axes[1][:, None] * axes[2]
    return patch, corner


def normalised(blobs: Blobs, apix: float, level: float = 1.0) -> Blobs:
    """Scale the peaks so that the bright part of the drawn object has the density `level`."""
    patch, _ = draw_blobs(blobs, apix)
    bright = np.percentile(patch[patch > 0.3 * patch.max()], 90)
    return Blobs(blobs.pos, blobs.sigma, blobs.weight * (level / bright))
