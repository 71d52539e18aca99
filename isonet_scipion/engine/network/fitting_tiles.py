"""Tiles of a tomogram for which the memory suffices."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.conventions import ISONET_RAMP
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.network.correction import border_of, filled, measured_halo
from isonet_scipion.engine.network.grid_levels import levelled
from isonet_scipion.engine.network.slabs import SLAB_VOXELS
from isonet_scipion.engine.network.tiling import HALO, Tiling, automatic_tiling, isonet_tiling
from isonet_scipion.engine.process.device import free_memory, with_less_memory
from isonet_scipion.engine.process.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from isonet_scipion.engine.arrays import Floats
    from isonet_scipion.engine.physics.grey_scale import Shown
    from isonet_scipion.engine.process.device import Devices
    from isonet_scipion.engine.settings.correction import PredictSettings
    from isonet_scipion.engine.settings.network import NetworkSettings

log = logging.getLogger(__name__)
# of all channels at a resolution, that a network holds at once: XLA holds 4 (joined ones, what they are made of, and
# what comes of them; 3 or 4 where they are not joined), the rest is for copies in the order that a convolution wants
FEATURE_MAPS = 6
SINGLE_MAPS = 4  # of one channel in single precision: a tile, turned, its result, and their sum
MOST_IN_SLAB = 2 * SLAB_VOXELS  # with what it sees beyond itself
# of the free memory: what a GPU lacks is told and tiles are made smaller, what the main memory lacks ends the process
GPU_SHARE, MAIN_SHARE = 0.8, 0.5
MOST_ELEMENTS = 1 << 31  # that one tensor may have


class Tiles:
    """The tiles of all tomograms of a process: as large as the memory allows, smaller once it did not."""

    def __init__(self, settings: PredictSettings, network: NetworkSettings, devices: Devices) -> None:
        """Ask for the free memory: once, as the backend keeps what it has taken."""
        self._network = network
        self._fixed = _fixed_tiling(settings, network)
        self._batch = settings.batch_size or (4 * devices.count if self._fixed else 1)
        self._voxels = tile_voxels(devices, network)
        self._halo: int | None = None

    def filled(self, shown: Shown, network: Callable[[Floats], Floats], kept_beyond: float | None, task: str) -> Floats:
        """What a network makes of a tomogram, on its own grey scale, with tiles for which the memory suffices.

        Raises
        ------
        EngineError
            If it does not suffice for the smallest tiles.
        """
        before = self._batch, self._voxels
        try:
            return self._shrinking(shown, network, kept_beyond, task)
        except Exception:
            # what was short may be there for the next tomogram
            self._batch, self._voxels = before
            raise

    def _shrinking(
        self, shown: Shown, network: Callable[[Floats], Floats], kept_beyond: float | None, task: str
    ) -> Floats:
        tiling = self._fixed

        def attempt() -> Floats:
            nonlocal tiling
            tiling = self._fixed or self._tiling(shown, network)
            shape = shown.voxels.shape
            count = int(np.prod(tiling.counts(shape)))
            log.debug("%s: tiles of %s, %.2f times its voxels", task, tiling.tile, tiling.load(shape))
            with Progress(task, count, "tiles") as progress:
                made = filled(shown, network, tiling, self._batch, progress.advance, kept_beyond)
            return levelled(made, shown, tiling, self._network.divisor) if self._network.keeps_noise else made

        def lessen(told: str) -> None:
            if self._batch > 1:
                self._batch //= 2
                log.warning("Out of memory (%s): going on with %d tiles at a time.", told, self._batch)
            elif self._fixed:
                raise MemoryError(told)
            else:
                # the halo's measurement may be what was too much
                self._voxels = min(self._voxels, int(np.prod(tiling.tile)) if tiling else self._voxels) // 2
                log.warning("Out of memory (%s): going on with tiles of half the size.", told)

        return with_less_memory(attempt, lessen)

    def _tiling(self, shown: Shown, network: Callable[[Floats], Floats]) -> Tiling:
        shape, divisor = shown.voxels.shape, self._network.divisor
        border = border_of(self._network)
        tiling = automatic_tiling(shape, divisor, self._voxels, border, border)
        if max(tiling.counts(shape)) == 1:
            return tiling
        if self._halo is None:
            middle = shape[0] // 2
            piece = shown.show(shown.voxels[max(0, middle - HALO) : middle + HALO])
            self._halo = measured_halo(network, piece, divisor)
        return automatic_tiling(shape, divisor, self._voxels, self._halo, border)


def tile_voxels(devices: Devices, network: NetworkSettings) -> int:
    """How many voxels a tile may have, by the memory that is free."""
    # per voxel of the tomogram: a stem's blocks share their channels
    channels = max(1, network.filter_base / network.stem**3) + (0 if network.in_slabs else network.full_resolution)
    in_slab = network.full_resolution if network.in_slabs else 0
    width = FEATURE_MAPS * (2 if "16" in devices.policy else 4)
    available = (GPU_SHARE if devices.gpus else MAIN_SHARE) * free_memory(devices)
    everywhere = width * channels + SINGLE_MAPS * 4
    by_memory = available / (everywhere + width * in_slab)
    if by_memory > SLAB_VOXELS:
        by_memory = max(SLAB_VOXELS, (available - MOST_IN_SLAB * width * in_slab) / everywhere)
    # in steps of a hundredth: what others take differs from start to start, and each shape of tiles is compiled anew
    step = 1 << max(0, int(by_memory).bit_length() - 8)
    largest = channels if network.is_unjoined else 2 * channels
    return int(min(by_memory // step * step, MOST_ELEMENTS / largest))


def _fixed_tiling(settings: PredictSettings, network: NetworkSettings) -> Tiling | None:
    if settings.cube_size is None and settings.crop_size is None:
        return None
    cube = settings.cube_size or int((settings.crop_size or 0) / 1.5)
    crop = settings.crop_size or int(cube * 1.5)
    least = max(crop, cube + ISONET_RAMP)
    isonet_tiling(cube, least)  # an error of the cube comes first: no crop_size would do
    for divisor in network.divisor:
        if crop % divisor:
            raise EngineError(
                "crop_size", f"{crop} is not divisible by {divisor}", f"Give {-(-least // divisor) * divisor}."
            )
    return isonet_tiling(cube, crop)
