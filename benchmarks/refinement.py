"""Quality and CPU seconds of a refinement on a simulated tomogram whose truth is known.

    python benchmarks/refinement.py SCENE --out FOLDER [--seed 1] [--tilt-min -60 --tilt-max 60]
                                    [REFINE OPTIONS]

SCENE is a folder with tomo.mrc, gt.mrc, slab_mask.mrc and tilt.tlt, as scenes/make_datasets.py makes it. The settings
are those with which the released IsoNet 0.2 was measured: masks 50/50, 60 subtomograms, cube 32, crop 56, filter_base
16, 8 iterations of 5 epochs of 40 steps of 4 pairs, no noise; prediction with cube 48, crop 80. Further options go to
refine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

SCORER = Path(__file__).resolve().parent / "scenes" / "score.py"
ENGINE = [sys.executable, "-m", "isonet_scipion.engine"]


def engine(folder: Path, *arguments: object) -> float:
    """Run a command of the engine; returns its CPU seconds."""
    process = subprocess.Popen([*ENGINE, *map(str, arguments)], cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arguments[0]} failed")
    return usage.ru_utime + usage.ru_stime


def run(scene: Path, out: Path, seed: int, tilt: tuple[float, float], options: list[str]) -> dict[str, float]:
    """Run the chain; returns the CPU seconds of its stages."""
    (out / "tomoset").mkdir(parents=True, exist_ok=True)
    link = out / "tomoset" / "tomo.mrc"
    if not link.exists():
        link.symlink_to(scene / "tomo.mrc")
    tilts = ("--tilt_min", tilt[0], "--tilt_max", tilt[1])
    training = ("--filter_base", 16, "--iterations", 8, "--epochs", 5, "--steps_per_epoch", 40, "--batch_size", 4)
    quiet = ("--noise_level", 0, "--noise_start_iter", 100, "--remove_intermediate", True, "--seed", seed)
    commands = {
        "prepare_star": ("tomoset", "--pixel_size", 10, "--number_subtomos", 60, *tilts),
        "make_mask": ("tomograms.star", "--density_percentage", 50, "--std_percentage", 50),
        "extract": ("tomograms.star", "--cube_size", 32, "--crop_size", 56, "--seed", seed),
        "refine": ("subtomo.star", *training, *quiet, "--preprocessing_ncpus", 2, *options),
        "predict": ("tomograms.star", "results/model_iter08.keras", "--cube_size", 48, "--crop_size", 80),
    }
    return {name: engine(out, name, *arguments) for name, arguments in commands.items()}


def score(scene: Path, out: Path) -> dict:
    """The benchmark's scores of the corrected tomogram."""
    files = {"--gt": scene / "gt.mrc", "--input": scene / "tomo.mrc", "--mask": scene / "slab_mask.mrc"}
    files |= {"--tlt": scene / "tilt.tlt", "--corrected": out / "corrected_tomos" / "tomo_corrected.mrc"}
    arguments = [str(part) for pair in files.items() for part in pair]
    subprocess.run([sys.executable, SCORER, *arguments, "--json", out / "scores.json"], check=True)
    return json.loads((out / "scores.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tilt-min", type=float, default=-60)
    parser.add_argument("--tilt-max", type=float, default=60)
    arguments, options = parser.parse_known_args()
    scene, out = arguments.scene.resolve(), arguments.out.resolve()
    seconds = run(scene, out, arguments.seed, (arguments.tilt_min, arguments.tilt_max), options)
    score(scene, out)
    print("CPU seconds:", {name: round(value) for name, value in seconds.items()})


if __name__ == "__main__":
    main()
