"""The scenes that the calibration is made on, and those that it is tested on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import phantom
import phantom_densities
import project
from common import tilt_angles, write_mrc

SHAPE, APIX = (96, 160, 160), 10.0
# name: kind, seed, lowest and highest tilt, SNR, defocus in um, and how many proteins: a share of phantom.py's, or
# copies of each of 6 maps: every second one of the folder (even) or the others (odd)
MADE_ON = {
    "a": ("phantom", 21, -60, 60, 2.0, 0, 1.0),
    "b": ("phantom", 22, -50, 50, 1.0, 0, 1.0),
    "c": ("phantom", 23, -40, 40, 3.0, 0, 0.4),
    "d": ("even", 24, -60, 60, 0.5, 0, 20),
    "e": ("even", 25, -60, 60, 1.5, 3.0, 30),
    "f": ("even", 26, -40, 60, 1.0, 0, 8),
    "g": ("phantom", 27, -60, 60, 0.6, 2.0, 0.3),
    "h": ("even", 28, -50, 50, 3.0, 0, 4),
    "i": ("even", 41, -60, 60, 0.8, 1.5, 10),
    "j": ("phantom", 42, -54, 60, 1.4, 0, 0.6),
    "k": ("even", 43, -40, 40, 1.0, 2.5, 25),
    "l": ("phantom", 44, -48, 48, 0.5, 0, 0.1),
    "m": ("even", 45, -66, 66, 2.0, 4.0, 12),
    "n": ("even", 46, -57, 45, 3.0, 0, 3),
}
TESTED_ON = {
    "t1": ("odd", 31, -60, 60, 1.0, 0, 15),
    "t2": ("odd", 32, -54, 54, 2.5, 2.5, 25),
    "t3": ("phantom", 33, -45, 45, 0.8, 0, 0.7),
    "t4": ("odd", 34, -30, 60, 1.6, 0, 6),
    "t5": ("phantom", 35, -60, 60, 0.7, 3.0, 1.0),
    "t6": ("odd", 36, -40, 40, 0.5, 0, 30),
}


def make(scene: tuple, maps: Path, folder: Path) -> None:
    """Simulate a scene and let the engine correct it."""
    kind, seed, low, high, snr, defocus, proteins = scene
    if (folder / "corrected.mrc").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "phantom":
        truth, slab, _ = phantom.make_phantom(SHAPE, APIX, seed, proteins=proteins)
    else:
        chosen = sorted(maps.glob("*.mrc"))[kind == "odd" :: 2]
        picked = [chosen[number] for number in np.random.default_rng(seed).permutation(13)[:6]]
        truth, slab, _ = phantom_densities.make(picked, SHAPE, APIX, seed, copies=proteins)
    tilts = tilt_angles(low, high, 3)
    tomogram, *_ = project.simulate(truth, APIX, tilts, snr, defocus, seed=seed + 100, outside="mirror")
    for name, volume in (("truth", truth), ("slab", slab), ("in/tomo", -tomogram)):
        write_mrc(folder / f"{name}.mrc", volume, APIX)
    engine = [sys.executable, "-m", "isonet_scipion.engine"]
    limits = ["--tilt_min", str(low), "--tilt_max", str(high), "--pixel_size", str(APIX)]
    subprocess.run([*engine, "prepare_star", "in", *limits], cwd=folder, check=True, capture_output=True)
    predict = [*engine, "predict", "tomograms.star", "builtin", "--report", "False"]
    subprocess.run(predict, cwd=folder, check=True, capture_output=True)
    (folder / "corrected_tomos" / "tomo_corrected.mrc").rename(folder / "corrected.mrc")
