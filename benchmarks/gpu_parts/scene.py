"""One-pass to its end on a scene whose truth is known."""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from gpu_parts.engine import engine
from gpu_parts.rows import emit


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
