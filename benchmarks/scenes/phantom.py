"""Make a ground-truth density volume: a crowded, ice-embedded cellular scene.

    python phantom.py --seed 7 --shape 112 256 256 --out gt.mrc --mask slab_mask.mrc

The scene holds HIV-VLP-like particles (bilayer, spikes, hexagonal inner lattice), vesicles, flat
and curved membrane patches at many orientations (horizontal ones too: those vanish in a missing
wedge), microtubules, actin-like filaments, and a few hundred protein-like particles of a dozen
species at random orientations.  All of it lies in a slab of 'ice' that fills only part of z.
The same seed, shape and voxel size give the same volume.

Objects are described in Angstrom.  Membranes are drawn from an analytic distance to their
mid-surface, everything else as sums of Gaussians whose width keeps them free of aliasing.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from common import write_mrc
from objects import add_actin, add_microtubule, add_proteins, add_sheet, add_vesicle, add_vlp
from scene import SOLID, Scene

# Tilt of a membrane's normal from z in degrees (0: horizontal), and its form.  None is quite
# vertical: such a sheet is its own mirror image in z and hides a wrong handedness.
SHEETS = [
    (0, "flat"),
    (80, "curved"),
    (45, "flat"),
    (0, "curved"),
    (70, "wavy"),
    (25, "flat"),
    (0, "wavy"),
    (80, "flat"),
    (60, "curved"),
    (12, "curved"),
    (0, "flat"),
    (35, "wavy"),
]


def make_phantom(shape=(112, 256, 256), apix=10.0, seed=7, slab_fraction=0.78, proteins=1.0):
    """Return (density, slab mask, description of every object); with the share `proteins` of the usual number."""
    rng = np.random.default_rng(seed)
    thick = int(round(slab_fraction * shape[0]))
    first = (shape[0] - thick) // 2
    slab = (first, first + thick)
    scene = Scene(shape, apix, slab, rng)
    share = float(np.prod(scene.size_angstrom[1:]) / 2560.0**2)  # against the usual area

    def count(usual):
        return max(1, int(round(usual * share)))

    for _ in range(count(3)):
        add_vlp(scene)
    for _ in range(count(2)):
        add_microtubule(scene)
    for tilt, kind in SHEETS[: max(3, count(len(SHEETS)))]:
        add_sheet(scene, tilt, kind)
    for _ in range(count(4)):
        add_vesicle(scene)
    for _ in range(count(5)):
        add_actin(scene)
    add_proteins(scene, int(proteins * int(700 * share * thick * apix / 880.0)))
    mask = np.zeros(shape, bool)
    mask[slab[0] : slab[1]] = True
    return scene.volume, mask, scene.objects


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--shape", type=int, nargs=3, default=(112, 256, 256), metavar=("Z", "Y", "X"))
    parser.add_argument("--apix", type=float, default=10.0, help="voxel size in Angstrom")
    parser.add_argument("--slab-fraction", type=float, default=0.78, help="share of z that holds ice and sample")
    parser.add_argument("--out", default="gt.mrc", help="density volume")
    parser.add_argument("--mask", help="also write the slab (sample region) mask here")
    parser.add_argument("--objects", help="also write a JSON list of the placed objects here")
    args = parser.parse_args(argv)

    began = time.time()
    volume, mask, objects = make_phantom(tuple(args.shape), args.apix, args.seed, args.slab_fraction)
    write_mrc(args.out, volume, args.apix)
    if args.mask:
        write_mrc(args.mask, mask, args.apix)
    if args.objects:
        with open(args.objects, "w") as handle:
            json.dump(objects, handle, indent=1)
    kinds = {}
    for item in objects:
        kinds[item["kind"]] = kinds.get(item["kind"], 0) + 1
    print(
        f"{args.out}: shape {volume.shape}, {args.apix} A/voxel, range "
        f"{volume.min():.2f}..{volume.max():.2f}, "
        f"{(volume[mask] > SOLID).mean():.1%} of the slab is filled, {time.time() - began:.0f} s"
    )
    print("objects: " + ", ".join(f"{n} {k}" for k, n in sorted(kinds.items())))


if __name__ == "__main__":
    main()
