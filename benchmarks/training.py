"""Steps per second of the training, and the share of its time that goes into waiting for training pairs.

    python benchmarks/training.py [--filter-base 64] [--cube 64] [--batch 4,16,64] [--precision float32,mixed_bfloat16]

The subtomograms are noise. For each number format and batch size, epochs with pairs made on the fly (as `refine` makes
them, with added noise) take turns with epochs that get one ready batch again and again: what the former take longer
is the waiting. Batches that do not fit into memory end a number format's rows. Any backend: KERAS_BACKEND=jax python
benchmarks/training.py. With --peak (TFLOP/s of the device, from its data sheet), the share of it that the network's
convolutions reach is told too; a training step counts as three forward passes.
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median

import numpy as np

from isonet_scipion.engine.learning.noise_schedule import noise_sources
from isonet_scipion.engine.learning.pairs import prepare
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.process.device import choose_devices, is_out_of_memory, training_scope

SUBTOMOGRAMS, ROUNDS = 16, 3


def forward_operations(model, cube: int) -> float:
    """Floating point operations of all convolutions for one cube of `cube`^3 voxels."""
    import keras

    sized = keras.models.clone_model(model, input_tensors=keras.Input((cube, cube, cube, 1)))
    total = 0.0
    for layer in sized.layers:
        if hasattr(layer, "kernel"):
            # a transposed convolution applies its kernel at each voxel of its input
            voxels = (layer.input if "Transpose" in type(layer).__name__ else layer.output).shape[1:4]
            total += 2.0 * np.prod(layer.kernel.shape) * np.prod(voxels)
    return total


def measure(arguments: argparse.Namespace, batch: int) -> tuple[float, float, float]:
    """Seconds per step with pairs made on the fly and with one ready batch, and operations per step."""
    import keras

    from isonet_scipion.engine.learning.epoch import PairSource, cached, compile_model, train_epoch
    from isonet_scipion.engine.network.unet import build_unet
    from isonet_scipion.engine.settings.network import NetworkSettings

    class ReadyBatch(PairSource):
        def batch(self, numbers, seed):
            return tuple(array[: len(numbers)] for array in ready)

    rng, cube = np.random.default_rng(0), arguments.cube
    size = cube * 3 // 2
    subtomograms = [rng.normal(size=(size,) * 3).astype(np.float32) for _ in range(SUBTOMOGRAMS)]
    noise = noise_sources([TiltRange()] * SUBTOMOGRAMS, cube, "noFilter", None, rng)
    keras.utils.set_random_seed(1)
    model = build_unet(NetworkSettings(filter_base=arguments.filter_base))
    compile_model(model, 0.0004)
    seconds: dict[type, list[float]] = {PairSource: [], ReadyBatch: []}
    for turn in range(ROUNDS + 1):
        for kind in (PairSource, ReadyBatch):
            # prepared anew in each epoch, as refine does after each estimate
            pairs = cached(lambda number: prepare(subtomograms[number], TiltRange(), cube), SUBTOMOGRAMS, cube)
            source = kind(pairs, SUBTOMOGRAMS, cube, noise, 0.1, turn)
            if kind is PairSource:
                ready = source.batch(np.arange(batch), (0,))
            stamps: list[float] = []
            note = lambda _, s=stamps: s.append(time.monotonic())  # noqa: E731
            train_epoch(model, source, 0, arguments.steps, batch, arguments.threads, note)
            if turn > 0:  # the first round compiles
                seconds[kind].append((stamps[-1] - stamps[0]) / (len(stamps) - 1))
    operations = 3 * batch * forward_operations(model, cube)
    return median(seconds[PairSource]), median(seconds[ReadyBatch]), operations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter-base", type=int, default=64)
    parser.add_argument("--cube", type=int, default=64)
    parser.add_argument("--batch", default="4")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=min(16, os.cpu_count() or 1))
    parser.add_argument("--peak", type=float)
    arguments = parser.parse_args()
    print("| backend | device | precision | batch | steps/s | cubes/s | waits for data | TFLOP/s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for precision in arguments.precision.split(","):
        devices = choose_devices(precision=precision)
        device = ", ".join(devices.gpus) or f"CPU, {os.cpu_count()} cores"
        for batch in map(int, arguments.batch.split(",")):
            try:
                with training_scope(devices):
                    made, ready, operations = measure(arguments, batch)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                print(f"| {devices.backend} | {device} | {precision} | {batch} | out of memory | | | |")
                break
            speed = operations / made / 1e12
            share = f" ({speed / arguments.peak:.0%} of the peak)" if arguments.peak else ""
            waiting = f"{max(0.0, 1 - ready / made):.1%}"
            cells = (f"{1 / made:.2f}", f"{batch / made:.1f}", waiting, f"{speed:.2f}{share}")
            print("|", " | ".join([devices.backend, device, precision, str(batch), *cells]), "|", flush=True)


if __name__ == "__main__":
    main()
