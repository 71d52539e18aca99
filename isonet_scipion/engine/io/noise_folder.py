"""Noise volumes of the user's."""

from __future__ import annotations

import logging
from pathlib import Path

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.volume import Volume, read_float
from isonet_scipion.engine.io.voxel_size import UNSET_SIZE, same_voxel_size
from isonet_scipion.engine.physics.back_projected_noise import RecordedNoise, noise_corners

log = logging.getLogger(__name__)


def noise_volumes(folder: str, cube_size: int, voxel_size: float | None = None) -> list[Volume]:
    """The volumes (.mrc, .rec) of a folder, unread; those smaller than the cubes are left out.

    With the tomograms' `voxel_size` in A, one line names those that have another: their noise has another spectrum.

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
    if voxel_size:
        told = [volume for volume in volumes if volume.voxel_size not in (0, UNSET_SIZE)]
        others = [volume for volume in told if not same_voxel_size(volume.voxel_size, voxel_size)]
        if others:
            log.warning(
                "%s: %d of %d volumes of noise have other voxels than the tomograms' %g A (the first: %s, %g A), so "
                "their noise is of other frequencies.",
                folder, len(others), len(volumes), voxel_size, Path(others[0].path).name, others[0].voxel_size,
            )  # fmt: skip
    if not volumes:
        why = f"no .mrc volume there is at least {cube_size} voxels wide"
        raise EngineError(folder, why, "Give another noise_dir, or leave it out.")
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
