"""What a correction is good for: picking, segmenting and averaging before and after it, on scenes with known truth.

    python benchmarks/usefulness.py --maps FOLDER --out FOLDER [--methods builtin one-pass iterative]
                                    [--scenes SCENE...] [--write docs]

Scenes of protein maps (.mrc, 10 A; three of them are picked), membranes and decoys are simulated, corrected by each
method, and used as tomograms are: (a) particles are picked by normalised correlation with their maps, (b) membranes are
segmented by the eigenvalues of the Hessian, (c) subtomograms are averaged, and the resolution that two half sets claim
is compared with the truth. FOLDER gets usefulness.json, to which each call adds: what is there is not made again.
--write also replaces the table and the picture in that folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from scipy import fft
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "scenes"))

import project  # noqa: E402
from common import read_mrc, tilt_angles, write_mrc  # noqa: E402
from geometry import random_rotation  # noqa: E402
from objects import add_sheet, add_vesicle  # noqa: E402
from phantom_densities import prepared  # noqa: E402
from scene import SOLID, Scene  # noqa: E402

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

SHAPE, APIX = (96, 192, 192), 10.0
PICKED = {"4v4r": 26, "2uv8": 14, "3cf3": 26}  # copies; the builtin model has seen none of the three
DECOYS = ("1s3x", "2cg9", "3d2f", "3qm1", "6pxm")
SHEETS = ((0, "flat"), (12, "curved"), (45, "flat"), (75, "curved"), (80, "flat"))  # degrees of the normal from z
# name: seed, lowest and highest tilt, SNR, defocus in um
SCENES = {
    "SNR 2": (51, -60, 60, 2.0, 0.0),
    "SNR 0.7, 3 µm": (52, -60, 60, 0.7, 3.0),
    "±45°, SNR 1": (53, -45, 45, 1.0, 0.0),
}
# the commands that train each method in its own folder; the builtin model is taken as it is
SHORT = ("--cube_size", "32", "--seed", "1", "--preprocessing_ncpus", "2")
FEW = ("--iterations", "4", "--epochs", "5", "--steps_per_epoch", "20", "--batch_size", "4", "--filter_base", "16")
QUIET = ("--noise_level", "0", "--noise_start_iter", "100", "--seed", "1", "--preprocessing_ncpus", "2")
TRAININGS = {
    "builtin": (),
    "one-pass": (("refine", "tomograms.star", "--method", "one-pass", "--pretrained_model", "builtin", *SHORT),),
    "iterative": (
        ("make_mask", "tomograms.star"),
        ("extract", "tomograms.star", "--cube_size", "32", "--crop_size", "56", "--seed", "1"),
        ("refine", "subtomo.star", *FEW, *QUIET),
    ),
}
WITH_HALVES = ("one-pass",)
ORIENTATIONS = 500  # some 30 degrees apart
TOLERANCE = 0.5  # of a particle's radius, between a peak and the truth
SCALES = (1.5, 2.0, 3.0)  # voxels: deviations of the Gaussians before the Hessian; the best counts
AVERAGED, SIDE = "4v4r", 40  # species, and side in voxels of its subtomograms
BEFORE, TRUTH = "before", "truth"
COLORS = {
    BEFORE: "tab:gray",
    "builtin": "tab:blue",
    "one-pass": "tab:orange",
    "iterative": "tab:red",
    TRUTH: "tab:green",
}


@dataclass
class Truth:
    """What a scene holds."""

    density: np.ndarray  # (z, y, x), protein bright
    slab: np.ndarray  # bool
    membrane: np.ndarray  # (z, y, x), the density of membranes alone
    particles: dict[str, list[tuple[np.ndarray, np.ndarray]]]  # species: centre in voxels (z, y, x), rotation
    maps: dict[str, np.ndarray]


# ---------------------------------------------------------------- scenes


def make_truth(maps: Path, seed: int) -> Truth:
    """Membranes, then the particles that are picked, then decoys, in a slab of ice."""
    rng = np.random.default_rng(seed)
    thick = int(0.78 * SHAPE[0])
    first = (SHAPE[0] - thick) // 2
    scene = Scene(SHAPE, APIX, (first, first + thick), rng)
    for tilt, kind in SHEETS:
        add_sheet(scene, tilt, kind)
    for _ in range(2):
        add_vesicle(scene)
    membrane = scene.volume.copy()
    library = {name: prepared(maps / f"{name}.mrc", APIX) for name in (*PICKED, *DECOYS)}
    particles: dict[str, list] = {name: [] for name in PICKED}
    for name, data in library.items():
        for _ in range(PICKED.get(name, 12)):
            rotation = random_rotation(rng)
            patch = rotated(data, rotation)
            for _ in range(25):
                corner = np.round(scene.random_centre(0.4 * len(patch) * APIX) / APIX).astype(int) - len(patch) // 2
                if scene.place(patch, corner):
                    if name in particles:
                        particles[name].append((corner + (len(patch) - 1) / 2, rotation))
                    break
    slab = np.zeros(SHAPE, bool)
    slab[first : first + thick] = True
    return Truth(scene.volume, slab, membrane, particles, {name: library[name] for name in PICKED})


def rotated(data: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """A map turned about its centre, in the same cube."""
    centre = (np.array(data.shape) - 1) / 2
    return ndi.affine_transform(data, rotation, centre - rotation @ centre, order=1)


def simulated(scene: str, truth: Truth, folder: Path) -> np.ndarray:
    """The tomogram of a scene, protein bright; it and its halves are written into folders in FOLDER, unless there."""
    seed, low, high, snr, defocus = SCENES[scene]
    names = ("tomo", "even", "odd")
    if not all((folder / name / "tomo.mrc").exists() for name in names):
        made = project.simulate(
            truth.density, APIX, tilt_angles(low, high, 3), snr, defocus, seed=seed, outside="mirror"
        )
        for name, volume in zip(names, made):
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_mrc(folder / name / "tomo.mrc", -volume, APIX)
    return -read_mrc(folder / "tomo" / "tomo.mrc")[0]


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


# ---------------------------------------------------------------- Fourier space


def frequencies(shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """kz, ky, kx in cycles per voxel."""
    return fft.fftfreq(shape[0])[:, None, None], fft.fftfreq(shape[1])[None, :, None], fft.rfftfreq(shape[2])


def measured(shape: tuple[int, ...], tilts: tuple[float, float]) -> np.ndarray:
    """Where a tilt range measures."""
    kz, _, kx = frequencies(shape)
    angle = np.degrees(np.arctan2(kz, np.maximum(kx, 1e-9)))
    inside = ((angle >= tilts[0]) & (angle <= tilts[1])) | ((kx == 0) & (kz == 0))
    return np.broadcast_to(inside, (shape[0], shape[1], shape[2] // 2 + 1))


def halved(volume: np.ndarray) -> np.ndarray:
    """Half as many voxels along each axis, by cutting the Fourier transform."""
    spectrum = fft.fftshift(fft.fftn(volume))
    quarters = [n // 4 for n in volume.shape]
    inner = spectrum[tuple(slice(q, n - q) for q, n in zip(quarters, volume.shape))]
    return fft.ifftn(fft.ifftshift(inner)).real.astype(np.float32) / 8


# ---------------------------------------------------------------- (a) picking


def orientations(count: int) -> np.ndarray:
    """Rotation matrices, evenly spread (the super-Fibonacci spiral of Alexa 2022)."""
    place = np.arange(count) + 0.5
    radius = np.sqrt(place / count)
    turns = 2 * np.pi * place[:, None] / np.array([np.sqrt(2), 1.533751168755204288118041])
    first, second = np.sqrt(1 - radius**2), radius
    quaternions = np.stack(
        [
            second * np.sin(turns[:, 0]),
            second * np.cos(turns[:, 0]),
            first * np.sin(turns[:, 1]),
            first * np.cos(turns[:, 1]),
        ],
        axis=1,
    )
    return Rotation.from_quat(quaternions).as_matrix()


def correlation_map(volume: np.ndarray, template: np.ndarray, tilts: tuple[float, float] | None) -> np.ndarray:
    """The highest normalised correlation with a template over all orientations, for each voxel.

    With a tilt range the template gets the tomogram's missing wedge, as programs for picking do.
    """
    side = len(template)
    grid = np.indices((side,) * 3) - (side - 1) / 2
    mask = (np.sqrt((grid**2).sum(axis=0)) <= (side - 1) / 2).astype(np.float32)
    inside = mask.sum()
    shape = volume.shape
    spectrum = fft.rfftn(volume)
    ball = fft.rfftn(mask, shape).conj()
    mean = fft.irfftn(spectrum * ball, shape) / inside
    square = fft.irfftn(fft.rfftn(volume**2) * ball, shape) / inside
    deviation = np.sqrt(np.maximum(square - mean**2, 1e-3 * volume.var()))
    passed = None if tilts is None else measured(template.shape, tilts)
    best = np.full(shape, -1, np.float32)
    for rotation in orientations(ORIENTATIONS):
        turned = rotated(template, rotation)
        if passed is not None:
            turned = fft.irfftn(fft.rfftn(turned) * passed, turned.shape)
        turned = (turned - (turned * mask).sum() / inside) * mask
        turned /= np.sqrt((turned**2).sum() / inside)
        product = fft.irfftn(spectrum * fft.rfftn(turned, shape).conj(), shape) / inside
        np.maximum(best, product / deviation, out=best)
    # from the corner of the template to its centre
    return np.roll(best, [side // 2] * 3, axis=(0, 1, 2))


def peaks(scores: np.ndarray, radius: float, slab: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (n, 3) and scores of the highest maxima, at least a radius apart, best first."""
    reach = int(radius)
    top = (scores == ndi.maximum_filter(scores, size=2 * reach + 1)) & slab
    places = np.argwhere(top)
    order = np.argsort(-scores[top])[:most]
    return places[order], scores[top][order]


