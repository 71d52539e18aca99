"""What tests put a protocol's files through: names that are hard to write, disks that are full."""

from __future__ import annotations

import resource
from contextlib import contextmanager

PLAIN_IDS = ("TS_01", "TS_1", "TS_2", "TS_02.bin4", "Position_240101", "tomo-3_Vol", "it's")
HARD_IDS = (
    *PLAIN_IDS,
    "a/b", "a_b", "a\\b", "../../escaped", "..", ".", "", "X", "X_even", "X_odd", "X_whole", "A",
    "A_subtomo", "A_coordinates", "A_mask", "A_corrected", "n" * 300, "n" * 301, "é" * 80, "tab\there",
    "\x1b[2J", "both'\"", "it's; $HOME 50%d", "a,b", "A,_even", ",", "-rf", "~", " x", "x ", "\udcff", "A_inputMasks",
    "None",
)  # fmt: skip


@contextmanager
def roomFor(size):
    """No file may get larger: as on a full disk, Scipion's writers leave it short without a word."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
