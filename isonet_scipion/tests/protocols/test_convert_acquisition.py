"""Defocus, optics and tilt ranges of Scipion's objects."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pyworkflow.object import Float, Pointer
from tomo.objects import (
    CTFTomo,
    CTFTomoSeries,
    SetOfCTFTomoSeries,
    SetOfTiltSeries,
    TiltImage,
    TiltSeries,
    TomoAcquisition,
)

from isonet_scipion.convert.acquisition import Optics, hasPhaseShift, readOptics, zeroTiltDefocus
from isonet_scipion.convert.rows import tomogramRow
from isonet_scipion.protocols.defocus import defociById, defocusErrors


def ctfs(
    folder, defoci: dict[float, tuple[float, float]], disabled=(), left=(), wrong=None, shift=None
) -> CTFTomoSeries:
    """A series with the defoci (U, V in A) by tilt angle; acquired in the order given. `wrong` is stored as it is."""
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
        if angle in (wrong or {}):
            ctf._defocusU.set(wrong[angle][0])
            ctf._defocusV.set(wrong[angle][1])
        if shift is not None:
            ctf.setPhaseShift(shift)
        ctf.setEnabled(angle not in {*disabled, *left})
        series.append(ctf)
    tiltSets.update(tilts)
    ctfSets.update(series)
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


@pytest.mark.parametrize("wrong", [(-999.0, -1.0), (None, None), (20000.0, None), (float("nan"), float("nan"))])
def test_ctfs_whose_estimation_failed_do_not_count(tmp_path, wrong):
    series = ctfs(tmp_path, {0.0: (9e4, 9e4), 3.0: (30000, 32000)}, wrong={0.0: wrong})
    assert zeroTiltDefocus(series) == 31000
    (tmp_path / "all").mkdir()
    assert zeroTiltDefocus(ctfs(tmp_path / "all", {0.0: (9e4, 9e4)}, wrong={0.0: wrong})) is None


@pytest.mark.parametrize("number", [1, 2])
def test_two_ctfs_of_one_tilt_series_are_refused(tmp_path, monkeypatch, number):
    series = ctfs(tmp_path, {0.0: (30000, 30000)})
    form = SimpleNamespace(inputCtfs=Pointer(series), defocus=Float())
    monkeypatch.setattr("isonet_scipion.protocols.defocus._usableCtfs", lambda protocol: [series] * number)
    monkeypatch.setattr("isonet_scipion.protocols.defocus.lacksTiltSeries", lambda ctfs: False)
    errors = defocusErrors(form, defociById(form, ["TS_01", "TS_02"], True), True)
    assert ["several CTFs of a tilt series: TS_01 (2 times)" in error for error in errors] == [True] * (number - 1)


def test_a_series_without_ctfs_has_neither_defocus_nor_phase_shift(tmp_path):
    series = ctfs(tmp_path, {})
    (tmp_path / "others").mkdir()
    others = ctfs(tmp_path / "others", {0.0: (1e4, 1e4)})
    series.setTiltSeries(others.getTiltSeries())
    assert zeroTiltDefocus(series) is None
    assert not hasPhaseShift(series)


@pytest.mark.parametrize(("shift", "isPlate"), [(90.0, True), (0.0, False), (None, False)])
def test_a_phase_shift_of_0_is_that_of_no_phase_plate(tmp_path, shift, isPlate):
    assert hasPhaseShift(ctfs(tmp_path, {0.0: (1e4, 1e4)}, shift=shift)) is isPlate


def test_each_value_comes_from_the_first_acquisition_that_has_it():
    item = TomoAcquisition(angleMin=-50, angleMax=40, voltage=200)
    whole = TomoAcquisition(angleMin=-60, angleMax=60, voltage=300, sphericalAberration=2.7)
    assert readOptics(item, None, whole) == Optics(200, 2.7, None, -50, 40)


def test_both_ends_of_a_tilt_range_are_of_one_acquisition():
    item, whole = TomoAcquisition(angleMin=-50, voltage=200), TomoAcquisition(angleMin=-60, angleMax=60)
    assert readOptics(item, whole) == Optics(200, None, None, -60, 60)
    only = readOptics(item, TomoAcquisition())
    assert only == Optics(200, None, None, -50, None) and not only.hasTilts


def test_a_zero_angle_is_a_value():
    assert readOptics(TomoAcquisition(angleMin=0.0), TomoAcquisition(angleMin=-60.0)).tiltMin == 0


@pytest.mark.parametrize("tilts", [(0.0, 0.0), (60.0, -60.0), (-100.0, 60.0), (-1.047, 1.047)])
def test_an_impossible_tilt_range_counts_as_none(tilts):
    optics = Optics(tiltMin=tilts[0], tiltMax=tilts[1])
    assert not optics.hasTilts and optics.withTilts(-60.0, 60.0).hasTilts
    row = tomogramRow("TS.1", "t.mrc", 10.0, optics)
    assert (row["rlnTiltMin"], row["rlnTiltMax"]) == ("None", "None")
