"""Noise volumes of the user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume, read_float
from isonet_scipion.engine.physics.back_projected_noise import NoiseSource


def read_noise(folder: str, cube_size: int) -> NoiseSource:
    """Noise from the volumes (.mrc) of a folder, all their slices along y.

    Raises
    ------
    EngineError
        If there is none as large as the cubes.
    """
    slices = []
    for path in sorted(Path(folder).glob("*.mrc")):
        volume = read_float(open_volume(path))
        if min(volume.shape[0], volume.shape[2]) >= cube_size:
            slices.append(volume[:cube_size, :, :cube_size].transpose(1, 0, 2))
    if not slices:
        raise EngineError(folder, f"no .mrc volume there is at least {cube_size} voxels wide", "Leave out noise_dir.")
    return NoiseSource(np.concatenate(slices))
