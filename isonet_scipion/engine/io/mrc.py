"""Volumes, MRC or OME-Zarr: memory-mapped reading, whole-or-nothing writing."""

from __future__ import annotations

import logging
import os
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np

from isonet_scipion.engine.arrays import Mean, Reals
from isonet_scipion.engine.errors import EngineError, system_error
from isonet_scipion.engine.io.files import replacing, require_file
from isonet_scipion.engine.io.marks import HEADER_BYTES, MARK
from isonet_scipion.engine.io.mrc_header import (
    COMPRESSED,
    has_old_origin,
    header_voxel_size,
    odd_axes,
    require_length,
    unsigned_bytes,
)
from isonet_scipion.engine.io.ome_zarr import SUFFIX, is_store, open_store, store_bytes, write_store
from isonet_scipion.engine.io.volume import Volume
from isonet_scipion.engine.io.voxel_size import size_of_cubes, written_voxel_size

log = logging.getLogger(__name__)
_warnings_lock = threading.Lock()  # Python catches warnings for all threads at once
MOST_LABELS = 10  # of a header


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
            require_length(file)
            opener = mrcfile.open if file.suffix in COMPRESSED else mrcfile.mmap
            with opener(file, mode="r", permissive=True) as mrc:
                header, data = mrc.header, mrc.data
    except (ValueError, OSError, EOFError, TypeError, ArithmeticError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:  # the system's; the others are of what is in the file
            raise system_error(error, path, "it can't be read") from error
        raise EngineError(str(path), f"it is not a readable MRC file ({error})", "Copy or make it again.") from error
    if data is None:
        raise EngineError(str(path), "its header tells no number of voxels", "Copy or make it again.")
    if data.ndim == 4 and data.shape[0] == 1:
        data = data[0]
    _require_real_volume(path, data.shape, data.dtype)
    axes, assumed = odd_axes(header, path), None
    if data.dtype == np.int8:
        unsigned, assumed = unsigned_bytes(header, data)
        data = data.view(np.uint8) if unsigned else data
    return Volume(
        lambda: data,
        data.shape,
        header_voxel_size(header, str(path)),
        (float(header.origin.x), float(header.origin.y), float(header.origin.z)),
        (int(header.nxstart), int(header.nystart), int(header.nzstart)),
        tuple(bytes(label) for label in header.label[: int(np.clip(header.nlabl, 0, 10))]),
        str(path),
        (*dict.fromkeys(str(warning.message) for warning in odd), *axes),
        assumed,
        has_old_origin(header),
    )


def _open_zarr(path: str | os.PathLike[str]) -> Volume:
    store = open_store(path)
    _require_real_volume(path, store.shape, store.dtype)
    size = size_of_cubes(np.array(store.sizes[::-1]), store.path)
    return Volume(store.read, store.shape, size, store.origin, (0, 0, 0), (), store.path, store.oddities, store.assumed)


def _require_real_volume(path: str | os.PathLike[str], shape: tuple[int, ...], dtype: Any) -> None:
    if len(shape) != 3 or min(shape) < 2:
        raise EngineError(str(path), f"its shape {shape} is not that of a volume", "Give a reconstructed tomogram.")
    if dtype.kind not in "iuf":
        raise EngineError(str(path), f"its voxels are {dtype}, not real numbers", "Save it as float32.")


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
    data = np.asarray(mrc.data)
    if data.dtype == np.int8 and data.min() >= 0 and data.max() <= 1:  # a mask, which is counted in no time
        share = np.count_nonzero(data) / data.size
        mrc.header.dmin, mrc.header.dmax, mrc.header.dmean = data.min(), data.max(), share
        mrc.header.rms = np.sqrt(share * (1 - share))
        return
    # a million voxels at a time: mrcfile's own statistics take a copy of all in double precision
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
        write_store(path, data, voxel_size, like.signed_origin if like else (0.0, 0.0, 0.0), mark)
        return
    with writing_volume(path, data.shape, data.dtype, voxel_size, like, mark) as voxels:
        voxels[:] = data


def write_mean(path: str | os.PathLike[str], volumes: Sequence[Volume], voxel_size: float, mark: bytes = b"") -> None:
    """Write the mean of volumes of one shape, as float32, plane by plane; the rest is as in `writing_volume`."""
    first = volumes[0]
    with writing_volume(path, first.shape, np.float32, written_voxel_size(voxel_size, first), first, mark) as out:
        mean = Mean([volume.data for volume in volumes])
        for z in range(len(out)):
            out[z] = mean[z]
