"""Mapping of metadata between Scipion's objects and the engine's tables, without a project."""

from __future__ import annotations

import os
import re
import resource
import shutil
import zipfile
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import mrcfile
import numpy as np
import pytest
import tifffile
from mrcfile.dtypes import HEADER_DTYPE
from pwem.emlib.image import ImageHandler
from pwem.objects import Transform
from pyworkflow.object import Float
from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import (
    Coordinate3D,
    CTFTomo,
    CTFTomoSeries,
    SetOfCTFTomoSeries,
    SetOfTiltSeries,
    SetOfTomograms,
    SubTomogram,
    TiltImage,
    TiltSeries,
    TomoAcquisition,
    Tomogram,
)

from isonet_scipion.convert.acquisition import Optics, readOptics, zeroTiltDefocus
from isonet_scipion.convert.files import (
    asMrc,
    fileErrors,
    fileName,
    halfMaps,
    halfNames,
    halvesError,
    linkSubtomogram,
    shownNames,
    sizeOf,
)
from isonet_scipion.convert.outputs import (
    orientLike,
    processedTomogram,
    reportNumbers,
    scaleOf,
    setReport,
    setScale,
    tomoMask,
)
from isonet_scipion.convert.rows import coordinateRows, subtomogramRow, tomogramRow, writeTable
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.number_formats import SCALE
from isonet_scipion.engine.io.report_file import write_report
from isonet_scipion.engine.io.star import Star, read_star, write_star
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.engine.network.model_file import BUILTIN_FILE
from isonet_scipion.isonet_folder import IsoNetFolder
from isonet_scipion.protocols import ProtIsoNetImportProject, ProtIsoNetPredict, record
from isonet_scipion.protocols.protocol_import_model import importedModel
from isonet_scipion.protocols.protocol_import_project import modelWarnings
from isonet_scipion.protocols.protocol_predict import restoredInWords
from isonet_scipion.protocols.record import identityOf, isIdentityOf
from isonet_scipion.tests.engine.io.test_report_file import CONTENT
from isonet_scipion.tests.protocols.scene import read, write

OPTICS = Optics(200.0, 2.0, 0.08, -57.0, 51.0)


