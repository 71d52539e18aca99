import json
import os
import pickle
import sys

import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io import ome_zarr
from isonet_scipion.engine.io.marks import is_marked, mark_of
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.ome_zarr import CHUNK, halved
from isonet_scipion.engine.io.volume import warn_of_oddities

zarr = pytest.importorskip("zarr", minversion="3.1", reason="zarr 3.1 is optional, and needs Python 3.11")
RNG = np.random.default_rng(5)
ZYX = [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"]


def make_store(
    path, data, version="0.4", axes=ZYX, scale=None, steps=(), level="0", chunks=(8, 16, 16), shards=None, **changes
):
    """Write an image as other programs do; returns its path. `changes` are of the multiscales' content."""
    transformations = [{"type": "scale", "scale": scale or [12.0] * len(axes)}, *steps]
    dataset = {"path": level, "coordinateTransformations": transformations}
    image = {"axes": axes, "datasets": [dataset], "name": "tomogram", **changes}
    form = 3 if version == "0.5" else 2
    if version == "0.5":
        attributes = {"ome": {"version": version, "multiscales": [image]}}
    else:
        attributes = {"multiscales": [{"version": version, **image}]}
    group = zarr.open_group(path, mode="w", zarr_format=form, attributes=attributes)
    keys = {"name": "default" if form == 3 else "v2", "separator": "/"}
    chunks = (1,) * (data.ndim - 3) + chunks
    array = group.create_array(
        level,
        shape=data.shape,
        dtype=data.dtype,
        chunks=chunks,
        chunk_key_encoding=keys,
        fill_value=0,
        shards=shards,
    )
    array[...] = data
    return path


@pytest.mark.parametrize(
    ("version", "dtype"),
    [("0.4", "float32"), ("0.4", ">f4"), ("0.4", "uint8"), ("0.5", "float32"), ("0.5", "int16"), ("0.5", "float16")],
)
def test_both_versions_are_read(tmp_path, version, dtype):
    data = RNG.normal(100, 20, (20, 30, 40)).astype(dtype)
    steps = [{"type": "translation", "translation": [30.0, 20.0, -10.0]}]
    volume = open_volume(make_store(tmp_path / "a.zarr", data, version, steps=steps))
    assert volume.shape == (20, 30, 40)
    assert volume.voxel_size == 12.0
    assert volume.origin == (-10.0, 20.0, 30.0)
    np.testing.assert_array_equal(volume.data, data)
    assert isinstance(volume.data, np.memmap)
    assert volume.data.dtype.isnative


def test_nothing_is_decoded_before_the_voxels_are_asked_for(tmp_path, monkeypatch):
    path = make_store(tmp_path / "a.zarr", np.ones((8, 16, 16), np.float32))
    monkeypatch.setattr(ome_zarr, "scratch_array", lambda *_: pytest.fail("decoded"))
    assert open_volume(path).shape == (8, 16, 16)


def test_finest_level_units_and_leading_axes(tmp_path):
    axes = [{"name": "c", "type": "channel"}, *({**axis, "unit": "nanometer"} for axis in ZYX)]
    data = RNG.normal(size=(1, 8, 16, 16)).astype(np.float32)
    steps = [{"type": "translation", "translation": [0, 1, 2, 3]}]
    whole = [{"type": "scale", "scale": [1, 2, 2, 2]}]
    path = make_store(
        tmp_path / "a.zarr", data, axes=axes, scale=[1, 0.5, 0.5, 0.5], steps=steps, level="s0",
        coordinateTransformations=whole,
    )  # fmt: skip
    volume = open_volume(path)
    assert volume.voxel_size == pytest.approx(10.0)
    assert volume.origin == pytest.approx((60.0, 40.0, 20.0))
    np.testing.assert_array_equal(volume.data, data[0])


def test_shards_that_are_missing_are_counted(tmp_path):
    """Of 2 x 2 x 2 files that hold 2 x 2 x 2 chunks each, some of these beyond the volume's end."""
    path = make_store(
        tmp_path / "a.zarr", np.ones((40, 40, 40), np.float32), "0.5", chunks=(16, 16, 16), shards=(32,) * 3
    )
    assert open_volume(path).oddities == ()
    (path / "0" / "c" / "1" / "0" / "0").unlink()
    assert open_volume(path).oddities == ("1 of 8 chunks are not there and read as 0.0",)


def test_what_is_assumed_or_missing_is_logged(tmp_path, caplog):
    data = RNG.normal(size=(16, 16, 16)).astype(np.float32)
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    path = make_store(tmp_path / "a.zarr", data, axes=axes)
    (path / "0" / "1" / "0" / "0").unlink()
    volume = open_volume(path)
    warn_of_oddities(volume)
    assert "1 of 2 chunks are not there and read as 0" in caplog.text
    assert "names no unit" in caplog.text
    assert not volume.data[8:].any()
    np.testing.assert_array_equal(volume.data[:8], data[:8])


DATA = np.ones((4, 4, 4), np.float32)
WRONG = {
    "axes are x, y, z": {"axes": ZYX[::-1]},
    "units of its axes": {"axes": [{**axis, "unit": "pixel"} for axis in ZYX]},
    "not cubes: 4 x 4 x 8 A": {"scale": [8, 4, 4]},
    "sizes of 0": {"scale": [0, 4, 4]},
    "not 3 numbers": {"scale": [4, 4]},
    "version is 0.2": {"version": "0.2"},
    "which is not in it": {"datasets": [{"path": "../0", "coordinateTransformations": []}]},
    "can't be opened": {"datasets": [{"path": "7", "coordinateTransformations": []}]},
    "lack or misplace 'coordinateTransformations'": {"datasets": [{"path": "0"}]},
    "have a affine": {"coordinateTransformations": [{"type": "affine"}]},
    "has the shape": {"axes": [{"name": "t"}, *ZYX]},
}


@pytest.mark.parametrize("why", WRONG)
def test_wrong_metadata_are_refused_with_file_cause_and_remedy(tmp_path, why):
    with pytest.raises(EngineError) as found:
        open_volume(make_store(tmp_path / "odd.zarr", DATA, **WRONG[why]))
    assert "odd.zarr" in found.value.what
    assert why in found.value.why
    assert found.value.remedy


TEXTS = ["", "[]", "{}", "no JSON", '{"multiscales": 3}', '{"multiscales": []}', "[" * 99999]


@pytest.mark.parametrize("content", TEXTS)
def test_odd_attributes_are_refused(tmp_path, content):
    path = make_store(tmp_path / "odd.zarr", DATA)
    (path / ".zattrs").write_text(content)
    why = r"name no image \(multiscales\)" if content == "{}" else ""
    with pytest.raises(EngineError, match=rf"odd\.zarr.*{why}"):
        open_volume(path)


def test_folders_that_are_no_image_are_refused(tmp_path):
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(EngineError, match=r"neither \.zattrs nor zarr\.json"):
        open_volume(tmp_path / "empty.zarr")
    zarr.create_array(tmp_path / "array.zarr", data=DATA, zarr_format=2)
    for array in (tmp_path / "array.zarr", make_store(tmp_path / "image.zarr", DATA, "0.5") / "0"):
        with pytest.raises(EngineError, match="single array"):
            open_volume(array)
    with pytest.raises(EngineError, match="does not exist"):
        open_volume(tmp_path / "missing.zarr")


def test_complex_voxels_and_planes_are_refused(tmp_path):
    with pytest.raises(EngineError, match="not real numbers"):
        open_volume(make_store(tmp_path / "a.zarr", DATA.astype(complex)))
    with pytest.raises(EngineError, match="not that of a volume"):
        open_volume(make_store(tmp_path / "b.zarr", DATA[:1]))


def test_damaged_chunk_names_the_store(tmp_path):
    path = make_store(tmp_path / "a.zarr", RNG.normal(size=(16, 16, 16)).astype(np.float32))
    (path / "0" / "1" / "0" / "0").write_bytes(b"no chunk")
    volume = open_volume(path)
    with pytest.raises(EngineError, match=r"a\.zarr: its voxels can't be decoded"):
        _ = volume.data


def test_without_room_for_the_voxels_the_remedy_is_tmpdir(tmp_path, monkeypatch):
    volume = open_volume(make_store(tmp_path / "a.zarr", DATA))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(EngineError, match="Set TMPDIR"):
        _ = volume.data


def test_without_the_library_the_error_tells_what_to_install(tmp_path, monkeypatch):
    path = make_store(tmp_path / "a.zarr", DATA)
    monkeypatch.setitem(sys.modules, "zarr", None)
    # by the pip of the very environment that the engine runs in
    with pytest.raises(EngineError, match=rf"{sys.executable} -m pip install 'zarr>=3.1'"):
        open_volume(path)


def test_a_version_of_the_library_that_unpickles_what_stores_hold_is_refused(tmp_path, monkeypatch):
    path = make_store(tmp_path / "a.zarr", DATA)
    monkeypatch.setattr(zarr, "__version__", "3.0.10")
    with pytest.raises(EngineError, match=r"needs zarr 3\.1, but zarr 3\.0\.10 is installed.*pip install"):
        open_volume(path)


@pytest.mark.parametrize("place", ["filters", "compressor"])
def test_no_store_is_unpickled(tmp_path, place):
    class Opened:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "opened"),)

    path = make_store(tmp_path / "a.zarr", DATA)
    about = json.loads((path / "0" / ".zarray").read_text())
    about[place] = [{"id": "pickle"}] if place == "filters" else {"id": "pickle"}
    about["filters" if place == "compressor" else "compressor"] = None
    (path / "0" / ".zarray").write_text(json.dumps(about))
    (path / "0" / "0" / "0" / "0").write_bytes(pickle.dumps(Opened()))
    with pytest.raises(EngineError, match="can't be opened"):
        open_volume(path)
    assert not (tmp_path / "opened").exists()


