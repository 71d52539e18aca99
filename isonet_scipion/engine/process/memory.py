"""How much main memory this process may still take, and how it keeps what it has."""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

CONTROL_GROUPS = Path("/sys/fs/cgroup")
# of glibc's malloc.h, and bytes: what is smaller is taken from memory that was used before, of which so much is kept
KEPT_SIZES, KEPT_IN_ALL = (-3, 16 << 20), (-1, 128 << 20)


def keep_freed_memory() -> None:
    """Keep what arrays of some MiB leave for the next ones, where the C library can.

    By default such memory goes back to the system with each array and is cleared by it for the next: of a stage that
    works in blocks that is up to a third of the CPU time.
    """
    with suppress(OSError, AttributeError):  # not glibc
        for parameter, value in (KEPT_SIZES, KEPT_IN_ALL):
            ctypes.CDLL(None).mallopt(parameter, value)


def free_main_memory() -> int:
    """Bytes: the least of what the machine, a limit on the address space and the control groups leave."""
    # a group's own count of what is used holds files' pages too, which it gives back when asked
    groups = [limit - psutil.Process().memory_info().rss for limit in group_limits()]
    return int(max(0, min([psutil.virtual_memory().available, free_address_space(), *groups])))


def free_address_space() -> float:
    """Bytes that a limit on the address space (ulimit -v) leaves; infinite without one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return float("inf") if limit == resource.RLIM_INFINITY else limit - psutil.Process().memory_info().vms


def group_limits(root: Path = CONTROL_GROUPS, lines: Sequence[str] | None = None) -> Iterator[int]:
    """Memory limits in bytes of this process's control groups, of version 1 and 2, and of those above them.

    Parameters
    ----------
    root : Path
        Where they are mounted.
    lines : sequence of str, optional
        Content of /proc/self/cgroup; None: that file's.
    """
    if lines is None:
        membership = Path("/proc/self/cgroup")
        lines = membership.read_text().splitlines() if membership.exists() else []
    for controllers, path in (line.split(":", 2)[1:] for line in lines):
        if controllers not in ("", "memory"):
            continue
        top, name = root / controllers, "memory.limit_in_bytes" if controllers else "memory.max"
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):  # not there, or "max"
                yield int((folder / name).read_text())
            if folder == top:
                break