@pytest.fixture
def tomogram(tmp_path):
    path = str(tmp_path / "volume.mrc")
    write(path, np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    tomogram = Tomogram(tsId="TS_01")
    tomogram.setObjId(7)
    tomogram.setSamplingRate(10.0)
    tomogram.setLocation(path)
    tomogram.setHalfMaps(["even.mrc", "odd.mrc"])
    tomogram.setOrigin(Transform())
    tomogram.setShiftsInOrigin(-5.0, -6.0, -7.0)
    return tomogram


def ctfs(folder, defoci: dict[float, tuple[float, float]], disabled=(), left=()) -> CTFTomoSeries:
    """A series with the defoci (U, V in A) by tilt angle; acquired in the order given."""
    tiltSets = SetOfTiltSeries(filename=str(folder / "tilts.sqlite"))
    tilts = TiltSeries(tsId="TS_01")
    tiltSets.append(tilts)
    ctfSets = SetOfCTFTomoSeries(filename=str(folder / "ctfs.sqlite"))
    series = CTFTomoSeries(tsId="TS_01")
    ctfSets.append(series)
    for order, (angle, (u, v)) in enumerate(defoci.items(), 1):
        image = TiltImage(tsId="TS_01", tiltAngle=angle, acquisitionOrder=order)
        image.setIndex(order)
        image.setEnabled(angle not in disabled)
        tilts.append(image)
        ctf = CTFTomo(index=order, acqOrder=order)
        ctf.setDefocusU(u)
        ctf.setDefocusV(v)
        ctf.setDefocusAngle(0)
        ctf.setEnabled(angle not in {*disabled, *left})
        series.append(ctf)
    tilts.write()
    series.write()
    series.setTiltSeries(tilts)
    # the sets close their files when they are collected
    series.owners = (tiltSets, ctfSets)
    return series


def test_defocus_is_that_of_the_smallest_tilt_whatever_its_position(tmp_path):
    series = ctfs(tmp_path, {3.0: (1e4, 2e4), -60.0: (5e4, 5e4), 0.1: (21000, 19000), 57.0: (4e4, 4e4)})
    assert zeroTiltDefocus(series) == 20000


def test_excluded_images_do_not_count(tmp_path):
    series = ctfs(tmp_path, {0.0: (9e4, 9e4), 3.0: (30000, 32000), -6.0: (1e4, 1e4)}, disabled={0.0})
    assert zeroTiltDefocus(series) == 31000


def test_excluded_ctfs_do_not_count(tmp_path):
    series = ctfs(tmp_path, {0.0: (9e4, 9e4), 3.0: (30000, 32000)}, left={0.0})
    assert zeroTiltDefocus(series) == 31000


def test_each_value_comes_from_the_first_acquisition_that_has_it():
    item = TomoAcquisition(angleMin=-50, angleMax=40, voltage=200)
    whole = TomoAcquisition(angleMin=-60, angleMax=60, voltage=300, sphericalAberration=2.7)
    assert readOptics(item, None, whole) == Optics(200, 2.7, None, -50, 40)


def test_both_ends_of_a_tilt_range_are_of_one_acquisition():
    item, whole = TomoAcquisition(angleMin=-50, voltage=200), TomoAcquisition(angleMin=-60, angleMax=60)
    assert readOptics(item, whole) == Optics(200, None, None, -60, 60)
    assert readOptics(item, TomoAcquisition()) == Optics(200, None, None, -50, None)


def test_a_zero_angle_is_a_value():
    assert readOptics(TomoAcquisition(angleMin=0.0), TomoAcquisition(angleMin=-60.0)).tiltMin == 0


def test_tables_survive_hard_names_and_missing_values(tmp_path):
    path = "it's a ; folder/50%/TS.1 ü.mrc"
    row = tomogramRow("TS.1", path, 10.0, Optics(), defocus=21234.5)
    writeTable(str(tmp_path / "t.star"), [row])
    star = read_star(tmp_path / "t.star")
    assert star.rows[0]["rlnMicrographName"] == path
    assert star.number(star.rows[0], "rlnDefocus") == 21234.5
    assert star.text(star.rows[0], "rlnVoltage") is None
    assert "rlnMaskName" not in star.labels


@pytest.mark.parametrize("tilts", [(0.0, 0.0), (60.0, -60.0), (-100.0, 60.0), (-1.047, 1.047)])
def test_an_impossible_tilt_range_counts_as_none(tilts):
    optics = Optics(tiltMin=tilts[0], tiltMax=tilts[1])
    assert not optics.hasTilts and optics.withTilts(-60.0, 60.0).hasTilts
    row = tomogramRow("TS.1", "t.mrc", 10.0, optics)
    assert (row["rlnTiltMin"], row["rlnTiltMax"]) == ("None", "None")


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


def test_subtomograms_at_one_voxel_have_the_orientation_of_each_coordinate_there(tomogram):
    def at(x: float) -> Coordinate3D:
        coordinate = Coordinate3D()
        coordinate.setVolume(tomogram)
        coordinate.setPosition(x, 1, 1, BOTTOM_LEFT_CORNER)
        return coordinate

    picked, subtomograms = [at(x) for x in (1.9, 2.2, 3.0)], [SubTomogram() for _ in range(3)]
    for score, (one, subtomogram) in enumerate(zip(picked, subtomograms)):
        one.setScore(score)
        one.setMatrix(np.diag([1.0, 1.0, 1.0, 1.0]) + score * np.eye(4, k=1))
        subtomogram.setCoordinate3D(at(round(one.getPosition(BOTTOM_LEFT_CORNER)[0])))
    orientLike(subtomograms, coordinateRows(picked, 10.0, tomogram), picked, 1.0)
    assert [item.getCoordinate3D().getScore() for item in subtomograms] == [0, 1, 2]
    assert [item.getTransform().getMatrix()[0, 1] for item in subtomograms] == [0, 1, 2]


def test_processed_tomogram_keeps_the_origin_and_drops_what_no_longer_holds(tomogram):
    output = processedTomogram(tomogram, "new.mrc", ctfCorrected=True)
    assert output.getFileName() == "new.mrc"
    assert (output.getObjId(), output.getTsId(), output.getSamplingRate()) == (7, "TS_01", 10.0)
    assert output.getOrigin().getShifts() == (-5.0, -6.0, -7.0)
    assert output.ctfCorrected() and not output.hasHalfMaps()
    assert output.getAcquisition() is None
    assert tomogram.hasHalfMaps() and not tomogram.ctfCorrected()


def test_mask_names_its_tomogram(tomogram):
    mask = tomoMask(tomogram, "mask.mrc")
    assert (mask.getVolName(), mask.getFileName(), mask.getTsId()) == (tomogram.getFileName(), "mask.mrc", "TS_01")
    assert mask.getOrigin().getShifts() == (-5.0, -6.0, -7.0) and not mask.hasHalfMaps()


def test_an_mrc_subtomogram_is_linked_and_a_stack_is_taken_apart(tmp_path):
    single = SubTomogram()
    single.setLocation(str(tmp_path / "single.mrc"))
    cube = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    write(tmp_path / "single.mrc", cube)
    linkSubtomogram(single, str(tmp_path / "linked.mrc"), 10.0)
    assert os.path.islink(tmp_path / "linked.mrc")

    foreign = SubTomogram()
    foreign.setLocation(str(tmp_path / "foreign.spi"))
    ImageHandler().convert(str(tmp_path / "single.mrc"), str(tmp_path / "foreign.spi"))
    linkSubtomogram(foreign, str(tmp_path / "converted.mrc"), 12.5)
    with mrcfile.open(tmp_path / "converted.mrc") as mrc:
        np.testing.assert_array_equal(mrc.data, cube)
        assert mrc.voxel_size.x == pytest.approx(12.5)
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]