def test_chunks_that_would_fill_the_memory_are_refused(tmp_path):
    path = make_store(tmp_path / "a.zarr", np.ones((8, 16, 16), np.float32))
    about = json.loads((path / "0" / ".zarray").read_text())
    about["chunks"] = [2000] * 3
    (path / "0" / ".zarray").write_text(json.dumps(about))
    with pytest.raises(EngineError, match="its chunks of 2000 x 2000 x 2000 voxels are larger than its level '0'"):
        open_volume(path)


@pytest.mark.parametrize("version", [0, 20140])
def test_a_store_lies_where_the_mrc_file_does_that_it_is_made_of(tmp_path, version):
    write_volume(tmp_path / "t.mrc", DATA, 10.0)
    with mrcfile.open(tmp_path / "t.mrc", "r+") as mrc:
        mrc.header.nversion, mrc.header.origin = version, (100.0, -200.0, 0.0)
    tomogram = open_volume(tmp_path / "t.mrc")
    write_volume(tmp_path / "t.zarr", DATA, 10.0, tomogram)
    store = open_volume(tmp_path / "t.zarr")
    assert store.origin == ((100.0, -200.0, 0.0) if version else (-100.0, 200.0, 0.0))
    np.testing.assert_array_equal(store.place, tomogram.place)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int16", "int8"])
