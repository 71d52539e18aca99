"""A volume on disk: its voxels, and what its header tells."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isonet_scipion.engine.arrays import MASK, TOMOGRAM, Doubles, Floats, Reals, require_contrast
from isonet_scipion.engine.errors import EngineError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Volume:
    """A volume on disk."""

    read: Callable[[], Reals]  # gives `data`
    shape: tuple[int, ...]  # voxels along z, y and x
    voxel_size: float  # A, 0 where the header has none
    origin: tuple[float, float, float]  # header's x, y, z in A
    start: tuple[int, int, int]  # header's nxstart, nystart, nzstart
    labels: tuple[bytes, ...]
    path: str
    oddities: tuple[str, ...] = ()  # what breaks the format's rules but does not matter
    assumed: str | None = None  # about what its voxels mean, where the header does not tell
    old_origin: bool = False  # whether IMOD takes the origin with its old sign, against that of MRC2014

    @cached_property
    def data(self) -> Reals:
        """The voxels (z, y, x) in the file's own type, a memory map; a compressed store is decoded for it."""
        return self.read()

    @property
    def signed_origin(self) -> tuple[float, float, float]:
        """The header's x, y, z in A, by MRC2014's sign."""
        x, y, z = self.origin
        return (0.0 - x, 0.0 - y, 0.0 - z) if self.old_origin else self.origin

    @property
    def place(self) -> Doubles | None:
        """Where its header puts it, in voxels (x, y, z), by MRC2014's sign; None where it does not tell."""
        if not any(self.origin) or self.voxel_size <= 0 or not np.isfinite(self.origin).all():
            return None
        return np.array(self.signed_origin) / self.voxel_size


def read_float(volume: Volume) -> Floats:
    """The voxels as a new float32 array (z, y, x).

    Raises
    ------
    EngineError
        If some are not finite, or all are equal.
    """
    data = volume.data.astype(np.float32)
    require_contrast(float(data.min()), float(data.max()), volume.path)
    return data


@contextmanager
def naming(volume: Volume, mask: str | None = None) -> Iterator[None]:
    """Put the files' names on errors of functions that know nothing but the voxels of a tomogram, and of its mask.

    Parameters
    ----------
    volume : Volume
        The tomogram.
    mask : str, optional
        The mask's path.
    """
    try:
        yield
    except EngineError as error:
        path = {TOMOGRAM: volume.path, MASK: mask}.get(error.what)
        if path is None:
            raise
        raise EngineError(path, error.why, error.remedy) from error


def warn_of_oddities(volume: Volume) -> None:
    """Log one line about a header that breaks the format's rules, and one about what was assumed for it."""
    if volume.oddities:
        log.warning("%s: its header is odd (%s), but read.", volume.path, "; ".join(volume.oddities))
    if volume.assumed:
        log.warning("%s: %s.", volume.path, volume.assumed)
