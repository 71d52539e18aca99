"""Does the report's restored wedge correlation follow the truth? A scatter over runs on simulated tomograms.

    python benchmarks/heldout.py RUNS.csv --out FOLDER

RUNS.csv has the columns name, scene (folder with tomo.mrc, even.mrc, odd.mrc, slab_mask.mrc), tilt_min, tilt_max,
model, corrected (the tomogram that the model made of tomo.mrc) and scores (of the benchmark's score.py for it, JSON).
FOLDER gets heldout.csv, with the report's number beside the true wedge CC, and the figure heldout.png.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

import matplotlib
from scipy.stats import spearmanr

from isonet_scipion.engine.io.report_file import TomogramReport, read_report, report_path
from isonet_scipion.engine.io.star import Star, write_star

matplotlib.use("Agg")
from matplotlib import pyplot

COLUMNS = ("name", "scene", "true_wedge_cc", "restored_wedge_correlation", "chance", "without_halves")


def report(run: dict[str, str], folder: Path, with_halves: bool) -> TomogramReport:
    """The report of a run, made by the engine in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    scene = Path(run["scene"]).resolve()
    corrected = folder / "tomo_corrected.mrc"  # the report is written beside it
    if not corrected.is_symlink():
        corrected.symlink_to(Path(run["corrected"]).resolve())
    values = {"rlnIndex": 1, "rlnMicrographName": scene / "tomo.mrc", "rlnPixelSize": 10.0}
    values |= {"rlnTiltMin": run["tilt_min"], "rlnTiltMax": run["tilt_max"], "rlnMaskName": scene / "slab_mask.mrc"}
    values |= {"rlnCorrectedTomoName": corrected}
    if with_halves:
        values["rlnTomoReconstructedTomogramHalf1"] = scene / "even.mrc"
        values["rlnTomoReconstructedTomogramHalf2"] = scene / "odd.mrc"
    star = Star([], [{}])
    for label, value in values.items():
        star.set(star.rows[0], label, value)
    write_star(folder / "t.star", star)
    engine = [sys.executable, "-m", "isonet_scipion.engine", "report", "t.star", str(Path(run["model"]).resolve())]
    subprocess.run(engine, cwd=folder, check=True, capture_output=True)
    return read_report(report_path(corrected))


def draw(rows: list[dict], path: Path) -> None:
    """Draw the scatter, one colour for each scene."""
    figure, panel = pyplot.subplots(figsize=(6.5, 6), layout="constrained")
    for scene in dict.fromkeys(row["scene"] for row in rows):
        chosen = [row for row in rows if row["scene"] == scene]
        truth, told = ([row[key] for row in chosen] for key in ("true_wedge_cc", "restored_wedge_correlation"))
        panel.errorbar(truth, told, [3 * row["chance"] for row in chosen], fmt="o", label=scene, capsize=2)
    panel.plot([0, 0.6], [0, 0.6], color="0.8", zorder=0)
    panel.set(xlabel="true wedge CC", ylabel="restored wedge correlation (3 chance deviations)")
    panel.set_title(f"{len(rows)} runs, rank correlation {correlation(rows):.2f}")
    panel.legend(loc="upper left")
    figure.savefig(path, dpi=110)


def correlation(rows: list[dict], key: str = "restored_wedge_correlation") -> float:
    """Spearman's, of truth and report."""
    return float(spearmanr([row["true_wedge_cc"] for row in rows], [row[key] for row in rows]).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = []
    with open(arguments.runs, newline="") as file:
        runs = list(csv.DictReader(file))
    for run in runs:
        told = report(run, (arguments.out / run["name"]).resolve(), True)
        alone = report(run, (arguments.out / f"{run['name']}_alone").resolve(), False)
        truth = json.loads(Path(run["scores"]).read_text())["tomograms"]["corrected"]["wedge_cc"]
        numbers = (truth, *(told.restored_wedge_correlation, told.restored_wedge_chance))
        numbers += (alone.restored_wedge_correlation,)
        rows.append(dict(zip(COLUMNS, (run["name"], Path(run["scene"]).name, *numbers))))
        print(rows[-1], flush=True)
    with open(arguments.out / "heldout.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, arguments.out / "heldout.png")
    print(f"rank correlation: {correlation(rows):.3f}; without halves: {correlation(rows, 'without_halves'):.3f}")


if __name__ == "__main__":
    main()
