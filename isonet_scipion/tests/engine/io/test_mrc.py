import os
import resource
import warnings

import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.volume import read_float, warn_of_oddities
from isonet_scipion.tests.engine.io.odd_files import IMOD_STAMP, byte_file, grey_bytes


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16, np.float32])
def test_all_real_modes_are_read(tmp_path, dtype):
    data = np.arange(60).reshape(3, 4, 5).astype(dtype)
    with mrcfile.new(tmp_path / "v.mrc") as mrc:
        mrc.set_data(data)
        mrc.voxel_size = 3.5
    volume = open_volume(tmp_path / "v.mrc")
    assert volume.voxel_size == pytest.approx(3.5)
    np.testing.assert_array_equal(read_float(volume), data.astype(np.float32))


def test_written_volume_keeps_voxels_and_header(tmp_path):
    rng = np.random.default_rng(1)
    data = rng.normal(5, 2, (7, 8, 9)).astype(np.float32)
    with mrcfile.new(tmp_path / "like.mrc") as mrc:
        mrc.set_data(data)
        mrc.header.origin = (1.5, -2.5, 3.5)
        mrc.header.nzstart = -4
        mrc.add_label("reconstructed by hand")
    write_volume(tmp_path / "out" / "v.mrc", data, 7.25, open_volume(tmp_path / "like.mrc"))
    assert mrcfile.validate(tmp_path / "out" / "v.mrc")
    with mrcfile.open(tmp_path / "out" / "v.mrc") as mrc:
        np.testing.assert_array_equal(mrc.data, data)
        assert mrc.voxel_size.x == pytest.approx(7.25)
        assert mrc.header.origin.tolist() == (1.5, -2.5, 3.5)
        assert mrc.header.nzstart == -4
        assert b"reconstructed by hand" in bytes(mrc.header.label[1])
        assert mrc.is_volume()
        np.testing.assert_allclose([mrc.header.dmean, mrc.header.rms], [data.mean(), data.std()], rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [*((values, np.int8) for values in ((0, 1), (0,), (1,), (-1, 1), (0, 1, 2))), ((0, 0.25, 1), np.float32)],
)
def test_header_tells_the_statistics_of_masks_and_of_what_is_none(tmp_path, values, dtype):
    data = np.random.default_rng(3).choice(values, (5, 20, 30)).astype(dtype)
    write_volume(tmp_path / "v.mrc", data, 10.0)
    with mrcfile.open(tmp_path / "v.mrc") as mrc:
        told = [mrc.header.dmin, mrc.header.dmax, mrc.header.dmean, mrc.header.rms]
    np.testing.assert_allclose(told, [data.min(), data.max(), data.mean(), data.std()], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("level", "deviation"), [(30000, 50), (-1e6, 200), (0, 1)])
def test_header_tells_the_deviation_beside_a_high_level_of_grey(tmp_path, level, deviation):
    data = np.random.default_rng(2).normal(level, deviation, (30, 200, 200)).astype(np.float32)
    write_volume(tmp_path / "v.mrc", data, 10.0)
    with mrcfile.open(tmp_path / "v.mrc") as mrc:
        assert mrc.header.rms == pytest.approx(data.std(dtype=float), rel=1e-3)
        assert mrc.header.dmean == pytest.approx(data.mean(dtype=float), abs=1e-3 * deviation + 1e-6 * abs(level))


def test_failed_writing_leaves_nothing(tmp_path):
    from isonet_scipion.engine.io.mrc import writing_volume

    with pytest.raises(RuntimeError), writing_volume(tmp_path / "v.mrc", (4, 4, 4), np.float32, 1.0):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_an_engine_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="can't be written"):
        write_volume(tmp_path / "file" / "v.mrc", np.zeros((2, 2, 2), np.float32), 1.0)


def broken_files(folder):
    good = folder / "good.mrc"
    with mrcfile.new(good) as mrc:
        mrc.set_data(np.ones((8, 8, 8), np.float32))
    content = good.read_bytes()
    yield "empty", b""
    yield "header_cut", content[:500]
    yield "data_cut", content[:-100]
    yield "wrong_mode", content[:12] + (99).to_bytes(4, "little") + content[16:]
    yield "complex", content[:12] + (4).to_bytes(4, "little") + content[16:] + content[1024:]
    yield "text", b"this is no volume\n" * 100
    yield "huge", (10**6).to_bytes(4, "little") * 3 + content[12:]
    yield "negative", (-8).to_bytes(4, "little", signed=True) + content[4:]


def test_broken_files_are_engine_errors(tmp_path):
    for name, content in broken_files(tmp_path):
        path = tmp_path / f"{name}.mrc"
        path.write_bytes(content)
        with pytest.raises(EngineError, match=name):
            read_float(open_volume(path))


def test_what_the_system_refuses_is_not_laid_on_the_file(tmp_path):
    write_volume(tmp_path / "a.mrc", np.ones((2, 3, 4), np.float32), 10.0)
    limits, free = resource.getrlimit(resource.RLIMIT_NOFILE), os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        with pytest.raises(EngineError, match=r"a\.mrc: it can't be read \(Too many open files\).*ulimit -n"):
            open_volume(tmp_path / "a.mrc")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def imods_origin(path):
    """As IMOD reads it: its sign is turned in files of MRC2014, and in IMOD's own with this flag."""
    with mrcfile.open(path) as mrc:
        stamp, flags = np.frombuffer(bytes(mrc.header.extra2)[40:48], "<i4")
        turned = mrc.header.nversion >= 20140 or (stamp == IMOD_STAMP and flags & 4)
        return tuple((-1 if turned else 1) * float(value) for value in mrc.header.origin.tolist())


@pytest.mark.parametrize(("version", "flags"), [(0, 0), (0, 1), (0, 5), (0, None), (20140, 5), (20140, None)])
def test_imod_reads_the_same_origin_from_what_is_written(tmp_path, version, flags):
    byte_file(tmp_path / "v.mrc", grey_bytes(128), flags)
    with mrcfile.open(tmp_path / "v.mrc", "r+") as mrc:
        mrc.header.nversion, mrc.header.origin = version, (12.5, -30, 7)
    volume = open_volume(tmp_path / "v.mrc")
    for dtype in (np.float32, np.int8):
        write_volume(tmp_path / "out.mrc", np.zeros((2, 3, 4), dtype), 10.0, volume)
        assert imods_origin(tmp_path / "out.mrc") == imods_origin(tmp_path / "v.mrc")
        assert open_volume(tmp_path / "out.mrc").origin == volume.origin  # as all others read it


def test_an_odd_header_is_told_and_how_mrcfile_calls_numpy_is_not(tmp_path, monkeypatch, caplog):
    write_volume(tmp_path / "v.mrc", np.zeros((2, 3, 4), np.float32), 10.0)
    mmap = mrcfile.mmap

    def warning(*arguments, **options):
        warnings.warn("Unrecognised machine stamp", RuntimeWarning, stacklevel=2)
        warnings.warn("Setting the dtype attribute is deprecated", DeprecationWarning, stacklevel=2)
        return mmap(*arguments, **options)

    monkeypatch.setattr(mrcfile, "mmap", warning)
    volume = open_volume(tmp_path / "v.mrc")
    assert volume.oddities == ("Unrecognised machine stamp",)
    warn_of_oddities(volume)
    assert "v.mrc: its header is odd (Unrecognised machine stamp), but read" in caplog.text
