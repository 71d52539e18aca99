"""The volumes in a folder: which are found, and whether their voxel size is known."""

import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.volume_files import volume_files, voxel_size_of
from isonet_scipion.tests.engine.conftest import make_tomogram


def test_a_file_given_for_the_folder_is_told(run, tmp_path):
    make_tomogram(tmp_path / "a.mrc")
    for command in ("prepare_star", "prepare_subtomo_star"):
        status, log = run(command, "a.mrc")
        assert status == 1 and "a.mrc: it is a file, not a folder. Name the folder that holds the volumes." in log, log


@pytest.mark.parametrize(("name", "why"), [("set/a.mrc", "it is a file, not a folder"), ("evn", "does not exist")])
@pytest.mark.parametrize(("option", "holds"), [
    ("--even_folder", "the even halves"), ("--odd_folder", "the odd halves"), ("--mask_folder_in", "the masks"),
    ("--tilt_files", "the tilt files"),
])  # fmt: skip
def test_a_folder_that_goes_with_the_tomograms_is_none(run, tmp_path, name, why, option, holds):
    for folder in ("set", "good"):
        make_tomogram(tmp_path / folder / "a.mrc", (8, 8, 8))
    halves = ("--even_folder=good", "--odd_folder=good") if "halves" in holds else ()
    status, log = run("prepare_star", "set", *halves, f"{option}={name}")
    assert status == 1 and f"error: {name}: " in log and why in log, log
    assert name == "evn" or f"Name the folder that holds {holds}." in log, log


@pytest.mark.parametrize("command", [["prepare_star"], ["prepare_subtomo_star"], ["prepare_star", "--from"]])
def test_a_volume_given_for_the_folder_is_told(run, tmp_path, command):
    write_volume(tmp_path / "a.zarr", np.zeros((2, 3, 4), np.float32), 10.0)
    status, log = run(*command, "a.zarr")
    assert status == 1 and "a.zarr: it is an OME-Zarr volume itself" in log and "folder that it lies in" in log, log


def test_hidden_files_and_those_of_other_suffixes_are_no_volumes(tmp_path):
    for name in ("b.mrc", "a.MRC", ".c.mrc", "d.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in volume_files(str(tmp_path), (".mrc",))] == ["a.MRC", "b.mrc"]


def test_files_that_are_to_be_converted_are_told_where_there_are_no_others(tmp_path):
    for name in ("a.em", "b.mrc.gz", "c.EM"):
        (tmp_path / name).touch()
    with pytest.raises(EngineError, match=r"holds no \.mrc files, but \.em and \.gz, which are to be converted"):
        volume_files(str(tmp_path), (".mrc",))


def test_a_header_with_an_impossible_voxel_size_is_named(tmp_path):
    write_volume(tmp_path / "a.mrc", np.zeros((2, 3, 4), np.float32), 1e-9)
    with pytest.raises(EngineError, match=r"a\.mrc: 1e-09 is not a voxel size"):
        voxel_size_of(open_volume(tmp_path / "a.mrc"), None)


@pytest.mark.parametrize("size", [0.0, 1.0])
def test_a_voxel_size_that_no_one_set_is_to_be_given(tmp_path, size):
    write_volume(tmp_path / "a.mrc", np.zeros((2, 3, 4), np.float32), size)
    volume = open_volume(tmp_path / "a.mrc")
    with pytest.raises(EngineError, match="Give --pixel_size in A"):
        voxel_size_of(volume, None)
    assert voxel_size_of(volume, 12.0) == 12.0
