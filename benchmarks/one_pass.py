"""Quality against CPU seconds of the one-pass refinement, and of the builtin model, on scenes whose truth is known.

    python benchmarks/one_pass.py run SCENE --out FOLDER [--halves] [--builtin] [--tilt-min -60
                                      --tilt-max 60] [REFINE OPTIONS]
    python benchmarks/one_pass.py draw FIGURE.png LABEL=FOLDER...

SCENE as in refinement.py; with --halves SCENE has even.mrc and odd.mrc too. `run` refines with one-pass,
masks 50/50, corrects the tomogram with the model of every iteration and scores it into FOLDER/curve.json; with
--builtin it scores the builtin model as it is. The CPU seconds of an iteration are its share of the run's.
`draw` plots the curves.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from refinement import engine, score

from isonet_scipion.engine.io.losses import read_losses

FACTS = ("wedge_cc", "wedge_r2", "wedge_transfer", "measured_cc")


def run(
    scene: Path, out: Path, halves: bool, tilt: tuple[float, float], options: list[str], as_it_is: bool,
    calibrate: bool = True,
) -> None:  # fmt: skip
    """Refine, correct and score."""
    more = []
    for name in ("tomo", *(("even", "odd") if halves else ())):
        (out / name).mkdir(parents=True, exist_ok=True)
        link = out / name / "tomo.mrc"
        if not link.exists():
            link.symlink_to(scene / f"{name}.mrc")
    if halves:
        more = ["--even_folder", "even", "--odd_folder", "odd"]
    engine(out, "prepare_star", "tomo", "--pixel_size", 10, "--tilt_min", tilt[0], "--tilt_max", tilt[1], *more)
    engine(out, "make_mask", "tomograms.star", "--density_percentage", 50, "--std_percentage", 50)
    models, seconds = ["builtin"], 0.0
    if not as_it_is:
        seconds = engine(out, "refine", "tomograms.star", "--method", "one-pass", "--preprocessing_ncpus", 2, *options)
        models = sorted((out / "results").glob("model_iter*.keras"))
    records = read_losses(out / "results" / "losses.csv")
    measure = {record.iteration: record.withheld_correlation for record in records}  # an iteration's last epoch counts
    trained = max(measure, default=1)
    curve = []
    for model in models:
        engine(out, "predict", "tomograms.star", model, "--calibrate", calibrate)
        found = score(scene, out)["tomograms"]["corrected"]
        resolution = {axis: found["resolution_A"][f"{axis}_0.5"] for axis in "xyz"}
        number = 0 if as_it_is else int(model.stem[-2:])  # 0: the model that the training started from
        told = {"iteration": number, "withheld": measure.get(number), "cpu": seconds * number / trained}
        curve.append({**told, **{name: found[name] for name in FACTS}, **resolution})
        print(json.dumps(curve[-1]), flush=True)
    (out / "curve.json").write_text(json.dumps(curve, indent=1))


def draw(figure_path: Path, curves: list[str]) -> None:
    """Wedge CC and R2 over CPU seconds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    for curve in curves:
        label, folder = curve.split("=", 1)
        points = json.loads((Path(folder) / "curve.json").read_text())
        for panel, name in zip(panels, FACTS):
            panel.plot([point["cpu"] for point in points], [point[name] for point in points], "o-", label=label)
    for panel, name in zip(panels, ("wedge CC", "wedge R2")):
        panel.set(xlabel="CPU seconds of refine", ylabel=name)
        panel.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(figure_path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("scene", type=Path)
    running.add_argument("--out", type=Path, required=True)
    running.add_argument("--halves", action="store_true")
    running.add_argument("--builtin", action="store_true")
    running.add_argument("--tilt-min", type=float, default=-60)
    running.add_argument("--tilt-max", type=float, default=60)
    drawing = commands.add_parser("draw")
    drawing.add_argument("figure", type=Path)
    drawing.add_argument("curves", nargs="+")
    arguments, options = parser.parse_known_args()
    if arguments.command == "draw":
        draw(arguments.figure, arguments.curves)
    else:
        tilt = arguments.tilt_min, arguments.tilt_max
        scene, out = (path.resolve() for path in (arguments.scene, arguments.out))
        run(scene, out, arguments.halves, tilt, options, arguments.builtin)


if __name__ == "__main__":
    main()
