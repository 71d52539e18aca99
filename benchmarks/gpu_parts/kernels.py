"""What the GPU's units reach, and what the network's and the step's kernels do."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from gpu_parts.rows import emit


def compiled(function: Callable, backend: str) -> Callable:
    """A function of arrays as the backend runs it best, which returns when its result is there."""
    if backend == "jax":
        import jax

        quick = jax.jit(function)
        return lambda *arrays: jax.block_until_ready(quick(*arrays))
    if backend == "tensorflow":
        import tensorflow as tf

        graph = tf.function(function, jit_compile=bool(tf.config.list_physical_devices("GPU")))
        return lambda *arrays: graph(*arrays).numpy()
    import torch

    def run(*arrays):
        result = function(*arrays)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return result

    return run


def gradient(function: Callable, backend: str) -> Callable:
    """Gradient of the sum of a function's result with respect to its two arguments, as one number."""
    from keras import ops

    def total(*arrays):
        return ops.sum(ops.cast(function(*arrays), "float32"))

    if backend == "jax":
        import jax

        return lambda *arrays: sum(ops.sum(part) for part in jax.grad(total, argnums=(0, 1))(*arrays))
    if backend == "tensorflow":
        import tensorflow as tf

        def by_tape(*arrays):
            with tf.GradientTape() as tape:
                tape.watch(arrays)
                value = total(*arrays)
            return sum(ops.sum(part) for part in tape.gradient(value, arrays))

        return by_tape
    import torch

    def by_torch(*arrays):
        leaves = [array.detach().requires_grad_(True) for array in arrays]
        return sum(part.sum() for part in torch.autograd.grad(total(*leaves), leaves))

    return by_torch


def timed(function: Callable, *arrays) -> float:
    """Seconds of a call, the median of those of a quarter of a second after two that do not count."""
    for _ in range(2):
        function(*arrays)
    times, started = [], time.monotonic()
    while len(times) < 3 or time.monotonic() - started < 0.25:
        before = time.perf_counter()
        function(*arrays)
        times.append(time.perf_counter() - before)
    return median(times)


def kernels(arguments: argparse.Namespace, deadline: float) -> None:
    """What the GPU's units reach, and what the network's and the step's kernels do."""
    from isonet_scipion.engine.process.device import choose_devices, is_out_of_memory

    backend = choose_devices(arguments.gpus).backend
    from keras import ops

    from isonet_scipion.engine.learning.one_pass_step import in_wedge_planes, plane_filter
    from isonet_scipion.engine.physics.wedge import TiltRange

    rng, small = np.random.default_rng(0), arguments.small

    def random(*shape: int, dtype: str = "float32"):
        return ops.cast(ops.convert_to_tensor(rng.standard_normal(shape, dtype=np.float32)), dtype)

    def convolved(volumes, kernel):
        return ops.conv(volumes, kernel, padding="same", data_format="channels_last")

    def convolved_first(volumes, kernel):
        return ops.conv(volumes, kernel, padding="same", data_format="channels_first")

    def normalised(volumes, kernel):
        mean, variance = ops.moments(volumes, axes=(0, 1, 2, 3), keepdims=True)
        return ops.leaky_relu((volumes - mean) * ops.rsqrt(variance + 1e-3), 0.05)

    def tell(name: str, dtype: str, function: Callable, *arrays, operations: float = 0, moved: float = 0) -> None:
        try:
            seconds = timed(compiled(function, backend), *arrays)
        except Exception as error:  # a format or kernel that a backend lacks ends its row alone
            reason = "out of memory" if is_out_of_memory(error) else f"{type(error).__name__}: {error}"[:60]
            emit("kernels", backend=backend, kernel=name, format=dtype, ms=reason)
            return
        rates = {"TFLOP/s": operations / seconds / 1e12, "GB/s": moved / seconds / 1e9}
        emit("kernels", backend=backend, kernel=name, format=dtype, ms=seconds * 1e3, **rates)

    n, batch = (512, 1) if small else (8192, 4)
    for dtype in ("float32", "bfloat16", "float16"):
        square = random(n, n, dtype=dtype)
        tell(f"matrix product {n}", dtype, ops.matmul, square, square, operations=2.0 * n**3)
    voxels = random(2**20 if small else 2**29)
    tell("copy", "float32", lambda values: values * 1.5, voxels, moved=8.0 * voxels.shape[0])
    del voxels
    for channels, side in ((8, 16),) if small else ((64, 64), (32, 48), (256, 16)):
        largest = channels in (8, 64)
        for dtype in ("bfloat16", "float32", "float16") if largest else ("bfloat16",):
            if time.monotonic() > deadline:
                return
            size = {"bfloat16": 2, "float16": 2, "float32": 4}[dtype]
            volumes = random(batch, side, side, side, channels, dtype=dtype)
            first = random(batch, channels, side, side, side, dtype=dtype)
            kernel = random(3, 3, 3, channels, channels, dtype=dtype)
            work = 2.0 * 27 * channels**2 * batch * side**3
            moved = 2.0 * size * batch * channels * side**3
            name = f"convolution {channels} channels, {batch} x {side}^3"
            tell(name, dtype, convolved, volumes, kernel, operations=work, moved=moved)
            if largest and not (backend == "tensorflow" and small):  # TensorFlow has no such kernel for CPUs
                tell(f"{name}, channels first", dtype, convolved_first, first, kernel, operations=work, moved=moved)
            back = gradient(convolved, backend)
            tell(f"{name}, forward and gradients", dtype, back, volumes, kernel, operations=3 * work, moved=3 * moved)
            if largest:
                tell("normalisation and leaky ReLU of it", dtype, normalised, volumes, kernel, moved=2 * moved)
    side = 16 if small else 96
    volumes, filters = random(batch, side, side, side), ops.convert_to_tensor(plane_filter(side, TiltRange()))
    filters = ops.repeat(filters[None], batch, axis=0)
    tell(f"wedge filter of {batch} x {side}^3", "float32", in_wedge_planes, volumes, filters, moved=8.0 * volumes.size
         if isinstance(volumes, np.ndarray) else 8.0 * batch * side**3)  # fmt: skip
    places = random(3, side**3) * 10 + side / 2

    def sampled(volume, points):
        return ops.image.map_coordinates(volume, points, order=1, fill_mode="nearest")

    tell(f"resampling of {side}^3", "float32", sampled, volumes[0], places, moved=20.0 * side**3)