def precision_recall(found: np.ndarray, true: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of the first n found places, for all n; each true place counts once."""
    left, hits = np.ones(len(true), bool), []
    for place in found:
        distance = np.where(left, np.linalg.norm(true - place, axis=1), np.inf)
        nearest = distance.argmin()
        hits.append(distance[nearest] <= tolerance)
        left[nearest] &= not hits[-1]
    right = np.cumsum(hits)
    return right / np.arange(1, len(found) + 1), right / len(true)


def picking(truth: Truth, volume: np.ndarray, tilts: tuple[float, float] | None) -> dict:
    """F1 at the best threshold and average precision, of each species; tilts: of a tomogram with a missing wedge."""
    small = halved(volume)
    slab = truth.slab[::2, ::2, ::2]
    result: dict = {}
    for name, data in truth.maps.items():
        template = halved(np.pad(data, [(0, -len(data) % 4)] * 3))
        solid = np.argwhere(data > 0.3) - (np.array(data.shape) - 1) / 2
        radius = np.percentile(np.linalg.norm(solid, axis=1), 95) / 2  # in voxels of the smaller volume
        true = np.array([centre for centre, _ in truth.particles[name]]) / 2
        found, _ = peaks(correlation_map(small, template, tilts), radius, slab, 4 * len(true))
        precision, recall = precision_recall(found, true, max(2.0, TOLERANCE * radius))
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        step = np.diff(recall, prepend=0)
        result[name] = {
            "particles": len(true),
            "F1": float(f1.max()),
            "average_precision": float((precision * step).sum()),
            "precision": precision.tolist(),
            "recall": recall.tolist(),
        }
    return result


# ---------------------------------------------------------------- (b) membranes


def sheets(volume: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """How much each place looks like a bright sheet, and the axis (0 z, 1 y, 2 x) that its normal is nearest to."""
    gradient = np.gradient(ndi.gaussian_filter(volume, scale))
    second = {(row, column): np.gradient(gradient[row], axis=column) for row in range(3) for column in range(row, 3)}
    curved = second[0, 0] + second[1, 1] + second[2, 2]
    # a fifth of the volume holds all that can be a sheet, and eigenvalues take time
    likely = curved < np.quantile(curved, 0.2)
    hessian = np.empty((likely.sum(), 3, 3), np.float32)
    for (row, column), values in second.items():
        hessian[:, row, column] = hessian[:, column, row] = values[likely]
    values, vectors = np.linalg.eigh(hessian)
    strength, axis = np.zeros(volume.shape, np.float32), np.zeros(volume.shape, int)
    strength[likely] = np.maximum(-values[:, 0] - np.abs(values[:, 1:]).max(axis=-1), 0)
    axis[likely] = np.abs(vectors[:, :, 0]).argmax(axis=-1)
    return strength, axis


def membranes(truth: Truth, volume: np.ndarray) -> dict:
    """Intersection over union of the segmented and the true membranes: all, and those whose normal is nearest x, y, z.

    The threshold, and the scale of the filter, are those that are best for the tomogram as a whole.
    """
    real = ndi.gaussian_filter(truth.membrane, 2.0)
    true = (real > 0.3 * np.percentile(real[truth.membrane > SOLID], 50)) & truth.slab
    _, normal = sheets(truth.membrane, 2.5)
    near = ndi.binary_dilation(true, iterations=2)
    best: dict = {"IoU": -1.0}
    for scale in SCALES:
        strength, axis = sheets(volume, scale)
        for share in np.geomspace(0.2, 4, 14):
            limit = np.sort(strength[truth.slab])[-int(share * true.sum()) - 1]
            chosen = (strength > limit) & truth.slab
            whole = float((chosen & true).sum() / (chosen | true).sum())
            if whole > best["IoU"]:
                # a segmented voxel off the membranes counts for the axis of its own normal
                own = np.where(near, normal, axis)
                by_axis = {
                    name: float((chosen & true & (own == number)).sum() / ((chosen | true) & (own == number)).sum())
                    for number, name in enumerate("zyx")
                }
                found = {
                    name: float((chosen & true & (normal == number)).sum() / (true & (normal == number)).sum())
                    for number, name in enumerate("zyx")
                }
                best = {"IoU": whole, "by_axis": by_axis, "found": found, "scale": scale}
    return best


# ---------------------------------------------------------------- (c) averages


def boxes(volume: np.ndarray, truth: Truth, tilts: tuple[float, float] | None) -> tuple[np.ndarray, np.ndarray]:
    """Spectra (n, ...) of the subtomograms, turned to the map's orientation, and what each of them measured."""
    spectra, weights = [], []
    half = SIDE // 2
    middle = (SIDE - 1) / 2
    passed = None if tilts is None else fft.fftshift(np.where(full_measured(SIDE, tilts), 1.0, 0.0))
    for centre, rotation in truth.particles[AVERAGED]:
        back = rotation.T  # a voxel u of the map is at centre + back @ (u - middle)
        turned = ndi.affine_transform(volume, back, centre - back @ np.full(3, middle), (SIDE,) * 3, order=3)
        spectra.append(fft.fftshift(fft.fftn(turned - turned.mean())))
        if passed is None:
            weights.append(np.ones((SIDE,) * 3))
        else:
            weights.append(ndi.affine_transform(passed, back, half - back @ np.full(3, half), order=0))
    return np.array(spectra), np.array(weights)


def full_measured(side: int, tilts: tuple[float, float]) -> np.ndarray:
    """As `measured`, over the whole Fourier space of a cube."""
    k = fft.fftfreq(side)
    kz, kx = k[:, None, None], k[None, None, :]
    angle = np.degrees(np.arctan2(np.where(kx < 0, -kz, kz), np.maximum(np.abs(kx), 1e-9)))
    return np.broadcast_to((angle >= tilts[0]) & (angle <= tilts[1]), (side,) * 3)


def shell_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Fourier shell correlation of two centred spectra, within a soft ball; shell i is at i / (SIDE * APIX)."""
    k = np.indices((SIDE,) * 3) - SIDE // 2
    shell = np.rint(np.sqrt((k**2).sum(axis=0))).astype(int).ravel()
    radius = np.sqrt(((np.indices((SIDE,) * 3) - (SIDE - 1) / 2) ** 2).sum(axis=0)) / (SIDE / 2)
    ball = np.clip((1 - radius) / 0.25, 0, 1)
    a, b = (fft.fftshift(fft.fftn(fft.ifftn(fft.ifftshift(one)).real * ball)).ravel() for one in (first, second))
    sums = [np.bincount(shell, values)[: SIDE // 2] for values in ((a * b.conj()).real, abs(a) ** 2, abs(b) ** 2)]
    return sums[0] / np.sqrt(sums[1] * sums[2] + 1e-12)


def averages(samples: list[tuple[Truth, dict[str, np.ndarray], tuple[float, float]]]) -> dict:
    """Of each kind of tomogram: the correlation with the truth that the half sets claim, and the true one, by shell."""
    truth = samples[0][0]
    data = truth.maps[AVERAGED]
    inner = [slice((n - SIDE) // 2, (n - SIDE) // 2 + SIDE) for n in data.shape]
    cut = data[tuple(inner)] if len(data) >= SIDE else np.pad(data, (SIDE - len(data)) // 2)
    real = fft.fftshift(fft.fftn(cut - cut.mean()))
    result: dict = {"shell_resolution_A": [SIDE * APIX / i for i in range(1, SIDE // 2)]}
    for when in samples[0][1]:
        parts = [boxes(volumes[when], one, tilts if when == BEFORE else None) for one, volumes, tilts in samples]
        spectra, weights = (np.concatenate(each) for each in zip(*parts))
        mean = [
            (spectra[half] * weights[half]).sum(axis=0) / np.maximum(weights[half].sum(axis=0), 1)
            for half in (slice(0, None, 2), slice(1, None, 2), slice(None))
        ]
        fsc = np.clip(shell_correlation(mean[0], mean[1]), 0, 1)
        claimed, right = np.sqrt(2 * fsc / (1 + fsc)), shell_correlation(mean[2], real)
        result[when] = {
            "particles": len(spectra),
            "claimed": claimed[1:].tolist(),
            "true": right[1:].tolist(),
            "claimed_resolution_A": falls(claimed),
            "true_resolution_A": falls(right),
        }
    return result


def falls(curve: np.ndarray, threshold: float = 0.5) -> float:
    """Resolution in A where a correlation with the truth first falls below a threshold; Nyquist if nowhere."""
    below = [shell for shell in range(2, len(curve)) if curve[shell] < threshold]
    return SIDE * APIX / (below[0] if below else len(curve))


# ---------------------------------------------------------------- all


def figure(results: dict, slices: dict[str, np.ndarray], path: Path) -> None:
    """Slices of one scene, precision and recall, IoU by axis, and what averages claim."""
    drawn = pyplot.figure(figsize=(16, 12), layout="constrained")
    above, below = drawn.subfigures(2, 1, height_ratios=[1, 2])
    for panel, (name, image) in zip(above.subplots(1, len(slices)), slices.items()):
        low, high = np.percentile(image, (1, 99.7))
        panel.imshow(-image, cmap="gray", vmin=-high, vmax=-low, origin="lower")
        panel.set(title=f"{next(iter(SCENES))}: xz slice, {name}", xticks=[], yticks=[])
    rows = below.subplots(2, 3)
    scenes = results["scenes"]
    for panel, name in zip(rows[0], PICKED):
        for (scene, found), line in zip(scenes.items(), ("-", "--", ":")):
            for when in (one for one in COLORS if one in found and one != TRUTH):
                one = found[when]["picking"][name]
                label = f"{scene}, {when}: F1 {one['F1']:.2f}"
                panel.plot(one["recall"], one["precision"], line, color=COLORS[when], label=label)
        panel.set(title=f"picking {name}", xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
        panel.legend(fontsize="x-small", loc="lower left")
    for panel, scene in zip(rows[1][:2], list(scenes)[:2]):
        there = [when for when in COLORS if when in scenes[scene]]
        width = 0.8 / len(there)
        for number, when in enumerate(there):
            one = scenes[scene][when]["membranes"]
            values = [one["IoU"], *(one["by_axis"][axis] for axis in "xyz")]
            panel.bar(np.arange(4) + width * number, values, width, color=COLORS[when], label=when)
        panel.set_xticks(np.arange(4) + 0.4 - width / 2, ["all", "normal x", "normal y", "normal z"])
        panel.set(title=f"membranes, {scene}", ylabel="IoU", ylim=(0, 0.8))
        panel.legend()
    panel, (names, found) = rows[1][2], next(iter(results["averages"].items()))
    nyquist = SIDE // 2
    for when in (one for one in COLORS if one in found):
        for key, line in (("claimed", "--"), ("true", "-")):
            panel.plot(range(1, nyquist), found[when][key], line, color=COLORS[when], label=f"{when}, {key}")
    places = np.arange(4, nyquist + 1, 4)
    panel.set_xticks(places, [f"{SIDE * APIX / place:.0f}" for place in places])
    title = f"average of {found[BEFORE]['particles']} {AVERAGED}, {names}"
    panel.set(title=title, xlabel="resolution (Å)", ylim=(0, 1.02), ylabel="correlation with the truth")
    panel.legend()
    drawn.savefig(path, dpi=75)


def table(results: dict) -> str:
    """The numbers in Markdown."""
    made = {when for found in results["scenes"].values() for when in found}
    columns = [when for when in COLORS if when in made and when != TRUTH]
    lines = [f"| scene | what | {' | '.join(columns)} | the truth itself |", "|---" * (len(columns) + 3) + "|"]

    def row(scene: str, what: str, numbers: dict[str, float], form: str = "{:.2f}") -> None:
        cells = [form.format(numbers[when]) if when in numbers else "" for when in (*columns, TRUTH)]
        lines.append(f"| {scene} | {what} | {' | '.join(cells)} |")

    for scene, found in results["scenes"].items():
        picked = {when: one["picking"] for when, one in found.items() if when != TRUTH}
        for name in PICKED:
            count = picked[BEFORE][name]["particles"]
            row(scene, f"picking {name} ({count}), F1", {when: one[name]["F1"] for when, one in picked.items()})
        both = {when: one["membranes"] for when, one in found.items()}
        row(scene, "membranes, IoU", {when: one["IoU"] for when, one in both.items()})
        for axis in "xyz":
            values = {when: one["by_axis"][axis] for when, one in both.items()}
            row(scene, f"membranes with normal near {axis}, IoU", values)
    for names, found in results["averages"].items():
        for key, name in (("claimed", "that half sets claim"), ("true", "in truth")):
            values = {when: found[when][f"{key}_resolution_A"] for when in columns if when in found}
            what = f"average of {found[BEFORE]['particles']} {AVERAGED}, resolution {name}"
            row(names, what, values, "{:.1f} Å")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="folder of the proteins' maps at 10 A")
    parser.add_argument("--out", type=Path, default=Path("usefulness"))
    parser.add_argument("--methods", nargs="*", choices=TRAININGS, default=["builtin"])
    parser.add_argument("--scenes", nargs="*", choices=SCENES, default=list(SCENES))
    parser.add_argument("--write", type=Path, help="folder of usefulness.md and usefulness.png")
    arguments = parser.parse_args()
    kept = arguments.out / "usefulness.json"
    results: dict = json.loads(kept.read_text()) if kept.exists() else {"scenes": {}}
    samples = {}
    for scene, (seed, low, high, *_) in SCENES.items():
        found = results["scenes"].get(scene, {})
        asked = arguments.methods if scene in arguments.scenes else []
        if not found and not asked:
            continue
        truth, folder = make_truth(arguments.maps, seed), (arguments.out / str(seed)).resolve()
        volumes = {BEFORE: simulated(scene, truth, folder)}
        for method in (one for one in TRAININGS if one in asked or one in found):
            volumes[method] = corrected(folder, method, low, high)
        for when, volume in {**volumes, TRUTH: truth.density}.items():
            one = found.setdefault(when, {})
            if when != TRUTH and "picking" not in one:
                one["picking"] = picking(truth, volume, (low, high) if when == BEFORE else None)
            if "membranes" not in one:
                one["membranes"] = membranes(truth, volume)
        results["scenes"][scene] = found
        samples[scene] = truth, volumes, (low, high)
        kept.write_text(json.dumps(results, indent=1))
        print(f"{scene} is done", flush=True)
    results["scenes"] = {scene: results["scenes"][scene] for scene in samples}
    results["averages"] = {}
    for method in TRAININGS:  # each compared with all that were made of the same scenes
        names = [scene for scene, (_, volumes, _) in samples.items() if method in volumes]
        common = [when for when in (BEFORE, *TRAININGS) if all(when in samples[scene][1] for scene in names)]
        title = "all" if len(names) == len(SCENES) else "; ".join(names)
        if names and title not in results["averages"]:
            parts = [
                (one, {when: volumes[when] for when in common}, tilts)
                for one, volumes, tilts in (samples[scene] for scene in names)
            ]
            results["averages"][title] = averages(parts)
    kept.write_text(json.dumps(results, indent=1))
    text = table(results)
    print(text)
    truth, volumes, _ = next(iter(samples.values()))
    slices = {name: one[:, SHAPE[1] // 2] for name, one in ((TRUTH, truth.density), *volumes.items())}
    figure(results, slices, arguments.out / "usefulness.png")
    if arguments.write:
        page = arguments.write / "usefulness.md"
        head, _, rest = page.read_text(encoding="utf-8").partition("| scene |")
        tail = rest.partition("\n\n")[2]
        page.write_text(f"{head}{text}\n\n{tail}", encoding="utf-8")
        (arguments.write / "usefulness.png").write_bytes((arguments.out / "usefulness.png").read_bytes())


if __name__ == "__main__":
    main()
