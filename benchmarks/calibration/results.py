"""What is shown of the results: a figure, and tables in a page."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from calibration.regression import WINDOW, Scene, told
from calibration.scenes import MADE_ON, SHAPE
from calibration.trial import calibration_error
from calibration.truth import EMPTY, SIDE, SIDES
from isonet_scipion.engine.measure.confidence import BANDS, Calibration, Confidence

matplotlib.use("Agg")
from matplotlib import pyplot


def local_truth(scene: Scene) -> np.ndarray:
    """The true correlation of each cell, of the bands together, with the window of the confidence."""
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
