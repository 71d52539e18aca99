"""Volumes as stages take them: with what is no data left out, and masks with what is inside decided."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.arrays import require_contrast
from isonet_scipion.engine.io.mrc import Volume, check_mask, naming, open_volume
from isonet_scipion.engine.physics.borders import Border, find_border
from isonet_scipion.engine.physics.grey_scale import Shown, measure
from isonet_scipion.engine.physics.radial_filter import PhaseFlip, deconvolve
from isonet_scipion.engine.sampling.mask_values import Mask

if TYPE_CHECKING:
    from isonet_scipion.engine.physics.transfer import Transfer

log = logging.getLogger(__name__)


def border_of(volume: Volume) -> Border | None:
    """What of a volume is no data, which is logged; None where all is."""
    border = find_border(volume.data)
    if border is not None:
        log.warning("%s: %s.", volume.path, border.describe())
    return border


def open_mask(path: str, tomogram: Volume) -> Mask:
    """The mask of a tomogram; what was assumed to tell what is inside is logged.

    Raises
    ------
    EngineError
        If the file can't be read, does not fit to the tomogram, or does not tell what is inside.
    """
    volume = open_volume(path)
    check_mask(volume, tomogram)
    with naming(tomogram, path):
        mask = Mask(volume.data)
    if mask.rule.assumed:
        log.warning("%s: %s.", path, mask.rule.assumed)
    return mask


def show(
    volume: Volume, percentile: bool, transfer: Transfer | None = None, border: Border | None = None,
    inverted: bool = False,
) -> Shown:  # fmt: skip
    """Read a volume for a network.

    Parameters
    ----------
    volume : Volume
        The tomogram, or a half of it.
    percentile : bool
        How to normalise; see `grey_scale.measure`.
    transfer : Transfer, optional
        Of a CTF-aware network: the tomogram is phase-flipped, unless it is already.
    border : Border, optional
        What of it is no data: only the box around the rest is shown.
    inverted : bool
        Whether protein is bright in the file.

    Raises
    ------
    EngineError
        If a voxel is not finite, or all are equal.
    """
    voxels = volume.data if border is None else border.inner(volume.data)
    with naming(volume):
        if transfer is not None and not transfer.comes_flipped:
            voxels = deconvolve(voxels, PhaseFlip(transfer.voxel_size, transfer.ctf_parameters))
        bright = np.array(voxels, np.float32)
        require_contrast(float(bright.min()), float(bright.max()))
    scale = measure(bright if inverted else np.negative(bright, out=bright), percentile)
    return Shown(voxels, scale, inverted)
