"""The calibration of the confidence volume: made on simulated scenes, tested on others.

    python benchmarks/confidence.py --maps FOLDER --out FOLDER [--trained FOLDER...] [--write]

Scenes (membranes and filaments with proteins that are sums of Gaussians, or maps of the folder, .mrc at 10 A) of other
seeds, SNRs, tilt ranges and defoci are simulated and corrected by the builtin model; a logistic regression from the
engine's features to the true correlation in the missing wedge is made on one part of them and tested on the other,
which has other maps. FOLDER gets the scenes (what is there is not made again), confidence.json and confidence.png;
--write replaces the engine's calibration, and the tables and picture in benchmarks. Each folder after --trained is one
of restoration.py: the confidence volume that the engine writes with the training's last model is compared with the
scene's truth.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from calibration.regression import Scene, fitted
from calibration.results import draw, put, table_of_trainings, tables
from calibration.scenes import MADE_ON, SHAPE, TESTED_ON, make
from calibration.trial import left_out, of_training, tested

from isonet_scipion.engine.io.confidence_file import CALIBRATION

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="folder of proteins' maps at 10 A")
    parser.add_argument("--out", type=Path, default=Path("confidence"))
    parser.add_argument("--trained", type=Path, nargs="*", default=[], help="folders of restoration.py")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    made: dict[str, Scene] = {}
    for name, scene in {**MADE_ON, **TESTED_ON}.items():
        make(scene, arguments.maps, arguments.out / name)
        made[name] = Scene(scene, arguments.out / name)
        print(f"{name}: features in {1e6 * made[name].seconds / np.prod(SHAPE):.2f} us a voxel", flush=True)
    ours = {name: made[name] for name in MADE_ON}
    others = {name: made[name] for name in TESTED_ON}
    calibration = fitted(list(ours.values()))
    results = tested(others, calibration)
    content = {
        "window": calibration.window,
        "intercept": calibration.intercept,
        "terms": {name: term._asdict() for name, term in calibration.terms.items()},
    }
    found = tables(results, left_out(ours), TESTED_ON)
    (arguments.out / "confidence.json").write_text(json.dumps(content, indent=1) + "\n")
    draw(others, calibration, results, arguments.out / "confidence.png")
    if arguments.write:
        CALIBRATION.write_text(json.dumps(content, indent=1) + "\n")  # which the trained models' confidence uses too
    if arguments.trained:
        found.append(table_of_trainings({folder.name: of_training(folder) for folder in arguments.trained}))
    print("\n\n".join(found))
    if arguments.write:
        (HERE / "confidence.png").write_bytes((arguments.out / "confidence.png").read_bytes())
        page = HERE / "CONFIDENCE.md"
        text = page.read_text(encoding="utf-8")
        for one in found:
            text = put(text, one)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
