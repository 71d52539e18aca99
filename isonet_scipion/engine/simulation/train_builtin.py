"""Trains the builtin model on simulated tomograms, whose truth is known.

    python -m isonet_scipion.engine.simulation.train_builtin [OUTPUT.keras] [--densities FOLDER] [--unseen NAME,NAME]
                                            [--steps 20000] [--seed 1] [--processes 13] [--precision mixed_bfloat16]

FOLDER holds maps of proteins (.mrc, with voxel sizes), without which all are invented; those that are named `unseen`
are kept for the validation. For a GPU: 20 ms a step on an H200, with 13 processes that simulate. A run that was cut
off goes on where OUTPUT.state.keras is. Weights are in half precision, the curve is in the file.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.volume import read_float
from isonet_scipion.engine.network.model_file import BUILTIN_FILE, halve, load_weights, read_facts, save_model
from isonet_scipion.engine.process.device import choose_devices
from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.engine.simulation.scenes import Density
from isonet_scipion.engine.simulation.views import crops, endless_views

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats

NETWORK = NetworkSettings(filter_base=48, unet_depth=2, convs_per_depth=2, drop_out=0.0, stem=2, fine=16)
SIDE = 64  # voxels of a training pair
BATCH = 4
VIEWS = 2500  # kept to draw from: 9 GB
FIRST_VIEWS = 16  # that the training waits for
VALIDATION_VIEWS = 24
LEARNING_RATE = 2e-3
WARM_UP = 200  # steps
STEPS_PER_EPOCH = 500


def sharp_error(truth: Any, output: Any) -> Any:
    """Squared error, by pair, of the values and of their differences between neighbours, which weigh fine detail."""
    from keras import ops

    error = output - truth
    along = (error[:, 1:] - error[:, :-1], error[:, :, 1:] - error[:, :, :-1], error[..., 1:, :] - error[..., :-1, :])
    return sum(ops.mean(ops.square(part), axis=(1, 2, 3, 4)) for part in (error, *along))


def read_densities(folder: Path | None) -> dict[str, Density]:
    """All maps of a folder by name."""
    volumes = {path.stem: open_volume(path) for path in sorted(folder.glob("*.mrc"))} if folder else {}
    return {name: Density.of(read_float(volume), volume.voxel_size) for name, volume in volumes.items()}


def _simulate(number: int, seed: int, given: list[Density], views: multiprocessing.Queue[Floats]) -> None:
    for view in endless_views((seed, number), given):
        views.put(view)


def train(
    output: Path,
    steps: int,
    seed: int,
    densities: dict[str, Density],
    unseen: set[str],
    processes: int,
    precision: str,
) -> None:
    """Train, and write the model after every epoch; its weights are running averages."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue(200)
    seen = [density for name, density in densities.items() if name not in unseen]
    for number in range(processes):
        context.Process(target=_simulate, args=(number, seed, seen, queue), daemon=True).start()
    kept = [density for name, density in densities.items() if name in unseen]
    checked = list(itertools.islice(endless_views((seed, processes), kept), VALIDATION_VIEWS))
    choose_devices(precision=precision)
    import keras

    from isonet_scipion.engine.network.unet import build_unet

    views: list[Floats] = []

    class Pairs(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
        made = 0

        def __len__(self) -> int:
            return STEPS_PER_EPOCH

        def __getitem__(self, step: int) -> tuple[Floats, Floats, Floats]:
            while len(views) < FIRST_VIEWS or not queue.empty():
                view = queue.get()
                views[self.made % VIEWS : self.made % VIEWS + 1] = [view]
                self.made += 1
            return crops(views, SIDE, BATCH, rng)

    rng = np.random.default_rng((seed, 1))
    keras.utils.set_random_seed(seed)
    model = build_unet(NETWORK)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - WARM_UP, warmup_target=LEARNING_RATE, warmup_steps=WARM_UP
    )
    optimiser = keras.optimizers.Adam(rate, global_clipnorm=1.0, use_ema=True, ema_momentum=0.998)
    model.compile(optimiser, loss=sharp_error, jit_compile=model.jit_compile)
    optimiser.build(model.trainable_variables)
    state = output.with_suffix(".state.keras")
    curve: list[dict[str, Any]] = []
    if state.exists():
        load_weights(model, state)
        curve = list(read_facts(state)["curve"])

    metadata = ModelMetadata(NETWORK, normalize_percentile=True, simulated=True)

    def save(epoch: int, logs: dict[str, float]) -> None:
        made = int(optimiser.iterations)
        curve.append({"step": made, **{name: round(float(value), 5) for name, value in logs.items()}})
        bare = keras.Model(model.inputs, model.outputs)
        save_model(output, bare, dataclasses.replace(metadata, iteration=made), {"curve": curve})
        halve(output)
        print(curve[-1], flush=True)

    def save_state(epoch: int, logs: dict[str, float]) -> None:
        save_model(state, model, metadata, {"curve": curve})

    model.fit(
        Pairs(),
        initial_epoch=int(optimiser.iterations) // STEPS_PER_EPOCH,
        epochs=steps // STEPS_PER_EPOCH,
        shuffle=False,
        validation_data=crops(checked, SIDE, 2 * VALIDATION_VIEWS, np.random.default_rng(seed)),
        validation_batch_size=BATCH,
        verbose=0,
        callbacks=[
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            keras.callbacks.LambdaCallback(on_epoch_end=save, on_epoch_begin=save_state),
        ],
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?", default=BUILTIN_FILE)
    parser.add_argument("--densities", type=Path)
    parser.add_argument("--unseen", default="")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=13)
    parser.add_argument("--precision", default="mixed_bfloat16")
    given = parser.parse_args()
    unseen = set(filter(None, given.unseen.split(",")))
    train(
        given.output, given.steps, given.seed, read_densities(given.densities), unseen, given.processes, given.precision
    )


if __name__ == "__main__":
    main()
