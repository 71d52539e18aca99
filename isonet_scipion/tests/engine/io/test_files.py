"""Files that are either whole or not there; more of it is in tests/faults/test_locks.py."""

import errno
import os

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import (
    alone,
    real_file,
    replacing,
    replacing_folder,
    require_file,
    require_kept,
    require_outputs,
    write_whole,
)


def test_a_file_is_replaced_at_the_end_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "table.star"
    with replacing(path) as temporary:
        temporary.write_text("first")
        assert not path.exists() and temporary.suffix == ".star"
    with pytest.raises(ValueError, match="broken"), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise ValueError("broken")
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_what_gets_its_name_is_on_the_disk(tmp_path, monkeypatch):
    on_disk, named = {}, [tmp_path / "t.star", tmp_path / "a.zarr"]

    def fsync(file):
        on_disk[os.fstat(file).st_ino] = (os.fstat(file).st_size, [path.exists() for path in named])

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(named[0], "whole")
    with replacing_folder(named[1]) as folder:
        (folder / "0").mkdir()
        (folder / "0" / "0.0.0").write_text("chunk of it")
    assert on_disk[named[0].stat().st_ino] == (5, [False, False])
    assert on_disk[(named[1] / "0" / "0.0.0").stat().st_ino] == (11, [True, False])


def test_a_file_that_a_disk_can_not_take_is_none(tmp_path, monkeypatch):
    def refusing(number):
        def fsync(_):
            raise OSError(number, os.strerror(number))

        return fsync

    write_whole(tmp_path / "t.star", "first")
    monkeypatch.setattr(os, "fsync", refusing(errno.EDQUOT))  # as NFS tells it, not before
    with pytest.raises(EngineError, match="raise the quota"):
        write_whole(tmp_path / "t.star", "second")
    assert (tmp_path / "t.star").read_text() == "first"
    monkeypatch.setattr(os, "fsync", refusing(errno.EINVAL))  # a file system that does not know it
    write_whole(tmp_path / "t.star", "second")
    assert (tmp_path / "t.star").read_text() == "second"


def test_one_writes_at_a_time(tmp_path):
    with alone(tmp_path / "results"), pytest.raises(EngineError, match="another command is working on it"):
        alone(tmp_path / "results").__enter__()
    assert list(tmp_path.iterdir()) == []


def test_modes_that_a_file_system_keeps_to_itself_do_not_matter(tmp_path, monkeypatch):
    def chmod(*_, **__):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "chmod", chmod)  # as of CIFS with uid=0,file_mode=0777,dir_mode=0777 for all but root
    write_whole(tmp_path / "t.star", "whole")
    with replacing_folder(tmp_path / "a.zarr") as folder:
        (folder / "0").mkdir()
    assert (tmp_path / "t.star").read_text() == "whole" and (tmp_path / "a.zarr" / "0").is_dir()


def test_no_output_replaces_an_input_also_through_links(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "a.mrc").write_bytes(b"1")
    require_kept([tmp_path / "data" / "b.mrc"], [tmp_path / "data" / "a.mrc"])
    with pytest.raises(EngineError, match="would replace this input"):
        require_kept([tmp_path / "link" / "a.mrc"], [tmp_path / "data" / "a.mrc"])


def test_a_file_is_the_same_through_a_link_and_any_text_is_a_name(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    assert real_file(tmp_path / "link" / "a") == real_file(tmp_path / "a")
    assert real_file("a\0b") == "a\0b"


def test_outputs_and_inputs_are_what_they_should_be(tmp_path):
    (tmp_path / "empty").touch()
    require_outputs([str(tmp_path / "empty")], [str(tmp_path)])
    with pytest.raises(EngineError, match="exists and is not a folder"):
        require_outputs([], [str(tmp_path / "empty")])
    (tmp_path / "dead").symlink_to(tmp_path / "gone")
    require_outputs([str(tmp_path / "dead")], [])  # a file takes its place
    for files, folders in (([], ["dead"]), ([], ["dead/results"]), (["dead/t.star"], [])):
        with pytest.raises(EngineError, match=r"is a link to .*gone, which is not there"):
            require_outputs([str(tmp_path / name) for name in files], [str(tmp_path / name) for name in folders])
    for files, folders in ((["~/t.star"], []), ([], ["~/results"])):
        with pytest.raises(EngineError, match=rf"a new folder named ~, .*Write {os.path.expanduser('~')}/"):
            require_outputs(files, folders)
    require_outputs(["~backup/t.star"], [])  # may be meant so
    for name, why in (
        ("empty", "the table is an empty file"),
        ("absent", "the table does not exist"),
        ("", "it is a folder, not the table. Name the file in it"),
    ):
        with pytest.raises(EngineError, match=why):
            require_file(tmp_path / name, "table")


def test_a_link_that_leads_nowhere_is_told_as_such(tmp_path):
    (tmp_path / "a.mrc").symlink_to(tmp_path / "b.mrc")
    (tmp_path / "b.mrc").symlink_to("/unmounted/disk/c.mrc")
    (tmp_path / "extra").symlink_to("/unmounted/extra")
    words = "a link to /unmounted/disk/c.mrc, which is not there. Bring that back"
    with pytest.raises(EngineError, match=f"a.mrc: it is {words}"):
        require_file(tmp_path / "a.mrc", "volume")
    with pytest.raises(EngineError, match=r"d.mrc: its folder .*/extra is a link to /unmounted/extra, which is not"):
        require_file(tmp_path / "extra" / "d.mrc", "volume")
    with pytest.raises(EngineError, match=r"e.mrc: the volume does not exist. Check the name .* or make it again"):
        require_file(tmp_path / "e.mrc", "volume")
