"""Where to believe a corrected tomogram, as a colour on its slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isonet_scipion.engine.arrays import upright_plane
from isonet_scipion.engine.reporting.picture import GREY_PERCENTILES

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Reals
    from isonet_scipion.engine.measure.confidence import Confidence

COLORS = "RdYlGn"
SEEN_THROUGH = 0.35  # how much of the colour covers the slice


def draw_confidence(axes: Reals, after: Reals, confidence: Confidence, voxel_size: float) -> None:
    """Draw the central slices of a corrected tomogram under the confidence, and how often each value is.

    Parameters
    ----------
    axes : ndarray
        Four of matplotlib's.
    after : ndarray
        (z, y, x); may be a memory map.
    confidence : Confidence
        Of the same shape.
    voxel_size : float
        In A.
    """
    depth, height, width = after.shape
    low, high = np.percentile(np.asarray(after[depth // 2], np.float32), GREY_PERCENTILES)
    xy, xz, yz = (np.empty(sides, np.float32) for sides in ((height, width), (depth, width), (depth, height)))
    for z, plane in enumerate(confidence.planes()):  # one at a time: all would be as large as the tomogram
        xz[z], yz[z] = plane[height // 2], plane[:, width // 2]
        if z == depth // 2:
            xy[:] = plane
    slices = (
        ("XY", after[depth // 2], xy, "x", "y"),
        ("XZ", upright_plane(after, 1, height // 2), xz, "x", "z"),
        ("YZ", upright_plane(after, 2, width // 2), yz, "y", "z"),
    )
    layer: Any = None
    for panel, (name, image, values, horizontal, vertical) in zip(axes, slices):
        extent = [0, image.shape[1] * voxel_size / 10, 0, image.shape[0] * voxel_size / 10]
        place = {"origin": "lower", "extent": extent}
        panel.imshow(np.asarray(image, np.float32), cmap="gray", vmin=low, vmax=high, **place)
        layer = panel.imshow(values, cmap=COLORS, vmin=0, vmax=1, alpha=SEEN_THROUGH, **place)
        panel.set(title=f"{name} confidence", xlabel=f"{horizontal} (nm)", ylabel=f"{vertical} (nm)")
    axes[3].hist(confidence.cells.ravel(), bins=40, range=(0, 1), color="tab:blue")
    axes[3].set(title="How often each confidence is", xlabel="expected correlation in the wedge", yticks=[])
    axes[3].figure.colorbar(layer, ax=axes[2], label="confidence")
