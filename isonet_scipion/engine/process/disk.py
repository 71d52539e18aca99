"""Disk space, looked at before work starts."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from isonet_scipion.engine.errors import EngineError

log = logging.getLogger(__name__)
REMEDY = "Free some, or write to another folder."


def growth(files: Mapping[Path, int]) -> int:
    """By how many bytes a folder grows at most while files are written one after the other.

    Each is written beside its predecessor, which then goes.

    Parameters
    ----------
    files : mapping
        Size in bytes of each file or folder, in their order.
    """
    now = most = 0
    for path, size in files.items():
        now += size
        most = max(most, now)
        now -= _occupied(path)
    return most


def _occupied(path: Path) -> int:
    """Bytes on disk of a file, or of all files of a folder; 0 where there is none."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


def require_space(folder: str | os.PathLike[str], needed: int, remedy: str = REMEDY) -> None:
    """Raise an EngineError if a folder's file system has less than `needed` bytes free."""
    existing = Path(folder).absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    log.info("Disk space: at most %s needed in %s, %s free", _amount(needed), folder, _amount(free))
    if needed > free:
        raise EngineError(str(folder), f"this needs {_amount(needed)} of disk space, {_amount(free)} are free", remedy)


def _amount(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 1 << 30 else f"{count / 2**20:.1f} MiB"
