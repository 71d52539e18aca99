"""Contours of IMOD models, and files that are none."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.imod_model import read_boundary, read_contours
from isonet_scipion.tests.imod_model import SHAPE, SQUARE, write_model


def test_other_size_and_no_contours(tmp_path):
    path = write_model(tmp_path / "a.mod", [SQUARE])
    with pytest.raises(EngineError, match=r"a\.mod.*\(40, 60, 80\).*not \(41, 60, 80\).*3dmod"):
        read_boundary(path, (41, 60, 80))
    read_boundary(write_model(path, [SQUARE], size=(0, 0, 0)), (41, 60, 80))
    with pytest.raises(EngineError, match="no contours"):
        read_boundary(write_model(path, [], []), SHAPE)


def test_a_model_of_a_flipped_view_is_refused(tmp_path):
    read_boundary(write_model(tmp_path / "a.mod", [SQUARE]), SHAPE)
    with pytest.raises(EngineError, match=r"a\.mod.*flipped or turned.*without -Y"):
        read_boundary(write_model(tmp_path / "a.mod", [SQUARE], flipped=True), SHAPE)


def test_scattered_points_are_no_boundary_beside_one(tmp_path, caplog):
    beads = [(float(n), 70.0 - n, 4.0 * (n % 3)) for n in range(20)]
    path = write_model(tmp_path / "a.mod", [SQUARE], [beads], scattered=(1,))
    (only,) = read_boundary(path, SHAPE).contours
    assert only.tolist() == [list(map(float, point)) for point in SQUARE]
    assert "a.mod: the points of its scattered objects (20) are left out" in caplog.text
    assert sum(map(len, read_contours(path)[1])) == 24  # as coordinates they all count
    caplog.clear()
    assert len(read_boundary(write_model(path, [SQUARE], scattered=(0,)), SHAPE).contours) == 1
    assert not caplog.text
    z_range = [(0, 0, 2), (0, 0, 30)]
    assert len(read_boundary(write_model(path, [SQUARE], [z_range], opened=(1,)), SHAPE).contours) == 2
    assert not caplog.text
    read_boundary(write_model(path, [SQUARE], opened=(0,)), SHAPE)
    assert "a.mod: its open contours (1) are taken as closed ones" in caplog.text


@pytest.mark.parametrize("kind", [-25, -23, -24, -20])
def test_meshes_of_all_kinds_are_passed_over(tmp_path, kind):
    whole = write_model(tmp_path / "a.mod", [SQUARE], [SQUARE]).read_bytes()
    indices = np.array([kind, 0, 2, 4, -22, -1], ">i4").tobytes()
    mesh = b"MESH" + struct.pack(">iiihh", 6, 6, 0, 0, 0) + bytes(72) + indices
    mesh += b"MEST" + struct.pack(">i12s", 12, b"")
    first, second = whole.rsplit(b"OBJT", 1)  # a mesh comes after its object's contours
    (tmp_path / "b.mod").write_bytes((first + mesh + b"OBJT" + second).replace(b"IEOF", mesh + mesh + b"IEOF"))
    for ours, theirs in zip(*(read_contours(tmp_path / name)[1] for name in ("a.mod", "b.mod"))):
        np.testing.assert_array_equal(ours, theirs)
    (tmp_path / "b.mod").write_bytes(whole.replace(b"IEOF", mesh[:-20]))
    with pytest.raises(EngineError, match=r"b\.mod: it is damaged"):
        read_contours(tmp_path / "b.mod")


def test_every_truncation_is_an_error(tmp_path):
    whole = write_model(tmp_path / "a.mod", [SQUARE], [SQUARE]).read_bytes()
    short = tmp_path / "short.mod"
    for length in range(0, len(whole)):
        short.write_bytes(whole[:length])
        with pytest.raises(EngineError, match=r"short\.mod"):
            read_boundary(short, SHAPE)


def test_foreign_and_missing_files(tmp_path):
    foreign = tmp_path / "picture.mod"
    foreign.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(EngineError, match="not an IMOD model"):
        read_boundary(foreign, SHAPE)
    with pytest.raises(EngineError, match="the boundary does not exist"):
        read_boundary(tmp_path / "absent.mod", SHAPE)
