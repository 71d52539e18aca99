"""What a GPU makes of the network: one command, no network connection, no Scipion, data of its own.

    python benchmarks/gpu.py [--parts kernels,training,stages,scene] [--budget 540] [--write benchmarks/GPU.md]

Each backend that is installed (TensorFlow, JAX, PyTorch) and each part run in a process of their own, which is ended
when its share of the budget (seconds, of the whole command) is used up; what it has measured until then counts.

kernels   Products of matrices, copies, convolutions, Fourier transforms, resampling, in each number format.
training  Steps per second of both methods in float32, bfloat16 and float16, for batches up to the GPU's memory, cubes
          of 64 and 96; on all GPUs too where there are several. "Waits" is what the steps take longer than with one
          ready batch; "busy" is the share of the time in which the GPU computes, as nvidia-smi tells.
stages    `predict` with its report at real size, under a profiler, with the network of each method.
scene     One-pass trained to its end on a small scene whose truth is known, and its score.

To run it on a machine without connection, take along this repository and wheels of what that machine lacks:

    python -m pip download --no-deps --only-binary=:all: -d wheels keras mrcfile namex optree emtable
    python -m pip install --no-index --no-deps --target site wheels/*.whl   # there
    PYTHONPATH=site:. python benchmarks/gpu.py
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np

PARTS = {"kernels": 0.13, "training": 0.45, "stages": 0.27, "scene": 0.15}  # shares of the budget
BACKENDS = {"jax": "jax", "tensorflow": "tensorflow", "torch": "torch"}  # Keras's name and the package's
FORMATS = ("mixed_bfloat16", "float32", "mixed_float16")
COLUMNS = {
    "kernels": ("backend", "kernel", "format", "ms", "TFLOP/s", "GB/s"),
    "training": (
        "backend", "GPUs", "method", "cube", "format", "batch", "steps/s", "cubes/s", "waits", "busy", "TFLOP/s",
        "of peak", "first step s",
    ),
    "stages": ("backend", "what", "seconds", "CPU s", "MiB", "busy", "where the time goes (s)"),
    "scene": ("backend", "what", "seconds", "wedge CC", "wedge CC of the input", "measured CC"),
}  # fmt: skip
# functions whose share of `predict` is told, each with all that it calls
PHASES = {
    "choose_devices": "start", "load_model": "model", "show": "read", "measure": "grey scale",
    "correct_tiles": "network", "_add_blended": "blend", "smooth_planes": "Gaussian", "write_volume": "write",
    "save_comparison": "picture", "write": "report",
}  # fmt: skip
SECONDS_PER_MEASUREMENT = 3.0


class Busy:
    """Share of the time, while it is entered, in which the first GPU computes; nan without nvidia-smi."""

    def __enter__(self) -> Busy:
        self.output = tempfile.TemporaryFile("w+")
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100", "-i", "0"]
        try:
            self.process = subprocess.Popen(query, stdout=self.output, stderr=subprocess.DEVNULL)
        except OSError:
            self.process = None
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    @property
    def share(self) -> float:
        """0 to 1."""
        self.output.seek(0)
        values = [float(line) for line in self.output.read().split() if line.isdigit()]
        return float(np.mean(values)) / 100 if values else float("nan")


def emit(part: str, **cells: object) -> None:
    """Hand a row to the process that makes the table."""
    print("ROW " + json.dumps({"part": part, **cells}), flush=True)


# the parts, in the children


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


def stages(arguments: argparse.Namespace, deadline: float) -> None:
    """`predict` with its report at real size, each in a process of its own."""
    from isonet_scipion.engine.process.device import choose_devices

    backend = choose_devices(arguments.gpus).backend
    from isonet_scipion.engine.io.model_metadata import ModelMetadata
    from isonet_scipion.engine.io.mrc import write_volume
    from isonet_scipion.engine.network.model_file import BUILTIN_FILE, save_model
    from isonet_scipion.engine.network.unet import build_unet
    from isonet_scipion.engine.settings.network import NetworkSettings

    shape = (64, 96, 96) if arguments.small else (400, 1000, 1000)
    slab = np.random.default_rng(0).standard_normal((16, *shape[1:]), dtype=np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_volume(folder / "tomo" / "t.mrc", np.tile(slab, (shape[0] // 16, 1, 1)), 10.0)
        network = NetworkSettings(filter_base=4 if arguments.small else 64)
        save_model(folder / "iterative.keras", build_unet(network), ModelMetadata(network, voxel_size=10.0))
        subprocess.run([*engine(), "prepare_star", "tomo"], cwd=folder, check=True)
        size = "x".join(map(str, shape))
        models = (
            ("one-pass's network", BUILTIN_FILE, ["mixed_bfloat16", "float32"]),
            ("default network", "iterative.keras", ["mixed_bfloat16"]),
        )
        for label, model, formats in models:
            for precision in formats:
                left = deadline - time.monotonic()
                if left < 5:
                    return
                options = ["--precision", precision, *(["--gpuID", arguments.gpus] if arguments.gpus else [])]
                cells = profiled(folder, ["predict", "tomograms.star", str(model), *options], left)
                emit("stages", backend=backend, what=f"predict {size}, {label}, {precision}", **cells)


def engine() -> list[str]:
    """The engine's command."""
    return [sys.executable, "-m", "isonet_scipion.engine"]


