"""Volumes, MRC or OME-Zarr: memory-mapped reading, whole-or-nothing writing."""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import os
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from mrcfile.mrcinterpreter import MrcInterpreter

from isonet_scipion.engine.arrays import MASK, TOMOGRAM, Doubles, Floats, Mean, Reals, require_contrast
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import replacing, require_file
from isonet_scipion.engine.io.marks import HEADER_BYTES, MARK
from isonet_scipion.engine.io.ome_zarr import SUFFIX, is_store, open_store, store_bytes, write_store

log = logging.getLogger(__name__)
VOXEL_SIZE_TOLERANCE = 0.01  # relative
VOXEL_SIZES = (0.01, 10_000.0)  # A; what is possible
NANOMETRES = 2.0  # a tomogram's voxel size below this is one in nm, unless its header has it too
UNSET_SIZE = 1.0  # voxel size in A that programs write who do not know it
SAME_UNIT = 0.02  # relative difference up to which two sizes are the same, or ten times each other
MRC2014 = 20140  # the first version of the format that has a number
IMOD_STAMP, STAMP, FLAGS = 1146047817, slice(40, 44), slice(44, 48)  # bytes of extra2
SIGNED_BYTES, STANDARD_ORIGIN = 1, 4  # bits of IMOD's flags
BYTE_PLANES = 24  # looked at where the header does not tell whether bytes have a sign
CLEARLY = 10.0  # as many voxels near one end of the grey values as near the other
FOUR_BITS = 101  # mode of volumes with two voxels in a byte
USUAL_AXES = (1, 2, 3)  # of columns, rows and sections: x, y, z
EXTENDED_LENGTH = slice(92, 96)  # bytes of the header that tell the extended header's length
_warnings_lock = threading.Lock()  # Python catches warnings for all threads at once
MOST_LABELS = 10  # of a header
COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open}


@dataclass(frozen=True)
class Volume:
    """A volume on disk."""

    read: Callable[[], Reals]  # gives `data`
    shape: tuple[int, ...]  # voxels along z, y and x
    voxel_size: float  # A, 0 where the header has none
    origin: tuple[float, float, float]  # header's x, y, z in A
    start: tuple[int, int, int]  # header's nxstart, nystart, nzstart
    labels: tuple[bytes, ...]
    path: str
    oddities: tuple[str, ...] = ()  # what breaks the format's rules but does not matter
    assumed: str | None = None  # about what its voxels mean, where the header does not tell
    old_origin: bool = False  # whether IMOD takes the origin with its old sign, against that of MRC2014

    @cached_property
    def data(self) -> Reals:
        """The voxels (z, y, x) in the file's own type, a memory map; a compressed store is decoded for it."""
        return self.read()


def open_volume(path: str | os.PathLike[str]) -> Volume:
    """Open a volume without reading its voxels.

    Parameters
    ----------
    path : path
        An MRC file (.mrc, .rec) of a real-valued mode, or an OME-Zarr folder (.zarr).

    Returns
    -------
    Volume
        Header values and a read-only memory map (an array where the file is compressed: .gz, .bz2). Bytes are
        unsigned where IMOD's flag says so, else by the header's statistics.

    Raises
    ------
    EngineError
        If the file is missing, empty, truncated, no MRC file, complex, or not a volume, or its voxels are not cubes, or
        its axes are stored in another order than x, y, z; of a folder, also as of `open_store`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_volume(f"{folder}/zeros.mrc", np.zeros((2, 3, 4), np.float32), 10.0)
    ...     volume = open_volume(f"{folder}/zeros.mrc")
    ...     print(volume.shape, volume.voxel_size)
    (2, 3, 4) 10.0
    """
    if is_store(path):
        return _open_zarr(path)
    file = require_file(path, "volume")
    try:
        with _warnings_lock, warnings.catch_warnings(record=True) as odd:
            # permissive: AreTomo's and SerialEM's headers break rules that do not matter here
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", DeprecationWarning)  # about how mrcfile calls numpy, not about the file
            _require_length(file)
            opener = mrcfile.open if file.suffix in COMPRESSED else mrcfile.mmap
            with opener(file, mode="r", permissive=True) as mrc:
                header, data = mrc.header, mrc.data
    except (ValueError, OSError, EOFError, TypeError, ArithmeticError, zlib.error) as error:
        raise EngineError(str(path), f"it is not a readable MRC file ({error})", "Copy or make it again.") from error
    if data is None:
        raise EngineError(str(path), "its header tells no number of voxels", "Copy or make it again.")
    if data.ndim == 4 and data.shape[0] == 1:
        data = data[0]
    _require_real_volume(path, data.shape, data.dtype)
    odd_axes = _odd_axes(header, path)
    assumed = None
    if data.dtype == np.int8:
        unsigned, assumed = _unsigned_bytes(header, data)
        data = data.view(np.uint8) if unsigned else data
    return Volume(
        lambda: data,
        data.shape,
        _voxel_size(header, str(path)),
        (float(header.origin.x), float(header.origin.y), float(header.origin.z)),
        (int(header.nxstart), int(header.nystart), int(header.nzstart)),
        tuple(bytes(label) for label in header.label[: int(np.clip(header.nlabl, 0, 10))]),
        str(path),
        (*dict.fromkeys(str(warning.message) for warning in odd), *odd_axes),
        assumed,
        _has_old_origin(header),
    )


