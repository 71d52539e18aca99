"""A corrected tomogram out of what a network made of it, or of its halves: one grey scale, whole again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.physics.grey_scale import normalise

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from isonet_scipion.engine.arrays import Floats, Reals
    from isonet_scipion.engine.conventions import Normalisation
    from isonet_scipion.engine.physics.borders import Border
    from isonet_scipion.engine.physics.grey_scale import GreyScale, Shown


def whole_result(
    volume: Reals,
    parts: Sequence[Shown],
    made: Iterable[Floats],
    border: Border | None = None,
    to_own: GreyScale | None = None,
    normalisation: Normalisation | None = None,
) -> Floats:
    """The mean of what a network made of a tomogram's parts, with the border as it was.

    Parameters
    ----------
    volume : ndarray
        (z, y, x), the tomogram; may be a memory map.
    parts : sequence of Shown
        It, or its halves, as the network saw them: of the box that holds data.
    made : iterable of ndarray
        What it made of each, float32; overwritten, and taken one after the other.
    border : Border, optional
        What of the tomogram is no data.
    to_own : GreyScale, optional
        From the grey scale of the parts to the tomogram's, where it is another.
    normalisation : Normalisation, optional
        For IsoNet 0.2's grey scale, as of `written`, also of the border; without it the result has the tomogram's.

    Returns
    -------
    ndarray
        float32, the tomogram's shape.
    """
    # not by zip, which holds what was made of one while the next is made
    values = map(partial(written, normalisation=normalisation), parts, made)
    mean = next(values)
    for each in values:
        np.add(mean, each, out=mean)
    if len(parts) > 1:
        mean /= np.float32(len(parts))
    if to_own is not None and normalisation is None:
        mean = to_own.apply_in_place(mean)
    if border is None:
        return mean
    whole = np.empty(volume.shape, np.float32)
    border.put_back(volume, mean, whole)
    if normalisation is not None:
        outside, shown = ~border.data(), parts[-1]
        kept = whole[outside] if to_own is None else to_own.undo(whole[outside])
        whole[outside] = shown.contrast(shown.show(kept))
    return whole


def written(shown: Shown, made: Floats, normalisation: Normalisation | None) -> Floats:
    """What a network made, with the contrast of what it was shown, and its grey scale; `made` may be overwritten.

    With a normalisation the grey scale is IsoNet 0.2's: what was made is normalised anew.
    """
    return shown.back(made) if normalisation is None else shown.contrast(normalise(made, normalisation))
