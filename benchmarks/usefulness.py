"""What a correction is good for: picking, segmenting and averaging before and after it, on scenes with known truth.

    python benchmarks/usefulness.py --maps FOLDER --out FOLDER [--model builtin] [--write docs]

Scenes of protein maps (.mrc, 10 A; three of them are picked), membranes and decoys are simulated, corrected by the
model, and used as tomograms are: (a) particles are picked by normalised correlation with their maps, (b) membranes are
segmented by the eigenvalues of the Hessian, (c) subtomograms are averaged, and the resolution that two half sets claim
is compared with the truth. FOLDER gets usefulness.json; --write also replaces the table and the picture in that folder.
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

import phantom  # noqa: E402
import project  # noqa: E402
from common import read_mrc, tilt_angles, write_mrc, write_tlt  # noqa: E402
from phantom_densities import prepared  # noqa: E402

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
ORIENTATIONS = 500  # some 30 degrees apart
TOLERANCE = 0.5  # of a particle's radius, between a peak and the truth
SCALES = (1.5, 2.0, 3.0)  # voxels: deviations of the Gaussians before the Hessian; the best counts
AVERAGED, SIDE = "4v4r", 40  # species, and side in voxels of its subtomograms
BEFORE, AFTER, TRUTH = "before", "after", "truth"
COLORS = {BEFORE: "tab:gray", AFTER: "tab:blue", TRUTH: "tab:green"}


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
    scene = phantom.Scene(SHAPE, APIX, (first, first + thick), rng)
    for tilt, kind in SHEETS:
        phantom.add_sheet(scene, tilt, kind)
    for _ in range(2):
        phantom.add_vesicle(scene)
    membrane = scene.volume.copy()
    library = {name: prepared(maps / f"{name}.mrc", APIX) for name in (*PICKED, *DECOYS)}
    particles: dict[str, list] = {name: [] for name in PICKED}
    for name, data in library.items():
        for _ in range(PICKED.get(name, 12)):
            rotation = phantom.random_rotation(rng)
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


def corrected(folder: Path, model: str, low: float, high: float) -> np.ndarray:
    """What the engine makes of FOLDER/tomo.mrc, protein bright."""
    engine = [sys.executable, "-m", "isonet_scipion.engine"]
    (folder / "in").mkdir(exist_ok=True)
    link = folder / "in" / "tomo.mrc"
    if not link.exists():
        link.symlink_to(folder / "tomo.mrc")
    limits = ["--tilt_min", str(low), "--tilt_max", str(high), "--pixel_size", str(APIX)]
    subprocess.run([*engine, "prepare_star", "in", *limits], cwd=folder, check=True, capture_output=True)
    predict = [*engine, "predict", "tomograms.star", model, "--report", "False"]
    subprocess.run(predict, cwd=folder, check=True, capture_output=True)
    return -read_mrc(folder / "corrected_tomos" / "tomo_corrected.mrc")[0]


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


def picking(truth: Truth, volumes: dict[str, np.ndarray], tilts: tuple[float, float]) -> dict:
    """F1 at the best threshold and average precision, of each species, before and after."""
    small = {when: halved(volume) for when, volume in volumes.items()}
    slab = truth.slab[::2, ::2, ::2]
    result: dict = {}
    for name, data in truth.maps.items():
        template = halved(np.pad(data, [(0, -len(data) % 4)] * 3))
        solid = np.argwhere(data > 0.3) - (np.array(data.shape) - 1) / 2
        radius = np.percentile(np.linalg.norm(solid, axis=1), 95) / 2  # in voxels of the smaller volume
        true = np.array([centre for centre, _ in truth.particles[name]]) / 2
        result[name] = {"particles": len(true)}
        for when, volume in small.items():
            scores = correlation_map(volume, template, tilts if when == BEFORE else None)
            found, _ = peaks(scores, radius, slab, 4 * len(true))
            precision, recall = precision_recall(found, true, max(2.0, TOLERANCE * radius))
            f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
            step = np.diff(recall, prepend=0)
            result[name][when] = {
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


def membranes(truth: Truth, volumes: dict[str, np.ndarray]) -> dict:
    """Intersection over union of the segmented and the true membranes: all, and those whose normal is nearest x, y, z.

    The threshold, and the scale of the filter, are those that are best for each tomogram as a whole.
    """
    real = ndi.gaussian_filter(truth.membrane, 2.0)
    true = (real > 0.3 * np.percentile(real[truth.membrane > phantom.SOLID], 50)) & truth.slab
    _, normal = sheets(truth.membrane, 2.5)
    near = ndi.binary_dilation(true, iterations=2)
    result: dict = {}
    for when, volume in {**volumes, TRUTH: truth.density}.items():
        best: tuple = (-1.0,)
        for scale in SCALES:
            strength, axis = sheets(volume, scale)
            for share in np.geomspace(0.2, 4, 14):
                limit = np.sort(strength[truth.slab])[-int(share * true.sum()) - 1]
                chosen = (strength > limit) & truth.slab
                whole = float((chosen & true).sum() / (chosen | true).sum())
                if whole > best[0]:
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
                    best = (whole, {"IoU": whole, "by_axis": by_axis, "found": found, "scale": scale}, chosen)
        result[when] = best[1]
    return result


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
    for when in (BEFORE, AFTER):
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
    drawn = pyplot.figure(figsize=(15, 11), layout="constrained")
    rows = drawn.subplots(3, 3)
    for panel, (name, image) in zip(rows[0], slices.items()):
        low, high = np.percentile(image, (1, 99.7))
        panel.imshow(-image, cmap="gray", vmin=-high, vmax=-low, origin="lower")
        panel.set(title=f"{next(iter(SCENES))}: xz slice, {name}", xticks=[], yticks=[])
    scenes = results["scenes"]
    for panel, name in zip(rows[1], PICKED):
        for (scene, found), line in zip(scenes.items(), ("-", "--", ":")):
            for when in (BEFORE, AFTER):
                one = found["picking"][name][when]
                label = f"{scene}, {when}: F1 {one['F1']:.2f}"
                panel.plot(one["recall"], one["precision"], line, color=COLORS[when], label=label)
        panel.set(title=f"picking {name}", xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
        panel.legend(fontsize="small", loc="lower left")
    for panel, scene in zip(rows[2][:2], list(scenes)[:2]):
        for number, when in enumerate((BEFORE, AFTER, TRUTH)):
            one = scenes[scene]["membranes"][when]
            values = [one["IoU"], *(one["by_axis"][axis] for axis in "xyz")]
            panel.bar(np.arange(4) + 0.27 * number, values, 0.27, color=COLORS[when], label=when)
        panel.set_xticks(np.arange(4) + 0.27, ["all", "normal x", "normal y", "normal z"])
        panel.set(title=f"membranes, {scene}", ylabel="IoU", ylim=(0, 0.8))
        panel.legend()
    panel, found = rows[2][2], results["averages"]
    nyquist = SIDE // 2
    for when in (BEFORE, AFTER):
        for key, line in (("claimed", "--"), ("true", "-")):
            panel.plot(range(1, nyquist), found[when][key], line, color=COLORS[when], label=f"{when}, {key}")
    places = np.arange(4, nyquist + 1, 4)
    panel.set_xticks(places, [f"{SIDE * APIX / place:.0f}" for place in places])
    panel.set(title=f"average of {found[BEFORE]['particles']} {AVERAGED}", xlabel="resolution (Å)", ylim=(0, 1.02))
    panel.set_ylabel("correlation with the truth")
    panel.legend()
    drawn.savefig(path, dpi=80)


def table(results: dict) -> str:
    """The numbers in Markdown."""
    lines = ["| scene | what | before | after | the truth itself |", "|---|---|---|---|---|"]
    for scene, found in results["scenes"].items():
        for name, one in found["picking"].items():
            values = " | ".join(f"{one[when]['F1']:.2f}" for when in (BEFORE, AFTER))
            lines.append(f"| {scene} | picking {name} ({one['particles']}), F1 | {values} | |")
        both = found["membranes"]
        values = " | ".join(f"{both[when]['IoU']:.2f}" for when in (BEFORE, AFTER, TRUTH))
        lines.append(f"| {scene} | membranes, IoU | {values} |")
        for axis in "xyz":
            values = " | ".join(f"{both[when]['by_axis'][axis]:.2f}" for when in (BEFORE, AFTER, TRUTH))
            lines.append(f"| {scene} | membranes with normal near {axis}, IoU | {values} |")
    found = results["averages"]
    for key, name in (("claimed", "that half sets claim"), ("true", "in truth")):
        values = " | ".join(f"{found[when][f'{key}_resolution_A']:.1f} Å" for when in (BEFORE, AFTER))
        lines.append(f"| all | average of {found[BEFORE]['particles']} {AVERAGED}, resolution {name} | {values} | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="folder of the proteins' maps at 10 A")
    parser.add_argument("--out", type=Path, default=Path("usefulness"))
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--write", type=Path, help="folder of usefulness.md and usefulness.png")
    arguments = parser.parse_args()
    samples, slices = [], {}
    results: dict = {"model": arguments.model, "scenes": {}}
    for scene, (seed, low, high, snr, defocus) in SCENES.items():
        truth = make_truth(arguments.maps, seed)
        folder = (arguments.out / str(seed)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        tilts = tilt_angles(low, high, 3)
        tomogram, *_ = project.simulate(truth.density, APIX, tilts, snr, defocus, seed=seed, outside="mirror")
        write_mrc(folder / "tomo.mrc", -tomogram, APIX)
        write_tlt(folder / "tilt.tlt", tilts)
        volumes = {BEFORE: tomogram, AFTER: corrected(folder, arguments.model, low, high)}
        if not slices:
            middle = SHAPE[1] // 2
            slices = {name: one[:, middle] for name, one in (("truth", truth.density), *volumes.items())}
        results["scenes"][scene] = {
            "picking": picking(truth, volumes, (low, high)),
            "membranes": membranes(truth, volumes),
        }
        samples.append((truth, volumes, (low, high)))
        print(f"{scene} is done", flush=True)
    results["averages"] = averages(samples)
    (arguments.out / "usefulness.json").write_text(json.dumps(results, indent=1))
    text = table(results)
    print(text)
    figure(results, slices, arguments.out / "usefulness.png")
    if arguments.write:
        page = arguments.write / "usefulness.md"
        head, _, rest = page.read_text(encoding="utf-8").partition("| scene |")
        tail = rest.partition("\n\n")[2]
        page.write_text(f"{head}{text}\n\n{tail}", encoding="utf-8")
        (arguments.write / "usefulness.png").write_bytes((arguments.out / "usefulness.png").read_bytes())


if __name__ == "__main__":
    main()
