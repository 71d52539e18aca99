"""Whether masks are those of the tomograms that they are given with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from isonet_scipion.convert.files import Size, readSizes
from isonet_scipion.convert.sets import enabled
from isonet_scipion.protocols.listing import firstLines, named
from isonet_scipion.protocols.set_checks import idErrors, sameSampling

if TYPE_CHECKING:
    from tomo.objects import SetOfTomoMasks


def maskErrors(masks: SetOfTomoMasks, sizes: Mapping[str, Size], samplingRate: float) -> list[str]:
    """What is wrong with masks: a tsId twice, unreadable files, another voxel size (A) or size than their tomogram.

    `sizes`: of the tomograms, by tsId.
    """
    errors = idErrors("Masks", masks)
    if not sameSampling(masks.getSamplingRate(), samplingRate):
        errors.append(
            f"The masks have {masks.getSamplingRate():.2f} Å/px, the tomograms {samplingRate:.2f}: "
            "make masks of these tomograms."
        )
    ofMasks, unreadable = readSizes(enabled(masks))
    errors += firstLines([f"*Masks*: {error}" for error in unreadable.values()], "can't be read, either.")
    other = [tsId for tsId, size in sizes.items() if ofMasks.get(tsId, size) != size]
    if other:
        errors.append(f"The masks of {named(other)} have another size than the tomograms.")
    return errors
