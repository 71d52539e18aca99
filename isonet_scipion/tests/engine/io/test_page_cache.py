"""Files are brought into the operating system's memory before they are needed."""

from __future__ import annotations

import ctypes
import mmap
import os
from types import SimpleNamespace

import pytest

from isonet_scipion.engine.io import page_cache
from isonet_scipion.engine.io.page_cache import read_through

BYTES = 1 << 20


def _cached(path) -> bool:
    """Whether all of it is in memory."""
    pages = (ctypes.c_ubyte * (BYTES // mmap.PAGESIZE))()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE) as mapped:
        start = ctypes.byref(ctypes.c_char.from_buffer(mapped))
        assert ctypes.CDLL(None).mincore(start, ctypes.c_size_t(BYTES), pages) == 0
        del start
    return all(page & 1 for page in pages)


@pytest.fixture
def cold(tmp_path):
    """A file that is on the disk alone."""
    path = tmp_path / "tomo.mrc"
    path.write_bytes(bytes(BYTES))
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if _cached(path):
        pytest.skip("this file system keeps files in memory")
    return path


def test_a_file_that_was_read_through_is_in_memory(cold):
    read_through(cold)
    assert _cached(cold)


def test_all_of_a_file_is_read(monkeypatch):
    monkeypatch.setattr(page_cache, "BLOCK", 16)
    end, start = os.pipe()  # as the system reads ahead, only a pipe tells what was not asked for
    os.write(start, bytes(50))
    os.close(start)
    read_through(f"/dev/fd/{end}")
    assert os.read(end, 1) == b""
    os.close(end)


def test_a_file_too_large_for_the_memory_is_left_alone(cold, monkeypatch):
    monkeypatch.setattr(page_cache.psutil, "virtual_memory", lambda: SimpleNamespace(available=BYTES))
    read_through(cold)
    assert not _cached(cold)
