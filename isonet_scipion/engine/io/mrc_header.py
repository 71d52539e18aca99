"""What headers of MRC files tell, also where programs break the format's rules."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mrcfile
import numpy as np
from mrcfile.mrcinterpreter import MrcInterpreter

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.marks import HEADER_BYTES
from isonet_scipion.engine.io.voxel_size import are_equal_sizes, size_of_cubes

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Reals

MRC2014 = 20140  # the first version of the format that has a number
IMOD_STAMP, STAMP, FLAGS = 1146047817, slice(40, 44), slice(44, 48)  # bytes of extra2
SIGNED_BYTES, STANDARD_ORIGIN = 1, 4  # bits of IMOD's flags
BYTE_PLANES = 24  # looked at where the header does not tell whether bytes have a sign
CLEARLY = 10.0  # as many voxels at both ends of the grey values if bytes have a sign as if they have none
FOUR_BITS = 101  # mode of volumes with two voxels in a byte
USUAL_AXES = (1, 2, 3)  # of columns, rows and sections: x, y, z
EXTENDED_LENGTH = slice(92, 96)  # bytes of the header that tell the extended header's length
COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open}


def has_old_origin(header: Any) -> bool:
    """Whether IMOD takes a header's origin as it stands: it turns the sign of files of MRC2014, and of flagged ones."""
    stamp, flags = _imod_marks(header)
    return int(header.nversion) < MRC2014 and not (stamp == IMOD_STAMP and flags & STANDARD_ORIGIN)


def _imod_marks(header: Any) -> tuple[int, int]:
    """The numbers in the places of IMOD's stamp and flags."""
    extra = bytes(header.extra2)
    stamp, flags = (int(np.frombuffer(extra[part], header.nx.dtype)[0]) for part in (STAMP, FLAGS))
    return stamp, flags


def odd_axes(header: Any, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """What is odd with the axes that a header tells; an EngineError where it tells another order than x, y, z."""
    axes = tuple(int(header[name]) for name in ("mapc", "mapr", "maps"))
    if axes in (USUAL_AXES, (0, 0, 0)):
        return ()
    if sorted(axes) != sorted(USUAL_AXES):  # as IMOD takes it
        return (f"its axes (MAPC, MAPR, MAPS) are {axes}, taken as {USUAL_AXES}",)
    # IMOD and mrcfile show the voxels as they stand, so the file does not tell whether header or voxels are right
    raise EngineError(
        str(path),
        f"its header tells another order of axes: MAPC, MAPR, MAPS are {axes}, not {USUAL_AXES}",
        "If it looks right in 3dmod, which ignores them, write 1, 2, 3 there (in Python: mrcfile.open(path, 'r+'), "
        "header.mapc, mapr, maps). Else put its voxels in that order first (IMOD: clip flipyz, flipxz or flipxy).",
    )


def require_length(file: Path) -> None:
    """Raise a ValueError if the file is shorter than its header says: mrcfile takes the memory before it looks."""
    opening: Any = COMPRESSED.get(file.suffix, open)
    with opening(file, "rb") as stream:
        head = stream.read(HEADER_BYTES)
        length = stream.seek(0, os.SEEK_END)
    if len(head) < HEADER_BYTES:
        raise ValueError(f"its header has {len(head)} of {HEADER_BYTES} bytes")
    bare = bytearray(head)
    bare[EXTENDED_LENGTH] = bytes(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = MrcInterpreter(io.BytesIO(bare), permissive=True, header_only=True).header
    if int(header.mode) == FOUR_BITS:
        raise EngineError(str(file), "its voxels have 4 bits (mode 101)", "Convert it (IMOD: newstack -mode 1).")
    extended = int(np.frombuffer(head[EXTENDED_LENGTH], header.nsymbt.dtype)[0])
    sides = [int(side) for side in (header.nx, header.ny, header.nz)]
    if min(extended, *sides) < 0:
        raise ValueError(f"its header tells {sides} voxels (x, y, z) and {extended} bytes of extended header")
    voxel = mrcfile.utils.data_dtype_from_header(header).itemsize
    told = HEADER_BYTES + extended + sides[0] * sides[1] * sides[2] * voxel
    if length < told:
        raise ValueError(f"it has {length} bytes, by its header it should have {told}")


def unsigned_bytes(header: Any, data: Reals) -> tuple[bool, str | None]:
    """Whether bytes (mode 0) have no sign, and what was assumed for it.

    The format gives them one, but IMOD wrote none for many years, and marks both since; other programs differ.
    """
    stamp, flags = _imod_marks(header)
    if stamp == IMOD_STAMP:
        return not flags & SIGNED_BYTES, None
    low, high = float(header.dmin), float(header.dmax)
    planes = np.unique(np.linspace(0, len(data) - 1, BYTE_PLANES).astype(int))
    if min(int(data[z].min()) for z in planes) >= 0:
        return False, None  # it is the same
    counts = np.sum([np.bincount(data[z].ravel().view(np.uint8), minlength=256) for z in planes], axis=0)
    if -128 <= low < 0 and low < high <= 127:
        return False, None
    if 0 <= low < high and 127 < high <= 255:
        return True, f"its bytes are read as unsigned, since its header says {low:g} to {high:g}"
    # read wrongly, what lies on either side of the sign's change comes to both ends, where grey values are rare apart
    # from the very last ones, at which they may be cut off
    as_signed = min(counts[121:127].sum(), counts[129:135].sum())
    as_unsigned = min(counts[1:7].sum(), counts[249:255].sum())
    unsigned = bool(as_signed > CLEARLY * as_unsigned)
    kind = "unsigned" if unsigned else "signed"
    return unsigned, f"its bytes are read as {kind}, by their values, since its header does not tell"


def header_voxel_size(header: Any, path: str) -> float:
    """The side of a voxel in A; 0 where the header does not tell it for any axis."""
    # by way of Python's numbers: numpy warns of the NaN of a damaged header
    cell = np.array([float(header.cella[axis]) for axis in "xyz"])
    intervals, lengths = (np.array([header[prefix + axis] for axis in "xyz"], float) for prefix in ("m", "n"))
    with np.errstate(all="ignore"):
        # stacks have one interval along z
        candidates = [cell / np.where(counts > 0, counts, np.nan) for counts in (intervals, lengths)]
    known = [sizes[np.isfinite(sizes) & (sizes > 0)] for sizes in candidates]
    for sizes in known:
        if len(sizes) and are_equal_sizes(sizes):
            return float(sizes[0])
    return size_of_cubes(known[0], path) if len(known[0]) else 0.0
