"""Files and names of Scipion's items: what is converted, linked, refused."""

from __future__ import annotations

import errno
import os
import re
from types import SimpleNamespace

import mrcfile
import numpy as np
import pytest
import tifffile
from mrcfile.dtypes import HEADER_DTYPE
from pwem.emlib.image import ImageHandler
from tomo.objects import (
    SubTomogram,
    Tomogram,
)

from isonet_scipion.convert.files import (
    asMrc,
    fileErrors,
    fileName,
    halfMaps,
    halfNames,
    halvesError,
    linkSubtomogram,
    placeFile,
    readSizes,
    sizeOf,
)
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.isonet_folder import IsoNetFolder
from isonet_scipion.tests.protocols.odd_conditions import HARD_IDS, PLAIN_IDS, roomFor
from isonet_scipion.tests.protocols.scene import read, write


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


def test_a_copy_that_the_disk_has_no_room_for_is_told_and_leaves_nothing(tmp_path):
    (tmp_path / "model.keras").write_bytes(bytes(2000))
    target = tmp_path / "project" / "model.keras"
    target.parent.mkdir()
    with roomFor(100), pytest.raises(EngineError, match=r"project/model\.keras: can't be written \("):
        placeFile(str(tmp_path / "model.keras"), str(target), copy=True)
    assert os.listdir(target.parent) == []


def test_a_converted_volume_is_on_the_disk_before_it_is_there(tmp_path, monkeypatch):
    volume, target = str(tmp_path / "volume.tif"), str(tmp_path / "converted.mrc")
    tifffile.imwrite(volume, np.ones((6, 8, 9), np.float32))

    def fsync(file):
        assert os.fstat(file).st_size == 1024 + 4 * 6 * 8 * 9
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))  # as NFS tells it, not before

    with monkeypatch.context() as patch, pytest.raises(EngineError, match="raise the quota"):  # noqa: PT012
        patch.setattr(os, "fsync", fsync)
        asMrc(volume, target, 10.0)
    assert os.listdir(tmp_path) == ["volume.tif"]


def test_a_volume_that_was_replaced_is_converted_again_and_only_then(tmp_path):
    volume, target = str(tmp_path / "volume.tif"), str(tmp_path / "converted.mrc")
    first, second = np.random.default_rng(0).normal(size=(2, 6, 8, 9)).astype(np.float32)
    tifffile.imwrite(volume, first)
    os.utime(volume, (1e8, 1e8))  # as of one that was made long before its conversion
    np.testing.assert_array_equal(read(asMrc(volume, target, 10.0)), first)
    made = os.stat(target).st_ino
    assert os.stat(asMrc(volume, target, 10.0)).st_ino == made
    tifffile.imwrite(volume, second)  # as by a protocol that was restarted
    os.utime(volume, (1e9, 1e9))  # a copy may keep an earlier time
    np.testing.assert_array_equal(read(asMrc(volume, target, 10.0)), second)
    os.remove(volume)
    np.testing.assert_array_equal(read(asMrc(volume, target, 10.0)), second)


@pytest.mark.parametrize("name", ["50%", "a#b", "a:b", "a@b"])
def test_signs_that_scipions_readers_do_not_take_are_named(tmp_path, name):
    plain, odd = str(tmp_path / "volume"), str(tmp_path / name / "volume.spi")
    write(f"{plain}.mrc", np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32))
    ImageHandler().convert(f"{plain}.mrc", f"{plain}.spi")
    os.mkdir(tmp_path / name)
    os.rename(f"{plain}.spi", odd)
    sign = name.strip("ab50")
    for read_ in (lambda: sizeOf(odd), lambda: asMrc(odd, f"{plain}_converted.mrc", 10.0)):
        with pytest.raises(EngineError, match=f"Move it where its path has no {sign}, which .* Make or copy it again"):
            read_()
    os.rename(odd, f"{plain}.spi")
    assert sizeOf(f"{plain}.spi") == (8, 8, 8)


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


@pytest.mark.parametrize("suffix", ["mrc", "tif"])
def test_what_is_looked_at_with_its_halves_is_opened_once(tmp_path, monkeypatch, suffix):
    paths = [str(tmp_path / f"TS_1_{name}.{suffix}") for name in ("whole", "even", "odd")]
    voxels = np.random.default_rng(0).normal(size=(8, 9, 10)).astype(np.float32)
    for path in paths:
        write_volume(path, voxels, 10.0) if suffix == "mrc" else tifffile.imwrite(path, voxels)
    tomogram = Tomogram(tsId="TS_1", location=paths[0])
    tomogram.setSamplingRate(10.0)
    tomogram.setHalfMaps(paths[1:])
    opened, mmap, dimensions = [], mrcfile.mmap, ImageHandler.getDimensions
    monkeypatch.setattr(mrcfile, "mmap", lambda path, *rest, **more: opened.append(path) or mmap(path, *rest, **more))
    monkeypatch.setattr(ImageHandler, "getDimensions", lambda self, path: opened.append(path) or dimensions(path))
    assert readSizes([tomogram], withHalves=True) == ({"TS_1": (10, 9, 8)}, {})
    assert sorted(map(str, opened)) == sorted(paths)


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
