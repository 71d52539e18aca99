"""Noise volumes of the user's."""

from __future__ import annotations

import logging
from pathlib import Path

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import Volume, open_volume, read_float
from isonet_scipion.engine.physics.back_projected_noise import RecordedNoise, noise_corners

log = logging.getLogger(__name__)


def noise_volumes(folder: str, cube_size: int) -> list[Volume]:
    """The volumes (.mrc, .rec) of a folder, unread; those smaller than the cubes are left out.

    Raises
    ------
    EngineError
        If there is none as large as the cubes.
    """
    volumes = []
    for path in sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in (".mrc", ".rec")):
        volume = open_volume(path)
        if min(volume.shape[0], volume.shape[2]) < cube_size:
            log.warning("%s: its shape %s has no room for cubes of %d voxels; left out", path, volume.shape, cube_size)
            continue
        volumes.append(volume)
    if not volumes:
        raise EngineError(folder, f"no .mrc volume there is at least {cube_size} voxels wide", "Leave out noise_dir.")
    return volumes


def read_noise(folder: str, cube_size: int) -> RecordedNoise:
    """Noise from the volumes of a folder.

    Raises
    ------
    EngineError
        As of `noise_volumes`, or if one has no contrast, or padding all over.
    """
    volumes = []
    for volume in noise_volumes(folder, cube_size):
        volumes.append(read_float(volume))
        if not len(noise_corners(volumes[-1], cube_size)):
            raise EngineError(
                volume.path,
                f"no square of {cube_size} voxels in xz is free of regions of one value",
                "Cut its padding off, or take it out of noise_dir.",
            )
    return RecordedNoise(volumes, cube_size)
