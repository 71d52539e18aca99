"""Scipion's items as rows of the engine's tables.

Coordinates in tables are array indices (voxels from 0), Scipion's BOTTOM_LEFT_CORNER convention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import Coordinate3D, SubTomogram

from isonet_scipion.constants import (
    DECONVOLVED_ATTRIBUTE,
    DECONVOLVED_LABEL,
    DEFOCUS_SOURCE_LABEL,
    ORIGIN_LABELS,
    SOURCE_LABEL,
)
from isonet_scipion.convert.files import cellName, fileName, fileOf, sizeOf
from isonet_scipion.engine.conventions import CORRECTED
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.star import Star, write_star
from isonet_scipion.engine.io.tomogram_entry import CTF_STATE, HALF_LABELS, INVERTED, SHOWN_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tomo.objects import Tomogram

    from isonet_scipion.convert.acquisition import Optics

UNSHIFTED = 0.01  # voxels by which rounding may move an origin
DROPPED = 2  # voxels of the coarser one by which the sides of a tomogram and of a binned copy differ at most


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
    source: str | None = None,
    shownName: str | None = None,
) -> dict[str, str]:
    """One row of a tomogram table.

    Parameters
    ----------
    name : str
        Base name of the engine's outputs, as `fileName` makes it.
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
    source : str, optional
        Digits that tell what the results are made from.
    shownName : str, optional
        What reports call the tomogram; its name where not given.
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
    if source is not None:
        values[SOURCE_LABEL] = source
    if shownName is not None and shownName != name:
        values[SHOWN_NAME] = shownName
    if isInverted:
        values[INVERTED] = 1
    if ctfState is not None:
        values[CTF_STATE] = ctfState
    if ctfState == CORRECTED:
        values["rlnDeconvTomoName"] = path
    return _asText(values)


def originCells(tomogram: Tomogram) -> dict[str, str]:
    """Where the corner of a tomogram lies, for its row; nothing where its origin is the centre, as it usually is."""
    shifts, rate = tomogram.getShiftsFromOrigin(), tomogram.getSamplingRate()
    centre = [side / -2 * rate for side in sizeOf(fileOf(tomogram))]
    if all(abs(shift - usual) < UNSHIFTED * rate for shift, usual in zip(shifts, centre)):
        return {}
    return _asText(dict(zip(ORIGIN_LABELS, shifts)))


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
    name = tsId or subtomogram.getAttributeValue(SubTomogram.VOL_NAME_FIELD)
    return cellName(name) if name else None


def coordinateRows(
    coordinates: Sequence[Coordinate3D], samplingRate: float, tomogram: Tomogram
) -> list[dict[str, str]]:
    """Rows of a coordinate table from one tomogram's coordinates, in voxels of the tomogram to extract from.

    Parameters
    ----------
    coordinates : sequence of Coordinate3D
        From SetOfCoordinates3D.iterCoordinates, so that each knows its tomogram.
    samplingRate : float
        Voxel size (A) of the set of coordinates.
    tomogram : Tomogram
        The one to extract from.
    """
    if not coordinates:
        return []
    scale, shift = samplingRate / tomogram.getSamplingRate(), cornerShift(coordinates[0].getVolume(), tomogram)
    return [
        _asText(
            {
                "rlnTomoName": fileName(coordinate.getTomoId()),
                **{
                    f"rlnCoordinate{axis}": value * scale + away
                    for axis, value, away in zip("XYZ", corner(coordinate), shift)
                },
            }
        )
        for coordinate in coordinates
    ]


def cornerShift(picked: Tomogram, tomogram: Tomogram) -> tuple[float, float, float]:
    """Where the corner of one version of a tomogram lies in another, in voxels of that: x, y, z.

    It is 0 where one is a binned or finer copy of the other. Else, as where one is thicker, the origins tell, as in
    Scipion's own protocols that take coordinates to other tomograms: by default they are the centres.

    Raises
    ------
    EngineError
        If a file is gone, and nothing else tells the origin.
    """
    for item in (picked, tomogram):
        if not (item.hasOrigin() or item.getDim()):
            why = f"it can't be read, so that the places of coordinates in {item.getTsId()} can't be told"
            raise EngineError(item.getFileName(), why, "Bring it back.")
    rate = tomogram.getSamplingRate()
    origins = zip(picked.getShiftsFromOrigin(), tomogram.getShiftsFromOrigin())
    x, y, z = ((old - new) / rate for old, new in origins)
    return (0.0, 0.0, 0.0) if _isCopy(picked, tomogram) else (x, y, z)


def _isCopy(first: Tomogram, second: Tomogram) -> bool:
    """Whether the sides of two tomograms are equally long; not where a file is gone."""
    try:
        sizes = [(sizeOf(fileOf(item)), item.getSamplingRate()) for item in (first, second)]
    except EngineError:
        return False
    # binning drops what is left at the ends
    most = DROPPED * max(rate for _, rate in sizes)
    sides = ([side * rate for side in size] for size, rate in sizes)
    return all(abs(one - other) <= most for one, other in zip(*sides))


def corner(coordinate: Coordinate3D) -> tuple[float, float, float]:
    """A coordinate (x, y, z) in voxels from the tomogram's corner."""
    return coordinate.getPosition(BOTTOM_LEFT_CORNER)


def writeTable(path: str, rows: Sequence[dict[str, str]]) -> None:
    """Write rows as a STAR table, whose columns are those of all rows."""
    write_star(path, Star(list(dict.fromkeys(label for row in rows for label in row)), list(rows)))


def _asText(values: dict[str, object]) -> dict[str, str]:
    return {label: str(value) for label, value in values.items()}
