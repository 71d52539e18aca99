"""What each method makes of a tomogram, by the engine's commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from common import read_mrc

from uses.scenes import APIX

if TYPE_CHECKING:
    import numpy as np

# the commands that train each method in its own folder; the builtin model is taken as it is
SHORT = ("--cube_size", "32", "--seed", "1", "--preprocessing_ncpus", "2")
FEW = ("--iterations", "4", "--epochs", "5", "--steps_per_epoch", "20", "--batch_size", "4", "--filter_base", "16")
QUIET = ("--noise_level", "0", "--noise_start_iter", "100", "--seed", "1", "--preprocessing_ncpus", "2")
TRAININGS = {
    "builtin": (),
    "one-pass": (("refine", "tomograms.star", "--method", "one-pass", "--seed", "1"),),
    "from builtin": (("refine", "tomograms.star", "--method", "one-pass", "--pretrained_model", "builtin", *SHORT),),
    "iterative": (
        ("make_mask", "tomograms.star"),
        ("extract", "tomograms.star", "--cube_size", "32", "--crop_size", "56", "--seed", "1"),
        ("refine", "subtomo.star", *FEW, *QUIET),
    ),
}
WITH_HALVES = ("one-pass", "from builtin")


def corrected(folder: Path, method: str, low: float, high: float) -> np.ndarray:
    """What the engine makes of FOLDER/tomo/tomo.mrc in FOLDER/METHOD, unless it is there; protein bright."""
    work = folder / method
    result = work / "corrected_tomos" / "tomo_corrected.mrc"
    if not result.exists():
        work.mkdir(exist_ok=True)
        halves = ["--even_folder", "../even", "--odd_folder", "../odd"] if method in WITH_HALVES else []
        limits = ["--tilt_min", str(low), "--tilt_max", str(high), "--pixel_size", str(APIX), "--number_subtomos", "40"]
        for command in (("prepare_star", "../tomo", *limits, *halves), *TRAININGS[method]):
            engine(work, *command)
        engine(work, "predict", "tomograms.star", output_model(work) if TRAININGS[method] else "builtin")
    return -read_mrc(result)[0]


def engine(folder: Path, *command: str) -> None:
    """Run a command of the engine."""
    subprocess.run([sys.executable, "-m", "isonet_scipion.engine", *command], cwd=folder, check=True)


def output_model(folder: Path) -> str:
    """The model that a training names as its output."""
    last = max((folder / "results").glob("refine_iter*.json"))
    return f"results/model_iter{json.loads(last.read_text())['chosen_iteration']:02d}.keras"