def test_a_subtomogram_is_found_through_a_folder_that_is_a_link(tmp_path, monkeypatch):
    """As a project's Tmp is where it is on another disk."""
    (tmp_path / "project" / "Runs").mkdir(parents=True)
    (tmp_path / "disk" / "scratch").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    os.symlink(tmp_path / "disk" / "scratch", "Tmp")
    write("Runs/one.mrc", np.full((8, 8, 8), 5, np.float32))
    subtomogram = SubTomogram()
    subtomogram.setLocation("Runs/one.mrc")
    linkSubtomogram(subtomogram, "Tmp/linked.mrc", 10.0)
    assert (read("Tmp/linked.mrc") == 5).all()


@contextmanager
def roomFor(size):
    """No file may get larger: as on a full disk, Scipion's writers leave it short without a word."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 2000])  # less than the header, less than the voxels
def test_a_conversion_that_the_disk_has_no_room_for_is_told_and_done_again(tmp_path, size):
    cube, paths = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32), {}
    for suffix in ("mrc", "spi"):
        paths[suffix] = str(tmp_path / f"volume.{suffix}")
    write(paths["mrc"], cube)
    ImageHandler().convert(paths["mrc"], paths["spi"])
    target = str(tmp_path / "converted.mrc")
    with roomFor(size), pytest.raises(EngineError, match=r"converted\.mrc: .* can't be written \(.*Free disk space"):
        asMrc(paths["spi"], target, 10.0)
    assert sorted(os.listdir(tmp_path)) == ["volume.mrc", "volume.spi"]
    np.testing.assert_array_equal(read(asMrc(paths["spi"], target, 10.0)), cube)


def test_a_volume_that_was_replaced_is_converted_again_and_only_then(tmp_path):
    volume, target = str(tmp_path / "volume.tif"), str(tmp_path / "converted.mrc")
    first, second = np.random.default_rng(0).normal(size=(2, 6, 8, 9)).astype(np.float32)
    tifffile.imwrite(volume, first)
    np.testing.assert_array_equal(read(asMrc(volume, target, 10.0)), first)
    made = os.stat(target).st_ino
    assert os.stat(asMrc(volume, target, 10.0)).st_ino == made
    tifffile.imwrite(volume, second)  # as by a protocol that was restarted
    os.utime(volume, (1e9, 1e9))  # a copy may keep an earlier time
    np.testing.assert_array_equal(read(asMrc(volume, target, 10.0)), second)
    os.remove(volume)
    np.testing.assert_array_equal(read(asMrc(volume, target, 10.0)), second)


def test_the_values_that_results_are_made_with_are_stored_whole_or_not_at_all(tmp_path, monkeypatch):
    protocol = SimpleNamespace(_getExtraPath=lambda name: str(tmp_path / name))
    for values, size in (({"a": 1}, resource.RLIM_INFINITY), ({"a": "long" * 9}, 12)):
        monkeypatch.setattr(record, "formValues", lambda _, values=values: values)
        with roomFor(size), nullcontext() if size < 0 else pytest.raises(EngineError, match=r"values\.json"):
            record.keepValues(protocol)
    assert record.keptValues(protocol) == {"a": 1}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Two files of a user's outside a project, which is the working directory, and the folder of a run in it."""
    (tmp_path / "user").mkdir()
    (tmp_path / "project" / "run").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    for name, comment in (("a", b""), ("b", b"another")):
        (tmp_path / "user" / name).mkdir()
        shutil.copy(BUILTIN_FILE, tmp_path / "user" / name / "model_iter01.keras")
        with zipfile.ZipFile(tmp_path / "user" / name / "model_iter01.keras", "a") as file:
            file.comment = comment
    return [tmp_path / "user" / name / "model_iter01.keras" for name in "ab"]