def _has_old_origin(header: Any) -> bool:
    """Whether IMOD takes a header's origin as it stands: it turns the sign of files of MRC2014, and of flagged ones."""
    stamp, flags = _imod_marks(header)
    return int(header.nversion) < MRC2014 and not (stamp == IMOD_STAMP and flags & STANDARD_ORIGIN)


def _imod_marks(header: Any) -> tuple[int, int]:
    """The numbers in the places of IMOD's stamp and flags."""
    extra = bytes(header.extra2)
    stamp, flags = (int(np.frombuffer(extra[part], header.nx.dtype)[0]) for part in (STAMP, FLAGS))
    return stamp, flags


def _open_zarr(path: str | os.PathLike[str]) -> Volume:
    store = open_store(path)
    _require_real_volume(path, store.shape, store.dtype)
    size = _of_cubes(np.array(store.sizes[::-1]), store.path)
    return Volume(store.read, store.shape, size, store.origin, (0, 0, 0), (), store.path, store.oddities, store.assumed)


def _require_real_volume(path: str | os.PathLike[str], shape: tuple[int, ...], dtype: Any) -> None:
    if len(shape) != 3 or min(shape) < 2:
        raise EngineError(str(path), f"its shape {shape} is not that of a volume", "Give a reconstructed tomogram.")
    if dtype.kind not in "iuf":
        raise EngineError(str(path), f"its voxels are {dtype}, not real numbers", "Save it as float32.")


def _odd_axes(header: Any, path: str | os.PathLike[str]) -> tuple[str, ...]:
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


def _require_length(file: Path) -> None:
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


def _unsigned_bytes(header: Any, data: Reals) -> tuple[bool, str | None]:
    """Whether bytes (mode 0) have no sign, and what was assumed for it.

    The format gives them one, but IMOD wrote none for many years, and marks both since; other programs differ.
    """
    stamp, flags = _imod_marks(header)
    if stamp == IMOD_STAMP:
        return not flags & SIGNED_BYTES, None
    low, high = float(header.dmin), float(header.dmax)
    planes = np.unique(np.linspace(0, len(data) - 1, BYTE_PLANES).astype(int))
    counts = np.bincount(np.concatenate([data[z].ravel() for z in planes]).view(np.uint8), minlength=256)
    if not counts[128:].any():
        return False, None  # it is the same
    if -128 <= low < 0 and low < high <= 127:
        return False, None
    if 0 <= low < high and 127 < high <= 255:
        return True, f"its bytes are read as unsigned, since its header says {low:g} to {high:g}"
    # grey values are rare at both ends, apart from the very last ones, where they may be cut off
    as_signed = int(counts[121:127].sum() + counts[129:135].sum())
    as_unsigned = int(counts[1:7].sum() + counts[249:255].sum())
    unsigned = as_signed > CLEARLY * max(as_unsigned, 1)
    kind = "unsigned" if unsigned else "signed"
    return unsigned, f"its bytes are read as {kind}, by their values, since its header does not tell"


