"""Voxels of Scipion's objects, for pictures. A file that is not MRC is converted once, into the project's Tmp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isonet_scipion.convert.files import asMrc, fileName, linkSubtomogram
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.voxel_size import require_voxel_size

if TYPE_CHECKING:
    from pyworkflow.project import Project
    from tomo.objects import SubTomogram

    from isonet_scipion.engine.io.volume import Volume


def openTomogram(path: str, samplingRate: float | None, project: Project) -> Volume:
    """A tomogram's or mask's file; its voxels are a memory map.

    Raises
    ------
    EngineError
        If the file is missing or damaged, or the size of its voxels is not known.
    """
    rate = samplingRate or 0.0
    require_voxel_size(rate, path, "its set does not tell the size of its voxels")
    return open_volume(asMrc(path, _copy(path, project), rate))


def openSubtomogram(subtomogram: SubTomogram, project: Project) -> Volume:
    """A subtomogram, which may be in a stack.

    Raises
    ------
    EngineError
        If the file is missing or damaged.
    """
    index, path = subtomogram.getLocation()
    target = _copy(f"{index}_{path}", project)
    linkSubtomogram(subtomogram, target, subtomogram.getSamplingRate())
    return open_volume(target)


def _copy(path: str, project: Project) -> str:
    # the whole path tells the name, since files of different protocols are named alike; no name can hold a long one
    return project.getTmpPath(f"{fileName(path)}.mrc")


def middle(shape: tuple[int, ...], depth: int | None = None, side: int = 400) -> tuple[slice, ...]:
    """The central part (z, y, x) of a volume: quick to compute on.

    Parameters
    ----------
    shape : tuple of int
        Of the volume, (z, y, x).
    depth : int, optional
        Most planes of the part; None: all.
    side : int
        Most voxels of the part in x and y.

    Returns
    -------
    tuple of slice
        They start at even indices, so that halving the part gives the same voxels as halving the volume.
    """
    wanted = (shape[0] if depth is None else depth, side, side)
    starts = [max(0, (length - size) // 4 * 2) for length, size in zip(shape, wanted)]
    return tuple(slice(start, min(start + size, length)) for start, size, length in zip(starts, wanted, shape))