def profiled(folder: Path, command: list[str], limit: float) -> dict[str, object]:
    """Cells of a command of the engine: seconds, CPU seconds, MiB, and where the time goes."""
    here = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}
    profile = [sys.executable, "-m", "cProfile", "-o", "profile", "-m", "isonet_scipion.engine"]
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with Busy() as busy, open(folder / "log", "w") as log:
        process = subprocess.Popen([*profile, *command], cwd=folder, env=environment, stdout=log, stderr=log)
        timer = threading.Timer(max(1.0, limit), process.kill)
        timer.start()
        status = process.wait()
        timer.cancel()
    seconds = time.monotonic() - started
    if status:
        tail = (folder / "log").read_text()[-300:]
        return {"seconds": f"ended with {status} after {seconds:.0f} s", "where the time goes (s)": tail}
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    phases = {}
    for (file, _, function), (*_, cumulative, _) in pstats.Stats(str(folder / "profile")).stats.items():
        inside = "isonet_scipion" in file or function == "gaussian_filter"
        if inside and function in PHASES and "star" not in file:
            phases[PHASES[function]] = max(cumulative, phases.get(PHASES[function], 0.0))
    largest = sorted(phases.items(), key=lambda pair: -pair[1])
    return {
        "seconds": seconds, "CPU s": spent, "MiB": after.ru_maxrss // 1024, "busy": busy.share,
        "where the time goes (s)": ", ".join(f"{name} {value:.1f}" for name, value in largest if value >= 0.05),
    }  # fmt: skip


def scene(arguments: argparse.Namespace, deadline: float) -> None:
    """One-pass to its end on a scene whose truth is known."""
    from isonet_scipion.engine.io.mrc import open_volume, write_volume
    from isonet_scipion.engine.io.volume import read_float
    from isonet_scipion.engine.process.device import choose_devices
    from isonet_scipion.engine.simulation.phantom import Example

    backend = choose_devices(arguments.gpus).backend
    example = Example() if arguments.small else Example(shape=(128, 192, 192))
    truth, seen = example.make()
    short = ["--iterations", "1", "--epochs", "1", "--steps_per_epoch", "2"] if arguments.small else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_volume(folder / "tomo" / "t.mrc", seen, example.voxel_size)
        subprocess.run([*engine(), "prepare_star", "tomo"], cwd=folder, check=True)
        subprocess.run([*engine(), "make_mask", "tomograms.star", "--use_deconv_tomo", "False"], cwd=folder, check=True)
        for label, options in (("from builtin", ["--pretrained_model", "builtin"]), ("from scratch", [])):
            started, results = time.monotonic(), folder / label.replace(" ", "_")
            command = [*engine(), "refine", "tomograms.star", "--method", "one-pass", "--seed", "1", *options, *short]
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    [*command, "--result_dir", results], cwd=folder, check=True,
                    timeout=max(1.0, deadline - time.monotonic() - 15),
                )  # fmt: skip
            seconds = time.monotonic() - started
            models = sorted(results.glob("model_iter*.keras"))
            if not models:
                return
            subprocess.run([*engine(), "predict", "tomograms.star", models[-1], "--report", "False"], cwd=folder,
                           check=True)  # fmt: skip
            corrected = read_float(open_volume(folder / "corrected_tomos" / "t_corrected.mrc"))
            facts = {
                "wedge CC": correlation(corrected, truth, example.tilt, False),
                "wedge CC of the input": correlation(seen, truth, example.tilt, False),
                "measured CC": correlation(corrected, truth, example.tilt, True),
            }
            emit("scene", backend=backend, what=f"one-pass {label}, {models[-1].stem}", seconds=seconds, **facts)


def correlation(volume: np.ndarray, truth: np.ndarray, tilt, inside: bool) -> float:
    """Correlation of a tomogram's (protein dark) components with the truth's, inside or outside what was measured."""
    import scipy.fft

    from isonet_scipion.engine.physics.wedge import measured

    kz, kx = scipy.fft.fftfreq(truth.shape[0])[:, None, None], scipy.fft.rfftfreq(truth.shape[2])
    chosen = np.broadcast_to(measured(kz, kx, tilt) > 0, (truth.shape[0], truth.shape[1], len(kx))) == inside
    chosen[0, 0, 0] = False
    one, other = scipy.fft.rfftn(-volume)[chosen], scipy.fft.rfftn(truth)[chosen]
    return float((one * other.conj()).real.sum() / np.sqrt((abs(one) ** 2).sum() * (abs(other) ** 2).sum()))


