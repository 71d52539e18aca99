"""The calibration of the confidence volume: made on simulated scenes, tested on others.

    python benchmarks/confidence.py --maps FOLDER --out FOLDER [--trained FOLDER...] [--write]

Scenes (membranes and filaments with proteins that are sums of Gaussians, or maps of the folder, .mrc at 10 A) of other
seeds, SNRs, tilt ranges and defoci are simulated and corrected by the builtin model; a logistic regression from the
engine's features to the true correlation in the missing wedge is made on one part of them and tested on the other,
which has other maps. FOLDER gets the scenes (what is there is not made again), confidence.json and confidence.png;
--write replaces the engine's calibration, and the tables and picture in benchmarks. Each folder after --trained is one
of restoration.py: the confidence volume that the engine writes with the training's last model is compared with the
scene's truth.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import matplotlib
import numpy as np
from scipy import fft
from scipy.ndimage import map_coordinates
from scipy.optimize import minimize
from scipy.stats import spearmanr

from isonet_scipion.engine.io.confidence_file import CALIBRATION
from isonet_scipion.engine.measure.confidence import BANDS, CELL, Calibration, Confidence, Term, features, local_powers
from isonet_scipion.engine.measure.quality import Evidence
from isonet_scipion.engine.physics.grey_scale import Shown, measure
from isonet_scipion.engine.physics.wedge import TiltRange, measured

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "scenes"))

import phantom  # noqa: E402
import phantom_densities  # noqa: E402
import project  # noqa: E402
from common import read_mrc, tilt_angles, write_mrc  # noqa: E402

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

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
SIDE, SIDES, STEP = 48, (32, 48, 64), 16  # voxels: of the boxes that it is made on, and tested on; between boxes
WINDOW = 10.0  # voxels: the deviation of the Gaussian that weighs a place as much as a faded box of 48
NAMES = ("filled", "kept", "strength", "covered", "band")
RIDGE = 3e-4
EMPTY = 0.02  # of the scene's mean power: truth and filling count as at least that, so that empty boxes come to 0


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


# ---------------------------------------------------------------- truth


def in_wedge(volume: np.ndarray, tilt: TiltRange) -> np.ndarray:
    """What of a volume lies in the missing wedge."""
    kz, kx = fft.fftfreq(len(volume))[:, None, None], fft.rfftfreq(volume.shape[2])[None, None]
    spectrum = fft.rfftn(volume - volume.mean()) * ~measured(kz, kx, tilt)
    return fft.irfftn(spectrum, volume.shape).astype(np.float32)


def true_correlation(truth: np.ndarray, filled: np.ndarray, slab: np.ndarray, side: int) -> tuple:
    """Of boxes of a volume: centres in voxels (n, 3), correlation by band (n, bands) and over all shells (n,).

    Parameters
    ----------
    truth, filled : ndarray
        What lies in the missing wedge, in truth and after the correction.
    slab : ndarray of bool
        Where the sample is; boxes hold at least 30 % of it.
    side : int
        Of the boxes, which fade towards their faces.
    """
    place = (np.arange(side) + 0.5) / side
    taper = np.sin(np.pi / 2 * np.clip(4 * np.minimum(place, 1 - place), 0, 1)) ** 2
    window = (taper[:, None, None] * taper[:, None] * taper).astype(np.float32)
    k = fft.fftfreq(side, 1 / side)
    kx = fft.rfftfreq(side, 1 / side)
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + kx**2)).astype(int).ravel()
    twice = np.broadcast_to(np.where((kx > 0) & (kx < side / 2), 2.0, 1.0), (side, side, len(kx))).ravel()
    count = side // 2 + 1
    centres, sums = [], []
    starts = [np.linspace(0, n - side, round((n - side) / STEP) + 1).round().astype(int) for n in truth.shape]
    for corner in itertools.product(*(np.unique(axis) for axis in starts)):
        box = tuple(slice(start, start + side) for start in corner)
        if slab[box].mean() < 0.3:
            continue
        a, b = (fft.rfftn((one[box] - one[box].mean()) * window).ravel() for one in (truth, filled))
        values = ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)
        sums.append([np.bincount(shell, twice * value, 2 * count)[:count] for value in values])
        centres.append([start + side / 2 for start in corner])
    cross, *powers = np.array(sums).swapaxes(0, 1)
    powers = [np.maximum(power, EMPTY * power.mean(axis=0)) for power in powers]
    curve = cross / np.sqrt(powers[0] * powers[1] + 1e-20)
    fraction = np.arange(count) / (side // 2)
    bands = [curve[:, (fraction >= a) & (fraction < b)].mean(axis=1) for a, b in zip(BANDS[:-1], BANDS[1:])]
    whole = curve[:, (fraction >= BANDS[0]) & (fraction <= BANDS[-1])].mean(axis=1)
    return np.array(centres), np.stack(bands, axis=1), whole


# ---------------------------------------------------------------- the regression


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


# ---------------------------------------------------------------- what is shown


def local_truth(scene: Scene) -> np.ndarray:
    """The true correlation of each cell, of the bands together, with the window of the confidence."""
    from scipy.ndimage import gaussian_filter

    spectra = [fft.rfftn(one) for one in scene.wedges]
    k = [2 * fft.fftfreq(n) for n in SHAPE]
    radius = np.sqrt(k[0][:, None, None] ** 2 + k[1][:, None] ** 2 + (2 * fft.rfftfreq(SHAPE[2])) ** 2)
    total = np.zeros(SHAPE, np.float32)
    for low, high in zip(BANDS[:-1], BANDS[1:]):
        a, b = (fft.irfftn(one * ((radius >= low) & (radius < high)), SHAPE) for one in spectra)
        cross, first, second = (gaussian_filter(v, WINDOW) for v in (a * b, a * a, b * b))
        first, second = (np.maximum(one, EMPTY * one[scene.slab].mean()) for one in (first, second))
        total += cross / np.sqrt(first * second)
    return total / (len(BANDS) - 1)


def draw(scenes: dict[str, Scene], calibration: Calibration, results: dict, path: Path) -> None:
    """Scatter plots, and slices of one scene with confidence, truth and error."""
    figure = pyplot.figure(figsize=(16, 12), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1, 1.15])
    for panel, side in zip(above.subplots(1, len(SIDES)), SIDES):
        found = results[side]
        for name, (values, truth) in found["pairs"].items():
            panel.plot(values, truth, ".", markersize=3, label=f"{name}: {found['by_scene'][name]['spearman']:.2f}")
        panel.plot([0, 1], [0, 1], color="0.7", zorder=0)
        panel.set(xlabel="confidence", ylabel="true wedge correlation", xlim=(0, 1), ylim=(-0.1, 1))
        error = found["calibration_error"]
        panel.set_title(f"boxes of {side}: rank correlation {found['spearman']:.2f}, calibration error {error:.2f}")
        panel.legend(title="scene: rank correlation", markerscale=4)
    name = next(iter(scenes))
    scene = scenes[name]
    volume = np.stack(list(Confidence(told(scene, calibration).astype(np.float32), SHAPE).planes()))
    truth = local_truth(scene)
    rows = below.subplots(2, 5)
    for row, cut, plane in zip(rows, ((SHAPE[0] // 2,), (slice(None), SHAPE[1] // 2)), ("xy", "xz")):
        for panel, (title, one) in zip(row, (("before", scene.before), ("after", scene.after))):
            low, high = np.percentile(one[cut], (1, 99))
            panel.imshow(one[cut], cmap="gray", vmin=low, vmax=high, origin="lower")
            panel.set_title(f"{name}, {plane}: {title}")
        for panel, (title, one) in zip(row[2:4], (("confidence", volume), ("truth", truth))):
            shown = panel.imshow(one[cut], cmap="RdYlGn", vmin=0, vmax=1, origin="lower")
            panel.set_title(title)
        error = row[4].imshow((volume - truth)[cut], cmap="PuOr", vmin=-0.5, vmax=0.5, origin="lower")
        row[4].set_title("confidence - truth")
    for panel in rows.ravel():
        panel.set(xticks=[], yticks=[])
    below.colorbar(shown, ax=rows[:, 3], shrink=0.6)
    below.colorbar(error, ax=rows[:, 4], shrink=0.6)
    figure.savefig(path, dpi=75)


def tables(results: dict, others: dict, scenes: dict[str, tuple]) -> list[str]:
    """The test in Markdown."""
    lines = ["| scenes | boxes | rank correlation | calibration error |", "|---|---|---|---|"]
    for side in SIDES:
        found = results[side]
        numbers = f"{found['spearman']:.2f} | {found['calibration_error']:.3f}"
        lines.append(f"| the {len(scenes)} not used | {found['boxes']} of {side}^3 | {numbers} |")
        numbers = f"{others[side]['spearman']:.2f} | {others[side]['calibration_error']:.3f}"
        lines.append(f"| the {len(MADE_ON)} used, each left out in turn | {side}^3 | {numbers} |")
    by_scene = ["| scene | tilts | SNR | defocus, µm | rank correlation in 64^3 | confidence | truth |"]
    by_scene.append("|---|---|---|---|---|---|---|")
    for name, (kind, _, low, high, snr, defocus, _) in scenes.items():
        found = results[SIDES[-1]]["by_scene"][name]
        numbers = " | ".join(f"{found[key]:.2f}" for key in ("spearman", "confidence", "truth"))
        by_scene.append(f"| {name} ({kind}) | {low}..{high} | {snr} | {defocus} | {numbers} |")
    return ["\n".join(lines), "\n".join(by_scene)]


def table_of_trainings(trainings: dict[str, dict[int, tuple[np.ndarray, np.ndarray]]]) -> str:
    """The same of trained models, each on its own tomogram, and of all together."""
    sides = " | ".join(f"rank correlation in {side}^3" for side in SIDES)
    lines = [f"| training | {sides} | confidence | truth | calibration error in 48^3 |", "|---" * 7 + "|"]
    together = {side: tuple(map(np.concatenate, zip(*(one[side] for one in trainings.values())))) for side in SIDES}
    for name, pairs in {**trainings, "all": together}.items():
        ranks = " | ".join(f"{spearmanr(*pairs[side]).statistic:.2f}" for side in SIDES)
        values, truth = pairs[SIDE]
        numbers = f"{values.mean():.2f} | {truth.mean():.2f} | {calibration_error(values, truth):.3f}"
        lines.append(f"| {name} | {ranks} | {numbers} |")
    return "\n".join(lines)


def put(text: str, one: str) -> str:
    """A page with a table in the place of the one that has its heading."""
    head, _, rest = text.partition(one.partition("\n")[0])
    return f"{head}{one}\n\n" + rest.partition("\n\n")[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="folder of proteins' maps at 10 A")
    parser.add_argument("--out", type=Path, default=Path("confidence"))
    parser.add_argument("--trained", type=Path, nargs="*", default=[], help="folders of restoration.py")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    made: dict[str, Scene] = {}
    for name, scene in {**MADE_ON, **TESTED_ON}.items():
        make(scene, arguments.maps, arguments.out / name)
        made[name] = Scene(scene, arguments.out / name)
        print(f"{name}: features in {1e6 * made[name].seconds / np.prod(SHAPE):.2f} us a voxel", flush=True)
    ours = {name: made[name] for name in MADE_ON}
    others = {name: made[name] for name in TESTED_ON}
    calibration = fitted(list(ours.values()))
    results = tested(others, calibration)
    content = {
        "window": calibration.window,
        "intercept": calibration.intercept,
        "terms": {name: term._asdict() for name, term in calibration.terms.items()},
    }
    found = tables(results, left_out(ours), TESTED_ON)
    (arguments.out / "confidence.json").write_text(json.dumps(content, indent=1) + "\n")
    draw(others, calibration, results, arguments.out / "confidence.png")
    if arguments.write:
        CALIBRATION.write_text(json.dumps(content, indent=1) + "\n")  # which the trained models' confidence uses too
    if arguments.trained:
        found.append(table_of_trainings({folder.name: of_training(folder) for folder in arguments.trained}))
    print("\n\n".join(found))
    if arguments.write:
        (HERE / "confidence.png").write_bytes((arguments.out / "confidence.png").read_bytes())
        page = HERE / "CONFIDENCE.md"
        text = page.read_text(encoding="utf-8")
        for one in found:
            text = put(text, one)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
