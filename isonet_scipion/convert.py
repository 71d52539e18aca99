"""Scipion's sets as the engine's tables, and back. All mapping of metadata is here.

Coordinates in tables are array indices (voxels from 0), Scipion's BOTTOM_LEFT_CORNER convention.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import mrcfile
import numpy as np
from pwem.convert.headers import setMRCSamplingRate
from pwem.emlib.image import ImageHandler
from pwem.objects import EMObject, EMSet, SetOfImages, Transform
from pyworkflow.object import Float, Integer, Set
from pyworkflow.utils.retry_streaming import retry_on_sqlite_lock
from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import Coordinate3D, CTFTomoSeries, SubTomogram, TomoAcquisition, Tomogram, TomoMask

from isonet_scipion.constants import (
    CUBE_SIZE_ATTRIBUTE,
    DECONVOLVED_ATTRIBUTE,
    DECONVOLVED_LABEL,
    DEFOCUS_SOURCE_LABEL,
    REPORT_ATTRIBUTES,
    SCALE_ATTRIBUTE,
)
from isonet_scipion.engine.conventions import CORRECTED
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import require_file
from isonet_scipion.engine.io.mrc import check_unit, open_volume
from isonet_scipion.engine.io.number_formats import SCALE
from isonet_scipion.engine.io.ome_zarr import is_store
from isonet_scipion.engine.io.report_file import read_report
from isonet_scipion.engine.io.star import Star, read_star, write_star
from isonet_scipion.engine.io.tomogram_table import CTF_STATE, HALF_LABELS, INVERTED
from isonet_scipion.engine.physics.wedge import declared_range

logger = logging.getLogger(__name__)
PLAIN_ID = re.compile(r"[^./\\\s][^/\\]{0,79}")
# what the engine and the protocols put after the name of a tomogram
MADE_NAME = re.compile(r"_(whole|even|odd|subtomo|coordinates|mask|corrected|report|input[A-Z][a-z]+)$")
MOST_PLAIN = 60  # characters of a tsId that go into a name which is not the tsId itself
MRC_SUFFIXES = (".mrc", ".rec", ".map", ".ali", ".st", ".mrcs")
SUBTOMOGRAM_SUFFIXES = (".mrc", ".rec", ".map")
WITHOUT_FILE = (  # of a half: what to do, in the forms that need it
    "Bring the file back, or work without the halves: No at *Also the half tomograms?* or *Learn from the half "
    "tomograms?*, and for correction a model that did not learn from halves."
)


@dataclass(frozen=True)
class Optics:
    """What the acquisition says of a tomogram; None where it says nothing."""

    voltage: float | None = None  # kV
    sphericalAberration: float | None = None  # mm
    amplitudeContrast: float | None = None
    tiltMin: float | None = None  # degrees
    tiltMax: float | None = None

    def withTilts(self, tiltMin: float | None, tiltMax: float | None) -> Optics:
        """The same with another tilt range (degrees); None leaves what is there."""
        return replace(
            self,
            tiltMin=self.tiltMin if tiltMin is None else tiltMin,
            tiltMax=self.tiltMax if tiltMax is None else tiltMax,
        )

    @property
    def hasTilts(self) -> bool:
        """Whether the tilt range is known and possible."""
        if self.tiltMin is None or self.tiltMax is None:
            return False
        try:
            declared_range(self.tiltMin, self.tiltMax)
        except EngineError:
            return False
        return True


def readOptics(*acquisitions: TomoAcquisition | None) -> Optics:
    """Each value of the first acquisition that has it: that of the item first, then that of its set.

    The ends of a tilt range are of the same acquisition: the first that has both, else the first that has one.
    """
    present = [acquisition for acquisition in acquisitions if acquisition is not None]

    def first(getter: str) -> float | None:
        values = (getattr(acquisition, getter)() for acquisition in present if hasattr(acquisition, getter))
        return next((value for value in values if value is not None), None)

    ranges = [(a.getAngleMin(), a.getAngleMax()) for a in present if hasattr(a, "getAngleMin")]
    ranges.sort(key=lambda ends: ends.count(None))
    tilts = ranges[0] if ranges else (None, None)
    return Optics(first("getVoltage"), first("getSphericalAberration"), first("getAmplitudeContrast"), *tilts)


def ownAcquisition(items: EMSet) -> TomoAcquisition:
    """What a set itself says of its items, from its file, not to be changed.

    The set in memory is no source: Scipion's loops leave there what the last item has.
    """
    path = os.path.abspath(items.getFileName())
    return _storedAcquisition(type(items), path, items.getPrefix() or "", os.stat(path).st_mtime_ns)


@lru_cache(maxsize=32)
@retry_on_sqlite_lock(log=logger)  # other protocols may write the set meanwhile
def _storedAcquisition(setClass: type[EMSet], path: str, prefix: str, changed: int) -> TomoAcquisition:
    """The acquisition in a set's file, as it was when it was `changed`."""
    stored = setClass(filename=path, prefix=prefix)
    stored.loadAllProperties()
    stored.close()
    return stored.getAcquisition()


