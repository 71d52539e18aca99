"""Disk space is looked at before work starts."""

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.process import disk
from isonet_scipion.engine.process.disk import growth, require_space


def test_a_file_that_is_replaced_gives_its_space_back(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(bytes(1 << 20))
    assert growth({new: 100, tmp_path / "other": 50}) == 150
    # beside its predecessor it takes its whole size, later only what it is larger
    assert growth({old: 1 << 20, new: 100}) == 1 << 20


def test_what_is_free_counts_even_if_the_folder_is_still_to_be_made(tmp_path, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: type("usage", (), {"free": 5 << 20}))
    require_space(tmp_path / "a" / "b", 5 << 20)
    with pytest.raises(EngineError, match=r"6\.0 MiB of disk space, 5\.0 MiB are free"):
        require_space(tmp_path / "a" / "b", 6 << 20)
    assert not (tmp_path / "a").exists()
