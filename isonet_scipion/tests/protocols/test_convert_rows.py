"""Scipion's items as rows of the engine's tables."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import (
    Coordinate3D,
    SubTomogram,
    Tomogram,
)

from isonet_scipion.convert.acquisition import Optics
from isonet_scipion.convert.files import (
    fileName,
    halfNames,
    shownNames,
)
from isonet_scipion.convert.outputs import (
    orientLike,
)
from isonet_scipion.convert.rows import coordinateRows, subtomogramRow, tomogramRow, writeTable
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.io.tomogram_entry import HALF_LABELS
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.tests.protocols.odd_conditions import HARD_IDS
from isonet_scipion.tests.protocols.scene import write

OPTICS = Optics(200.0, 2.0, 0.08, -57.0, 51.0)


def test_tables_survive_hard_names_and_missing_values(tmp_path):
    path = "it's a ; folder/50%/TS.1 ü.mrc"
    row = tomogramRow("TS.1", path, 10.0, Optics(), defocus=21234.5)
    writeTable(str(tmp_path / "t.star"), [row])
    star = read_star(tmp_path / "t.star")
    assert star.rows[0]["rlnMicrographName"] == path
    assert star.number(star.rows[0], "rlnDefocus") == 21234.5
    assert star.text(star.rows[0], "rlnVoltage") is None
    assert "rlnMaskName" not in star.labels
    halves = dict(zip(HALF_LABELS, ("even.mrc", "odd.mrc")))
    row = tomogramRow("TS.1", path, 10.0, Optics(), mask="mask.mrc", halves=tuple(halves.values()))
    assert {**row, **halves, "rlnMaskName": "mask.mrc"} == row


def test_subtomogram_rows_carry_the_tilt_range_and_the_tomogram(tomogram):
    coordinate = Coordinate3D()
    coordinate.setVolume(tomogram)
    subtomogram = SubTomogram()
    subtomogram.setCoordinate3D(coordinate)
    row = subtomogramRow(3, "a.mrc", subtomogram, 64, 80, 10.0, OPTICS)
    sizes = (row["rlnCubeSize"], row["rlnCropSize"], row["rlnTiltMin"], row["rlnTiltMax"])
    assert sizes == ("64", "80", "-57.0", "51.0")
    assert (row["rlnTomoName"], row["isonetDeconvolved"]) == ("TS_01", "None")
    assert subtomogramRow(1, "a.mrc", SubTomogram(), 64, 80, 10.0, OPTICS)["rlnTomoName"] == "None"
    coordinate.setTomoId('it\'s "1"')  # which no cell holds
    named = subtomogramRow(3, "a.mrc", subtomogram, 64, 80, 10.0, OPTICS)["rlnTomoName"]
    assert re.fullmatch("it_s__1__[0-9a-f]{10}", named)


def test_a_tomogram_with_its_ctf_corrected_counts_as_deconvolved():
    row = tomogramRow("TS_01", "a.mrc", 10.0, OPTICS, ctfState="corrected")
    assert row["rlnDeconvTomoName"] == row["rlnMicrographName"] == "a.mrc"
    flipped = tomogramRow("TS_01", "a.mrc", 10.0, OPTICS, ctfState="phase-flipped")
    assert flipped["isonetCtfState"] == "phase-flipped" and "rlnDeconvTomoName" not in flipped


def test_coordinates_are_array_indices_in_the_target_voxels(tomogram):
    coordinate = Coordinate3D()
    coordinate.setVolume(tomogram)
    coordinate.setPosition(2, 1, 1, BOTTOM_LEFT_CORNER)
    finer = tomogram.clone()
    finer.setSamplingRate(5.0)
    (row,) = coordinateRows([coordinate], samplingRate=10.0, tomogram=finer)
    assert placeIn(row) == [4, 2, 2]
    assert row["rlnTomoName"] == "TS_01"
    assert coordinateRows([], 10.0, finer) == []


def placeIn(row: dict[str, str]) -> list[float]:
    return [float(row[f"rlnCoordinate{axis}"]) for axis in "XYZ"]


def test_coordinates_picked_in_a_thicker_tomogram_keep_their_place_from_the_origin(tmp_path):
    def of(name: str, shape: tuple[int, int, int], rate: float) -> Tomogram:
        path = str(tmp_path / f"{name}.mrc")
        write(path, np.zeros(shape, np.float32), rate)
        item = Tomogram(tsId="TS_01")
        item.setLocation(path)
        item.setSamplingRate(rate)
        item.setOrigin()  # Scipion's: the centre
        return item

    coarse = of("bin8", (20, 16, 16), 20.0)
    coordinate = Coordinate3D()
    coordinate.setVolume(coarse)
    coordinate.setPosition(9, 8, 11, BOTTOM_LEFT_CORNER)
    (row,) = coordinateRows([coordinate], 20.0, of("thin", (28, 32, 32), 10.0))
    assert placeIn(row) == [18, 16, 16]  # a coarse voxel above the centre of either
    # binning drops what is left at the ends; the origins then differ by half a voxel, the corners do not
    (row,) = coordinateRows([coordinate], 20.0, of("odd", (41, 33, 33), 10.0))
    assert placeIn(row) == [18, 16, 22]
    # what an import says of a copy's origin does not move what is in it
    copy = of("copy", (40, 32, 32), 10.0)
    copy.setShiftsInOrigin(0.0, 0.0, 0.0)
    (row,) = coordinateRows([coordinate], 20.0, copy)
    assert placeIn(row) == [18, 16, 22]
    # without the file in which they were picked, the origins alone tell
    os.remove(coarse.getFileName())
    (row,) = coordinateRows([coordinate], 20.0, of("thin", (28, 32, 32), 10.0))
    assert placeIn(row) == [18, 16, 16]
    gone = Tomogram(tsId="TS_01")
    gone.setLocation(coarse.getFileName())
    gone.setSamplingRate(20.0)
    coordinate.setVolume(gone)
    with pytest.raises(EngineError, match=r"bin8\.mrc: .* the places of coordinates in TS_01 can't be told"):
        coordinateRows([coordinate], 20.0, copy)


def test_shifts_of_picked_coordinates_are_scaled_to_the_subtomograms_voxels(tomogram):
    picked = Coordinate3D()
    picked.setVolume(tomogram)
    picked.setPosition(2, 4, 2, BOTTOM_LEFT_CORNER)
    matrix = np.array([[0, -1, 0, 6], [1, 0, 0, 4], [0, 0, 1, 2], [0, 0, 0, 1]], float)
    picked.setMatrix(matrix)
    coarser = tomogram.clone()
    coarser.setSamplingRate(10.0)
    tomogram.setSamplingRate(5.0)
    rows = coordinateRows([picked], samplingRate=5.0, tomogram=coarser)
    coordinate = Coordinate3D()
    coordinate.setVolume(tomogram)
    coordinate.setPosition(*(float(rows[0][f"rlnCoordinate{axis}"]) for axis in "XYZ"), BOTTOM_LEFT_CORNER)
    subtomogram = SubTomogram()
    subtomogram.setCoordinate3D(coordinate)
    orientLike([subtomogram], rows, [picked], 5.0 / 10.0)
    expected = matrix.copy()
    expected[:3, 3] = 3, 2, 1
    np.testing.assert_array_equal(subtomogram.getCoordinate3D().getMatrix(), expected)
    np.testing.assert_array_equal(picked.getMatrix(), matrix)


def test_a_table_has_the_columns_of_all_rows(tmp_path):
    rows = [{"rlnIndex": "1"}, {"rlnIndex": "2", "rlnMaskName": "m.mrc"}]
    writeTable(str(tmp_path / "t.star"), rows)
    table = read_star(tmp_path / "t.star")
    assert [table.text(row, "rlnMaskName") for row in table.rows] == [None, "m.mrc"]


def test_reports_call_a_tomogram_by_its_id_and_tell_halves_from_it(tmp_path):
    for tsId in HARD_IDS:
        shown = shownNames(tsId)
        rows = [tomogramRow(name, "t.mrc", 10.0, OPTICS, shownName=own) for name, own in shown.items()]
        writeTable(str(tmp_path / "t.star"), rows)
        entries = TomogramTable(tmp_path / "t.star", True).entries()
        told = [entry.shown_name for entry in entries]
        if tsId.strip() and tsId.isprintable() and not {"'", '"'} <= set(tsId) and tsId != "None":
            assert told == [tsId, f"{tsId}, even half", f"{tsId}, odd half"]
        assert [entry.name for entry in entries] == [fileName(tsId), *halfNames(tsId)] and len(set(told)) == 3