# the table, in the parent


def child(arguments: argparse.Namespace, backend: str, part: str, gpus: str | None, seconds: float) -> Iterator[dict]:
    """Rows of a part, as its process tells them."""
    command = [sys.executable, __file__, "--child", part, "--budget", str(seconds)]
    command += [*(["--small"] if arguments.small else []), *(["--gpus", gpus] if gpus else [])]
    here = str(Path(__file__).resolve().parent.parent)
    environment = {
        **os.environ, "KERAS_BACKEND": backend, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    timer = threading.Timer(seconds, lambda: os.killpg(process.pid, 9))
    timer.start()
    for line in process.stdout:
        if line.startswith("ROW "):
            yield json.loads(line[4:])
    if process.wait():
        print(f"{backend}, {part}: ended with {process.returncode}", file=sys.stderr, flush=True)
    timer.cancel()


def visible_gpus() -> list[str]:
    """Names of the GPUs that nvidia-smi lists."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []


def cell(value: object) -> str:
    """A value as the table shows it."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return "" if np.isnan(value) or value == 0 else f"{value:.3g}"


def line(row: dict) -> str:
    """A row in Markdown."""
    cells = {**row, **{name: f"{row[name]:.0%}" for name in ("waits", "busy", "of peak") if is_number(row.get(name))}}
    return "| " + " | ".join(cell(cells.get(column)) for column in COLUMNS[row["part"]]) + " |"


def is_number(value: object) -> bool:
    """Whether a cell holds a number."""
    return isinstance(value, float) and not np.isnan(value)


def with_peak(row: dict, rows: list[dict]) -> dict:
    """A training's row with the share of the peak, as the product of matrices in its format measured it."""
    format_ = row.get("format", "").replace("mixed_", "")
    peaks = [
        other["TFLOP/s"] for other in rows
        if other["part"] == "kernels" and other["kernel"].startswith("matrix") and other["format"] == format_
        and is_number(other.get("TFLOP/s"))
    ]  # fmt: skip
    if row["part"] == "training" and peaks and is_number(row.get("TFLOP/s")):
        row["of peak"] = row["TFLOP/s"] / max(peaks) / max(1, row["GPUs"])
    return row


def header(part: str) -> list[str]:
    """Title and head of a part's table."""
    columns = COLUMNS[part]
    return ["", f"## {part.capitalize()}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--backends", help="such as jax,torch; default: the first of JAX, TensorFlow, PyTorch for all "
                        "parts, the others for kernels and training")  # fmt: skip
    parser.add_argument("--budget", type=float, default=540.0, help="seconds, of the whole command")
    parser.add_argument("--gpus", help="numbers such as 0,1; default: the first, and all of them for the training")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the command on a CPU")
    parser.add_argument("--write", type=Path, help="Markdown file to write; the JSON goes beside it")
    parser.add_argument("--child", choices=list(PARTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    started = time.monotonic()
    if arguments.child:
        globals()[arguments.child](arguments, started + 0.95 * arguments.budget)
        return
    gpus, parts = visible_gpus(), arguments.parts.split(",")
    backends = [name for name, package in BACKENDS.items() if importlib.util.find_spec(package)]
    if arguments.backends:
        backends = arguments.backends.split(",")
    if not backends:
        raise SystemExit("Neither TensorFlow nor JAX nor PyTorch is installed.")
    groups = [arguments.gpus] if arguments.gpus or not gpus else ["0"]
    if len(gpus) > 1 and not arguments.gpus:
        groups.append(",".join(map(str, range(len(gpus)))))
    plan = [
        (part, backend, group)
        for part in parts
        for backend in (backends if arguments.backends or part in ("kernels", "training") else backends[:1])
        for group in (groups if part == "training" else groups[:1])
    ]
    weights = [PARTS[part] / (1 + 2 * (backend != backends[0])) for part, backend, _ in plan]
    machine = f"{'; '.join(gpus) or 'no GPU'}; {os.cpu_count()} CPU cores; {', '.join(backends)}"
    lines, rows = ["# Speed on a GPU", "", machine], []
    print("\n".join(lines), flush=True)
    for number, (part, backend, group) in enumerate(plan):
        if number == 0 or part != plan[number - 1][0]:
            lines += header(part)
            print("\n".join(header(part)), flush=True)
        left = arguments.budget - (time.monotonic() - started)
        for row in child(arguments, backend, part, group, max(5.0, left * weights[number] / sum(weights[number:]))):
            rows.append(with_peak(row, rows))
            lines.append(line(row))
            print(lines[-1], flush=True)
    lines += ["", f"`python benchmarks/gpu.py`, {time.monotonic() - started:.0f} seconds in all."]
    print("\n".join(lines[-2:]), flush=True)
    if arguments.write:
        arguments.write.write_text("\n".join(lines) + "\n")
        arguments.write.with_suffix(".json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