def _voxel_size(header: Any, path: str) -> float:
    """The side of a voxel in A; 0 where the header does not tell it for any axis."""
    cell = np.array([header.cella[axis] for axis in "xyz"], float)
    intervals, lengths = (np.array([header[prefix + axis] for axis in "xyz"], float) for prefix in ("m", "n"))
    with np.errstate(all="ignore"):
        # stacks have one interval along z
        candidates = [cell / np.where(counts > 0, counts, np.nan) for counts in (intervals, lengths)]
    known = [sizes[np.isfinite(sizes) & (sizes > 0)] for sizes in candidates]
    for sizes in known:
        if len(sizes) and _are_equal(sizes):
            return float(sizes[0])
    return _of_cubes(known[0], path) if len(known[0]) else 0.0


def _are_equal(sizes: Doubles) -> bool:
    return bool(sizes.max() <= (1 + VOXEL_SIZE_TOLERANCE) * sizes.min())


def _of_cubes(sizes: Doubles, path: str) -> float:
    """The one size of voxels that are equally wide along x, y and z; an EngineError where they are not."""
    if _are_equal(sizes):
        return float(sizes[0])
    raise EngineError(
        path,
        f"its voxels are not cubes: {' x '.join(f'{size:.4g}' for size in sizes)} A (x, y, z)",
        "Resample it to one voxel size, or correct its header if that is wrong (IMOD: alterheader).",
    )


def read_float(volume: Volume) -> Floats:
    """The voxels as a new float32 array (z, y, x).

    Raises
    ------
    EngineError
        If some are not finite, or all are equal.
    """
    data = volume.data.astype(np.float32)
    require_contrast(float(data.min()), float(data.max()), volume.path)
    return data


@contextmanager
def naming(volume: Volume, mask: str | None = None) -> Iterator[None]:
    """Put the files' names on errors of functions that know nothing but the voxels of a tomogram, and of its mask.

    Parameters
    ----------
    volume : Volume
        The tomogram.
    mask : str, optional
        The mask's path.
    """
    try:
        yield
    except EngineError as error:
        path = {TOMOGRAM: volume.path, MASK: mask}.get(error.what)
        if path is None:
            raise
        raise EngineError(path, error.why, error.remedy) from error


def warn_of_oddities(volume: Volume) -> None:
    """Log one line about a header that breaks the format's rules, and one about what was assumed for it."""
    if volume.oddities:
        log.warning("%s: its header is odd (%s), but read.", volume.path, "; ".join(volume.oddities))
    if volume.assumed:
        log.warning("%s: %s.", volume.path, volume.assumed)


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
    header = _known(volume.voxel_size)
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


def _known(size: float) -> float:
    """A header's voxel size; 0 where it is one that tells nothing."""
    return size if abs(size - UNSET_SIZE) > 1e-3 else 0.0


def written_voxel_size(size: float, volume: Volume) -> float:
    """What the header of an output gets: `size` in A, in the digits of the input's header if that is the same."""
    return volume.voxel_size if same_voxel_size(volume.voxel_size, size) else size


def same_voxel_size(size: float, expected: float) -> bool:
    """Whether two voxel sizes differ by no more than headers' rounding."""
    return abs(size - expected) <= VOXEL_SIZE_TOLERANCE * expected


def check_mask(mask: Volume, tomogram: Volume, voxel_size: float) -> None:
    """Raise an EngineError unless a mask or half has the tomogram's shape and (where its header tells one) voxel size.

    Parameters
    ----------
    mask, tomogram : Volume
        The two.
    voxel_size : float
        The tomogram's in A, as the table says; the one in its header will do too, as both may have the same wrong one.
    """
    if mask.shape != tomogram.shape:
        raise EngineError(
            mask.path, f"its shape {mask.shape} is not that of {tomogram.path}, {tomogram.shape}", "Make it again."
        )
    told = _known(mask.voxel_size)
    if told and not any(same_voxel_size(told, size) for size in (voxel_size, tomogram.voxel_size)):
        raise EngineError(
            mask.path, f"its voxel size is {told:.3f} A, the tomogram's {voxel_size:.3f} A", "Correct its header."
        )


