"""The scenes: membranes, particles and decoys in ice, and the tomograms that are simulated of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import project
from common import read_mrc, tilt_angles, write_mrc
from geometry import random_rotation
from objects import add_sheet, add_vesicle
from phantom_densities import prepared
from scene import Scene
from scipy import ndimage as ndi

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
BEFORE, TRUTH = "before", "truth"


@dataclass
class Truth:
    """What a scene holds."""

    density: np.ndarray  # (z, y, x), protein bright
    slab: np.ndarray  # bool
    membrane: np.ndarray  # (z, y, x), the density of membranes alone
    particles: dict[str, list[tuple[np.ndarray, np.ndarray]]]  # species: centre in voxels (z, y, x), rotation
    maps: dict[str, np.ndarray]


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
