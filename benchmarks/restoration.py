"""One row of RESTORATION.md: makes the scene, trains or takes the builtin model, corrects with the engine, scores.

    python benchmarks/restoration.py SCENE --out FOLDER [--maps MAPS] [--halves] [--builtin] [--uncalibrated]
                                      [REFINE OPTIONS]

SCENE is one of SCENES; those of densities need the folder with their maps. The scene is made in FOLDER/scene, unless it
is there. With --uncalibrated the networks' own output is scored. Further options go to refine; the scores of each
iteration are printed and kept in FOLDER/curve.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from one_pass import run

from isonet_scipion.engine.io.mrc import open_volume, write_volume

SIMULATORS = Path(__file__).resolve().parent / "scenes"
UNSEEN = "4v4r_50S,3cf3,1u6g,5vai_mbz_align_shift,8tux,2uv8,3h84"  # proteins that the builtin model never saw
PROTEINS = ("--seed", 31, "--copies", 120, "--names", UNSEEN)


class Scene(NamedTuple):
    """How a scene is made; all have voxels of 10 A and tilts in steps of 3 degrees."""

    shape: tuple[int, int, int]
    truth: tuple[object, ...]
    noise: tuple[object, ...]
    densities: bool = False
    tilt: tuple[float, float] = (-60, 60)
    kept: slice = slice(None)  # of x, once it is made


SCENES = {
    "easy": Scene((112, 256, 256), ("--seed", 7), ("--snr", 3), kept=slice(32, 224)),
    "crowd": Scene((96, 192, 192), ("--seed", 11), ("--snr", 1)),
    "crowd_small": Scene((96, 160, 160), ("--seed", 11), ("--snr", 1)),
    "narrow": Scene((96, 192, 192), ("--seed", 5), ("--snr", 2), tilt=(-50, 50)),
    "dens": Scene((96, 192, 192), ("--seed", 23), ("--snr", 0.5, "--defocus", 3, "--dose-per-tilt", 3), True),
    "dens3": Scene((96, 192, 192), ("--seed", 41), ("--snr", 1.5, "--defocus", 3), True),
    "skew": Scene((96, 192, 192), ("--seed", 13), ("--snr", 1), tilt=(-30, 66)),
    "skew2": Scene((96, 192, 192), ("--seed", 19), ("--snr", 1.5), tilt=(-66, 30)),
    "pretilt": Scene((96, 192, 192), ("--seed", 13), ("--snr", 1), tilt=(-48, 72)),
    "pretilt2": Scene((96, 192, 192), ("--seed", 17), ("--snr", 1), tilt=(-72, 48)),
    "faint": Scene((96, 160, 160), ("--seed", 77, "--copies", 30), ("--snr", 0.15, "--seed", 77), True),
    "faint2": Scene((96, 160, 160), ("--seed", 78, "--copies", 30), ("--snr", 0.15, "--seed", 78), True),
    "held": Scene((96, 192, 192), PROTEINS, ("--snr", 1), True),
    "held2": Scene((96, 192, 192), PROTEINS, ("--snr", 0.5, "--defocus", 3, "--dose-per-tilt", 3), True),
}


def make(scene: Scene, folder: Path, maps: Path | None) -> None:
    """Write the truth, its mask, and the tomogram with its halves."""
    folder.mkdir(parents=True)
    files = ("--out", folder / "gt.mrc", "--mask", folder / "slab_mask.mrc")
    given = ("--maps", maps) if scene.densities else ()
    _simulate("phantom_densities" if scene.densities else "phantom",
              "--shape", *scene.shape, "--apix", 10, *scene.truth, *given, *files)  # fmt: skip
    low, high = scene.tilt
    _simulate("project", "--gt", folder / "gt.mrc", "--out-dir", folder, *scene.noise,
              "--tilt-min", low, "--tilt-max", high, "--tilt-step", 3)  # fmt: skip
    if scene.kept != slice(None):
        for path in folder.glob("*.mrc"):
            volume = open_volume(path)
            write_volume(path, volume.data[..., scene.kept].copy(), 10.0)


def _simulate(simulator: str, *arguments: object) -> None:
    subprocess.run([sys.executable, str(SIMULATORS / f"{simulator}.py"), *map(str, arguments)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", choices=SCENES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--maps", type=Path)
    parser.add_argument("--halves", action="store_true")
    parser.add_argument("--builtin", action="store_true")
    parser.add_argument("--uncalibrated", action="store_true")
    given, options = parser.parse_known_args()
    scene, out = SCENES[given.scene], given.out.resolve()
    if scene.densities and given.maps is None:
        parser.error(f"{given.scene} needs --maps")
    if not (out / "scene").exists():
        make(scene, out / "scene", given.maps and given.maps.resolve())
    run(out / "scene", out, given.halves, scene.tilt, options, given.builtin, not given.uncalibrated)


if __name__ == "__main__":
    main()
