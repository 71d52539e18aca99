"""Drawing of slices on matplotlib's figures. Protein is dark, lengths are in nm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isonet_scipion.engine.physics.borders import find_border

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from isonet_scipion.engine.sampling.mask_values import Mask

GREY_PERCENTILES = (0.5, 99.5)
OUTLINE = "yellow"
CONFIDENCE_COLORS = "RdYlGn"


def greyRange(image: np.ndarray) -> tuple[float, float]:
    """The grey values to show as black and white, those of a border apart."""
    border = find_border(np.asarray(image)[None])
    data = image if border is None else image[border.data()[0]]
    low, high = np.percentile(np.asarray(data, np.float32), GREY_PERCENTILES)
    return float(low), float(high)


def showSlice(
    axes: Axes,
    image: np.ndarray,
    voxelSize: float,
    title: str,
    names: str = "xy",
    grey: tuple[float, float] | None = None,
    mask: np.ndarray | None = None,
    layer: tuple[np.ndarray, float] | None = None,
) -> None:
    """Draw one slice.

    Parameters
    ----------
    axes : matplotlib Axes
    image : ndarray
        2D, first row at the bottom.
    voxelSize : float
        In A.
    title : str
    names : str
        Names of the horizontal and the vertical axis.
    grey : (float, float), optional
        Shown as black and white. Default: the image's own range.
    mask : ndarray, optional
        Of the same shape; its border is outlined.
    layer : (ndarray, float), optional
        The confidence, 0 (red) to 1 (green), of the same shape, and how much it covers the slice (0 to 1).
    """
    low, high = grey or greyRange(image)
    extent = (0.0, image.shape[1] * voxelSize / 10, 0.0, image.shape[0] * voxelSize / 10)
    axes.imshow(np.asarray(image, np.float32), cmap="gray", vmin=low, vmax=high, origin="lower", extent=extent)
    if layer is not None:
        confidence, cover = layer
        axes.imshow(
            np.asarray(confidence, np.float32), cmap=CONFIDENCE_COLORS, vmin=0, vmax=1, alpha=cover, origin="lower",
            extent=extent,
        )  # fmt: skip
    if mask is not None and mask.min() != mask.max():
        axes.contour(mask.astype(np.float32), levels=[0.5], colors=OUTLINE, linewidths=1, origin="lower", extent=extent)
    axes.set_title(title, fontsize=10, parse_math=False)  # a name may hold $
    axes.set_xlabel(f"{names[0]} (nm)", fontsize=9)
    axes.set_ylabel(f"{names[1]} (nm)", fontsize=9)
    axes.tick_params(labelsize=8)


def showCentralSlices(
    figure: Figure,
    volume: np.ndarray,
    voxelSize: float,
    mask: np.ndarray | Mask | None = None,
    height: float = 0.5,
    confidence: np.ndarray | None = None,
    cover: float = 0.35,
) -> None:
    """Draw the slice in xy at a height (fraction of the thickness) and the central one in xz, with a mask outlined.

    Parameters
    ----------
    figure : matplotlib Figure
    volume : ndarray
        (z, y, x); may be a memory map.
    voxelSize : float
        In A.
    mask : Mask, optional
        Same shape.
    height : float
        0 (bottom) to 1 (top).
    confidence : ndarray, optional
        Same shape, 0 to 1; may be a memory map.
    cover : float
        How much the confidence's colour covers the slices, 0 to 1.
    """
    depth, rows, _ = volume.shape
    z = min(depth - 1, int(height * depth))
    # side by side the thin xz slice would be tiny, and on one scale it can be compared
    panels: Any = figure.subplots(2, 1, height_ratios=[rows, max(depth, rows // 4)])
    upper, lower = panels
    grey = greyRange(volume[depth // 2])
    outlines = (None, None) if mask is None else (mask[z], mask[:, rows // 2])
    cuts = z, (slice(None), rows // 2)
    layers = [None if confidence is None else (confidence[cut], cover) for cut in cuts]
    showSlice(upper, volume[z], voxelSize, f"xy at z = {z}", "xy", grey, outlines[0], layers[0])
    showSlice(lower, volume[:, rows // 2], voxelSize, f"xz at y = {rows // 2}", "xz", grey, outlines[1], layers[1])


def showMontage(
    figure: Figure, images: Sequence[np.ndarray], titles: Sequence[str], columns: int | None = None
) -> None:
    """Draw small images in rows, each with its own grey scale.

    Parameters
    ----------
    figure : matplotlib Figure
    images : sequence of 2D ndarray
    titles : sequence of str
    columns : int, optional
        Images in a row. Default: as many as there are rows.
    """
    columns = columns or math.ceil(math.sqrt(len(images)))
    panels = figure.subplots(math.ceil(len(images) / columns), columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, image, title in zip(panels, images, titles):
        low, high = greyRange(image)
        axes.imshow(np.asarray(image, np.float32), cmap="gray", vmin=low, vmax=high, origin="lower")
        axes.set_title(title, fontsize=7, parse_math=False)
