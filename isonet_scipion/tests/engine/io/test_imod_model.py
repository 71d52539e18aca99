"""Contours of IMOD models, and files that are none."""

from __future__ import annotations

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.imod_model import read_boundary
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