def copySetInfo(output: EMSet, items: EMSet) -> None:
    """Give a new set what another of its kind says of its items."""
    output.copyInfo(items)
    output.setAcquisition(ownAcquisition(items).clone())


def zeroTiltDefocus(series: CTFTomoSeries) -> float | None:
    """Mean of the two defoci (A) of the enabled image nearest to zero tilt that has an enabled CTF; None without."""
    images = [image.clone() for image in series.getTiltSeries() if image.isEnabled()]
    for image in sorted(images, key=lambda image: abs(image.getTiltAngle())):
        ctf = series.getCtfTomoFromTi(image)
        if ctf is not None and ctf.isEnabled():
            return (ctf.getDefocusU() + ctf.getDefocusV()) / 2
    return None


def hasPhaseShift(series: CTFTomoSeries) -> bool:
    """Whether the CTFs were estimated with a phase shift, as of a phase plate."""
    return any(ctf.hasPhaseShift() and ctf.getPhaseShift() for ctf in enabled(series))


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


def enabledIds(items: Iterable[EMObject] | None) -> list[str]:
    """The tsIds of a set's items that are not disabled."""
    return [item.getTsId() for item in enabled(items)]


def halfMaps(tomogram: Tomogram) -> list[str]:
    """Files of the even and odd half of a tomogram; empty where it does not have both."""
    halves = list(tomogram.getHalfMaps(asList=True)) if tomogram.hasHalfMaps() else []
    return halves if len(halves) == 2 else []


# ---------------------------------------------------------------- tables for the engine


