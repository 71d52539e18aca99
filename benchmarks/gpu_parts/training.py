"""Steps per second of both methods."""

from __future__ import annotations

import argparse
import os
import time

import numpy as np

from gpu_parts.busy import Busy
from gpu_parts.rows import emit

FORMATS = ("mixed_bfloat16", "float32", "mixed_float16")
SECONDS_PER_MEASUREMENT = 3.0


def training(arguments: argparse.Namespace, deadline: float) -> None:
    """Steps per second of both methods."""
    from isonet_scipion.engine.process.device import choose_devices, is_out_of_memory, training_scope

    small = arguments.small
    plans = [
        ("one-pass", 48, FORMATS[:1], (2, 8, 32, 128)),
        ("one-pass, halves", 48, FORMATS[:1], (2, 8, 32)),
        ("iterative", 64, FORMATS[:1], (4, 16, 64)),
        ("one-pass", 48, FORMATS[1:2], (2, 8, 32)),
        ("iterative", 64, FORMATS[1:], (4, 16, 64)),
        ("iterative", 96, FORMATS[:1], (4, 16)),
        ("one-pass", 96, FORMATS[:1], (2, 8, 32)),
        ("iterative", 96, FORMATS[1:], (4, 16)),
        ("one-pass", 48, FORMATS[2:], (2, 8)),
    ]
    if small:
        plans = [("iterative", 16, FORMATS[:2], (2,)), ("one-pass", 16, FORMATS[:1], (2,)),
                 ("one-pass, halves", 16, FORMATS[:1], (2,))]  # fmt: skip
    slowest = 0.0
    for method, cube, formats, batches in plans:
        for precision in formats:
            devices = choose_devices(arguments.gpus, precision)
            row = {
                "backend": devices.backend, "GPUs": devices.count if devices.gpus else 0, "method": method,
                "cube": cube, "format": precision,
            }  # fmt: skip
            for batch in batches:
                started = time.monotonic()
                if started + slowest > deadline:
                    return
                try:
                    with training_scope(devices):
                        cells = measure_training(method, cube, batch * devices.count, small)
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    emit("training", **row, batch=batch, **{"steps/s": "out of memory"})
                    break
                emit("training", **row, batch=batch, **cells)
                slowest = max(slowest, time.monotonic() - started)


def measure_training(method: str, cube: int, batch: int, small: bool) -> dict[str, float]:
    """Cells of a row of the training's table."""
    import keras
    from training import forward_operations

    from isonet_scipion.engine.learning.ahead import Ahead
    from isonet_scipion.engine.learning.epoch import seed_dropout
    from isonet_scipion.engine.learning.noise_schedule import noise_sources
    from isonet_scipion.engine.network.unet import build_unet
    from isonet_scipion.engine.physics.wedge import TiltRange
    from isonet_scipion.engine.settings.network import NetworkSettings
    from isonet_scipion.engine.settings.training import OnePassSettings

    keras.utils.set_random_seed(1)
    rng, threads, tilt = np.random.default_rng(0), min(16, os.cpu_count() or 1), TiltRange()
    shape = NetworkSettings(filter_base=4 if small else 64)
    halves = 2 if method == "one-pass, halves" else 1
    if method != "iterative":
        given = {"filter_base": 8} if small else {}
        shape = OnePassSettings.given({**(OnePassSettings.WITH_HALVES if halves == 2 else {}), **given}).network
    model = build_unet(shape)
    if method == "iterative":
        trained, operations = iterative_model(model), 3 * batch * forward_operations(model, cube)
    else:
        trained, side = one_pass_model(model, shape, cube)
        estimates = batch / 2 * forward_operations(model, side)
        operations = 3 * batch * forward_operations(model, cube) + estimates
    seed_dropout(model, 1, 0)
    noise = noise_sources([tilt], cube, "noFilter", None, rng)
    if method == "iterative":
        made = iterative_batches(cube, batch, threads, noise, rng)
    else:
        made = one_pass_batches(cube, side, batch, threads, halves, rng)

    class Ready(keras.utils.PyDataset):
        steps = made.steps

        def __len__(self) -> int:
            return self.steps

        def __getitem__(self, step: int):
            return first

    first, ready = made[0], Ready()

    def run(batches, steps: int) -> list[float]:
        batches.steps, stamps = steps, [time.monotonic()]
        note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: stamps.append(time.monotonic()))
        trained.fit(Ahead(batches), shuffle=False, verbose=0, callbacks=[note])
        # as `fit_epoch`: the averages are the same arrays as the weights, which JAX will not update in place
        trained.set_weights([np.array(weight) for weight in trained.get_weights()])
        return stamps

    stamps = run(ready, 3)
    one = stamps[-1] - stamps[-2]
    steps = int(np.clip(SECONDS_PER_MEASUREMENT / 2 / max(one, 1e-3), 3, made.steps))
    stamps_ready = run(ready, steps)
    with Busy() as busy:
        stamps_made = run(made, steps)
    # the first step waits for its pairs whatever the GPU does
    seconds, without = ((stamps[-1] - stamps[1]) / (len(stamps) - 2) for stamps in (stamps_made, stamps_ready))
    return {
        "steps/s": 1 / seconds, "cubes/s": batch / seconds, "waits": max(0.0, 1 - without / seconds),
        "busy": busy.share, "TFLOP/s": operations / seconds / 1e12, "first step s": stamps[1] - stamps[0],
    }  # fmt: skip


