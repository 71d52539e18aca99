"""Make the ready data sets, with the scores and a figure of their uncorrected tomograms.

python make_datasets.py --out /tmp/bench            # about 40 seconds each
"""

from __future__ import annotations

import argparse
from pathlib import Path

import baseline
import figure
import phantom
import project
import score

DATASETS = {  # seed of the scene, then arguments of project.py
    "easy": (7, "--tilt-min -60 --tilt-max 60 --snr 3 --seed 107"),
    "asym": (11, "--tilt-min -30 --tilt-max 66 --snr 3 --seed 111"),
    "defocus": (42, "--tilt-min -60 --tilt-max 60 --snr 1 --defocus 3 --seed 142"),
}


def make(name, out, shape, apix):
    seed, how = DATASETS[name]
    folder = Path(out) / name
    folder.mkdir(parents=True, exist_ok=True)
    gt, mask, tlt, tomo, fixed = (
        str(folder / f) for f in ("gt.mrc", "slab_mask.mrc", "tilt.tlt", "tomo.mrc", "baseline.mrc")
    )
    phantom.main(
        [
            "--seed",
            str(seed),
            "--shape",
            *map(str, shape),
            "--apix",
            str(apix),
            "--out",
            gt,
            "--mask",
            mask,
            "--objects",
            str(folder / "objects.json"),
        ]
    )
    project.main(["--gt", gt, "--out-dir", str(folder), *how.split()])
    baseline.main(["--input", tomo, "--mask", mask, "--tlt", tlt, "--out", fixed])
    score.main(
        [
            "--gt",
            gt,
            "--input",
            tomo,
            "--corrected",
            fixed,
            "--mask",
            mask,
            "--tlt",
            tlt,
            "--json",
            str(folder / "baseline_scores.json"),
        ]
    )
    figure.main(
        [
            "--gt",
            gt,
            "--input",
            tomo,
            "--corrected",
            fixed,
            "--tlt",
            tlt,
            "--title",
            f"{name}: corrected = baseline.py",
            "--out",
            str(folder / "figure.png"),
        ]
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="easy, asym, defocus (default: all)")
    parser.add_argument("--out", default="/tmp/bench")
    parser.add_argument("--shape", type=int, nargs=3, default=(112, 256, 256))
    parser.add_argument("--apix", type=float, default=10.0)
    args = parser.parse_args(argv)
    for name in args.names or DATASETS:
        if name not in DATASETS:
            parser.error(f"no data set {name}: choose from {', '.join(DATASETS)}")
        print(f"== {name}")
        make(name, args.out, args.shape, args.apix)


if __name__ == "__main__":
    main()
