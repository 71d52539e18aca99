"""MRC files as they come: broken ones, and odd ones that are legal."""

from __future__ import annotations

import bz2
import gzip

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from isonet_scipion.tests.faults.conftest import VOXEL_SIZE, voxels

MODES = {"int8": 0, "int16": 1, "float32": 2, "complex64": 4, "uint16": 6, "float16": 12}


def mrc(data: np.ndarray | None = None, extended: bytes = b"", order: str = "<", **fields: object) -> bytes:
    """A file made by hand; `fields` overwrite those of its header, `order` is < or > (big-endian)."""
    data = voxels() if data is None else data
    header = np.zeros((), HEADER_DTYPE.newbyteorder(order))
    for axis, length in zip("xyz", reversed(data.shape)):
        header[f"n{axis}"] = header[f"m{axis}"] = length
        header["cella"][axis] = length * VOXEL_SIZE
        header["cellb"]["alpha"] = header["cellb"]["beta"] = header["cellb"]["gamma"] = 90
    header["mode"], header["nsymbt"] = MODES[data.dtype.name], len(extended)
    header["ispg"], header["nversion"] = 1, 20140
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["map"], header["machst"] = b"MAP ", (0x44, 0x44, 0, 0) if order == "<" else (0x11, 0x11, 0, 0)
    for name, value in fields.items():
        header[name] = value
    return header.tobytes() + extended + data.astype(data.dtype.newbyteorder(order)).tobytes()


def with_voxel(value: float) -> np.ndarray:
    """A tomogram with one voxel of this value, in its middle."""
    data = voxels()
    data[tuple(length // 2 for length in data.shape)] = value
    return data


def broken() -> dict[str, tuple[bytes, str]]:
    """Name of a file: its bytes, and words of the cause that its error must tell."""
    good, no_volume = mrc(), "is not that of a volume"
    unreadable = "not a readable MRC file"
    return {
        "empty.mrc": (b"", "empty file"),
        "header_cut.mrc": (good[:500], unreadable),
        "only_header.mrc": (good[:1024], unreadable),
        "data_cut.mrc": (good[:-4], unreadable),
        "half.mrc": (good[: len(good) // 2], unreadable),
        "mode_99.mrc": (mrc(mode=99), unreadable),
        "mode_5.mrc": (mrc(mode=5), unreadable),
        "mode_101.mrc": (mrc(mode=101), "its voxels have 4 bits"),
        "complex.mrc": (mrc(voxels().astype(np.complex64)), "not real numbers"),
        "rgb_size.mrc": (mrc(mode=16), unreadable),
        "text.mrc": (b"this is no volume\n" * 100, unreadable),
        "html.mrc": (b"<!DOCTYPE html><title>404 Not Found</title>".ljust(2000, b"\n"), unreadable),
        "zeros.mrc": (bytes(4096), no_volume),
        "nx_zero.mrc": (mrc(nx=0), no_volume),
        "nx_negative.mrc": (mrc(nx=-36), unreadable),
        "huge.mrc": (mrc(nx=2**31 - 1, ny=2**31 - 1, nz=2**31 - 1), unreadable),
        "more_planes.mrc": (mrc(nz=1000), unreadable),
        "picture.mrc": (mrc(voxels()[:1]), no_volume),
        "swapped_axes.mrc": (mrc(mapc=3, maps=1), "another order of axes"),
        "extended_too_long.mrc": (mrc(nsymbt=2**31 - 1), unreadable),
        "extended_negative.mrc": (mrc(nsymbt=-1024), unreadable),
        "cut.mrc.gz": (gzip.compress(good)[:3000], unreadable),
        "no_gzip.mrc.gz": (b"\x1f\x8b\x08\x00nothing", unreadable),
        "data_cut.mrc.gz": (gzip.compress(good[:-100]), unreadable),
        "cut.mrc.bz2": (bz2.compress(good)[:3000], unreadable),
    }


def odd_voxels() -> dict[str, tuple[bytes, str]]:
    """Files that are whole but can't be worked on."""
    return {
        "nan.mrc": (mrc(with_voxel(np.nan)), "NaN or infinite"),
        "infinite.mrc": (mrc(with_voxel(np.inf)), "NaN or infinite"),
        "minus_infinite.mrc": (mrc(with_voxel(-np.inf)), "NaN or infinite"),
        "all_nan.mrc": (mrc(np.full_like(voxels(), np.nan)), "NaN or infinite"),
        "constant.mrc": (mrc(np.full_like(voxels(), 7)), "all its voxels are equal"),
        "black.mrc": (mrc(np.zeros_like(voxels())), "all its voxels are equal"),
    }


def legal() -> dict[str, tuple[bytes, str]]:
    """Files that every stage works on, and words of the warning that they get ('' for none)."""
    whole = np.round(voxels()).astype(np.int16)
    stamp, machine, size = "Map ID string not found", "achine stamp", "header's voxel size"
    return {
        "plain.mrc": (mrc(), ""),
        "reconstruction.rec": (mrc(), ""),
        "int8.mrc": (mrc(whole.astype(np.int8)), ""),
        "int16.mrc": (mrc(whole), ""),
        "uint16.mrc": (mrc(whole.astype(np.uint16)), ""),
        "float16.mrc": (mrc(voxels().astype(np.float16)), ""),
        "big_endian.mrc": (mrc(order=">"), ""),
        "big_endian_int16.mrc": (mrc(whole, order=">"), ""),
        "wrong_order_stamp.mrc": (mrc(machst=(0x11, 0x11, 0, 0)), machine),
        "no_stamp.mrc": (mrc(machst=(0, 0, 0, 0)), machine),
        "no_map.mrc": (mrc(map=b""), stamp),
        "old_serialem.mrc": (mrc(whole, bytes(range(256)) * 4, map=b"", machst=0, nversion=0), stamp),
        "serialem.mrc": (mrc(whole, bytes(2048), exttyp=b"SERI"), ""),
        "aretomo.mrc": (mrc(extended=bytes(4 * 1024), exttyp=b"", map=b"", machst=(0x44, 0x41, 0, 0)), stamp),
        "fei.mrc": (mrc(extended=bytes(768), exttyp=b"FEI1"), ""),
        "fei_cut.mrc": (mrc(extended=bytes(700), exttyp=b"FEI1"), "extended header"),
        "longer.mrc": (mrc() + bytes(100), "larger than expected"),
        "no_voxel_size.mrc": (mrc(mx=0, my=0, mz=0), ""),
        "zero_cell.mrc": (mrc(cella=0), ""),
        "nan_cell.mrc": (mrc(cella=np.nan), ""),
        "negative_cell.mrc": (mrc(cella=-5), ""),
        "other_voxel_size.mrc": (mrc(cella=tuple(12.5 * length for length in reversed(voxels().shape))), size),
        "many_labels.mrc": (mrc(nlabl=99), ""),
        "negative_labels.mrc": (mrc(nlabl=-3), ""),
        "other_space_group.mrc": (mrc(ispg=0), ""),
        "no_axes.mrc": (mrc(mapc=0, mapr=0, maps=0), ""),
        "one_axis_twice.mrc": (mrc(mapr=1), "are (1, 1, 3), taken as (1, 2, 3)"),
        "zipped.mrc.gz": (gzip.compress(mrc()), ""),
        "zipped.mrc.bz2": (bz2.compress(mrc()), ""),
    }
