"""MRC volumes: memory-mapped reading, whole-or-nothing writing."""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import os
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from mrcfile.mrcinterpreter import MrcInterpreter

from isonet_scipion.engine.arrays import MASK, TOMOGRAM, require_contrast
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import replacing, require_file

log = logging.getLogger(__name__)
VOXEL_SIZE_TOLERANCE = 0.01  # relative
VOXEL_SIZES = (0.01, 10_000.0)  # A; what is possible
HEADER_BYTES = 1024
EXTENDED_LENGTH = slice(92, 96)  # bytes of the header that tell the extended header's length
_warnings_lock = threading.Lock()  # Python catches warnings for all threads at once
COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open}


@dataclass(frozen=True)
class Volume:
    """A volume on disk: `data` is a memory map (z, y, x) in the file's own type."""

    data: np.ndarray
    voxel_size: float  # A, 0 where the header has none
    origin: tuple[float, float, float]  # header's x, y, z in A
    start: tuple[int, int, int]  # header's nxstart, nystart, nzstart
    labels: tuple[bytes, ...]
    path: str
    oddities: tuple[str, ...] = ()  # what breaks the format's rules but does not matter

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y and x."""
        return self.data.shape


def open_volume(path: str | os.PathLike) -> Volume:
    """Open an MRC volume without reading its voxels.

    Parameters
    ----------
    path : path
        An MRC file (.mrc, .rec) of a real-valued mode.

    Returns
    -------
    Volume
        Header values and a read-only memory map (an array where the file is compressed: .gz, .bz2).

    Raises
    ------
    EngineError
        If the file is missing, empty, truncated, no MRC file, complex, or not a volume.
    """
    file = require_file(path, "volume")
    try:
        with _warnings_lock, warnings.catch_warnings(record=True) as odd:
            # permissive: AreTomo's and SerialEM's headers break rules that do not matter here
            warnings.simplefilter("always")
            _require_length(file)
            opener = mrcfile.open if file.suffix in COMPRESSED else mrcfile.mmap
            with opener(file, mode="r", permissive=True) as mrc:
                header, data = mrc.header, mrc.data
    except (ValueError, OSError, EOFError, TypeError, OverflowError, zlib.error) as error:
        raise EngineError(str(path), f"it is not a readable MRC file ({error})", "Copy or make it again.") from error
    if data.ndim == 4 and data.shape[0] == 1:
        data = data[0]
    if data.ndim != 3 or min(data.shape) < 2:
        raise EngineError(
            str(path), f"its shape {data.shape} is not that of a volume", "Give a reconstructed tomogram."
        )
    if np.iscomplexobj(data) or data.dtype.kind not in "iuf":
        raise EngineError(str(path), f"its voxels are {data.dtype}, not real numbers", "Save it as float32.")
    return Volume(
        data,
        _voxel_size(header),
        tuple(float(header.origin[axis]) for axis in "xyz"),
        (int(header.nxstart), int(header.nystart), int(header.nzstart)),
        tuple(bytes(label) for label in header.label[: int(np.clip(header.nlabl, 0, 10))]),
        str(path),
        tuple(dict.fromkeys(str(warning.message) for warning in odd)),
    )


def _require_length(file: Path) -> None:
    """Raise a ValueError if the file is shorter than its header says: mrcfile takes the memory before it looks."""
    with COMPRESSED.get(file.suffix, open)(file, "rb") as stream:
        head = stream.read(HEADER_BYTES)
        length = stream.seek(0, os.SEEK_END)
    if len(head) < HEADER_BYTES:
        raise ValueError(f"its header has {len(head)} of {HEADER_BYTES} bytes")
    bare = bytearray(head)
    bare[EXTENDED_LENGTH] = bytes(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = MrcInterpreter(io.BytesIO(bare), permissive=True, header_only=True).header
    extended = int(np.frombuffer(head[EXTENDED_LENGTH], header.nsymbt.dtype)[0])
    sides = [int(side) for side in (header.nx, header.ny, header.nz)]
    if min(extended, *sides) < 0:
        raise ValueError(f"its header tells {sides} voxels (x, y, z) and {extended} bytes of extended header")
    voxel = mrcfile.utils.data_dtype_from_header(header).itemsize
    told = HEADER_BYTES + extended + sides[0] * sides[1] * sides[2] * voxel
    if length < told:
        raise ValueError(f"it has {length} bytes, by its header it should have {told}")


def _voxel_size(header: np.recarray) -> float:
    with np.errstate(all="ignore"):
        size = float(header.cella.x) / float(header.mx) if header.mx > 0 else 0.0
    return size if 0 < size < float("inf") else 0.0


def read_float(volume: Volume) -> np.ndarray:
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
def naming(volume: Volume, mask: Volume | None = None) -> Iterator[None]:
    """Put the files' names on errors of functions that know nothing but the voxels of a tomogram, and of its mask."""
    try:
        yield
    except EngineError as error:
        path = {TOMOGRAM: volume.path, MASK: mask and mask.path}.get(error.what)
        if path is None:
            raise
        raise EngineError(path, error.why, error.remedy) from error


