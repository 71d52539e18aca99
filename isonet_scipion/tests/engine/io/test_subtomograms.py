"""Subtomograms of a table."""

import shutil

import numpy as np
import pytest

from isonet_scipion.engine.conventions import Normalisation
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.star import Star, read_star, write_star
from isonet_scipion.engine.io.subtomograms import read_subtomograms
from isonet_scipion.engine.physics.wedge import TiltRange


def table_of(folder, *shapes, **columns):
    star = Star([])
    for number, shape in enumerate(shapes):
        path = folder / f"s{number}.mrc"
        write_volume(path, np.random.default_rng(number).normal(5, 2, shape).astype(np.float32), 10.0)
        row = {}
        star.rows.append(row)
        for label, value in {"rlnImageName": path, **columns}.items():
            star.set(row, label, value)
    write_star(folder / "t.star", star)
    return read_star(folder / "t.star")


def test_voxels_are_normalised_with_protein_bright(tmp_path):
    table = table_of(tmp_path, (8, 8, 8), (8, 8, 8), rlnTiltMin=-50, rlnTiltMax=60)
    first, second = read_subtomograms(table, Normalisation.MOMENTS, (None, None))
    assert (first.name, second.name, first.size, first.tilt) == ("s0", "s1", 8, TiltRange(-50, 60))
    voxels = first.normalised()
    assert voxels.mean() == pytest.approx(0, abs=1e-5) and voxels.std() == pytest.approx(1, abs=1e-5)
    assert np.corrcoef(voxels.ravel(), first.volume().data.ravel())[0, 1] == pytest.approx(-1)
    assert read_subtomograms(table, Normalisation.PERCENTILES, (-40.0, 55.0))[0].tilt == TiltRange(-40, 55)


def test_an_impossible_tilt_range_is_told_with_its_place(tmp_path):
    table = table_of(tmp_path, (8, 8, 8), rlnTiltMin=60, rlnTiltMax=-60)
    with pytest.raises(EngineError, match=r"t\.star, rlnTiltMin and rlnTiltMax of .*s0\.mrc: 60\.\.-60 degrees"):
        read_subtomograms(table, Normalisation.MOMENTS, (None, None))
    with pytest.raises(EngineError, match=r"^tilt_min and tilt_max: -1\.\.1 degrees is too narrow"):
        read_subtomograms(table, Normalisation.MOMENTS, (-1.0, 1.0))


@pytest.mark.parametrize(("shapes", "why"), [([(8, 8, 9)], "is not a cube"), ([(8,) * 3, (9,) * 3], "its side is 9")])
def test_what_is_no_cube_of_one_size_is_refused(tmp_path, shapes, why):
    with pytest.raises(EngineError, match=why):
        read_subtomograms(table_of(tmp_path, *shapes), Normalisation.PERCENTILES, (None, None))


def test_voxels_that_the_table_was_not_written_for_are_refused(tmp_path):
    table = table_of(tmp_path, (8, 8, 8), (8, 8, 8))
    for row, subtomogram in zip(table.rows, read_subtomograms(table, Normalisation.MOMENTS, (None, None))):
        table.set(row, "isonetVoxels", subtomogram.fingerprint)
    assert len(read_subtomograms(table, Normalisation.MOMENTS, (None, None))) == 2
    shutil.copy(tmp_path / "s0.mrc", tmp_path / "s1.mrc")
    with pytest.raises(EngineError, match=r"s1\.mrc: it has other voxels than when .*t\.star was written"):
        read_subtomograms(table, Normalisation.MOMENTS, (None, None))


@pytest.mark.parametrize("shape", [(8, 8, 8), (10, 10, 10)])
@pytest.mark.parametrize("linked", [False, True])
def test_one_that_is_replaced_after_it_was_read_is_refused(tmp_path, shape, linked):
    table = table_of(tmp_path, (8, 8, 8))
    if linked:  # as Scipion names what it imports
        (tmp_path / "s0.mrc").rename(tmp_path / "data.mrc")
        (tmp_path / "s0.mrc").symlink_to(tmp_path / "data.mrc")
    (subtomogram,) = read_subtomograms(table, Normalisation.MOMENTS, (None, None))
    assert subtomogram.normalised().shape == (8, 8, 8)
    write_volume((tmp_path / "s0.mrc").resolve(), np.ones(shape, np.float32), 10.0)
    with pytest.raises(EngineError, match=r"s0\.mrc: it was replaced while the training ran"):
        subtomogram.normalised()
