"""How well the confidence tells the truth: of scenes, of scenes left out, of trained models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from common import read_mrc
from scipy.ndimage import map_coordinates
from scipy.stats import spearmanr

from calibration.regression import Scene, at, fitted, told
from calibration.truth import SIDES, in_wedge, true_correlation
from isonet_scipion.engine.physics.wedge import TiltRange

if TYPE_CHECKING:
    from isonet_scipion.engine.measure.confidence import Calibration


def calibration_error(values: np.ndarray, truth: np.ndarray, bins: int = 10) -> float:
    """Mean distance of confidence and truth over bins of as many boxes."""
    parts = np.array_split(np.argsort(values), bins)
    return float(np.average([abs(values[p].mean() - truth[p].mean()) for p in parts], weights=[len(p) for p in parts]))


def tested(scenes: dict[str, Scene], calibration: Calibration) -> dict:
    """Rank correlation and calibration error over all boxes of some scenes, and of each scene."""
    result: dict = {}
    for side in SIDES:
        pairs = {}
        for name, scene in scenes.items():
            centres, _, whole = scene.boxes[side]
            pairs[name] = at(told(scene, calibration), centres), whole
        values, truth = (np.concatenate(each) for each in zip(*pairs.values()))
        result[side] = {
            "boxes": len(values),
            "spearman": float(spearmanr(values, truth).statistic),
            "calibration_error": calibration_error(values, truth),
            "by_scene": {
                name: {
                    "spearman": float(spearmanr(*pair).statistic),
                    "confidence": float(pair[0].mean()),
                    "truth": float(pair[1].mean()),
                }
                for name, pair in pairs.items()
            },
            "pairs": pairs,
        }
    return result


def of_training(folder: Path) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Confidence and true correlation of boxes of each side, of a training's last model on its own tomogram."""
    corrected = folder / "corrected_tomos" / "tomo_corrected.mrc"
    volume = corrected.with_name("tomo_corrected_confidence.mrc")
    if not volume.exists():
        model = max((folder / "results").glob("model_iter*.keras"))
        options = ["tomograms.star", str(model.resolve()), "--confidence", "True", "--report", "False"]
        predict = [sys.executable, "-m", "isonet_scipion.engine", "predict", *options]
        subprocess.run(predict, cwd=folder, check=True, capture_output=True)
    tilts = np.loadtxt(folder / "scene" / "tilt.tlt")
    tilt = TiltRange(tilts.min(), tilts.max())
    truth, filled = in_wedge(read_mrc(folder / "scene/gt.mrc")[0], tilt), in_wedge(-read_mrc(corrected)[0], tilt)
    slab, told_there = read_mrc(folder / "scene/slab_mask.mrc")[0] > 0, read_mrc(volume)[0]
    result = {}
    for side in SIDES:
        centres, _, whole = true_correlation(truth, filled, slab, side)
        result[side] = map_coordinates(told_there, (centres - 0.5).T, order=1), whole
    return result


def left_out(scenes: dict[str, Scene]) -> dict:
    """As `tested`, each scene by a calibration that is made on the others."""
    pairs: dict = {side: [] for side in SIDES}
    for name, scene in scenes.items():
        calibration = fitted([other for key, other in scenes.items() if key != name])
        for side in SIDES:
            centres, _, whole = scene.boxes[side]
            pairs[side].append((at(told(scene, calibration), centres), whole))
    joined = {side: [np.concatenate(each) for each in zip(*pairs[side])] for side in SIDES}
    return {
        side: {"spearman": float(spearmanr(*pair).statistic), "calibration_error": calibration_error(*pair)}
        for side, pair in joined.items()
    }
