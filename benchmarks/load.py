"""Many tomograms through deconv, make_mask, extract and predict: time, memory and open files from first to last.

    python benchmarks/load.py FOLDER [--tomograms 300] [--filter_base 4]

Needs about 15 MiB of disk space in FOLDER per tomogram. Times are the processor's, between the
outputs' last changes: those of the clock tell of the machine's other work.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.network.model_file import save_model
from isonet_scipion.engine.network.unet import build_unet
from isonet_scipion.engine.settings.network import NetworkSettings

SHAPE = (64, 128, 128)
VOXEL_SIZE = 10.0
AT_EACH_END = 50  # tomograms whose times are compared
# stage: its arguments, and the files of which each tomogram gets one
STAGES = {
    "deconv": (("tomograms.star",), "deconv/*.mrc"),
    "make_mask": (("tomograms.star",), "mask/*.mrc"),
    "extract": (("tomograms.star", "--cube_size=32"), "subtomo/*_000000.mrc"),
    "predict": (("tomograms.star", "model.keras"), "corrected_tomos/*.mrc"),
}


def main() -> None:
    """Make the tomograms, run the stages, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tomograms", type=int, default=300)
    parser.add_argument("--filter_base", type=int, default=4)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    for number in range(options.tomograms):
        tomogram = rng.standard_normal(SHAPE, dtype=np.float32)
        tomogram[20:40, 40:80, 40:80] -= 3
        write_volume(options.folder / "tomoset" / f"TS_{number:03d}.mrc", tomogram, VOXEL_SIZE)
    network = NetworkSettings(filter_base=options.filter_base, unet_depth=2)
    save_model(options.folder / "model.keras", build_unet(network), ModelMetadata(network))
    prepare = ("prepare_star", "tomoset", f"--pixel_size={VOXEL_SIZE}", "--defocus=20000", "--number_subtomos=5")
    run(options.folder, *prepare)
    for stage, (arguments, outputs) in STAGES.items():
        samples = run(options.folder, stage, *arguments)
        when, processor, *rest = np.array(samples).T
        written = sorted(path.stat().st_mtime for path in options.folder.glob(outputs))
        seconds = np.diff(np.interp(written, when, processor))
        first, last = seconds[:AT_EACH_END].mean(), seconds[-AT_EACH_END:].mean()
        memory, files = ([chunk.mean() for chunk in np.array_split(values, 10)[1::8]] for values in rest)
        print(
            f"{stage}: {len(seconds) + 1} tomograms; first {AT_EACH_END} {first:.3f} s, last {last:.3f} s each "
            f"({100 * (last / first - 1):+.0f} %); memory {memory[0]:.0f} -> {memory[1]:.0f} MiB; "
            f"open files {files[0]:.1f} -> {files[1]:.1f}",
            flush=True,
        )


def run(folder: Path, *command: str) -> list[tuple[float, float, float, int]]:
    """Run an engine command; returns time, processor time (s), memory (MiB) and open files, four times a second."""
    process = subprocess.Popen([sys.executable, "-m", "isonet_scipion.engine", *command], cwd=folder)
    watched, samples = psutil.Process(process.pid), []
    while process.poll() is None:
        try:
            used = sum(watched.cpu_times()[:2])
            samples.append((time.time(), used, watched.memory_full_info().uss / 2**20, watched.num_fds()))
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            break
        time.sleep(0.25)
    if process.wait():
        sys.exit(f"{command[0]} failed")
    return samples


if __name__ == "__main__":
    main()
