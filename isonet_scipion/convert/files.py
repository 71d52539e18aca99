"""Files of Scipion's items, as the engine reads them."""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Tuple

import mrcfile
from pwem.emlib.image import ImageHandler

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import content_digest, replacing, require_file, sync
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.ome_zarr import is_store
from isonet_scipion.engine.io.origin import voxels_digest
from isonet_scipion.engine.io.star import NOT_SET
from isonet_scipion.engine.io.voxel_size import check_unit, require_same_grid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tomo.objects import SubTomogram, Tomogram

    from isonet_scipion.engine.io.volume import Volume

Size = Tuple[int, int, int]  # voxels along x, y and z
PLAIN_ID = re.compile(r"[^./\\,\s][^/\\,]{0,79}")  # Scipion takes the names of halves apart at commas
# what the engine and the protocols put after the name of a tomogram
MADE_NAME = re.compile(r"_(whole|even|odd|subtomo|coordinates|mask|corrected|report|input[A-Z][a-z]+)$")
HALF_WORDS = ("even", "odd")
MOST_PLAIN = 60  # characters of a tsId that go into a name which is not the tsId itself
MRC_SUFFIXES = (".mrc", ".rec", ".map", ".ali", ".st", ".mrcs")
READERS_SIGNS = "%#:@"  # that xmipp, which reads most other formats, takes for something else than a part of a name
ITEM = re.compile(r"\d+@")  # before a file of several volumes, of which it tells one
SUBTOMOGRAM_SUFFIXES = (".mrc", ".rec", ".map")
WITHOUT_FILE = (  # of a half: what to do, in the forms that need it
    "Bring the right file, or work without the halves: No at *Also the half tomograms?* or *Learn from the half "
    "tomograms?*, and for correction a model that did not learn from halves."
)