def tomogramRow(
    name: str,
    path: str,
    samplingRate: float,
    optics: Optics,
    index: int = 1,
    defocus: float | None = None,
    numberSubtomos: int | None = None,
    boundary: str | None = None,
    mask: str | None = None,
    halves: Sequence[str | None] = (),
    isInverted: bool = False,
    defocusSource: str | None = None,
    ctfState: str | None = None,
) -> dict[str, str]:
    """One row of a tomogram table.

    Parameters
    ----------
    name : str
        Base name of the engine's outputs: the tsId.
    path : str
        The MRC file.
    samplingRate : float
        Voxel size in A.
    optics : Optics
        Voltage, aberration and tilt range.
    index : int
        rlnIndex.
    defocus : float, optional
        At zero tilt, in A, underfocus positive.
    numberSubtomos : int, optional
        How many subtomograms to extract.
    boundary : str, optional
        IMOD model (.mod) around the sample.
    mask : str, optional
        MRC file of the mask.
    halves : sequence of str
        MRC files of the even and the odd half, or None twice for a row beside one that has them.
    isInverted : bool
        Whether protein is bright in `path`.
    defocusSource : str, optional
        Where the defocus is from: CTF or form.
    ctfState : str, optional
        What was done to the CTF of `path` and the halves, of CTF_STATES.
    """
    values = {
        "rlnIndex": index,
        "rlnTomoName": name,
        "rlnMicrographName": path,
        "rlnPixelSize": samplingRate,
        "rlnDefocus": defocus,
        "rlnNumberSubtomo": numberSubtomos,
        "rlnMaskBoundary": boundary,
        "rlnVoltage": optics.voltage,
        "rlnSphericalAberration": optics.sphericalAberration,
        "rlnAmplitudeContrast": optics.amplitudeContrast,
        "rlnTiltMin": optics.tiltMin if optics.hasTilts else None,
        "rlnTiltMax": optics.tiltMax if optics.hasTilts else None,
    }
    if mask is not None:
        values["rlnMaskName"] = mask
    values.update(zip(HALF_LABELS, halves))
    if defocusSource is not None:
        values[DEFOCUS_SOURCE_LABEL] = defocusSource
    if isInverted:
        values[INVERTED] = 1
    if ctfState is not None:
        values[CTF_STATE] = ctfState
    if ctfState == CORRECTED:
        values["rlnDeconvTomoName"] = path
    return _asText(values)


def subtomogramRow(
    index: int,
    path: str,
    subtomogram: SubTomogram,
    cubeSize: int,
    cropSize: int,
    samplingRate: float,
    optics: Optics,
) -> dict[str, str]:
    """One row of a subtomogram table for the MRC file `path`; sizes in voxels, samplingRate in A."""
    return _asText(
        {
            "rlnSubtomoIndex": index,
            "rlnImageName": path,
            "rlnCubeSize": cubeSize,
            "rlnCropSize": cropSize,
            "rlnPixelSize": samplingRate,
            "rlnTomoName": _tomogramId(subtomogram),
            "rlnTiltMin": optics.tiltMin,
            "rlnTiltMax": optics.tiltMax,
            DECONVOLVED_LABEL: subtomogram.getAttributeValue(DECONVOLVED_ATTRIBUTE),
        }
    )


def _tomogramId(subtomogram: SubTomogram) -> str | None:
    """tsId of the tomogram that it was cut from, else the name that is stored with it."""
    coordinate = subtomogram.getCoordinate3D()
    tsId = None if coordinate is None else coordinate.getTomoId()
    return tsId or subtomogram.getAttributeValue(SubTomogram.VOL_NAME_FIELD) or None


def coordinateRows(coordinates: Iterable[Coordinate3D], samplingRate: float, targetRate: float) -> list[dict[str, str]]:
    """Rows of a coordinate table from one tomogram's coordinates, in voxels of targetRate (A).

    Parameters
    ----------
    coordinates : iterable of Coordinate3D
        From SetOfCoordinates3D.iterCoordinates, so that each knows its tomogram.
    samplingRate : float
        Voxel size (A) of the set of coordinates.
    targetRate : float
        Voxel size (A) of the tomogram to extract from.
    """
    scale = samplingRate / targetRate
    return [
        _asText(
            {
                "rlnTomoName": fileName(coordinate.getTomoId()),
                **{f"rlnCoordinate{axis}": value * scale for axis, value in zip("XYZ", _corner(coordinate))},
            }
        )
        for coordinate in coordinates
    ]


def _corner(coordinate: Coordinate3D) -> tuple[float, float, float]:
    return coordinate.getPosition(BOTTOM_LEFT_CORNER)


def writeTable(path: str, rows: Sequence[dict[str, str]]) -> None:
    """Write rows as a STAR table, whose columns are those of all rows."""
    write_star(path, Star(list(dict.fromkeys(label for row in rows for label in row)), list(rows)))


def _asText(values: dict[str, object]) -> dict[str, str]:
    return {label: str(value) for label, value in values.items()}


# ---------------------------------------------------------------- files for the engine


