"""`predict` with its report at real size, each in a process of its own, under a profiler."""

from __future__ import annotations

import argparse
import pstats
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from gpu_parts.busy import Busy
from gpu_parts.engine import engine
from gpu_parts.rows import emit

# functions whose share of `predict` is told, each with all that it calls
PHASES = {
    "choose_devices": "start", "load_model": "model", "show": "read", "measure": "grey scale",
    "correct_tiles": "network", "_add_blended": "blend", "smooth_planes": "Gaussian", "write_volume": "write",
    "save_comparison": "picture", "write": "report",
}  # fmt: skip


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


def profiled(folder: Path, command: list[str], limit: float) -> dict[str, object]:
    """Cells of a command of the engine: seconds, CPU seconds, MiB, and where the time goes."""
    profile = [sys.executable, "-m", "cProfile", "-o", "profile", "-m", "isonet_scipion.engine"]
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with Busy() as busy, open(folder / "log", "w") as log:
        process = subprocess.Popen([*profile, *command], cwd=folder, stdout=log, stderr=log)
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
