"""IsoNet 0.2's method: estimate the missing wedge, train on what was estimated, again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isonet_scipion.engine.arrays import Floats, release, size_in_words
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.marks import MARK, is_marked
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.voxel_size import written_voxel_size
from isonet_scipion.engine.learning.compiler_trial import settle
from isonet_scipion.engine.learning.data_identity import COUNT, checksum_in_words, data_identity, tilt_in_words
from isonet_scipion.engine.learning.epoch import PairSource, cached, compile_model, falling, train_epoch
from isonet_scipion.engine.learning.estimates import estimate_subtomograms
from isonet_scipion.engine.learning.forecast import estimate_bytes
from isonet_scipion.engine.learning.noise_schedule import noise_sources
from isonet_scipion.engine.learning.pairs import PreparedSubtomogram, filled_target, prepare
from isonet_scipion.engine.learning.withheld_test import Box, Tested, WithheldTest
from isonet_scipion.engine.network.model_file import copy_weights
from isonet_scipion.engine.network.unet import aside, build_unet
from isonet_scipion.engine.process.progress import Progress
from isonet_scipion.engine.wording import counted

if TYPE_CHECKING:
    import keras

    from isonet_scipion.engine.io.subtomograms import Subtomogram
    from isonet_scipion.engine.learning.ahead import Ahead
    from isonet_scipion.engine.learning.method import Losses
    from isonet_scipion.engine.learning.state import RunState
    from isonet_scipion.engine.physics.back_projected_noise import Noise
    from isonet_scipion.engine.process.device import Devices
    from isonet_scipion.engine.settings.training import IterativeSettings

MARK_OF_ESTIMATES = MARK + b"estimate of a training"


class Iterative:
    """Trains on pairs made of subtomograms whose missing wedge the network of the iteration before has filled."""

    def __init__(
        self,
        subtomograms: Sequence[Subtomogram],
        cube_size: int,
        settings: IterativeSettings,
        devices: Devices,
        boxes: Sequence[Box],
    ) -> None:
        """Train on subtomograms, all of one size, by cubes of `cube_size`^3 voxels, and test on boxes."""
        self.subtomograms, self.withheld = subtomograms, WithheldTest(boxes, settings.network.divisor)
        self.settings, self.decided = settings, settings.decided()
        self.cube_size, self.crop_size = cube_size, subtomograms[0].size
        self.devices, self.least_batch = devices, devices.count  # one pair for each device
        self.folder = Path(settings.result_dir)
        self.model: keras.Model = None

    def describe(self) -> str:
        """What it learns from, in words."""
        return f"{counted(len(self.subtomograms), 'subtomograms')} of {self.crop_size}^3"

    def identity(self) -> dict[str, Any]:
        """What a run that is gone on with must have in common with this one's data."""
        items = [
            {
                "tilt range": tilt_in_words(one.withheld or one.tilt),
                "size": size_in_words((one.size,) * 3),
                "voxels": checksum_in_words(one.fingerprint),
            }
            for one in self.subtomograms
        ]
        return {COUNT: len(self.subtomograms), **data_identity(items)}

    def bytes_needed(self, iterations: int) -> int:
        """Disk space of the estimates."""
        keep = not self.settings.remove_intermediate
        return estimate_bytes(len(self.subtomograms), self.crop_size, iterations if keep else 1)

    def require_own_files(self, is_resumed: bool) -> None:
        """The estimates."""
        if self.settings.remove_intermediate or is_resumed:
            return
        names = {subtomogram.name for subtomogram in self.subtomograms}
        for path in self.folder.glob("*_iter*.mrc"):
            is_estimate = path.stem.rpartition("_iter")[0] in names
            if is_estimate and not is_marked(path, MARK_OF_ESTIMATES):
                raise EngineError(str(path), "it is there already, and no estimate", "Give another result_dir.")

    def cost(self, epoch: int) -> float:
        """The same for all epochs."""
        return 1.0

    def compile(self, model: keras.Model) -> None:
        """Take the network and make it ready."""
        self.model, self.tried = model, aside(model)
        compile_model(model, self.settings.learning_rate)

    def start_iteration(self, state: RunState, noise_level: float, before: Path | None) -> PairSource:
        """Make the estimates, and of them the pairs."""
        return self._pair_source(self._estimates(state, before), state.iteration, noise_level)

    def fit(self, batches: PairSource, state: RunState, on_step: Callable[[float], None]) -> Losses:
        """Train for an epoch."""
        settings = self.settings
        self.model.optimizer.learning_rate = settings.learning_rate * falling(state.epoch, settings.epochs)
        threads = max(1, settings.preprocessing_ncpus)
        steps = self.decided.steps_per_epoch

        def settle_compiler(training: Ahead) -> None:
            settle(self.model, training, state, self.devices, settings.iterations * settings.epochs * steps)

        return train_epoch(self.model, batches, state.epoch, steps, state.batch_size, threads, on_step, settle_compiler)

    def test(self, trained: bool = True) -> Tested:
        """How well the network restores the withheld tilts; not `trained`: as if it left all as it is."""
        return self.withheld.run(self.tried if trained else lambda volumes: volumes)

    def tested(self) -> str:
        """What the test's example is, in words."""
        return self.withheld.boxes[0].what

    def _estimates(self, state: RunState, before: Path | None) -> Floats:
        """The estimates that the iteration's targets are filled with."""
        model, previous = self.model if before else None, state.iteration - 1
        if before and state.epoch > 0:
            # in the middle of an iteration the estimates are still those of the network before it
            model = build_unet(self.settings.network)
            copy_weights(model, self.settings.network, before)
        with Progress(f"Estimates {previous}", len(self.subtomograms), "subtomograms") as progress:

            def keep(subtomogram: Subtomogram, estimate: Floats) -> None:
                if not self.settings.remove_intermediate:
                    source = subtomogram.volume()
                    path = self.folder / f"{subtomogram.name}_iter{previous:02d}.mrc"
                    size = written_voxel_size(subtomogram.voxel_size, source)
                    write_volume(path, -estimate, size, source, MARK_OF_ESTIMATES)
                progress.advance()

            return estimate_subtomograms(
                self.subtomograms,
                model,
                self.settings.network.divisor,
                self.settings.normalisation,
                state.batch_size,
                self.folder,
                keep,
            )

    def _pair_source(self, estimates: Floats, iteration: int, level: float) -> PairSource:
        settings = self.settings

        def prepare_pairs(number: int) -> PreparedSubtomogram:
            subtomogram = self.subtomograms[number]
            estimate = np.array(estimates[number])
            release(estimates)
            target = filled_target(subtomogram.normalised(), estimate, subtomogram.tilt, settings.normalisation)
            return prepare(target, subtomogram.tilt, self.cube_size)

        seed = [self.decided.seed, iteration]
        noise: list[Noise] = []
        if level > 0:
            tilts = [subtomogram.tilt for subtomogram in self.subtomograms]
            rng = np.random.default_rng([*seed, 1])
            noise = noise_sources(tilts, self.cube_size, settings.noise_mode, settings.noise_dir, rng)
        count = len(self.subtomograms)
        pair_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        return PairSource(cached(prepare_pairs, count, self.cube_size), count, self.cube_size, noise, level, pair_seed)
