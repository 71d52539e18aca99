"""Items of Scipion's sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pwem.objects import EMObject, SetOfImages
from pyworkflow.object import Set

from isonet_scipion.convert.files import fileOf
from isonet_scipion.engine.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tomo.objects import SetOfSubTomograms
    from typing_extensions import TypeGuard


def enabled(items: Iterable[EMObject] | None) -> Iterator[EMObject]:
    """The items of a set, none for None, that are not disabled in it, as a viewer's user can do; not clones."""
    for item in () if items is None else itemsOf(items):
        if item.isEnabled():
            yield item


def itemsOf(items: Iterable[EMObject]) -> Iterator[EMObject]:
    """The items of a set, each with its own acquisition or none; not clones."""
    if getattr(type(items), "iterItems", None) is SetOfImages.iterItems:
        # it would lend items without a tilt range the set's acquisition, and then write the next item's into that
        items = Set.iterItems(items)
    yield from items


def hasItems(items: Set | None) -> TypeGuard[Set]:
    """Whether anything is in a set's file: where the first item could not be written, its table is missing."""
    if items is None:
        return False
    items.load()
    return not items.isEmpty()


def sidesOf(subtomograms: SetOfSubTomograms) -> tuple[int, int, int]:
    """Voxels along x, y and z of a set's subtomograms, as Scipion has stored it; an EngineError where it has not."""
    sides = subtomograms.getDim()
    if sides is None:
        why = "Scipion does not know their size: the first could not be read when their set was made"
        raise EngineError("*Subtomograms*", why, "Make or import them again.")
    x, y, z = sides
    return x, y, z


def filesById(items: Iterable[EMObject] | None) -> dict[str, str]:
    """The file of each item of a set that is not disabled, by tsId; none for None."""
    return {item.getTsId(): fileOf(item) for item in enabled(items)}


def enabledIds(items: Iterable[EMObject] | None) -> list[str]:
    """The tsIds of a set's items that are not disabled."""
    return [item.getTsId() for item in enabled(items)]
