"""How many files this process may have open at once: each volume that is memory-mapped is one."""

from __future__ import annotations

import resource
from contextlib import suppress

ENOUGH = 1 << 16  # of thousands of tomograms with halves; the usual limit, 1024, is reached by some hundreds


def allow_open_files() -> None:
    """Raise the limit on open files, for this process and those that it starts, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # some sandboxes refuse
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
