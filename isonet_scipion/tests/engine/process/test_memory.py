"""How much memory a process may take: the least of several limits."""

import resource

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
