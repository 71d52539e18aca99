import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.volume import read_float, warn_of_oddities
from isonet_scipion.tests.engine.io.odd_files import byte_file, grey_bytes, with_cell


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
    assert (volume.assumed is None) == bool(header)  # where flags or statistics tell


@pytest.mark.parametrize("bytes_for", ["bright", "dark", "narrow", "labels", "signed", "signed and cut off"])
def test_bytes_that_lean_to_one_end_are_read_as_what_they_are(tmp_path, bytes_for):
    grey = np.random.default_rng(0).normal(size=(16, 40, 40))
    labels = np.zeros(grey.shape)
    labels[:, ::2] = np.arange(40) * 5 + 3
    values, unsigned = {
        "bright": (200 + 20 * grey, True),  # cut off at 255
        "dark": (60 + 18 * grey, True),
        "narrow": (128 + 3 * grey, True),
        "labels": (labels, True),
        "signed": (-50 + 30 * grey, False),
        "signed and cut off": (90 * grey, False),
    }[bytes_for]
    values = np.clip(np.round(values), *((0, 255) if unsigned else (-128, 127)))
    volume = byte_file(tmp_path / "v.mrc", values % 256)
    np.testing.assert_array_equal(read_float(volume), values)


def test_what_was_assumed_is_logged(tmp_path, caplog):
    warn_of_oddities(byte_file(tmp_path / "v.mrc", grey_bytes(128)))
    assert "v.mrc: its bytes are read as unsigned" in caplog.text


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


def test_a_cell_of_a_damaged_header_is_none(tmp_path):
    path = tmp_path / "t.mrc"
    write_volume(path, np.arange(60, dtype=np.float32).reshape(3, 4, 5), 10.0)
    content = bytearray(path.read_bytes())
    content[40:52] = 3 * b"\x01\x00\x81\x7f"  # NaN of the kind that is an error to compute with
    path.write_bytes(content)
    assert open_volume(path).voxel_size == 0
