"""OME-Zarr volumes, as the CryoET Data Portal, copick and napari have them: 0.4 and 0.5 are read, 0.4 is written."""

from __future__ import annotations

import itertools
import json
import math
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isonet_scipion.engine.arrays import Floats, Reals, release, scratch_array
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import replacing_folder

SUFFIX = ".zarr"
ATTRIBUTES, GROUP = ".zattrs", "zarr.json"  # where Zarr's format 2 and format 3 keep what is said of a group
MOST_METADATA = 1 << 24  # bytes
MOST_CHUNK = 1 << 27  # bytes, decoded at once, unless the volume has more; those of a few bytes on disk may have any
OLDEST = "3.1"  # version of zarr: earlier ones let a store's filters, pickle among them, loose on plain numbers
AXES = "zyx"
UNITS = {"angstrom": 1.0, "picometer": 0.01, "nanometer": 10.0, "micrometer": 1e4, "millimeter": 1e7}  # A
VERSIONS = ("0.4", "0.5")
CHUNK = 128  # side in voxels of what is stored as one file, and of a volume that needs no coarser level
MARK_NAME = "isonet_scipion"
REMEDY = "Give the folder of an OME-Zarr image of version 0.4 or 0.5 with the axes z, y and x, or convert it to MRC."


@dataclass(frozen=True)
class OmeZarr:
    """The finest level of an image in a store; `read` decodes its voxels, (z, y, x)."""

    array: Any
    path: str
    sizes: tuple[float, float, float]  # of a voxel in A, along z, y and x
    origin: tuple[float, float, float]  # x, y and z of the first voxel in A
    oddities: tuple[str, ...]
    assumed: str | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along z, y and x."""
        return tuple(self.array.shape[-3:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the voxels, in this machine's order of bytes."""
        return np.dtype(self.array.dtype).newbyteorder("=")

    def read(self) -> Reals:
        """The voxels, decoded a few chunks at a time into a file without a name, as a memory map.

        Raises
        ------
        EngineError
            If they can't be decoded, or the folder of temporary files has no room.
        """
        folder = tempfile.gettempdir()
        try:
            voxels = scratch_array(self.shape, self.dtype, folder)
        except EngineError as error:
            remedy = f"Set TMPDIR to a folder with room: {self.path} is unpacked there while it is worked on."
            raise EngineError(error.what, error.why, remedy) from error
        before = (0,) * (self.array.ndim - 3)
        steps = [range(0, length, step) for length, step in zip(self.shape, self.array.chunks[-3:])][:2]
        for z, y in itertools.product(*steps):
            rows = (slice(z, z + steps[0].step), slice(y, y + steps[1].step))
            try:
                voxels[rows] = self.array[(*before, *rows)]
            except Exception as error:  # a codec's may be of any kind
                why = f"its voxels can't be decoded ({error or type(error).__name__})"
                raise EngineError(self.path, why, "Copy it again: files of it are damaged or missing.") from error
            release(voxels)
        return voxels


