"""The logistic regression from the engine's features to the true correlation."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from common import read_mrc
from scipy.ndimage import map_coordinates
from scipy.optimize import minimize

from calibration.scenes import APIX
from calibration.truth import SIDE, SIDES, in_wedge, true_correlation
from isonet_scipion.engine.measure.confidence import CELL, Calibration, Term, features, local_powers
from isonet_scipion.engine.measure.quality import Evidence
from isonet_scipion.engine.physics.grey_scale import Shown, measure
from isonet_scipion.engine.physics.wedge import TiltRange

WINDOW = 10.0  # voxels: the deviation of the Gaussian that weighs a place as much as a faded box of 48
NAMES = ("filled", "kept", "strength", "covered", "band")
RIDGE = 3e-4


def at(cells: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Values of cells (..., z, y, x) at places in voxels (n, 3): (..., n)."""
    place = (centres / CELL - 0.5).T
    flat = cells.reshape(-1, *cells.shape[-3:])
    values = [map_coordinates(one, place, order=1, mode="nearest") for one in flat]
    return np.array(values).reshape(*cells.shape[:-3], len(centres))


class Scene:
    """A scene's features and truth."""

    def __init__(self, scene: tuple, folder: Path) -> None:
        """Read it; the features come from the engine."""
        _, _, low, high, *_ = scene
        self.tilt = TiltRange(low, high)
        self.truth, self.slab = read_mrc(folder / "truth.mrc")[0], read_mrc(folder / "slab.mrc")[0] > 0
        self.before, self.after = (read_mrc(folder / name)[0] for name in ("in/tomo.mrc", "corrected.mrc"))
        evidence = Evidence(Shown(self.before, measure(-self.before)), self.after, self.tilt, APIX)
        began = time.process_time()
        self.features = features(local_powers(evidence), self.tilt, WINDOW / CELL)
        self.seconds = time.process_time() - began
        self.wedges = in_wedge(self.truth, self.tilt), in_wedge(-self.after, self.tilt)
        self.boxes = {side: true_correlation(*self.wedges, self.slab, side) for side in SIDES}


def fitted(scenes: list[Scene]) -> Calibration:
    """The regression, in which each scene counts the same."""
    rows, wanted, weights = [], [], []
    for scene in scenes:
        centres, bands, _ = scene.boxes[SIDE]
        rows.append(np.stack([at(scene.features[name], centres).ravel() for name in NAMES], axis=1))
        wanted.append(np.clip(bands.T.ravel(), 0, 1))
        weights.append(np.full(bands.size, 1 / (bands.size * len(scenes))))
    x, y, w = (np.concatenate(each) for each in (rows, wanted, weights))
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    z = np.c_[np.ones(len(x)), (x - mean) / deviation]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        told = 1 / (1 + np.exp(-z @ weights))
        error = told - y
        ridge = RIDGE * np.r_[0, weights[1:]]
        return (w * error**2).sum() + ridge @ weights, z.T @ (2 * w * error * told * (1 - told)) + 2 * ridge

    found = minimize(loss, np.zeros(z.shape[1]), jac=True, method="BFGS").x
    terms = {name: Term(*map(float, each)) for name, *each in zip(NAMES, mean, deviation, found[1:])}
    return Calibration(WINDOW, float(found[0]), terms)


def told(scene: Scene, calibration: Calibration) -> np.ndarray:
    """The confidence of the cells."""
    return calibration.correlation({name: scene.features[name] for name in NAMES}).mean(axis=0)