def warn_of_oddities(volume: Volume) -> None:
    """Log one line about a header that breaks the format's rules."""
    if volume.oddities:
        log.warning("%s: its header is odd (%s), but read.", volume.path, "; ".join(volume.oddities))


def require_voxel_size(size: float, what: str, why: str) -> None:
    """Raise an EngineError about `what`, for the reason `why`, unless a voxel size in A is possible."""
    if not VOXEL_SIZES[0] <= size <= VOXEL_SIZES[1]:
        raise EngineError(what, why, "Give the voxel size in A, such as 10.")


def same_voxel_size(size: float, expected: float) -> bool:
    """Whether two voxel sizes differ by no more than headers' rounding."""
    return abs(size - expected) <= VOXEL_SIZE_TOLERANCE * expected


def check_mask(mask: Volume, tomogram: Volume) -> None:
    """Raise an EngineError unless the mask has the tomogram's shape and (where both are known) voxel size."""
    if mask.shape != tomogram.shape:
        raise EngineError(
            mask.path, f"its shape {mask.shape} is not that of {tomogram.path}, {tomogram.shape}", "Make it again."
        )
    sizes = mask.voxel_size, tomogram.voxel_size
    if all(sizes) and not same_voxel_size(*sizes):
        raise EngineError(
            mask.path, f"its voxel size is {sizes[0]:.3f} A, the tomogram's {sizes[1]:.3f} A", "Correct its header."
        )


def volume_bytes(shape: tuple[int, int, int], dtype: type = np.float32) -> int:
    """Size of a volume's file."""
    return int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize + HEADER_BYTES


@contextmanager
def writing_volume(
    path: str | os.PathLike, shape: tuple[int, int, int], dtype: type, voxel_size: float, like: Volume | None = None
) -> Iterator[np.ndarray]:
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
            mrc.header.nxstart, mrc.header.nystart, mrc.header.nzstart = like.start
            mrc.header.label[: len(like.labels)] = like.labels
            mrc.header.nlabl = len(like.labels)
        _write_statistics(mrc)


def _write_statistics(mrc: mrcfile.mrcmemmap.MrcMemmap) -> None:
    # a million voxels at a time: mrcfile's own statistics take a copy of all in double precision
    data = np.asarray(mrc.data)
    planes = max(1, (1 << 20) // data[0].size)
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    for z in range(0, len(data), planes):
        block = data[z : z + planes].astype(np.float32, copy=False).ravel()
        low, high = min(low, float(block.min())), max(high, float(block.max()))
        total += float(block.sum(dtype=np.float64))
        squares += float(np.vdot(block, block))
    mean = total / data.size
    mrc.header.dmin, mrc.header.dmax, mrc.header.dmean = low, high, mean
    mrc.header.rms = np.sqrt(max(squares / data.size - mean**2, 0.0))


def write_volume(path: str | os.PathLike, data: np.ndarray, voxel_size: float, like: Volume | None = None) -> None:
    """Write an array (z, y, x) of float32 or int8; parameters and errors as in `writing_volume`."""
    with writing_volume(path, data.shape, data.dtype, voxel_size, like) as voxels:
        voxels[:] = data
