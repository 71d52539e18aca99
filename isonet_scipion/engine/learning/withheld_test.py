"""The outermost tilts are withheld from a training, and after each iteration the network is tested on them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from isonet_scipion.engine.measure.withheld_agreement import Agreement, WithheldAgreement
from isonet_scipion.engine.network.tiling import automatic_tiling, map_tiles
from isonet_scipion.engine.physics.withheld_tilts import narrowed
from isonet_scipion.engine.process.device import with_less_memory
from isonet_scipion.engine.sampling.crops import LEAST_PLANES

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats
    from isonet_scipion.engine.io.subtomograms import Subtomogram
    from isonet_scipion.engine.physics.wedge import TiltRange
    from isonet_scipion.engine.settings.training import TrainingSettings

log = logging.getLogger(__name__)
SHARE = 0.1  # of an iteration's time that the test may take
STEP_COST = 3  # of a training step, against applying the network to as many voxels
LOAD = 2.5  # voxels that go through the network for one that is tested: tiles overlap
LEAST, MOST = 64**3, 1 << 25  # voxels that are tested in all
EACH = 1 << 21  # voxels of a tomogram, or more in its fewest planes: with fewer for each, fewer tomograms are tested
TILE, HALO = 1 << 21, 16  # voxels of a tile, and between its core and its edge: seams are of no account here


@dataclasses.dataclass(frozen=True)
class Box:
    """A part of a tomogram, or a subtomogram, that networks are tested on."""

    what: str  # in words
    shown: Callable[[], Floats]  # as the network sees it, without the withheld tilts
    withheld: Callable[[], Floats]  # what they have measured there, on the same grey scale
    tilt: TiltRange  # the withheld tilts included


class Tested(NamedTuple):
    """What comes of a test."""

    agreement: Agreement | None  # None where there is too little to tell
    example: Floats  # what the network made of the first box, protein bright


class WithheldTest:
    """Tries networks on some boxes."""

    def __init__(self, boxes: Sequence[Box], divisor: tuple[int, int, int]) -> None:
        """Take boxes, and what the sides of the network's input must be multiples of."""
        self.boxes, self._divisor, self._tile = boxes, divisor, TILE

    def run(self, network: Callable[[Floats], Floats]) -> Tested:
        """Test a network, from (1, z, y, x) to the same shape."""
        sums = WithheldAgreement()
        examples: list[Floats] = []
        for box in self.boxes:
            shown = box.shown()
            made = self._made(shown, network)
            sums.add(shown, made, box.withheld(), box.tilt)
            examples = examples or [made]
        return Tested(sums.result(), examples[0])

    def _made(self, shown: Floats, network: Callable[[Floats], Floats]) -> Floats:
        def lessen(told: str) -> None:
            self._tile //= 2
            log.warning("Out of memory (%s): testing with tiles of half the size.", told)

        def attempt() -> Floats:
            return map_tiles(shown, automatic_tiling(shown.shape, self._divisor, self._tile, HALO), network)

        return with_less_memory(attempt, lessen)


def affordable(settings: TrainingSettings, cube_size: int) -> int:
    """How many voxels may be tested after each iteration of a training on cubes of so many voxels."""
    decided = settings.decided()
    trained = settings.epochs * decided.steps_per_epoch * decided.batch_size * cube_size**3
    return int(np.clip(SHARE * STEP_COST / LOAD * trained, LEAST, MOST))


def spread(shapes: Sequence[tuple[int, ...]], voxels: int) -> list[int]:
    """Which tomograms of some shapes are tested on so many voxels in all: they lie evenly in the list."""
    each = max(EACH, *(LEAST_PLANES * depth * width for depth, _, width in shapes))
    tested = min(len(shapes), max(1, voxels // each))
    return [int(place) for place in np.linspace(0, len(shapes) - 1, tested + 2)[1:-1].round()]


def withhold_from_subtomogram(subtomogram: Subtomogram) -> tuple[Subtomogram, Box]:
    """What a training may see of a subtomogram, and it as a box for the test."""
    trained = dataclasses.replace(subtomogram, tilt=narrowed(subtomogram.tilt), withheld=subtomogram.tilt)
    what, tilt = f"subtomogram {subtomogram.name}", subtomogram.tilt
    return trained, Box(what, trained.normalised, lambda: subtomogram.normalised() - trained.normalised(), tilt)