def fileName(tsId: str) -> str:
    """Base name of the files of a tomogram: no two tsIds share one, and none leads out of its folder.

    It is the tsId itself, unless that can't be a name or looks like one that is made from another tsId.
    """
    quotes = {"'", '"'} <= set(tsId)  # no table takes both
    if tsId.isprintable() and not quotes and PLAIN_ID.fullmatch(tsId) and not MADE_NAME.search(tsId):
        return tsId
    plain = re.sub(r"[^\w.+-]", "_", tsId, flags=re.ASCII).lstrip(".")[:MOST_PLAIN]
    return f"{plain}_{hashlib.sha256(tsId.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"


def halfNames(tsId: str) -> tuple[str, str]:
    """Base names of the files of its two half maps."""
    return f"{fileName(tsId)}_even", f"{fileName(tsId)}_odd"


def plainPath(path: str) -> str:
    """The file name without Scipion's type suffix, as in `volume.map:mrc`."""
    return path.rsplit(":", 1)[0] if path.endswith(":mrc") else path


def requireVolume(path: str, samplingRate: float | None = None) -> None:
    """Raise an EngineError if a volume is missing or, being an MRC file, not whole or by its header in nm (not A)."""
    if path.endswith(":mrc") or path.lower().endswith(MRC_SUFFIXES):
        volume = open_volume(plainPath(path))
        if samplingRate:
            check_unit(samplingRate, volume, "sampling rate")
    else:
        refuseStore(path)
        require_file(path, "volume")


def refuseStore(path: str) -> None:
    """Raise an EngineError about OME-Zarr, which no image reader of Scipion's knows."""
    if is_store(path):
        raise EngineError(
            path,
            "it is OME-Zarr, which Scipion's tomograms can't hold",
            "Give it as MRC: isonet-engine predict --output_format mrc, or convert it.",
        )


def fileErrors(items: Iterable[Tomogram], withHalves: bool = False) -> dict[str, str]:
    """What is wrong with the file, or the halves if asked, of each tomogram or mask that can't be read, by tsId."""
    errors = {}
    for item in items:
        try:
            requireVolume(item.getFileName(), item.getSamplingRate())
            if withHalves:
                requireHalves(item)
        except EngineError as error:
            errors[item.getTsId()] = str(error)
    return errors


def requireHalves(tomogram: Tomogram) -> None:
    """Raise an EngineError if the file of one of a tomogram's halves, where it has them, can't be read."""
    for path in halfMaps(tomogram):
        try:
            requireVolume(path, tomogram.getSamplingRate())
        except EngineError as error:
            why = f"{error.why}; it is a half of {tomogram.getTsId()}"
            raise EngineError(error.what, why, WITHOUT_FILE) from error


def halvesError(tomogram: Tomogram) -> str | None:
    """Why a tomogram's halves, where it has them, can't be read, without a remedy; None where they can."""
    try:
        requireHalves(tomogram)
    except EngineError as error:
        return f"{error.what}: {error.why}"
    return None


def asMrc(path: str, target: str, samplingRate: float) -> str:
    """The path of this volume as MRC: itself if it is one, else `target`, converted and with its voxel size (A)."""
    if path.endswith(":mrc") or path.lower().endswith(MRC_SUFFIXES):
        return plainPath(path)
    if not os.path.exists(target):
        _convert(path, target, samplingRate)
    return target


def maskAsMrc(tsId: str, path: str | None, folder: str, samplingRate: float) -> str | None:
    """As `asMrc`, the mask of a tomogram, which is converted into `folder`; None without one."""
    return None if path is None else asMrc(path, os.path.join(folder, f"{fileName(tsId)}_mask.mrc"), samplingRate)