def volume_bytes(shape: tuple[int, ...], dtype: type = np.float32, suffix: str = ".mrc") -> int:
    """Size of a volume's file at most."""
    if suffix == SUFFIX:
        return store_bytes(shape, dtype)
    return int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize + HEADER_BYTES


@contextmanager
def writing_volume(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: Any,
    voxel_size: float,
    like: Volume | None = None,
    mark: bytes = b"",
) -> Iterator[Reals]:
    """Write an MRC volume through a memory map; the file appears when it is whole.

    Parameters
    ----------
    path : path
        The file to write.
    shape : tuple of int
        (z, y, x).
    dtype : type
        float32 or int8.
    voxel_size : float
        In A, all axes.
    like : Volume, optional
        Whose origin, start and labels the header takes.
    mark : bytes
        A label more, by which `is_marked` knows the file again.

    Yields
    ------
    ndarray
        The voxels to fill, (z, y, x).

    Raises
    ------
    EngineError
        If the file can't be written.
    """
    mode = mrcfile.utils.mode_from_dtype(np.dtype(dtype))
    with replacing(path) as temporary, mrcfile.new_mmap(temporary, shape, mode, overwrite=True) as mrc:
        # a memory map on a full disk ends in SIGBUS, so the space is taken before the first voxel
        with open(temporary, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, volume_bytes(shape, dtype))
        yield mrc.data
        mrc.set_volume()
        mrc.voxel_size = voxel_size
        if like is not None:
            mrc.header.origin = like.origin
            if like.old_origin and any(like.origin):
                mrc.header.nversion = 0  # so that IMOD takes its sign as it took that of `like`
            mrc.header.nxstart, mrc.header.nystart, mrc.header.nzstart = like.start
        labels = like.labels if like else [bytes(label) for label in mrc.header.label[: int(mrc.header.nlabl)]]
        labels = [label for label in labels if not label.startswith(MARK)]
        labels = labels[: MOST_LABELS - bool(mark)] + [mark] * bool(mark)
        mrc.header.label[: len(labels)] = labels
        mrc.header.nlabl = len(labels)
        _write_statistics(mrc)


def _write_statistics(mrc: mrcfile.mrcmemmap.MrcMemmap) -> None:
    # a million voxels at a time: mrcfile's own statistics take a copy of all in double precision
    data = np.asarray(mrc.data)
    planes = max(1, (1 << 20) // data[0].size)
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    level = np.float32(data[0].mean(dtype=np.float64))  # beside a high one, deviations lose their digits
    level = level if np.isfinite(level) else np.float32(0)
    for z in range(0, len(data), planes):
        block = data[z : z + planes]
        low, high = min(low, float(block.min())), max(high, float(block.max()))
        above = np.subtract(block, level, dtype=np.float32).ravel()
        total += float(above.sum())
        squares += float(np.vdot(above, above))
    mean = total / data.size
    mrc.header.dmin, mrc.header.dmax, mrc.header.dmean = low, high, level + mean
    mrc.header.rms = np.sqrt(max(squares / data.size - mean**2, 0.0))


def write_volume(
    path: str | os.PathLike[str], data: Reals, voxel_size: float, like: Volume | None = None, mark: bytes = b""
) -> None:
    """Write an array (z, y, x), to a file or, where `path` ends with .zarr, to an OME-Zarr folder.

    Parameters and errors are as in `writing_volume`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_volume(f"{folder}/mask.mrc", np.ones((2, 3, 4), np.int8), 10.0)
    ...     print(open_volume(f"{folder}/mask.mrc").data.sum())
    24
    """
    if Path(path).suffix == SUFFIX:
        write_store(path, data, voxel_size, like.origin if like else (0.0, 0.0, 0.0), mark)
        return
    with writing_volume(path, data.shape, data.dtype, voxel_size, like, mark) as voxels:
        voxels[:] = data


def write_mean(path: str | os.PathLike[str], volumes: Sequence[Volume], voxel_size: float) -> None:
    """Write the mean of volumes of one shape, as float32, plane by plane; the rest is as in `writing_volume`."""
    first = volumes[0]
    with writing_volume(path, first.shape, np.float32, written_voxel_size(voxel_size, first), first) as out:
        mean = Mean([volume.data for volume in volumes])
        for z in range(len(out)):
            out[z] = mean[z]
