import warnings

import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import (
    check_mask,
    check_unit,
    open_volume,
    read_float,
    warn_of_oddities,
    write_mean,
    write_volume,
    written_voxel_size,
)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16, np.float32])
def test_all_real_modes_are_read(tmp_path, dtype):
    data = np.arange(60).reshape(3, 4, 5).astype(dtype)
    with mrcfile.new(tmp_path / "v.mrc") as mrc:
        mrc.set_data(data)
        mrc.voxel_size = 3.5
    volume = open_volume(tmp_path / "v.mrc")
    assert volume.voxel_size == pytest.approx(3.5)
    np.testing.assert_array_equal(read_float(volume), data.astype(np.float32))


@pytest.mark.parametrize("axes", [(3, 2, 1), (1, 3, 2), (2, 1, 3), (2, 3, 1), (0, 0, 0), (1, 1, 3), (1, -2, 3)])
def test_another_order_of_axes_is_refused_and_what_is_none_is_told(tmp_path, axes):
    write_volume(tmp_path / "v.mrc", np.arange(60, dtype=np.float32).reshape(3, 4, 5), 10.0)
    with mrcfile.open(tmp_path / "v.mrc", "r+") as mrc:
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = axes
    if sorted(axes) == [1, 2, 3]:
        with pytest.raises(EngineError, match=r"v\.mrc: .*another order of axes.*mrcfile"):
            open_volume(tmp_path / "v.mrc")
        return
    volume = open_volume(tmp_path / "v.mrc")
    assert volume.shape == (3, 4, 5)
    assert any("taken as (1, 2, 3)" in oddity for oddity in volume.oddities) == any(axes)


def test_voxels_of_4_bits_are_refused_with_what_to_do(tmp_path):
    write_volume(tmp_path / "v.mrc", np.zeros((4, 4, 4), np.int8), 10.0)
    content = bytearray((tmp_path / "v.mrc").read_bytes())
    content[12:16] = np.array([101], "<i4").tobytes()
    (tmp_path / "v.mrc").write_bytes(content)
    with pytest.raises(EngineError, match=r"v\.mrc: its voxels have 4 bits \(mode 101\).*newstack -mode 1"):
        open_volume(tmp_path / "v.mrc")


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


def test_nan_is_refused(tmp_path):
    data = np.ones((4, 4, 4), np.float32)
    data[1, 2, 3] = np.nan
    write_volume(tmp_path / "v.mrc", data, 1.0)
    with pytest.raises(EngineError, match="NaN"):
        read_float(open_volume(tmp_path / "v.mrc"))


IMOD_STAMP = 1146047817