@pytest.mark.parametrize(("first", "then"), [(False, True), (True, False), (True, True), (False, False)])
def test_a_model_imported_again_leaves_the_users_files_alone(models, first, then):
    before = [path.read_bytes() for path in models]
    for source, copy in ((models[0], first), (models[0], then), (models[1], then)):
        made = importedModel(str(source), "run", copy)
        assert os.path.islink(made.getFileName()) is not copy
        assert Path(made.getFileName()).read_bytes() == source.read_bytes()
        assert [path.read_bytes() for path in models] == before
    # the run's own file again, by its own name
    again = importedModel(made.getFileName(), "run", True)
    assert not os.path.islink(again.getFileName()) and Path(again.getFileName()).read_bytes() == before[1]
    assert importedModel(again.getFileName(), "run").getFileName() == again.getFileName()


def test_models_of_a_project_are_found_in_whatever_folder_they_were_trained_to(models, tmp_path):
    row = {"rlnIndex": "1", "rlnMicrographName": "a.mrc", "rlnPixelSize": "10"}
    write_star(tmp_path / "tomograms.star", Star(list(row), [row]))
    (tmp_path / "dangling").symlink_to("nowhere")
    folder = IsoNetFolder(str(tmp_path), TomoAcquisition())
    assert folder.models() == [] and folder.model() is None and modelWarnings(folder) == []
    for name, model, time in (("one_pass", models[0], 2000), ("older", models[1], 1000)):
        shutil.copytree(model.parent, tmp_path / name)
        os.utime(tmp_path / name, (time, time))
    newer, older = (str(tmp_path / name / "model_iter01.keras") for name in ("one_pass", "older"))
    assert folder.models() == [newer, older] and folder.model() == newer
    (warning,) = modelWarnings(folder)
    assert f"The model is {newer}." in warning and warning.endswith(f"{older}.")
    shutil.copytree(models[1].parent, tmp_path / "results")
    assert folder.model() == str(tmp_path / "results" / "model_iter01.keras")


def test_a_model_from_inside_the_project_is_found_after_it_was_moved(models, tmp_path, monkeypatch):
    shutil.copytree(models[0].parent, "training")
    made = importedModel(os.path.abspath("training/model_iter01.keras"), "run").getFileName()
    os.mkdir("other run")
    outside = importedModel(str(models[1]), "other run").getFileName()
    run = SimpleNamespace(_getExtraPath=lambda *names: os.path.join("run", *names))
    ofFolder = ProtIsoNetImportProject._link(run, "tomograms", os.path.abspath("training/model_iter01.keras"), "TS_01")
    (tmp_path / "project").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert Path(made).read_bytes() == Path(ofFolder).read_bytes() == models[0].read_bytes()
    assert os.readlink(outside) == str(models[1])


