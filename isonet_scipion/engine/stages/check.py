"""check: whether the installation works, shown by a tiny training step and prediction."""

from __future__ import annotations

import platform
import time
from importlib.metadata import PackageNotFoundError, version

import click
import numpy as np

from isonet_scipion import __version__
from isonet_scipion.engine.command import Command
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.network.unet import build_unet, run_network
from isonet_scipion.engine.process.device import choose_devices, free_memory
from isonet_scipion.engine.settings.network import NetworkSettings

PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "torch",
    "keras",
    "numpy",
    "scipy",
    "mrcfile",
    "emtable",
    "imodmodel",
)


def check() -> None:
    """Tell whether the installation works: versions, devices, a tiny training."""
    click.echo(f"isonet_scipion {__version__}, Python {platform.python_version()} on {platform.platform()}")
    for package in PACKAGES:
        try:
            click.echo(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    devices = choose_devices()
    click.echo(f"Keras backend: {devices.backend}")
    for number, name in enumerate(devices.gpus):
        click.echo(f"GPU {number}: {name}")
    where = "memory of GPU 0" if devices.gpus else "main memory (no GPU found: training and prediction take longer)"
    click.echo(f"Free {where}: {free_memory(devices) >> 20} MiB")

    from isonet_scipion.engine.learning.epoch import compile_model

    started = time.monotonic()
    model = build_unet(NetworkSettings(filter_base=4, unet_depth=2))
    compile_model(model, 4e-4)
    cubes = np.random.default_rng(0).random((2, 16, 16, 16, 1), dtype=np.float32)
    loss = float(model.train_on_batch(cubes, cubes))
    predicted = run_network(model, cubes[..., 0])
    if not (np.isfinite(loss) and np.isfinite(predicted).all()):
        raise EngineError("check", f"a training step gave the loss {loss}", "Reinstall the engine's environment.")
    click.echo(f"Training step and prediction work ({time.monotonic() - started:.1f} s).")


COMMANDS = (Command(check),)
