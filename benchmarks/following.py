"""Does a training's measure rank its iterations as the truth does? Table and figure of HELDOUT.md's first part.

    python benchmarks/following.py FIGURE.png [FOLDER...]

Each FOLDER is one that restoration.py has filled: its curve.json holds the true wedge CC and the measure after each
iteration. Without any, the runs of following.json, which were made on a GPU: these hold the measure of before as well.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scipy.stats import spearmanr

MEASURES = {"withheld": "withheld tilts", "hidden_wedge": "hidden wedge of unseen boxes"}
Run = list[dict[str, float]]


def table(runs: dict[str, Run]) -> str:
    """Markdown: each run's rank correlations, and what taking its last iteration, or the measure's best, gives away."""
    told = [name for name in MEASURES if all(name in point for run in runs.values() for point in run)]
    head = ["run", "wedge CC, first to last", *(f"rank correlation, {MEASURES[name]}" for name in told)]
    lines = [head, ["---"] * (len(head) + 2)]
    head += ["lost by the last", "lost by the measure's best"]
    for label, run in runs.items():
        truth = [point["wedge_cc"] for point in run]
        ranks = [spearmanr([point[name] for point in run], truth).statistic for name in told]
        chosen = max(run, key=lambda point: point["withheld"])["wedge_cc"]
        lost = [1 - value / max(truth) for value in (truth[-1], chosen)]
        lines.append(
            [
                label,
                f"{truth[0]:.3f} to {truth[-1]:.3f}",
                *(f"{rank:.2f}" for rank in ranks),
                *map("{:.0%}".format, lost),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(runs: dict[str, Run], path: Path) -> None:
    """The truth and the measure over the iterations."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, (name, title) in zip(figure.subplots(1, 2), (("wedge_cc", "true wedge CC"), ("withheld", "measure"))):
        for number, (label, run) in enumerate(runs.items()):
            style = "--" if "halves" in label else "-"
            iterations = [point["iteration"] for point in run]
            panel.plot(
                iterations, [point[name] for point in run], style, marker=".", label=label, color=f"C{number % 10}"
            )
        panel.set(xlabel="iteration", ylabel=title)
        panel.grid(alpha=0.3)
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", type=Path)
    parser.add_argument("folders", nargs="*", type=Path)
    arguments = parser.parse_args()
    if arguments.folders:
        curves = {folder.name: json.loads((folder / "curve.json").read_text()) for folder in arguments.folders}
        runs = {name: [point for point in curve if point["withheld"] is not None] for name, curve in curves.items()}
    else:
        runs = json.loads(Path(__file__).with_suffix(".json").read_text())
    print(table(runs))
    draw(runs, arguments.figure)


if __name__ == "__main__":
    main()
