"""Sizes of voxels: which are possible, which are in nm, which are the same."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from isonet_scipion.engine.errors import EngineError

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles
    from isonet_scipion.engine.io.volume import Volume

log = logging.getLogger(__name__)
VOXEL_SIZE_TOLERANCE = 0.01  # relative
VOXEL_SIZES = (0.01, 10_000.0)  # A; what is possible
NANOMETRES = 2.0  # a tomogram's voxel size below this is one in nm, unless its header has it too
UNSET_SIZE = 1.0  # voxel size in A that programs write who do not know it
SAME_UNIT = 0.02  # relative difference up to which two sizes are the same, or ten times each other


def require_voxel_size(size: float, what: str, why: str) -> None:
    """Raise an EngineError about `what`, for the reason `why`, unless a voxel size in A is possible."""
    if not VOXEL_SIZES[0] <= size <= VOXEL_SIZES[1]:
        raise EngineError(what, why, "Give the voxel size in A, such as 10.")


def check_unit(size: float, volume: Volume, what: str) -> None:
    """Raise an EngineError about `what` if the size of a tomogram's voxels, or its header's, is one in nm.

    Logs a line where header and size differ, and where both are as small as that.

    Parameters
    ----------
    size : float
        In A, as a table or an option says.
    volume : Volume
        The tomogram.
    what : str
        Names the table or the option.
    """
    header = told_size(volume.voxel_size)
    ratio = max(size, header) / min(size, header) if header else 1.0
    if abs(ratio / 10 - 1) <= SAME_UNIT:
        raise EngineError(
            what,
            f"the voxel size is {size:g} for {volume.path}, whose header says {header:g}: one of them is in nm",
            f"Give it in A, probably {max(size, header):g}, or correct the header.",
        )
    if size < NANOMETRES and not (header and same_voxel_size(size, header)):
        raise EngineError(
            what,
            f"the voxel size {size:g} for {volume.path} is too small for a tomogram, as if it were in nm",
            f"Give it in A, such as {10 * size:g}. If it is right, write it into the tomogram's header.",
        )
    if size < NANOMETRES:
        log.warning("%s: voxels of %g A are unusually small; 1 nm is 10 A.", volume.path, size)
    if volume.voxel_size and not same_voxel_size(size, volume.voxel_size):
        log.warning(
            "%s: the header's voxel size is %.3f A, but %s says %.3f A, which is used.",
            volume.path,
            volume.voxel_size,
            what,
            size,
        )


def told_size(size: float) -> float:
    """A header's voxel size; 0 where it is one that tells nothing."""
    return size if abs(size - UNSET_SIZE) > 1e-3 else 0.0


def written_voxel_size(size: float, volume: Volume) -> float:
    """What the header of an output gets: `size` in A, in the digits of the input's header if that is the same."""
    return volume.voxel_size if same_voxel_size(volume.voxel_size, size) else size


def same_voxel_size(size: float, expected: float) -> bool:
    """Whether two voxel sizes differ by no more than headers' rounding."""
    return abs(size - expected) <= VOXEL_SIZE_TOLERANCE * expected


def require_same_grid(other: Volume, tomogram: Volume, voxel_size: float) -> None:
    """Raise an EngineError unless a mask or half has the tomogram's shape and (where its header tells one) voxel size.

    Parameters
    ----------
    other, tomogram : Volume
        The two.
    voxel_size : float
        The tomogram's in A, as the table says; the one in its header will do too, as both may have the same wrong one.
    """
    if other.shape != tomogram.shape:
        raise EngineError(
            other.path, f"its shape {other.shape} is not that of {tomogram.path}, {tomogram.shape}", "Make it again."
        )
    told = told_size(other.voxel_size)
    if told and not any(same_voxel_size(told, size) for size in (voxel_size, tomogram.voxel_size)):
        raise EngineError(
            other.path, f"its voxel size is {told:.3f} A, the tomogram's {voxel_size:.3f} A", "Correct its header."
        )


def are_equal_sizes(sizes: Doubles) -> bool:
    """Whether sizes along several axes differ by no more than headers' rounding."""
    return bool(sizes.max() <= (1 + VOXEL_SIZE_TOLERANCE) * sizes.min())


def size_of_cubes(sizes: Doubles, path: str) -> float:
    """The one size of voxels that are equally wide along x, y and z; an EngineError where they are not."""
    if are_equal_sizes(sizes):
        return float(sizes[0])
    raise EngineError(
        path,
        f"its voxels are not cubes: {' x '.join(f'{size:.4g}' for size in sizes)} A (x, y, z)",
        "Resample it to one voxel size, or correct its header if that is wrong (IMOD: alterheader).",
    )
