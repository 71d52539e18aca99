"""The published tables, made anew: one command each.

    python benchmarks/tables.py refinement --out FOLDER    REFINEMENT.md: 3 hours on two cores
    python benchmarks/tables.py one-pass --out FOLDER      ONE_PASS.md, the rows of scene easy: 3 hours
    python benchmarks/tables.py heldout --out FOLDER       HELDOUT.md, the iterative training: 4 hours
    python benchmarks/tables.py timings                    docs/timings.md: 10 minutes
    python benchmarks/tables.py gpu                        GPU.md: 9 minutes on a machine with a GPU

FOLDER gets the scenes (scenes/make_datasets.py), one folder for each run, and TABLE.md with the rows; what is there
already is not run again.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

import one_pass
import refinement

HERE = Path(__file__).resolve().parent
TILTS = {"easy": (-60, 60), "asym": (-30, 66), "defocus": (-60, 60)}
# label, scene, seed
ITERATIVE = [
    ("ours, seed 1", "easy", 1),
    ("ours, seed 2", "easy", 2),
    ("SNR 1, defocus 3 um", "defocus", 1),
    ("tilts -30 to 66 degrees", "asym", 1),
]
# label, halves, options of refine; None: the builtin model as it is
ONE_PASS = [
    ("builtin as it is", False, None),
    ("from builtin, 320 steps", False, "--seed 1 --iterations 1 --epochs 8 --pretrained_model builtin"),
    ("from builtin, default", False, "--seed 1 --pretrained_model builtin"),
    ("from scratch without dropout, 640 steps", False, "--seed 1 --iterations 2 --epochs 8 --drop_out 0"),
    ("from scratch, 1440 steps", False, "--seed 1 --iterations 2 --epochs 18"),
    ("from scratch, 3040 steps", False, "--seed 1 --iterations 2 --epochs 38"),
    ("from scratch, 4000 steps", False, "--seed 2 --iterations 2 --epochs 50"),
    ("from builtin with halves, default", True, "--seed 1 --pretrained_model builtin"),
]
HEAD = "| run | CPU seconds, refine | wedge CC | wedge R2 | measured CC | Z at FSC 0.5, A |\n|---|---|---|---|---|---|"


def scene(out: Path, name: str) -> Path:
    """The folder of a scene, made where it is missing."""
    folder = out / "scenes" / name
    if not (folder / "baseline_scores.json").exists():
        script = HERE / "scenes" / "make_datasets.py"
        subprocess.run([sys.executable, script, name, "--out", folder.parent], check=True)
    return folder


def row(label: str, seconds: float, found: dict) -> str:
    """A row of the table out of the scorer's numbers."""
    z = found["z"] if "z" in found else found["resolution_A"]["z_0.5"]
    numbers = " | ".join(f"{found[name]:.3f}" for name in ("wedge_cc", "wedge_r2", "measured_cc"))
    return f"| {label} | {seconds:.0f} | {numbers} | {z} |"


def iterative(out: Path, name: str, seed: int) -> tuple[Path, float]:
    """The iterative training of REFINEMENT.md on a scene; returns its folder and the CPU seconds of refine."""
    folder = out / f"iterative_{name}_{seed}"
    done = folder / "seconds.json"
    if not done.exists():
        seconds = refinement.run(scene(out, name), folder, seed, TILTS[name], [])
        refinement.score(scene(out, name), folder)
        done.write_text(json.dumps(seconds))
    return folder, json.loads(done.read_text())["refine"]


def refinement_table(out: Path) -> list[str]:
    """Rows of REFINEMENT.md."""
    rows = [HEAD]
    for label, name, seed in ITERATIVE:
        folder, seconds = iterative(out, name, seed)
        rows.append(row(label, seconds, json.loads((folder / "scores.json").read_text())["tomograms"]["corrected"]))
    return rows


def one_pass_table(out: Path) -> list[str]:
    """Rows of ONE_PASS.md."""
    rows = [HEAD]
    for number, (label, halves, options) in enumerate(ONE_PASS):
        folder = out / f"one_pass_{number}"
        if not (folder / "curve.json").exists():
            words = (options or "").split()
            one_pass.run(scene(out, "easy"), folder, halves, TILTS["easy"], words, options is None)
        curve = json.loads((folder / "curve.json").read_text())
        rows += [row(f"{label}, iteration {n}", point["cpu"], point) for n, point in enumerate(curve, 1)]
    return rows


def heldout_table(out: Path) -> list[str]:
    """The scatter of HELDOUT.md, over every second iteration of a training on each scene."""
    runs = []
    for name, tilts in TILTS.items():
        folder, _ = iterative(out, name, 1)
        for iteration in (2, 4, 6, 8):
            model = folder / "results" / f"model_iter{iteration:02d}.keras"
            place = out / f"heldout_{name}_{iteration}"
            corrected, scores = place / "corrected_tomos" / "tomo_corrected.mrc", place / "scores.json"
            if not scores.exists():
                (place / "tomoset").mkdir(parents=True, exist_ok=True)
                (place / "tomoset" / "tomo.mrc").symlink_to(scene(out, name) / "tomo.mrc")
                limits = ("--tilt_min", tilts[0], "--tilt_max", tilts[1])
                refinement.engine(place, "prepare_star", "tomoset", "--pixel_size", 10, *limits)
                refinement.engine(place, "predict", "tomograms.star", model, "--cube_size", 48, "--crop_size", 80)
                refinement.score(scene(out, name), place)
            runs.append((f"{name}_{iteration}", scene(out, name), *tilts, model, corrected, scores))
    with (out / "runs.csv").open("w", newline="") as file:
        columns = ("name", "scene", "tilt_min", "tilt_max", "model", "corrected", "scores")
        csv.writer(file).writerows([columns, *runs])
    subprocess.run([sys.executable, HERE / "heldout.py", out / "runs.csv", "--out", out], check=True)
    return (out / "heldout.csv").read_text().splitlines()


OF_ONE_SCRIPT = {
    "timings": ("stages.py", "--write", HERE.parent / "docs" / "timings.md"),
    "gpu": ("gpu.py", "--write", HERE / "GPU.md"),
}
OF_RUNS = {"refinement": refinement_table, "one-pass": one_pass_table, "heldout": heldout_table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=[*OF_RUNS, *OF_ONE_SCRIPT])
    parser.add_argument("--out", type=Path, default=Path("tables"))
    arguments = parser.parse_args()
    if arguments.table in OF_ONE_SCRIPT:
        script, *options = OF_ONE_SCRIPT[arguments.table]
        sys.exit(subprocess.run([sys.executable, HERE / script, *options]).returncode)
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(OF_RUNS[arguments.table](out))
    (out / "TABLE.md").write_text(f"{text}\n")
    print(text)


if __name__ == "__main__":
    main()
