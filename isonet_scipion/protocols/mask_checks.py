"""Whether masks are those of the tomograms that they are given with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from isonet_scipion.convert.files import fileErrors, fileOf, sizeOf
from isonet_scipion.convert.sets import enabled
from isonet_scipion.protocols.set_checks import idErrors, sameSampling

if TYPE_CHECKING:
    from tomo.objects import SetOfTomoMasks, Tomogram


def maskErrors(masks: SetOfTomoMasks, tomograms: Mapping[str, Tomogram], samplingRate: float) -> list[str]:
    """What is wrong with masks: a tsId twice, unreadable files, another voxel size (A) or size than their tomogram."""
    errors = idErrors("Masks", masks)
    if not sameSampling(masks.getSamplingRate(), samplingRate):
        errors.append(
            f"The masks have {masks.getSamplingRate():.2f} Å/px, the tomograms {samplingRate:.2f}: "
            "make masks of these tomograms."
        )
    unreadable = fileErrors(enabled(masks))
    errors += [f"*Masks*: {error}" for error in unreadable.values()]
    files = {mask.getTsId(): fileOf(mask) for mask in enabled(masks) if mask.getTsId() not in unreadable}
    sizes = {tsId: sizeOf(fileOf(tomogram)) for tsId, tomogram in tomograms.items() if tsId in files}
    other = [tsId for tsId, size in sizes.items() if sizeOf(files[tsId]) != size]
    if other:
        errors.append(f"The masks of {', '.join(other)} have another size than the tomograms.")
    return errors