def linkSubtomogram(subtomogram: SubTomogram, target: str, samplingRate: float) -> None:
    """Give a subtomogram the MRC file `target`: a link, or a converted copy if it is in a stack or another format."""
    index, path = subtomogram.getLocation()
    plain = plainPath(path)
    isSingle = index in (0, None) or (index == 1 and ImageHandler().getDimensions(path)[3] == 1)
    if isSingle and (path.endswith(":mrc") or plain.lower().endswith(SUBTOMOGRAM_SUFFIXES)):
        if os.path.lexists(target):
            os.remove(target)
        os.symlink(os.path.relpath(plain, os.path.dirname(target)), target)
    else:
        _convert((index, path), target, samplingRate)


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
        shutil.copy(source, target)
    else:
        isWithin = source.startswith(os.path.join(os.path.realpath(os.getcwd()), ""))
        os.symlink(os.path.relpath(source, folder) if isWithin else source, target)


def _convert(location: object, target: str, samplingRate: float) -> None:
    partial = f"{os.path.splitext(target)[0]}_partial.mrc"
    ImageHandler().convert(location, partial)
    with mrcfile.open(partial, "r+", permissive=True) as mrc:
        mrc.set_volume()
        mrc.voxel_size = samplingRate
    os.replace(partial, target)


# ---------------------------------------------------------------- the engine's tables as Scipion's objects


def outputFile(table: str, label: str, name: str, samplingRate: float) -> str | None:
    """The file that the engine lists under `label` for the tomogram `name`; None where it is missing.

    Its header gets the voxel size samplingRate (A): the engine keeps the input's where they differ by at most 1 %.
    """
    star = read_star(table)
    path = next((star.text(row, label) for row in star.rows if row["rlnTomoName"] == name), None)
    if path is None or not os.path.exists(path):
        return None
    setMRCSamplingRate(path, samplingRate)
    return path


def processedTomogram(tomogram: Tomogram, path: str, ctfCorrected: bool, halves: Sequence[str] = ()) -> Tomogram:
    """A tomogram with the file `path` and everything else (tsId, origin, acquisition) as in `tomogram`."""
    output = _likeTomogram(Tomogram(), tomogram, path)
    output.setCtfCorrected(ctfCorrected)
    output.setHalfMaps(list(halves))
    return output


def tomoMask(tomogram: Tomogram, path: str) -> TomoMask:
    """The mask of a tomogram, with its tsId, origin and acquisition."""
    mask = _likeTomogram(TomoMask(), tomogram, path)
    mask.setVolName(tomogram.getFileName())
    return mask


def _likeTomogram(target: Tomogram, tomogram: Tomogram, path: str) -> Tomogram:
    # not copyInfo: it also takes the half maps, and fails where there is no acquisition
    target.setLocation(path)
    target.setTsId(tomogram.getTsId())
    target.setSamplingRate(tomogram.getSamplingRate())
    if tomogram.hasOrigin():
        target.setOrigin(tomogram.getOrigin().clone())
    if tomogram.getAcquisition() is not None:
        target.setAcquisition(tomogram.getAcquisition().clone())
    return target


def setTilts(tomogram: Tomogram, optics: Optics, ofAll: TomoAcquisition) -> None:
    """Store with a tomogram the tilt range that was used, in an acquisition like its own or, without, its set's."""
    own, acquisition = tomogram.getAcquisition(), TomoAcquisition()
    acquisition.copyInfo(ofAll if own is None else own)
    acquisition.setAngleMin(optics.tiltMin)
    acquisition.setAngleMax(optics.tiltMax)
    tomogram.setAcquisition(acquisition)


def setReport(tomogram: Tomogram, path: str) -> None:
    """Store with a corrected tomogram the main numbers of the engine's report, a file; errors as `read_report`."""
    report = read_report(path)
    for name, attribute in REPORT_ATTRIBUTES.items():
        setattr(tomogram, attribute, Float(getattr(report, name)))


def setScale(tomogram: Tomogram, table: str) -> None:
    """As `setScaleOfRow`, from the table of this tomogram alone."""
    star = read_star(table)
    setScaleOfRow(tomogram, star, star.rows[0])