def halfMaps(tomogram: Tomogram) -> list[str]:
    """Files of the even and odd half of a tomogram; empty where it does not have both."""
    parts = list(tomogram.getHalfMaps(asList=True)) if tomogram.hasHalfMaps() else []
    if len(parts) == 2:
        return parts
    # Scipion took the text of both apart at each comma, those of the names too
    pairs = [[",".join(parts[:end]), ",".join(parts[end:])] for end in range(1, len(parts))]
    found = [pair for pair in pairs if all(os.path.exists(plainPath(path)) for path in pair)]
    # as many commas in both names
    alike = pairs[len(pairs) // 2 : len(pairs) // 2 + 1]
    return next(iter(found + alike), [])


def fileName(tsId: str) -> str:
    """Base name of the files of a tomogram: no two tsIds share one, and none leads out of its folder.

    It is the tsId itself, unless that can't be a name or looks like one that is made from another tsId.
    """
    if _isCell(tsId) and PLAIN_ID.fullmatch(tsId) and not MADE_NAME.search(tsId):
        return tsId
    plain = re.sub(r"[^\w.+-]", "_", tsId, flags=re.ASCII).lstrip(".")[:MOST_PLAIN]
    return f"{plain}_{hashlib.sha256(tsId.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"


def halfNames(tsId: str) -> tuple[str, str]:
    """Base names of the files of its two half maps."""
    even, odd = (f"{fileName(tsId)}_{half}" for half in HALF_WORDS)
    return even, odd


def maskName(tsId: str) -> str:
    """Base name of the file that its mask is converted to."""
    return f"{fileName(tsId)}_mask"


def shownNames(tsId: str) -> dict[str, str]:
    """What reports call a tomogram and its half maps, by the base names of their files."""
    own = cellName(tsId)
    return {fileName(tsId): own, **{name: f"{own}, {half} half" for name, half in zip(halfNames(tsId), HALF_WORDS)}}


def cellName(tsId: str) -> str:
    """What a table that is not of one tomogram alone calls it: its tsId, or the name of its files."""
    return tsId if _isCell(tsId) else fileName(tsId)


def _isCell(tsId: str) -> bool:
    """Whether a table can hold it: none takes both kinds of quotes, and one word there means that there is none."""
    return tsId.isprintable() and not {"'", '"'} <= set(tsId) and tsId != NOT_SET


def plainPath(path: str) -> str:
    """The file name without Scipion's type suffix, as in `volume.map:mrc`."""
    return path.rsplit(":", 1)[0] if path.endswith(":mrc") else path


def fileOf(item: Tomogram) -> str:
    """The file of a tomogram or mask; where it is one of several volumes in it, as `3@stack.hdf`, which is refused."""
    index, path = item.getLocation()
    return path if _isSingle(index, path) else f"{index}@{path}"


def _isSingle(index: int | None, path: str) -> bool:
    """Whether an item is all that its file holds; that of a file which is missing, too."""
    if index in (0, None) or not os.path.exists(plainPath(path)):
        return True
    return index == 1 and ImageHandler().getDimensions(path)[3] == 1


def isMrc(path: str) -> bool:
    """Whether the engine reads a file as it is."""
    return not ITEM.match(path) and (path.endswith(":mrc") or path.lower().endswith(MRC_SUFFIXES))


def sizeOf(path: str) -> Size:
    """Voxels along x, y and z of a volume of any format that Scipion reads; an EngineError where there is none."""
    if isMrc(path):  # which the engine reads in either byte order
        x, y, z = open_volume(plainPath(path)).shape[::-1]
        return x, y, z
    refuseForeign(path)
    require_file(path, "volume")
    try:
        x, y, z, number = ImageHandler().getDimensions(path)
        return int(x), int(y), int(max(z, number))
    except Exception as error:  # whatever readers raise
        raise unreadable(path, error) from error


def unreadable(path: str, error: Exception) -> EngineError:
    """What a reader of Scipion's raised, about a file."""
    remedy = "Make or copy it again."
    if signs := [sign for sign in READERS_SIGNS if sign in path]:
        remedy = (
            f"Move it where its path has no {' or '.join(signs)}, which Scipion's readers may stumble over. {remedy}"
        )
    return EngineError(path, f"Scipion can't read it as a volume ({error})", remedy)


def fileDigest(path: str) -> str:
    """Digits that tell a file from others: a volume by voxels spread over it, not by its header, which has a date."""
    if isMrc(path):
        return voxels_digest(open_volume(plainPath(path)))
    refuseForeign(path)
    return content_digest(path, "file")


@dataclass(frozen=True)
class Readable:
    """A volume that can be read; errors of `look` as EngineError."""

    path: str
    size: Size
    volume: Volume | None  # the MRC file; None for other formats

    @classmethod
    def look(cls, path: str, samplingRate: float | None = None) -> Readable:
        """Of a file; where a voxel size is given in A, an MRC file must not be in nm by its header."""
        if not isMrc(path):
            return cls(path, sizeOf(path), None)
        volume = open_volume(plainPath(path))
        if samplingRate:
            check_unit(samplingRate, volume, "sampling rate")
        x, y, z = volume.shape[::-1]
        return cls(path, (x, y, z), volume)


def refuseForeign(path: str) -> None:
    """Raise an EngineError about one of several volumes, or OME-Zarr, which no image reader of Scipion's knows."""
    if ITEM.match(path):
        raise EngineError(
            path,
            "it is one of several images or volumes in a file, which can't be read as a tomogram or mask",
            "Write it to an MRC file of its own, and import that.",
        )
    if is_store(path):
        raise EngineError(
            path,
            "it is OME-Zarr, which Scipion's tomograms can't hold",
            "Give it as MRC: isonet-engine predict --output_format mrc, or convert it.",
        )


def readSizes(items: Iterable[Tomogram], withHalves: bool = False) -> tuple[dict[str, Size], dict[str, EngineError]]:
    """Voxels along x, y and z of tomograms or masks, by tsId, and what is wrong with the files of the others.

    With `withHalves` these are also those whose halves can't be read or do not fit.
    """
    sizes, errors = {}, {}
    for item in items:
        try:
            whole = Readable.look(fileOf(item), item.getSamplingRate())
            if withHalves:
                _requireHalvesOf(item, whole)
            sizes[item.getTsId()] = whole.size
        except EngineError as error:
            errors[item.getTsId()] = error
    return sizes, errors


def fileErrors(items: Iterable[Tomogram], withHalves: bool = False) -> dict[str, str]:
    """What `readSizes` finds wrong, in words."""
    _, errors = readSizes(items, withHalves)
    return {tsId: str(error) for tsId, error in errors.items()}


def requireHalves(tomogram: Tomogram) -> None:
    """Raise an EngineError if one of a tomogram's halves, where it has them, can't be read, or is of another size.

    That of voxels counts too. Where the tomogram's own file can't be read, which is told elsewhere, it is not compared.
    """
    whole = None
    if tomogram.hasHalfMaps():
        with suppress(EngineError):
            whole = Readable.look(fileOf(tomogram))
    _requireHalvesOf(tomogram, whole)


def _requireHalvesOf(tomogram: Tomogram, whole: Readable | None) -> None:
    halves, rate = halfMaps(tomogram), tomogram.getSamplingRate()
    if not halves and tomogram.hasHalfMaps():
        (half,) = tomogram.getHalfMaps(asList=True)
        raise EngineError(half, f"it is the only half of {tomogram.getTsId()}", WITHOUT_FILE)
    for path in halves:
        try:
            half = Readable.look(path, rate)
            if whole is not None:
                _requireLike(half, whole, rate)
        except EngineError as error:
            why = f"{error.why}; it is a half of {tomogram.getTsId()}"
            raise EngineError(error.what, why, WITHOUT_FILE) from error


def _requireLike(half: Readable, whole: Readable, samplingRate: float) -> None:
    if half.volume and whole.volume:
        require_same_grid(half.volume, whole.volume, samplingRate)
    elif sorted(half.size) != sorted(whole.size):  # Scipion's readers take the axes of some formats in turn
        why = f"its size {half.size} is not that of {whole.path}, {whole.size}"
        raise EngineError(half.path, why, "Make it again.")


def halvesError(tomogram: Tomogram) -> str | None:
    """Why a tomogram's halves, where it has them, can't be read, without a remedy; None where they can."""
    try:
        requireHalves(tomogram)
    except EngineError as error:
        return f"{error.what}: {error.why}"
    return None


def mrcName(path: str, target: str) -> str:
    """As `asMrc`, without converting anything."""
    return plainPath(path) if isMrc(path) else target


def asMrc(path: str, target: str, samplingRate: float) -> str:
    """The path of this volume as MRC: itself if it is one, else `target`, converted and with its voxel size (A).

    What was converted before serves again, unless the volume was replaced since.

    Raises
    ------
    EngineError
        If it is to be converted, but is missing or can't be read.
    """
    if isMrc(path):
        return plainPath(path)
    refuseForeign(path)
    if not (os.path.exists(target) and _isOf(path, target)):
        _convert(path, path, target, samplingRate)
    return target


def _isOf(path: str, target: str) -> bool:
    """Whether a converted volume is of a file as it is now, whose time it has; so it is also where that is gone."""
    # some file systems keep times to two seconds
    return not os.path.exists(path) or abs(os.stat(path).st_mtime - os.stat(target).st_mtime) < 2


def linkSubtomogram(subtomogram: SubTomogram, target: str, samplingRate: float) -> None:
    """Give a subtomogram the MRC file `target`: a link, or a converted copy if it is in a stack or another format.

    Raises
    ------
    EngineError
        If its own file is missing or can't be read.
    """
    index, path = subtomogram.getLocation()
    plain = plainPath(path)
    require_file(plain, "subtomogram")
    if _isSingle(index, path) and (path.endswith(":mrc") or plain.lower().endswith(SUBTOMOGRAM_SUFFIXES)):
        placeFile(plain, target)
    else:
        _convert((index, path), plain, target, samplingRate)


def placeFile(source: str, target: str, copy: bool = False) -> None:
    """Put a file at `target`, in place of what is there: a copy, or a link, relative within the working directory.

    Scipion works in the project's folder, so what is linked within it is found after the project was moved.
    """
    # through links, as the source may be one to the target that goes
    source, folder = os.path.realpath(source), os.path.realpath(os.path.dirname(target))
    if source == os.path.join(folder, os.path.basename(target)):
        return  # it is the file itself
    # never written through: the target may be a link to a file of the user's
    if os.path.lexists(target):
        os.remove(target)
    if copy:
        with replacing(target, since=False) as temporary:
            shutil.copy(source, temporary)
    else:
        isWithin = source.startswith(os.path.join(os.path.realpath(os.getcwd()), ""))
        os.symlink(os.path.relpath(source, folder) if isWithin else source, target)


def _convert(location: object, path: str, target: str, samplingRate: float) -> None:
    """Convert the volume at a location, which is in the file `path`; EngineErrors name that file."""
    refuseForeign(path)
    read = os.stat(require_file(path, "volume"))
    partial = f"{os.path.splitext(target)[0]}_partial.mrc"
    try:
        ImageHandler().convert(location, partial)
    except Exception as error:  # whatever readers and writers raise
        if os.path.basename(partial) in str(error):
            raise _unwritten(partial, target, str(error)) from error
        raise unreadable(path, error) from error
    _requireWhole(partial, target)
    with mrcfile.open(partial, "r+", permissive=True) as mrc:
        mrc.set_volume()
        mrc.voxel_size = samplingRate
    os.utime(partial, ns=(read.st_atime_ns, read.st_mtime_ns))
    try:
        sync(partial)
    except OSError as error:
        raise _unwritten(partial, target, str(error)) from error
    os.replace(partial, target)


def _requireWhole(partial: str, target: str) -> None:
    """Raise an EngineError if a converted file is too short: not all of Scipion's writers tell of a full disk."""
    header, size = mrcfile.dtypes.HEADER_DTYPE.itemsize, os.path.getsize(partial)
    needed = header
    if size >= header:
        with mrcfile.open(partial, header_only=True, permissive=True) as mrc:
            voxels = math.prod(int(mrc.header[axis]) for axis in ("nx", "ny", "nz"))
            needed += int(mrc.header.nsymbt) + voxels * mrcfile.utils.dtype_from_mode(mrc.header.mode).itemsize
    if size < needed:
        raise _unwritten(partial, target, f"{size} of {needed} bytes")


def _unwritten(partial: str, target: str, reason: str) -> EngineError:
    """That a volume can't be converted for want of room; what was written of it is deleted."""
    if os.path.exists(partial):
        os.remove(partial)
    remedy = "Free disk space, or raise the quota; check that the folder can be written; then start again."
    return EngineError(target, f"the volume converted to MRC can't be written ({reason})", remedy)