def iterative_model(model):
    """A network compiled as the iterative method trains it."""
    from isonet_scipion.engine.learning.epoch import compile_model

    compile_model(model, 0.0004)
    return model


def iterative_batches(cube: int, batch: int, threads: int, noise, rng: np.random.Generator):
    """Batches of the iterative method, with its noise."""
    from isonet_scipion.engine.learning.epoch import PairBatches, PairSource, cached
    from isonet_scipion.engine.learning.pairs import prepare
    from isonet_scipion.engine.physics.wedge import TiltRange

    count = 8
    volumes = [rng.standard_normal((cube + 16,) * 3, dtype=np.float32) for _ in range(count)]
    pairs = cached(lambda number: prepare(volumes[number], TiltRange(), cube), count, cube)
    source = PairSource(pairs, count, cube, noise * count, 0.1, 1)
    return PairBatches(source, source.split()[0], batch, 200, 0, threads)


def one_pass_model(model, shape, cube: int):
    """What the one-pass method trains, compiled as it does, and the side of its crops in voxels."""
    import math

    import keras

    from isonet_scipion.engine.learning.one_pass import AVERAGING, CLIP
    from isonet_scipion.engine.learning.one_pass_step import OnePassModel, weighted_error
    from isonet_scipion.engine.network.unet import build_unet
    from isonet_scipion.engine.sampling.training_positions import crop_side

    optimiser = keras.optimizers.Adam(0.001, global_clipnorm=CLIP, use_ema=True, ema_momentum=AVERAGING)
    trainer = OnePassModel(model, build_unet(shape), cube, False)
    trainer.compile(optimiser, loss=weighted_error, jit_compile=model.jit_compile)
    return trainer, crop_side(cube, False, math.lcm(*shape.divisor))


def one_pass_batches(cube: int, side: int, batch: int, threads: int, halves: int, rng: np.random.Generator):
    """Batches of the one-pass method, of a tomogram (`halves` 1) or its two halves."""
    from isonet_scipion.engine.learning.one_pass_batches import CropBatches, TomogramSource
    from isonet_scipion.engine.physics.grey_scale import GreyScale
    from isonet_scipion.engine.physics.wedge import TiltRange

    volumes = tuple(rng.standard_normal((side + 16, side + 64, side + 64), dtype=np.float32) for _ in range(halves))
    low = side // 2 + 1
    centres = rng.integers(low, np.array(volumes[0].shape) - low, (4000, 3))
    source = TomogramSource("noise", volumes, GreyScale(0.0, 1.0), centres, TiltRange())
    return CropBatches([source], cube, side, 0.0, 0.2, batch, 200, (1, 0), threads)
