"""Noise volumes of the user's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from isonet_scipion.engine.arrays import fingerprint, release
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.volume import Volume, read_float
from isonet_scipion.engine.io.volume_files import file_names, files_of, volume_files
from isonet_scipion.engine.io.voxel_size import UNSET_SIZE, same_voxel_size
from isonet_scipion.engine.physics.back_projected_noise import RecordedNoise, noise_corners
from isonet_scipion.engine.physics.grey_scale import sample

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)
SUFFIXES = (".mrc", ".rec")


def check_noise(folder: str, cube_size: int, voxel_size: float | None) -> list[int]:
    """Refuse a folder without noise, and tell what of it is left out, or of another voxel size than `voxel_size` in A.

    Returns
    -------
    list of int
        Fingerprints of its volumes' voxels.

    Raises
    ------
    EngineError
        If the folder is not there, or holds no volume as large as the cubes.
    """
    files = volume_files(folder, SUFFIXES)
    volumes = _large_enough(folder, files, cube_size)
    used = {volume.path for volume in volumes}
    small = [path for path in files if str(path) not in used]
    if small:
        log.warning("%s: left out, as cubes of %d voxels have no room: %s", folder, cube_size, file_names(small))
    told = [volume for volume in volumes if volume.voxel_size not in (0, UNSET_SIZE)]
    others = [volume for volume in told if voxel_size and not same_voxel_size(volume.voxel_size, voxel_size)]
    if others:  # their noise has another spectrum
        log.warning(
            "%s: of other voxels than the tomograms' %g A, so that its frequencies are others: %d of %d volumes of "
            "noise (the first: %s, %g A).",
            folder, voxel_size, len(others), len(volumes), Path(others[0].path).name, others[0].voxel_size,
        )  # fmt: skip
    found = []
    for volume in volumes:
        found.append(fingerprint(sample(volume.data)))
        release(volume.data)
    return found


def _large_enough(folder: str, files: Sequence[Path], cube_size: int) -> list[Volume]:
    """Those of a folder's volumes that are as large as the cubes, unread; an EngineError where there are none."""
    volumes = [volume for volume in map(open_volume, files) if min(volume.shape[0], volume.shape[2]) >= cube_size]
    if not volumes:
        why = f"none of its volumes is at least {cube_size} voxels wide in x and z"
        raise EngineError(folder, why, "Give another noise_dir, or leave it out.")
    return volumes


def read_noise(folder: str, cube_size: int) -> RecordedNoise:
    """Noise from the volumes of a folder.

    Raises
    ------
    EngineError
        If no volume is as large as the cubes, or one has no contrast, or padding all over.
    """
    volumes = []
    for volume in _large_enough(folder, files_of(folder, SUFFIXES), cube_size):
        volumes.append(read_float(volume))
        if not len(noise_corners(volumes[-1], cube_size)):
            raise EngineError(
                volume.path,
                f"no square of {cube_size} voxels in xz is free of regions of one value",
                "Cut its padding off, or take it out of noise_dir.",
            )
    return RecordedNoise(volumes, cube_size)
