"""What a correction is good for: picking, segmenting and averaging before and after it, on scenes with known truth.

    python benchmarks/usefulness.py --maps FOLDER --out FOLDER [--methods METHOD...]
                                    [--scenes SCENE...] [--write docs]

Scenes of protein maps (.mrc, 10 A; three of them are picked), membranes and decoys are simulated, corrected by each
method, and used as tomograms are: (a) particles are picked by normalised correlation with their maps, (b) membranes are
segmented by the eigenvalues of the Hessian, (c) subtomograms are averaged, and the resolution that two half sets claim
is compared with the truth. FOLDER gets usefulness.json, to which each call adds: what is there is not made again.
--write also replaces the table and the picture in that folder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from uses.averages import averages
from uses.corrections import TRAININGS, corrected
from uses.membranes import membranes
from uses.picking import picking
from uses.results import figure, table
from uses.scenes import BEFORE, SCENES, SHAPE, TRUTH, make_truth, simulated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="folder of the proteins' maps at 10 A")
    parser.add_argument("--out", type=Path, default=Path("usefulness"))
    parser.add_argument("--methods", nargs="*", choices=TRAININGS, default=["builtin"])
    parser.add_argument("--scenes", nargs="*", choices=SCENES, default=list(SCENES))
    parser.add_argument("--write", type=Path, help="folder of usefulness.md and usefulness.png")
    arguments = parser.parse_args()
    kept = arguments.out / "usefulness.json"
    results: dict = json.loads(kept.read_text()) if kept.exists() else {"scenes": {}}
    samples = {}
    for scene, (seed, low, high, *_) in SCENES.items():
        found = results["scenes"].get(scene, {})
        asked = arguments.methods if scene in arguments.scenes else []
        if not found and not asked:
            continue
        truth, folder = make_truth(arguments.maps, seed), (arguments.out / str(seed)).resolve()
        volumes = {BEFORE: simulated(scene, truth, folder)}
        for method in (one for one in TRAININGS if one in asked or one in found):
            volumes[method] = corrected(folder, method, low, high)
        for when, volume in {**volumes, TRUTH: truth.density}.items():
            one = found.setdefault(when, {})
            if when != TRUTH and "picking" not in one:
                one["picking"] = picking(truth, volume, (low, high) if when == BEFORE else None)
            if "membranes" not in one:
                one["membranes"] = membranes(truth, volume)
        results["scenes"][scene] = found
        samples[scene] = truth, volumes, (low, high)
        kept.write_text(json.dumps(results, indent=1))
        print(f"{scene} is done", flush=True)
    results["scenes"] = {scene: results["scenes"][scene] for scene in samples}
    results["averages"] = {}
    for method in TRAININGS:  # each compared with all that were made of the same scenes
        names = [scene for scene, (_, volumes, _) in samples.items() if method in volumes]
        common = [when for when in (BEFORE, *TRAININGS) if all(when in samples[scene][1] for scene in names)]
        title = "all" if len(names) == len(SCENES) else "; ".join(names)
        if names and title not in results["averages"]:
            parts = [
                (one, {when: volumes[when] for when in common}, tilts)
                for one, volumes, tilts in (samples[scene] for scene in names)
            ]
            results["averages"][title] = averages(parts)
    kept.write_text(json.dumps(results, indent=1))
    text = table(results)
    print(text)
    truth, volumes, _ = next(iter(samples.values()))
    slices = {name: one[:, SHAPE[1] // 2] for name, one in ((TRUTH, truth.density), *volumes.items())}
    figure(results, slices, arguments.out / "usefulness.png")
    if arguments.write:
        page = arguments.write / "usefulness.md"
        head, _, rest = page.read_text(encoding="utf-8").partition("| scene |")
        tail = rest.partition("\n\n")[2]
        page.write_text(f"{head}{text}\n\n{tail}", encoding="utf-8")
        (arguments.write / "usefulness.png").write_bytes((arguments.out / "usefulness.png").read_bytes())


if __name__ == "__main__":
    main()
