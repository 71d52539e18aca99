"""What any protocol asks of a set: whether it still grows, whether its items can be told apart, its voxel size."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from tomo.objects import SetOfAverageSubTomograms, SetOfTomoMasks

from isonet_scipion.constants import REPORT_ATTRIBUTES, SCALE_ATTRIBUTE
from isonet_scipion.convert.files import plainPath
from isonet_scipion.convert.sets import enabled, enabledIds, filesById
from isonet_scipion.engine.conventions import CONFIDENCE_SUFFIX
from isonet_scipion.protocols.listing import named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyworkflow.object import Pointer
    from tomo.objects import SetOfSubTomograms, Tomogram

SAMPLING_TOLERANCE = 0.005  # relative; Scipion rounds voxel sizes in places


def isOpen(pointer: Pointer) -> bool:
    """Whether a parameter holds a set that may get more items."""
    return pointer.get() is not None and pointer.get().isStreamOpen()


def idErrors(label: str, items: Iterable[Tomogram]) -> list[str]:
    """That items of a set can't be told apart: several have the same tsId or, but for masks, one has none."""
    ids: list[str | None] = [*enabledIds(items)]
    # a mask without one goes with no tomogram
    without = 0 if isinstance(items, SetOfTomoMasks) else ids.count(None)
    found = severalTimes(ids) + ([f"none ({without} times)"] if without else [])
    if not found:
        return []
    return [
        f"*{label}*: each needs a tilt series ID (tsId) of its own, but there is {named(found)}. Disable those "
        "that are too many, or import them again with a {TS} pattern."
    ]


def severalTimes(tsIds: Iterable[str | None]) -> list[str]:
    """The tilt series IDs that are there several times, with how many; None does not count."""
    counts = Counter(tsIds)
    return [f"{tsId} ({count} times)" for tsId, count in counts.items() if count > 1 and tsId is not None]


def kindErrors(label: str, items: Iterable[Tomogram]) -> list[str]:
    """That a set holds masks or confidence volumes, which Scipion takes for tomograms."""
    if isinstance(items, SetOfTomoMasks):
        return [f"*{label}* holds masks. Select a set of tomograms."]
    found = [path for path in filesById(items).values() if path.endswith(CONFIDENCE_SUFFIX)]
    if not found:
        return []
    return [f"*{label}* holds confidence volumes, such as {found[0]}. Select the tomograms that they belong to."]


def averageErrors(subtomograms: SetOfSubTomograms) -> list[str]:
    """That a set holds averages, which Scipion takes for subtomograms."""
    if not isinstance(subtomograms, SetOfAverageSubTomograms):
        return []
    return [
        "*Subtomograms* holds averages of particles in many orientations: they do not lack the wedge of a tilt range, "
        "so a network can't learn from them to fill it. Select subtomograms that were cut out of tomograms."
    ]


def missingErrors(subtomograms: SetOfSubTomograms) -> list[str]:
    """How many files of a set's subtomograms are missing."""
    paths = [plainPath(subtomogram.getFileName()) for subtomogram in enabled(subtomograms)]
    missing = [path for path in paths if not os.path.isfile(path)]
    return [f"{len(missing)} of the subtomograms' files are missing. The first: {missing[0]}"] if missing else []


def correctedWarnings(label: str, items: Iterable[Tomogram]) -> list[str]:
    """That a network corrected some of a set's tomograms before: Scipion's form takes the selected run's output."""
    marks = (SCALE_ATTRIBUTE, *REPORT_ATTRIBUTES.values())
    found = [str(item.getTsId()) for item in enabled(items) if any(map(item.hasAttribute, marks))]
    if not found:
        return []
    return [
        f"*{label}*: a network corrected these before: {named(found)}. What it filled in would be taken "
        "for measured data here. Select the tomograms as they were before that."
    ]


def sameSampling(first: float | None, second: float | None) -> bool:
    """Whether two voxel sizes are the same but for rounding, or one is not known yet, as of a set that is empty."""
    return first is None or second is None or abs(first - second) <= SAMPLING_TOLERANCE * max(first, second)
