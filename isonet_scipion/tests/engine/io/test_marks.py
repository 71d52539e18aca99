"""Marks: files are known again by what made them, in MRC files and stores, and after other programs' labels."""

import os

import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.io.marks import LABEL_BYTES, is_marked, is_own, made_by, mark_in, mark_of
from isonet_scipion.engine.io.mrc import MOST_LABELS, open_volume, write_volume

DATA = np.zeros((2, 3, 4), np.float32)
MARK = mark_of("deconv", "tomograms.star", "TS_01.mrc", "deconv")


@pytest.mark.parametrize("name", ["a.mrc", "a.zarr"])
def test_a_file_is_known_by_its_mark_alone(tmp_path, name):
    write_volume(tmp_path / name, DATA, 10.0, mark=MARK)
    assert is_marked(tmp_path / name, MARK) and made_by(tmp_path / name) == "deconv"
    for other in (("make_mask", "tomograms.star", "TS_01.mrc"), ("deconv", "b.star", "TS_01.mrc")):
        assert not is_marked(tmp_path / name, mark_of(*other, "deconv"))
    assert not is_marked(tmp_path / name, mark_of("deconv", "tomograms.star", "TS_02.mrc", "deconv"))


def test_places_count_not_how_they_are_written(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    direct, linked = (mark_of("deconv", folder / "t.star", "a.mrc", folder) for folder in (tmp_path, tmp_path / "link"))
    assert direct == linked


def test_a_file_is_known_where_all_was_moved(tmp_path, monkeypatch):
    (tmp_path / "project" / "run").mkdir(parents=True)
    (tmp_path / "raw.mrc").touch()
    (tmp_path / "project" / "link.mrc").symlink_to(tmp_path / "raw.mrc")
    monkeypatch.chdir(tmp_path / "project")
    names = ("a.mrc", "link.mrc")
    for name in names:
        write_volume(f"run/made of {name}", DATA, 10.0, mark=mark_of("deconv", "run/t.star", name, "run"))
    (tmp_path / "deeper").mkdir()
    (tmp_path / "project").rename(tmp_path / "deeper" / "moved")
    monkeypatch.chdir(tmp_path / "deeper" / "moved")
    for name in names:
        mark = mark_of("deconv", os.path.abspath("run/t.star"), os.path.abspath(name), "run")
        assert [is_marked(f"run/made of {other}", mark) for other in names] == [name == other for other in names]


def test_a_mark_replaces_an_older_one_and_fits_behind_full_labels(tmp_path):
    write_volume(tmp_path / "a.mrc", DATA, 10.0, mark=MARK)
    with mrcfile.open(tmp_path / "a.mrc", "r+") as mrc:
        mrc.header.label[0] = MARK
        mrc.header.label[1:] = b"of another program " + b"x" * (LABEL_BYTES - 19)
        mrc.header.nlabl = MOST_LABELS
    newer = mark_of("predict", "tomograms.star", "TS_01.mrc", "corrected")
    write_volume(tmp_path / "b.mrc", DATA, 10.0, open_volume(tmp_path / "a.mrc"), newer)
    assert mark_in(tmp_path / "b.mrc") == newer
    labels = open_volume(tmp_path / "b.mrc").labels
    assert [label[:2] for label in labels] == [b"of"] * (MOST_LABELS - 1) + [newer[:2]]


def test_what_can_not_be_read_has_no_mark(tmp_path):
    write_volume(tmp_path / "a.mrc", DATA, 10.0)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "a.mrc", tmp_path / "none.mrc", tmp_path, tmp_path / "pipe"):
        assert mark_in(path) == b"" and made_by(path) is None


def test_a_file_is_its_makers_own_where_a_table_vouches_for_it(tmp_path):
    write_volume(tmp_path / "marked.mrc", DATA, 10.0, mark=MARK)
    write_volume(tmp_path / "former.mrc", DATA, 10.0)
    other = mark_of("deconv", "b.star", "TS_01.mrc", "deconv")
    assert is_own(tmp_path / "marked.mrc", MARK) and not is_own(tmp_path / "marked.mrc", other)
    assert is_own(tmp_path / "marked.mrc", other, ("deconv",)) and not is_own(tmp_path / "marked.mrc", other, (None,))
    assert is_own(tmp_path / "former.mrc", MARK, (None,)) and not is_own(tmp_path / "former.mrc", MARK, ("deconv",))