def test_a_table_has_the_columns_of_all_rows(tmp_path):
    rows = [{"rlnIndex": "1"}, {"rlnIndex": "2", "rlnMaskName": "m.mrc"}]
    writeTable(str(tmp_path / "t.star"), rows)
    table = read_star(tmp_path / "t.star")
    assert [table.text(row, "rlnMaskName") for row in table.rows] == [None, "m.mrc"]


@pytest.mark.parametrize("scales", [(None, 0.25), (0.25, None)])
def test_a_set_holds_corrected_tomograms_of_which_only_some_are_scaled(tmp_path, tomogram, scales):
    corrected = SetOfTomograms(filename=str(tmp_path / "corrected.sqlite"))
    for number, scale in enumerate(scales):
        row = tomogramRow("TS_01", "t.mrc", 10.0, OPTICS)
        writeTable(str(tmp_path / "t.star"), [row if scale is None else {**row, SCALE: str(scale)}])
        source = tomogram.clone()
        source.setTsId(f"TS_{number}")
        source.setObjId(number + 1)
        item = processedTomogram(source, tomogram.getFileName(), ctfCorrected=False)
        setScale(item, str(tmp_path / "t.star"))
        corrected.append(item)
    corrected.write()
    assert [scaleOf(item) for item in corrected] == [1.0 if scale is None else scale for scale in scales]
    corrected.close()


