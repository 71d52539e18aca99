"""Make a ground-truth volume out of real protein densities (maps of PDB models), membranes and filaments.

    python phantom_densities.py --maps FOLDER --seed 3 --out gt.mrc --mask slab_mask.mrc

As phantom.py (same ice slab, same membranes, same collision rules), but the particles are given maps at random
orientations, so that no protein is made of Gaussians. Then project.py and score.py as usual. Maps whose names end in
_mbz_align_shift hold a membrane protein whose membrane normal is z; they are placed like any other.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from common import read_mrc, write_mrc
from geometry import random_rotation
from objects import add_actin, add_microtubule, add_sheet, add_vesicle
from phantom import SHEETS
from scene import SOLID, Scene
from scipy import ndimage as ndi


def prepared(path: Path, apix: float, lowpass: float = 0.8) -> np.ndarray:
    """A map at `apix`, smoothed a little, background 0, typical inner density 1, in a cube that holds any rotation."""
    data, own = read_mrc(path)
    data = data - np.median(data)
    if abs(own / apix - 1) > 0.02:
        data = ndi.zoom(data, own / apix, order=1)
    data = np.maximum(ndi.gaussian_filter(data, lowpass), 0)
    data /= np.percentile(data[data > 0.3 * data.max()], 50)
    inside = np.argwhere(data > 0.1)
    data = data[tuple(slice(a, b) for a, b in zip(inside.min(axis=0), inside.max(axis=0) + 1))]
    side = int(np.ceil(np.linalg.norm(data.shape))) + 2
    return np.pad(data, [((side - n) // 2, side - n - (side - n) // 2) for n in data.shape]).astype(np.float32)


def turned(data: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The map rotated about its centre, cropped to its mass."""
    centre = (np.array(data.shape) - 1) / 2
    out = ndi.affine_transform(data, matrix, centre - matrix @ centre, order=1)
    inside = np.argwhere(out > 0.05)
    return out[tuple(slice(a, b) for a, b in zip(inside.min(axis=0), inside.max(axis=0) + 1))]


def make(maps, shape, apix: float, seed: int, slab_fraction: float = 0.78, copies: int = 40):
    """Return (density, slab mask, description of every object)."""
    rng = np.random.default_rng(seed)
    thick = int(round(slab_fraction * shape[0]))
    first = (shape[0] - thick) // 2
    scene = Scene(shape, apix, (first, first + thick), rng)
    for tilt, kind in [SHEETS[i] for i in rng.permutation(len(SHEETS))[:5]]:
        add_sheet(scene, tilt, kind)
    for _ in range(3):
        add_vesicle(scene)
    add_microtubule(scene)
    for _ in range(3):
        add_actin(scene)
    library = sorted(((path.stem, prepared(path, apix)) for path in maps), key=lambda one: -one[1].size)
    for name, data in library:
        for _ in range(copies):
            patch = turned(data, random_rotation(rng))
            for _ in range(15):
                centre = scene.random_centre(max(patch.shape) * apix * 0.45)
                if scene.place(patch, np.round(centre / apix).astype(int) - np.array(patch.shape) // 2):
                    scene.note(name, centre)
                    break
    mask = np.zeros(shape, bool)
    mask[first : first + thick] = True
    return scene.volume, mask, scene.objects


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--maps", required=True, help="folder of .mrc maps")
    parser.add_argument("--names", help="only these, without .mrc, separated by commas")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--shape", type=int, nargs=3, default=(112, 256, 256), metavar=("Z", "Y", "X"))
    parser.add_argument("--apix", type=float, default=10.0, help="voxel size in Angstrom")
    parser.add_argument("--copies", type=int, default=40, help="of each map, as many as find room")
    parser.add_argument("--out", default="gt.mrc")
    parser.add_argument("--mask", help="also write the slab mask here")
    parser.add_argument("--objects", help="also write a JSON list of the placed objects here")
    args = parser.parse_args(argv)
    began = time.time()
    maps = [p for p in sorted(Path(args.maps).glob("*.mrc")) if not args.names or p.stem in args.names.split(",")]
    volume, mask, objects = make(maps, tuple(args.shape), args.apix, args.seed, copies=args.copies)
    write_mrc(args.out, volume, args.apix)
    if args.mask:
        write_mrc(args.mask, mask, args.apix)
    if args.objects:
        Path(args.objects).write_text(json.dumps(objects, indent=1))
    kinds = {}
    for item in objects:
        kinds[item["kind"]] = kinds.get(item["kind"], 0) + 1
    print(
        f"{args.out}: {volume.shape}, {(volume[mask] > SOLID).mean():.1%} of the slab is filled, "
        f"{time.time() - began:.0f} s\nobjects: " + ", ".join(f"{n} {k}" for k, n in sorted(kinds.items()))
    )


if __name__ == "__main__":
    main()