def byte_file(path, stored, low=0.0, high=-1.0, flags=None):
    """A volume of mode 0 with these statistics and, unless None, IMOD's stamp and these flags."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(stored.astype(np.uint8).view(np.int8))
        mrc.header.dmin, mrc.header.dmax, mrc.header.dmean = low, high, -2
    if flags is not None:
        content = bytearray(path.read_bytes())
        content[152:160] = np.array([IMOD_STAMP, flags], "<i4").tobytes()
        path.write_bytes(content)
    return open_volume(path)


def grey_bytes(centre):
    """Grey values around a centre, with a few cut off at both ends."""
    values = np.random.default_rng(2).normal(centre, 20, (8, 30, 30)).round()
    values[0, 0, :4] = 0, 0, 255, 255
    return np.clip(values, 0, 255)


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


@pytest.mark.parametrize(
    ("header", "assumed"),
    [
        ({"flags": 0}, None),  # as IMOD marks them
        ({"flags": 0, "low": -1, "high": 1}, None),  # the flag counts, not statistics
        ({"flags": 6, "low": 0, "high": 255}, None),  # other bits do not matter
        ({"low": 20, "high": 230}, "header says 20 to 230"),
        ({}, "by their values"),  # without statistics
        ({"low": 0, "high": 0}, "by their values"),
        ({"low": float("nan"), "high": float("nan")}, "by their values"),
    ],
)
def test_unsigned_bytes_are_read_as_such(tmp_path, header, assumed):
    values = grey_bytes(128)
    volume = byte_file(tmp_path / "v.mrc", values, **header)
    np.testing.assert_array_equal(read_float(volume), values)
    assert volume.assumed is None if assumed is None else assumed in volume.assumed


@pytest.mark.parametrize("header", [{"flags": 1}, {"flags": 1, "low": 0, "high": 255}, {"low": -90, "high": 100}, {}])
def test_signed_bytes_are_read_as_such(tmp_path, header):
    values = grey_bytes(128) - 128
    volume = byte_file(tmp_path / "v.mrc", np.where(values < 0, values + 256, values), **header)
    np.testing.assert_array_equal(read_float(volume), values)


def test_what_was_assumed_is_logged(tmp_path, caplog):
    warn_of_oddities(byte_file(tmp_path / "v.mrc", grey_bytes(128)))
    assert "v.mrc: its bytes are read as unsigned" in caplog.text


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


def with_cell(path, cell, intervals=None):
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.random.default_rng(0).normal(size=(6, 8, 10)).astype(np.float32))
        mrc.header.cella = cell
        if intervals:
            mrc.header.mx, mrc.header.my, mrc.header.mz = intervals
    return path


@pytest.mark.parametrize("cell", [(100, 80, 120), (100, 160, 60), (200, 80, 60), (100, 80, 61.5)])
def test_voxels_that_are_no_cubes_are_refused(tmp_path, cell):
    with pytest.raises(EngineError, match="not cubes"):
        open_volume(with_cell(tmp_path / "v.mrc", cell))


@pytest.mark.parametrize(
    ("cell", "intervals", "size"),
    [
        ((100, 80, 60.1), None, 10),  # rounded
        ((0, 0, 60), None, 10),  # known along one axis
        ((100, 80, 60), (10, 8, 1), 10),  # a stack's intervals
        ((0, 0, 0), None, 0),
        ((100, 80, 60), (0, 0, 0), 10),
        ((float("nan"),) * 3, None, 0),
    ],
)
def test_voxel_size_of_headers_of_other_programs(tmp_path, cell, intervals, size):
    assert open_volume(with_cell(tmp_path / "v.mrc", cell, intervals)).voxel_size == pytest.approx(size)


@pytest.mark.parametrize(
    ("size", "cell"), [(1.0, 10), (10.0, 1.348), (13.48, 1.348), (1.348, 13.48), (1.0, 1), (0.8, 0)]
)
def test_a_voxel_size_in_nm_is_refused(tmp_path, size, cell, caplog):
    volume = open_volume(with_cell(tmp_path / "v.mrc", (10 * cell, 8 * cell, 6 * cell)))
    if (size, cell) == (10.0, 1.348):  # not ten times: told, and the table's is taken
        check_unit(size, volume, "t.star")
        assert "header's voxel size is 1.348 A" in caplog.text
        return
    with pytest.raises(EngineError, match=r"t\.star: the voxel size.*nm.*Give it in A"):
        check_unit(size, volume, "t.star")


@pytest.mark.parametrize(("size", "cell"), [(10.0, 10), (10.0, 1), (10.0, 0), (5.4, 5.4), (1.35, 1.35), (25.0, 24.0)])
def test_other_voxel_sizes_are_taken(tmp_path, size, cell, caplog):
    check_unit(size, open_volume(with_cell(tmp_path / "v.mrc", (10 * cell, 8 * cell, 6 * cell))), "t.star")
    assert ("unusually small" in caplog.text) == (size == 1.35)


@pytest.mark.parametrize(("value", "said"), [(1e30, "1e+30"), (-1e30, "-1e+30"), (np.inf, "infinite")])
def test_fill_values_are_called_what_they_are(tmp_path, value, said):
    data = np.random.default_rng(0).normal(size=(6, 8, 10)).astype(np.float32)
    data[2, 3, 4] = value
    write_volume(tmp_path / "v.mrc", data, 10.0)
    with pytest.raises(EngineError, match=said.replace("+", r"\+")) as caught:
        read_float(open_volume(tmp_path / "v.mrc"))
    assert ("NaN" in str(caught.value)) == (said == "infinite")


@pytest.mark.parametrize(("told", "size", "written"), [(10.01, 10.0, 10.01), (25, 10, 10), (1, 10, 10), (0, 10, 10)])
def test_outputs_get_the_tables_voxel_size_in_the_headers_digits(tmp_path, told, size, written):
    halves = [open_volume(with_cell(tmp_path / f"{n}.mrc", (10 * told, 8 * told, 6 * told))) for n in (1, 2)]
    assert written_voxel_size(size, halves[0]) == pytest.approx(written, abs=1e-4)
    write_mean(tmp_path / "mean.mrc", halves, size)
    assert open_volume(tmp_path / "mean.mrc").voxel_size == pytest.approx(written, abs=1e-4)


@pytest.mark.parametrize(
    ("mask", "fits"), [(10, True), (25, True), (10.05, True), (0, True), (1, True), (12, False), (1.5, False)]
)
def test_a_mask_has_the_voxel_size_of_the_table_or_that_of_the_tomograms_wrong_header(tmp_path, mask, fits):
    one, tomogram = (
        open_volume(with_cell(tmp_path / f"{size}.mrc", (10 * size, 8 * size, 6 * size))) for size in (mask, 25.0)
    )
    if fits:
        check_mask(one, tomogram, 10.0)
        return
    with pytest.raises(EngineError, match=rf"its voxel size is {mask:.3f} A, the tomogram's 10\.000 A"):
        check_mask(one, tomogram, 10.0)
