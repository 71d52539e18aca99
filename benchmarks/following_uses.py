"""Does the measure of the trainings of usefulness.py follow the truth? A table as of following.py.

    python benchmarks/following_uses.py --maps FOLDER USEFULNESS [--every 2]

USEFULNESS is the folder that `usefulness.py --methods one-pass` has filled, with the same maps. The models of every
second iteration, or as given, are scored in USEFULNESS/SEED/following, which gets their curve.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from following import table
from one_pass import FACTS
from refinement import engine, score
from uses.scenes import APIX, SCENES, make_truth

from isonet_scipion.engine.io.losses import read_losses
from isonet_scipion.engine.io.mrc import write_volume


def curve(training: Path, work: Path, scene: Path, every: int) -> list[dict[str, float]]:
    """The measure and the true scores of each `every`-th model of a training on the tomogram of a scene."""
    for name in ("tomo", "even", "odd"):
        (work / name).symlink_to(training.parent / name)
    text = (training / "tomograms.star").read_text(encoding="utf-8")
    (work / "tomograms.star").write_text(text.replace("../", ""), encoding="utf-8")
    records = read_losses(training / "results" / "losses.csv")
    measure = {record.iteration: record.withheld_correlation for record in records}
    points = []
    for number in range(every, max(measure) + 1, every):
        model = training / "results" / f"model_iter{number:02d}.keras"
        engine(work, "predict", "tomograms.star", model, "--report", False)
        found = score(scene, work)["tomograms"]["corrected"]
        points.append({"iteration": number, "withheld": measure[number], **{name: found[name] for name in FACTS}})
        print(json.dumps(points[-1]), flush=True)
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("uses", type=Path)
    parser.add_argument("--maps", type=Path, required=True, help="folder of the proteins' maps at 10 A")
    parser.add_argument("--every", type=int, default=2)
    arguments = parser.parse_args()
    runs = {}
    for name, (seed, low, high, *_) in SCENES.items():
        training = arguments.uses.resolve() / str(seed) / "one-pass"
        if not training.exists():
            continue
        work = training.parent / "following"
        scene, kept = work / "scene", work / "curve.json"
        if not kept.exists():
            scene.mkdir(parents=True)
            truth = make_truth(arguments.maps, seed)
            write_volume(scene / "gt.mrc", truth.density.astype(np.float32), APIX)
            write_volume(scene / "slab_mask.mrc", truth.slab.astype(np.int8), APIX)
            (scene / "tomo.mrc").symlink_to(training.parent / "tomo" / "tomo.mrc")
            (scene / "tilt.tlt").write_text("".join(f"{angle}\n" for angle in range(low, high + 1, 3)))
            kept.write_text(json.dumps(curve(training, work, scene, arguments.every), indent=1))
        runs[name] = json.loads(kept.read_text())
    print(table(runs))


if __name__ == "__main__":
    main()