def test_corrected_tomograms_of_a_folder_have_the_scale_of_their_files(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.mrc", np.zeros((2, 3, 4), np.int16))
    columns = ("rlnIndex", "rlnMicrographName", "rlnPixelSize", "rlnCorrectedTomoName", SCALE)
    rows = [("1", "a.mrc", "10", "b.mrc", "0.25"), ("2", "b.mrc", "10", "c.mrc", "None")]
    writeTable(str(tmp_path / "tomograms.star"), [dict(zip(columns, row)) for row in rows])
    folder = IsoNetFolder(
        str(tmp_path),
        TomoAcquisition(voltage=300, sphericalAberration=2.7, amplitudeContrast=0.1, angleMin=-60, angleMax=60),
    )
    corrected = folder.tomograms("correctedTomograms", lambda path, name: path)
    assert [scaleOf(tomogram) for tomogram in corrected] == [0.25, 1.0]
    plain = folder.tomograms("tomograms", lambda path, name: path)
    assert [scaleOf(tomogram) for tomogram in plain] == [1.0, 1.0]


def test_a_summary_tells_what_is_restored_by_the_rule_of_the_reports_verdict():
    report = {"restored_wedge_correlation": 0.12, "restored_wedge_resolution_A": None}
    assert restoredInWords(report) == "0.12"
    report["restored_wedge_above_chance_A"] = None
    assert restoredInWords(report) == "0.12, nowhere better than chance: invention"
    report["restored_wedge_above_chance_A"] = 81.0
    assert restoredInWords(report) == "0.12, above chance to 81 Å, nowhere 0.5"
    assert restoredInWords({**report, "restored_wedge_resolution_A": 95.0}) == "0.12, correlation 0.5 at 95 Å"
    assert restoredInWords({**report, "restored_wedge_correlation": None}) == "not known: too few voxels to tell"


def test_a_summary_tells_no_invention_where_too_few_voxels_were_tested(tomogram, tmp_path):
    numbers = {"correlation": 0.3, "chance": 0.1, "resolution_A": None, "above_chance_A": None}
    words = []
    for known in (True, False):
        path = tmp_path / f"{known}_report.json"
        told = {f"restored_wedge_{name}": value for name, value in numbers.items()}
        write_report(path, {**CONTENT, **told, "restored_wedge_known": known})
        setReport(tomogram, str(path))
        words.append(restoredInWords(reportNumbers(tomogram)))
    assert "invention" in words[0] and words[1] == "not known: too few voxels to tell"


def test_invention_is_not_said_to_be_restored_well(tomogram):
    def advice(*numbers):
        output = []
        for mean, above in numbers:
            item = tomogram.clone()
            for name, value in (("Wedge", mean), ("Resolution", None), ("AboveChance", above)):
                setattr(item, f"_isonetRestored{name}", Float(value))
            output.append(item)
        return ProtIsoNetPredict._worthTraining(output)

    assert "restores these tomograms well" in advice((0.6, 40.0), (None, None))
    for poor in (0.6, None), (0.4, 40.0):
        assert "is worth trying" in advice((0.6, 40.0), poor)
    assert "is worth trying" in advice((None, None))


def test_reports_call_a_tomogram_by_its_id_and_tell_halves_from_it(tmp_path):
    for tsId in HARD_IDS:
        shown = shownNames(tsId)
        rows = [tomogramRow(name, "t.mrc", 10.0, OPTICS, shownName=own) for name, own in shown.items()]
        writeTable(str(tmp_path / "t.star"), rows)
        entries = TomogramTable(tmp_path / "t.star", True).entries()
        told = [entry.shown_name for entry in entries]
        if tsId.strip() and tsId.isprintable() and not {"'", '"'} <= set(tsId):
            assert told == [tsId, f"{tsId}, even half", f"{tsId}, odd half"]
        assert [entry.name for entry in entries] == [fileName(tsId), *halfNames(tsId)] and len(set(told)) == 3


PLAIN_IDS = ("TS_01", "TS_1", "TS_2", "TS_02.bin4", "Position_240101", "tomo-3_Vol", "it's")
HARD_IDS = (
    *PLAIN_IDS,
    "a/b", "a_b", "a\\b", "../../escaped", "..", ".", "", "X", "X_even", "X_odd", "X_whole", "A",
    "A_subtomo", "A_coordinates", "A_mask", "A_corrected", "n" * 300, "n" * 301, "é" * 80, "tab\there",
    "\x1b[2J", "both'\"", "it's; $HOME 50%d", "a,b", "A,_even", ",", "-rf", "~", " x", "x ", "\udcff", "A_inputMasks",
)  # fmt: skip


def test_file_names_of_tilt_series_ids_are_distinct_and_stay_in_their_folder():
    made = {}
    for tsId in HARD_IDS:
        name = fileName(tsId)
        assert fileName(tsId) == name
        assert os.path.basename(name) == name and name not in ("", ".", "..") and not name.startswith(".")
        assert name.isprintable() and len(name.encode()) < 200 and "," not in name
        for file in (name, *halfNames(tsId), f"{name}_subtomo", f"{name}_mask", f"{name}_whole"):
            assert made.setdefault(file, tsId) == tsId, file
    assert [fileName(tsId) for tsId in PLAIN_IDS] == list(PLAIN_IDS)
    assert fileName("it's; $HOME 50%d") == "it's; $HOME 50%d"


def kept(tomogram):
    """As Scipion gives it back: halves are one text in its database."""
    again = Tomogram(tsId=tomogram.getTsId(), location=tomogram.getFileName())
    again.setSamplingRate(10.0)
    again.setHalfMaps(tomogram.getHalfMaps())
    return again


@pytest.mark.parametrize("folder", ["plain", "a, b", "a,b,c"])
def test_halves_are_found_whatever_commas_their_names_hold(tmp_path, folder):
    tomogram = Tomogram(tsId="TS,1", location=str(tmp_path / "TS,1.mrc"))
    paths = [str(tmp_path / folder / f"TS,1_{half}.mrc") for half in ("even", "odd")]
    for path in (tomogram.getFileName(), *paths):
        write_volume(path, np.random.default_rng(0).normal(size=(8, 9, 10)).astype(np.float32), 10.0)
    tomogram.setHalfMaps(paths)
    assert halfMaps(kept(tomogram)) == paths
    assert fileErrors([kept(tomogram)], withHalves=True) == {}
    os.remove(paths[1])
    assert paths[1] in fileErrors([kept(tomogram)], withHalves=True)["TS,1"]


def test_the_only_half_of_a_tomogram_is_named(tmp_path):
    tomogram = Tomogram(tsId="TS_1", location=str(tmp_path / "whole.mrc"))
    write_volume(tomogram.getFileName(), np.ones((8, 9, 10), np.float32), 10.0)
    tomogram.setHalfMaps([str(tmp_path / "even.mrc")])
    assert halfMaps(kept(tomogram)) == []
    assert "only half of TS_1" in fileErrors([kept(tomogram)], withHalves=True)["TS_1"]
    assert fileErrors([kept(tomogram)]) == {}


def test_ome_zarr_is_refused_since_scipion_has_no_reader_for_it(tmp_path):
    store = tmp_path / "a.zarr"
    store.mkdir()
    tomogram = Tomogram(tsId="TS_01")
    tomogram.setFileName(str(store))
    assert "which Scipion's tomograms can't hold" in fileErrors([tomogram])["TS_01"]
    with pytest.raises(EngineError, match="which Scipion's tomograms can't hold"):
        IsoNetFolder.volume(SimpleNamespace(path=str(tmp_path)), "a.zarr")


def test_sizes_are_those_that_the_engine_reads(tmp_path):
    big = tmp_path / "big_endian.mrc"
    write(big, np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    header = np.frombuffer(big.read_bytes()[:1024], HEADER_DTYPE).astype(HEADER_DTYPE.newbyteorder(">"))
    header["machst"][0] = 0x11, 0x11, 0, 0
    big.write_bytes(header.tobytes() + np.arange(24, dtype=">i2").tobytes())
    np.testing.assert_array_equal(open_volume(big).data.ravel(), np.arange(24))
    stack = tmp_path / "volume.tif"
    tifffile.imwrite(stack, np.zeros((2, 3, 4), np.float32), photometric="minisblack")
    assert sizeOf(str(big)) == sizeOf(str(stack)) == (4, 3, 2)
    (tmp_path / "none.tif").write_bytes(b"no image")
    for path in ("none.tif", "missing.tif"):
        with pytest.raises(EngineError, match=path):
            sizeOf(str(tmp_path / path))


def test_halves_in_other_formats_have_the_size_of_their_tomogram(tmp_path, tomogram):
    for name, shape in (("even", (2, 3, 4)), ("odd", (2, 3, 5))):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros(shape, np.float32), photometric="minisblack")
    tomogram.setHalfMaps([str(tmp_path / "even.tif")] * 2)
    assert halvesError(tomogram) is None
    tomogram.setHalfMaps([str(tmp_path / f"{name}.tif") for name in ("even", "odd")])
    assert re.search(r"odd.tif: its size \(5, 3, 2\) is not that of .*volume.mrc, \(4, 3, 2\)", halvesError(tomogram))


def test_what_results_are_made_from_is_known_by_content_and_read_only_where_it_was_written(
    tmp_path, tomogram, monkeypatch
):
    path, things = tmp_path / "volume.mrc", (tomogram, OPTICS, [], (20000.0, "CTF"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "CTF").mkdir()  # the word is no file
    tomogram.setLocation(str(tmp_path / "link.mrc"))
    (tmp_path / "link.mrc").symlink_to(path)
    identity, content = identityOf(*things), path.read_bytes()
    with monkeypatch.context() as patch:
        patch.delattr(record, "fileDigest")
        assert isIdentityOf(identity, *things)
    os.utime(path, (1e9, 1e9))
    assert isIdentityOf(identity, *things)
    for other in (
        (tomogram, OPTICS, [], (30000.0, "CTF")),
        (tomogram, Optics(300.0, 2.0, 0.08, -57.0, 51.0), [], None),
    ):
        assert not isIdentityOf(identity, *other)
    path.write_bytes(content[:-4] + b"\0\0\0\0")
    assert not isIdentityOf(identity, *things)
    path.write_bytes(content)
    assert isIdentityOf(identity, *things)
    path.unlink()
    with pytest.raises(EngineError, match=r"link\.mrc"):
        isIdentityOf(identity, *things)
