"""How much memory a process may take: the least of several limits."""

import resource
import subprocess
import sys

import pytest

from isonet_scipion.engine.process import memory
from isonet_scipion.engine.process.memory import free_address_space, free_main_memory, group_limits


@pytest.mark.parametrize(
    ("line", "files", "limits"),
    [
        ("0::/a/b", {"a/b/memory.max": "500", "a/memory.max": "max", "memory.max": "900"}, [500, 900]),
        ("4:memory:/job", {"memory/job/memory.limit_in_bytes": "700"}, [700]),
        ("3:cpu:/job", {"cpu/job/memory.limit_in_bytes": "700"}, []),
    ],
)
def test_limits_of_all_groups_above_count(tmp_path, line, files, limits):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert list(group_limits(tmp_path, [line])) == limits


def test_the_least_limit_holds(monkeypatch):
    monkeypatch.setattr(memory, "group_limits", lambda: [memory.psutil.Process().memory_info().rss + (64 << 20)])
    assert free_main_memory() <= 64 << 20
    monkeypatch.setattr(memory, "group_limits", lambda: [0])
    assert free_main_memory() == 0


def test_a_limit_on_the_address_space_is_seen(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert free_address_space() == float("inf")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1 << 50, 1 << 50))
    assert 0 < free_address_space() < 1 << 50


FAULTS = """
import resource, sys
import numpy as np
from isonet_scipion.engine.process.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def pages():
    for _ in range(20):
        arrays = [np.ones(1 << 18, np.float32) for _ in range(4)]  # 1 MiB each, 5120 pages in all
        del arrays
pages()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
pages()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_memory_of_temporary_arrays_is_not_asked_for_again():
    def pages_asked_for(how):
        return int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True).stdout)

    kept, usual = pages_asked_for("kept"), pages_asked_for("usual")
    if usual < 1000:
        pytest.skip(f"this C library keeps it by itself: {usual} pages")
    assert kept < usual / 5