def setScaleOfRow(tomogram: Tomogram, star: Star, row: dict[str, str]) -> None:
    """Store with a corrected tomogram what its voxels are multiplied by to get grey values, as a row of a table says.

    1 where it says nothing: a set takes only items that all have the same attributes.
    """
    setattr(tomogram, SCALE_ATTRIBUTE, Float(star.number(row, SCALE, 1.0)))


def scaleOf(tomogram: Tomogram) -> float:
    """What `setScale` stored; 1 where it stored nothing."""
    return tomogram.getAttributeValue(SCALE_ATTRIBUTE) if tomogram.hasAttribute(SCALE_ATTRIBUTE) else 1.0


def reportNumbers(tomogram: Tomogram) -> dict[str, float | None]:
    """What `setReport` stored, by the report's names; None where it is not known, nothing where it was not stored."""
    return {
        name: tomogram.getAttributeValue(attribute)
        for name, attribute in REPORT_ATTRIBUTES.items()
        if tomogram.hasAttribute(attribute)
    }


def readSubtomograms(table: str, tomogram: Tomogram, acquisition: TomoAcquisition | None) -> list[SubTomogram]:
    """Subtomograms of one tomogram from the table that `extract` wrote; empty where it wrote none."""
    if not os.path.exists(table):
        return []
    star = read_star(table)
    for row in star.rows:
        setMRCSamplingRate(row["rlnImageName"], tomogram.getSamplingRate())
    return [subtomogramOf(star, row, tomogram, acquisition, row["rlnImageName"]) for row in star.rows]


def subtomogramOf(
    star: Star, row: dict[str, str], tomogram: Tomogram, acquisition: TomoAcquisition | None, path: str
) -> SubTomogram:
    """The subtomogram of one row of a table, with the file `path`; it has a place where the table has coordinates."""
    subtomogram = SubTomogram()
    subtomogram.setLocation(path)
    subtomogram.setSamplingRate(tomogram.getSamplingRate())
    if "rlnCoordinateX" in star.labels:
        coordinate = Coordinate3D()
        coordinate.setVolume(tomogram)
        coordinate.setPosition(*(star.number(row, f"rlnCoordinate{axis}") for axis in "XYZ"), BOTTOM_LEFT_CORNER)
        subtomogram.setCoordinate3D(coordinate)
    subtomogram.setVolName(tomogram.getTsId())
    subtomogram.setAcquisition(acquisition)
    subtomogram.setTransform(Transform())
    setattr(subtomogram, CUBE_SIZE_ATTRIBUTE, Integer(star.integer(row, "rlnCubeSize")))
    deconvolved = star.text(row, DECONVOLVED_LABEL)
    setattr(subtomogram, DECONVOLVED_ATTRIBUTE, Integer(None if deconvolved is None else int(deconvolved)))
    return subtomogram


def orientLike(
    subtomograms: Iterable[SubTomogram],
    rows: Sequence[dict[str, str]],
    picked: Sequence[Coordinate3D],
    scale: float,
) -> None:
    """Give subtomograms the orientation, group and score of the picked coordinates that they were cut at.

    `rows` are the coordinate rows of `picked`, in the same order; positions are compared rounded, as `extract` does it.
    `scale` is the voxel size of `picked` over that of the subtomograms: shifts beside the orientation are in voxels.
    """
    nearest = {tuple(round(float(row[f"rlnCoordinate{axis}"])) for axis in "XYZ"): c for row, c in zip(rows, picked)}
    for subtomogram in subtomograms:
        coordinate = subtomogram.getCoordinate3D()
        origin = nearest.get(tuple(round(value) for value in _corner(coordinate)))
        if origin is not None:
            matrix = np.array(origin.getMatrix())
            matrix[:3, 3] *= scale
            coordinate.setMatrix(matrix)
            coordinate.setGroupId(origin.getGroupId())
            coordinate.setScore(origin.getScore())
