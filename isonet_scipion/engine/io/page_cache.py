"""Files that the operating system keeps in memory."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil

BLOCK = 16 << 20  # bytes
MOST_OF_MEMORY = 0.5  # of what is free


def read_through(path: str | os.PathLike[str]) -> None:
    """Read a file once, so that who needs it soon finds it in memory, not on a slow or distant disk.

    Parameters
    ----------
    path : path
        One that can't be read, or would take more than half of the memory that is free, is left alone.

    Examples
    --------
    >>> read_through("a_file_that_is_not_there.mrc")
    """
    with suppress(OSError), open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size > MOST_OF_MEMORY * psutil.virtual_memory().available:
            return
        block = bytearray(BLOCK)
        while file.readinto(block):
            pass
