"""Scipion's items out of what the engine has made."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from pwem.convert.headers import setMRCSamplingRate
from pwem.objects import Transform
from pyworkflow.object import Float, Integer
from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import Coordinate3D, SubTomogram, TomoAcquisition, Tomogram, TomoMask

from isonet_scipion.constants import (
    CUBE_SIZE_ATTRIBUTE,
    DECONVOLVED_ATTRIBUTE,
    DECONVOLVED_LABEL,
    REPORT_ATTRIBUTES,
    SCALE_ATTRIBUTE,
)
from isonet_scipion.convert.rows import corner
from isonet_scipion.engine.io.number_formats import SCALE
from isonet_scipion.engine.io.report_file import read_report
from isonet_scipion.engine.io.star import Star, read_star

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


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
    """A tomogram with the file `path` and everything else (id, tsId, origin, acquisition) as in `tomogram`."""
    output = _likeTomogram(Tomogram(), tomogram, path)
    output.setCtfCorrected(ctfCorrected)
    output.setHalfMaps(list(halves))
    return output


def tomoMask(tomogram: Tomogram, path: str) -> TomoMask:
    """The mask of a tomogram, with its id, tsId, origin and acquisition."""
    mask = _likeTomogram(TomoMask(), tomogram, path)
    mask.setVolName(tomogram.getFileName())
    return mask


def _likeTomogram(target: Tomogram, tomogram: Tomogram, path: str) -> Tomogram:
    target.setObjId(tomogram.getObjId())  # by which Scipion's *subset* picks items of one set for those of another
    # not copyInfo: it also takes the half maps, and fails where there is no acquisition
    target.setLocation(path)
    target.setTsId(tomogram.getTsId())
    target.setSamplingRate(tomogram.getSamplingRate())
    if tomogram.hasOrigin():
        target.setOrigin(tomogram.getOrigin().clone())
    if tomogram.getAcquisition() is not None:
        target.setAcquisition(tomogram.getAcquisition().clone())
    return target


def setReport(tomogram: Tomogram, path: str) -> None:
    """Store with a corrected tomogram the main numbers of the engine's report, a file; errors as `read_report`.

    No correlation where too few voxels were tested to tell what it means.
    """
    report = read_report(path)
    numbers = {name: getattr(report, name) for name in REPORT_ATTRIBUTES}
    if not report.restored_wedge_known:
        numbers["restored_wedge_correlation"] = None
    for name, attribute in REPORT_ATTRIBUTES.items():
        setattr(tomogram, attribute, Float(numbers[name]))


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
    nearest: dict[tuple[int, ...], list[Coordinate3D]] = {}
    for row, one in zip(rows, picked):
        nearest.setdefault(tuple(round(float(row[f"rlnCoordinate{axis}"])) for axis in "XYZ"), []).append(one)
    for subtomogram in subtomograms:
        coordinate = subtomogram.getCoordinate3D()
        alike = nearest.get(tuple(round(value) for value in corner(coordinate)))
        if alike:
            origin = alike.pop(0)  # `extract` takes those at one voxel in their order
            matrix = np.array(origin.getMatrix())
            matrix[:3, 3] *= scale
            coordinate.setMatrix(matrix)
            subtomogram.setTransform(Transform(matrix))  # which other programs' protocols go by
            coordinate.setGroupId(origin.getGroupId())
            coordinate.setScore(origin.getScore())