def test_written_stores_come_back_whole(tmp_path, dtype):
    data = RNG.normal(0, 50, (7, CHUNK + 9, 20)).astype(dtype)
    like = open_volume(
        make_store(tmp_path / "like.zarr", DATA, steps=[{"type": "translation", "translation": [3, 2, 1]}])
    )
    mark = mark_of("predict", "table.star", "a.zarr", "out")
    write_volume(tmp_path / "out" / "b.zarr", data, 10.5, like, mark)
    volume = open_volume(tmp_path / "out" / "b.zarr")
    np.testing.assert_array_equal(volume.data, data)
    assert (volume.voxel_size, volume.origin, volume.oddities) == (10.5, (1.0, 2.0, 3.0), ())
    assert is_marked(volume.path, mark)
    assert not is_marked(volume.path, mark_of("predict", "other.star", "a.zarr", "out"))
    assert not is_marked(like.path, mark)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.zarr"]


def test_coarser_levels_are_means_and_lie_where_they_should(tmp_path):
    data = RNG.normal(size=(5, 2 * CHUNK + 3, 6)).astype(np.float32)
    write_volume(tmp_path / "a.zarr", data, 10.0)
    image = json.loads((tmp_path / "a.zarr" / ".zattrs").read_text())["multiscales"][0]
    assert [axis["name"] + axis["unit"] for axis in image["axes"]] == ["zangstrom", "yangstrom", "xangstrom"]
    assert [level["path"] for level in image["datasets"]] == ["0", "1", "2"]
    sizes, places = zip(
        *([step[step["type"]] for step in one["coordinateTransformations"]] for one in image["datasets"])
    )
    assert sizes == ([10.0] * 3, [20.0] * 3, [40.0] * 3)
    assert places == ([0.0] * 3, [5.0] * 3, [15.0] * 3)
    coarse = zarr.open_array(tmp_path / "a.zarr" / "1", mode="r")
    assert coarse.shape == (3, CHUNK + 2, 3)
    assert max(coarse.chunks) <= CHUNK
    np.testing.assert_allclose(coarse[1, 4, 2], data[2:4, 8:10, 4:6].mean(), rtol=1e-5)
    np.testing.assert_allclose(coarse[2, -1, 0], data[4:, -1:, :2].mean(), rtol=1e-5)


def test_halved_whole_numbers_are_rounded():
    data = np.array([[[1, 2], [2, 2]], [[2, 2], [2, 2]]], np.int16)
    np.testing.assert_array_equal(halved(data), [[[2]]])
    assert halved(data).dtype == np.int16


def test_a_store_is_replaced_as_a_whole_and_a_failure_leaves_the_old_one(tmp_path, monkeypatch):
    write_volume(tmp_path / "a.zarr", np.zeros((4, CHUNK + 1, 4), np.float32), 10.0)
    write_volume(tmp_path / "a.zarr", np.ones((4, 4, 4), np.float32), 10.0)
    assert sorted(path.name for path in (tmp_path / "a.zarr").iterdir()) == [".zattrs", ".zgroup", "0"]

    def full(voxels):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ome_zarr, "halved", full)
    with pytest.raises(EngineError, match=r"a\.zarr: can't be written \(No space left on device\)"):
        write_volume(tmp_path / "a.zarr", np.zeros((4, CHUNK + 1, 4), np.float32), 10.0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    np.testing.assert_array_equal(open_volume(tmp_path / "a.zarr").data, 1)