def is_store(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder that is named like an OME-Zarr store, or holds what is said of one."""
    folder = Path(path)
    try:
        named = folder.suffix.lower() == SUFFIX
        return folder.is_dir() and (named or any((folder / name).is_file() for name in (ATTRIBUTES, GROUP)))
    except (OSError, ValueError):
        return False


def open_store(path: str | os.PathLike[str]) -> OmeZarr:
    """Look at the finest level of an OME-Zarr image without reading its voxels.

    Parameters
    ----------
    path : path
        A folder that `is_store`.

    Returns
    -------
    OmeZarr

    Raises
    ------
    EngineError
        If zarr is not installed, or the folder holds no image with the axes z, y and x and known units.
    """
    zarr = require_library(path)
    try:
        image = _image(_attributes(Path(path)))
        axes, assumed = _axes(image)
        first = image["datasets"][0]
        level = _inner(first["path"])
        scale, shift = np.ones(len(axes)), np.zeros(len(axes))
        for steps in (first["coordinateTransformations"], image.get("coordinateTransformations") or []):
            for kind, values in _transformations(steps, len(axes)):
                scale, shift = (scale * values, shift * values) if kind == "scale" else (scale, shift + values)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _refused(path, f"its metadata lack or misplace {error or type(error).__name__}") from error
    except (ValueError, OSError, RecursionError) as error:
        raise _refused(path, str(error)) from error
    factors = np.array([UNITS[unit] for _, unit in axes[-3:]])
    try:
        array = zarr.open_array(os.path.join(path, level), mode="r")
    except Exception as error:  # the library's may be of any kind
        raise _refused(path, f"its level {level!r} can't be opened ({error or type(error).__name__})") from error
    if array.ndim != len(axes) or any(length != 1 for length in array.shape[:-3]):
        names = ", ".join(name for name, _ in axes)
        raise _refused(path, f"its level {level!r} has the shape {tuple(array.shape)} for the axes {names}")
    chunk = math.prod(array.chunks) * array.dtype.itemsize
    if chunk > max(MOST_CHUNK, array.nbytes):
        sides = " x ".join(map(str, array.chunks))
        raise _refused(path, f"its chunks of {sides} voxels are larger than its level {level!r} as a whole")
    files = _chunk_files(array, os.path.join(path, level))
    missing = sum(not os.path.exists(file) for file in files)
    oddities = (f"{missing} of {len(files)} chunks are not there and read as {array.fill_value}",) if missing else ()
    depth, height, width = (float(size) for size in scale[-3:] * factors)
    z, y, x = (float(place) for place in shift[-3:] * factors)
    if not np.isfinite([depth, height, width, z, y, x]).all() or min(depth, height, width) <= 0:
        raise _refused(path, f"its voxels have sizes of {depth:g}, {height:g} and {width:g} A")
    return OmeZarr(array, str(path), (depth, height, width), (x, y, z), oddities, assumed)


def _chunk_files(array: Any, folder: str) -> list[str]:
    """The files of an array's voxels: one for each chunk, or for each shard of several."""
    # zarr's own counts mix chunks and shards, in each version otherwise
    sides = array.shards or array.chunks
    grid = (range(-(-length // side)) for length, side in zip(array.shape, sides))
    return [os.path.join(folder, array.metadata.encode_chunk_key(place)) for place in itertools.product(*grid)]


def require_library(what: str | os.PathLike[str]) -> Any:
    """The package zarr; an EngineError about `what` where it is not installed."""
    try:
        import zarr
    except ImportError as error:
        remedy = f"Install it for the engine: {_install_command()} (needs Python 3.11 or newer)."
        why = f"OME-Zarr needs the package zarr {OLDEST}, which is not installed"
        raise EngineError(str(what), why, remedy) from error
    own, oldest = (tuple(map(int, version.split(".")[:2])) for version in (zarr.__version__, OLDEST))
    if own < oldest:
        why = f"OME-Zarr needs zarr {OLDEST}, but zarr {zarr.__version__} is installed"
        raise EngineError(str(what), why, f"Renew it: {_install_command()} (needs Python 3.11 or newer).")
    return zarr


def _install_command() -> str:
    """What installs zarr where the engine looks for it: other environments' pip does not."""
    return f"{shlex.quote(sys.executable)} -m pip install 'zarr>={OLDEST}'"


def _refused(path: str | os.PathLike[str], why: str) -> EngineError:
    return EngineError(str(path), why, REMEDY)


def _attributes(folder: Path) -> dict[str, Any]:
    """What is said of the image: the content of .zattrs, or of `ome` in zarr.json."""
    if (folder / ".zarray").is_file() or _is_array(folder / GROUP):
        raise ValueError("it is a single array, without the image's metadata: the folder above it may have them")
    if (folder / ATTRIBUTES).is_file():
        found = _json(folder / ATTRIBUTES)
    elif (folder / GROUP).is_file():
        found = _json(folder / GROUP)["attributes"]
        found = found.get("ome", found)
    else:
        raise ValueError(f"it holds neither {ATTRIBUTES} nor {GROUP}")
    if not isinstance(found, dict) or "multiscales" not in found:
        raise ValueError("its metadata name no image (multiscales)")
    return found


def _is_array(file: Path) -> bool:
    return file.is_file() and _json(file).get("node_type") == "array"


def _json(file: Path) -> dict[str, Any]:
    with open(file, "rb") as stream:
        content = stream.read(MOST_METADATA + 1)
    if len(content) > MOST_METADATA:
        raise ValueError(f"{file.name} is larger than {MOST_METADATA >> 20} MiB")
    try:
        found = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{file.name} is not valid JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file.name} holds no names")
    return found


def _image(attributes: dict[str, Any]) -> dict[str, Any]:
    image: dict[str, Any] = attributes["multiscales"][0]
    version = image.get("version", attributes.get("version", VERSIONS[0]))
    if version not in VERSIONS:
        raise ValueError(f"its version is {version}, of which the voxel size is not known")
    return image


def _axes(image: dict[str, Any]) -> tuple[list[tuple[str, str]], str | None]:
    """Names and units of the axes, and what was assumed for the latter."""
    axes = [(str(axis["name"]), axis.get("unit")) for axis in image["axes"]]
    names = [name for name, _ in axes]
    if "".join(names[-3:]) != AXES or len(axes) > 5 or len(set(names)) < len(names):
        raise ValueError(f"its axes are {', '.join(names)}, not z, y and x")
    units = {unit for _, unit in axes[-3:]}
    unknown = [unit for unit in units if unit is not None and unit not in UNITS]
    if unknown or len(units) > 1:
        raise ValueError(f"the units of its axes are {', '.join(str(unit) for _, unit in axes[-3:])}")
    assumed = "its voxel size is taken to be in A, since it names no unit" if units == {None} else None
    return [(name, unit or "angstrom") for name, unit in axes], assumed


def _transformations(steps: list[dict[str, Any]], axes: int) -> Iterator[tuple[str, Floats]]:
    for step in steps:
        kind = step["type"]
        if kind == "identity":
            continue
        if kind not in ("scale", "translation"):
            raise ValueError(f"its coordinateTransformations have a {kind}")
        values = step[kind]
        if len(values) != axes or any(type(value) not in (int, float) for value in values):
            raise ValueError(f"its {kind} is {values}, not {axes} numbers")
        yield kind, np.array(values, float)


def _inner(path: str) -> str:
    """A path that leads into the store, not out of it."""
    parts = Path(path).parts
    if not parts or os.path.isabs(path) or ".." in parts:
        raise ValueError(f"its first level is {path!r}, which is not in it")
    return path


def write_store(
    path: str | os.PathLike[str], voxels: Reals, voxel_size: float, origin: tuple[float, float, float], mark: bytes
) -> None:
    """Write an OME-Zarr image with coarser levels; the folder appears when it is whole.

    Parameters
    ----------
    path : path
        The folder to make, or to replace.
    voxels : ndarray
        (z, y, x) of a real type; may be a memory map.
    voxel_size : float
        In A, all axes.
    origin : tuple of float
        x, y and z of the first voxel in A.
    mark : bytes
        By which `is_marked` knows it again.

    Raises
    ------
    EngineError
        If zarr is not installed, or the folder can't be written.
    """
    zarr = require_library(path)
    datasets = []
    with replacing_folder(path) as folder:
        for number, level in enumerate(_levels(voxels)):
            array = zarr.create_array(
                os.path.join(folder, str(number)),
                shape=level.shape,
                dtype=level.dtype,
                chunks=tuple(min(CHUNK, length) for length in level.shape),
                compressors=_compressor(),
                zarr_format=2,
                chunk_key_encoding={"name": "v2", "separator": "/"},
                config={"write_empty_chunks": True},  # so that a chunk that is missing is known to be lost
            )
            for z in range(0, len(level), CHUNK):
                array[z : z + CHUNK] = level[z : z + CHUNK]
            size = voxel_size * 2**number
            first = [place + (size - voxel_size) / 2 for place in origin[::-1]]  # of a block of voxels: its middle
            steps = [{"type": "scale", "scale": [size] * 3}, {"type": "translation", "translation": first}]
            datasets.append({"path": str(number), "coordinateTransformations": steps})
        axes = [{"name": name, "type": "space", "unit": "angstrom"} for name in AXES]
        image = {"version": "0.4", "name": Path(path).stem, "axes": axes, "datasets": datasets, "type": "mean"}
        content = {"multiscales": [image], MARK_NAME: mark.decode()}
        Path(folder, ".zgroup").write_text(json.dumps({"zarr_format": 2}), encoding="utf-8")
        Path(folder, ATTRIBUTES).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _compressor() -> Any:
    from numcodecs import Blosc

    return Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE)


def _levels(voxels: Reals) -> Iterator[Reals]:
    """A volume, and its means of 2^3 voxels as long as that has more than one chunk."""
    yield voxels
    while max(voxels.shape) > CHUNK:
        voxels = halved(voxels)
        yield voxels


def halved(voxels: Reals) -> Reals:
    """Means of blocks of 2^3 voxels, of the same type: (z, y, x); at odd ends, of what there is."""
    shape = tuple(-(-length // 2) for length in voxels.shape)
    out = np.empty(shape, voxels.dtype)
    widths = [(0, length % 2) for length in voxels.shape[1:]]
    for z in range(shape[0]):
        plane = np.pad(voxels[2 * z : 2 * z + 2].mean(axis=0, dtype=np.float32), widths, mode="edge")
        mean = (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4
        out[z] = np.rint(mean) if out.dtype.kind in "iu" else mean
    return out


def store_bytes(shape: tuple[int, ...], dtype: Any = np.float32) -> int:
    """Size of a store at most: noise can hardly be compressed, and coarser levels take a seventh more."""
    return math.ceil(math.prod(shape) * np.dtype(dtype).itemsize * 8 / 7) + (1 << 16)


def stored_mark(path: str | os.PathLike[str]) -> bytes:
    """The mark that a store was written with; empty where it has none or can't be read."""
    try:
        return str(_json(Path(path, ATTRIBUTES)).get(MARK_NAME, "")).encode()
    except (OSError, ValueError, RecursionError):
        return b""
