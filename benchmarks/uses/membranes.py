"""Use (b): membranes are segmented by the eigenvalues of the Hessian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scene import SOLID
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from uses.scenes import Truth

SCALES = (1.5, 2.0, 3.0)  # voxels: deviations of the Gaussians before the Hessian; the best counts


def sheets(volume: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """How much each place looks like a bright sheet, and the axis (0 z, 1 y, 2 x) that its normal is nearest to."""
    gradient = np.gradient(ndi.gaussian_filter(volume, scale))
    second = {(row, column): np.gradient(gradient[row], axis=column) for row in range(3) for column in range(row, 3)}
    curved = second[0, 0] + second[1, 1] + second[2, 2]
    # a fifth of the volume holds all that can be a sheet, and eigenvalues take time
    likely = curved < np.quantile(curved, 0.2)
    hessian = np.empty((likely.sum(), 3, 3), np.float32)
    for (row, column), values in second.items():
        hessian[:, row, column] = hessian[:, column, row] = values[likely]
    values, vectors = np.linalg.eigh(hessian)
    strength, axis = np.zeros(volume.shape, np.float32), np.zeros(volume.shape, int)
    strength[likely] = np.maximum(-values[:, 0] - np.abs(values[:, 1:]).max(axis=-1), 0)
    axis[likely] = np.abs(vectors[:, :, 0]).argmax(axis=-1)
    return strength, axis


def membranes(truth: Truth, volume: np.ndarray) -> dict:
    """Intersection over union of the segmented and the true membranes: all, and those whose normal is nearest x, y, z.

    The threshold, and the scale of the filter, are those that are best for the tomogram as a whole.
    """
    real = ndi.gaussian_filter(truth.membrane, 2.0)
    true = (real > 0.3 * np.percentile(real[truth.membrane > SOLID], 50)) & truth.slab
    _, normal = sheets(truth.membrane, 2.5)
    near = ndi.binary_dilation(true, iterations=2)
    best: dict = {"IoU": -1.0}
    for scale in SCALES:
        strength, axis = sheets(volume, scale)
        for share in np.geomspace(0.2, 4, 14):
            limit = np.sort(strength[truth.slab])[-int(share * true.sum()) - 1]
            chosen = (strength > limit) & truth.slab
            whole = float((chosen & true).sum() / (chosen | true).sum())
            if whole > best["IoU"]:
                # a segmented voxel off the membranes counts for the axis of its own normal
                own = np.where(near, normal, axis)
                by_axis = {
                    name: float((chosen & true & (own == number)).sum() / ((chosen | true) & (own == number)).sum())
                    for number, name in enumerate("zyx")
                }
                found = {
                    name: float((chosen & true & (normal == number)).sum() / (true & (normal == number)).sum())
                    for number, name in enumerate("zyx")
                }
                best = {"IoU": whole, "by_axis": by_axis, "found": found, "scale": scale}
    return best
