"""CPU seconds and peak memory of the stages against the tomogram's size: a table and a plot.

    python benchmarks/scale.py OUT.md [--shapes 100x250x250 200x500x500 400x1000x1000 800x1400x1400]

Each stage is a whole process on one tomogram, float32; OUT.png is the plot. Prediction is on the CPU, so at small sizes
only; what it and the report take beside their network, which a GPU has to wait for, is measured with one that does
nothing (beside_network.py). Enlarging, and halves, are left out where they would take more memory or disk than a
workstation has. The bound by memory traffic is the time of reading and writing in main memory, once, what the stage
reads and writes, at the speed of a copy there. The free memory is written to before each stage: a virtual machine may
give it to its guest only then, and slowly.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from stages import ENGINE, Stage, measure

from isonet_scipion.engine.arrays import release_now_and_then
from isonet_scipion.engine.io.mrc import writing_volume

HEAD = "data_\nloop_\n_rlnIndex #1\n_rlnMicrographName #2\n_rlnPixelSize #3\n_rlnDefocus #4\n_rlnNumberSubtomo #5\n"
HALVES = "_rlnTomoReconstructedTomogramHalf1 #6\n_rlnTomoReconstructedTomogramHalf2 #7\n"
MOST_OF_HALVES = 400_000_000  # voxels
FILLED = 0.9  # of the free memory
SHAPES = ("100x250x250", "200x500x500", "400x1000x1000", "800x1400x1400")
RAW = ["--use_deconv_tomo", "False"]
PREDICT = [*ENGINE, "predict", "t.star", "builtin", "--gpuID", "-1", "--output_dir", "builtin", *RAW]
BESIDE = [sys.executable, str(Path(__file__).with_name("beside_network.py"))]
# stage, its command, bytes that it reads and writes for each voxel of the tomogram, million voxels that it is run on
STAGES = (
    ("deconv", [*ENGINE, "deconv", "t.star"], 8.0, np.inf),
    ("make_mask", [*ENGINE, "make_mask", "t.star", *RAW], 5.0, np.inf),
    ("extract 100 x 96^3", [*ENGINE, "extract", "t.star", "--crop_size", "96", *RAW], 8.0, np.inf),
    ("resize to 13.48 A", [*ENGINE, "resize", "t.star", "--apix", "13.48"], 4 * (1 + 1.348**-3), np.inf),
    ("resize to 9.31 A", [*ENGINE, "resize", "t.star", "--apix", "9.31"], 4 * (1 + 0.931**-3), 400),
    ("start of TensorFlow", [*BESIDE, "nothing", "w.star"], 8.0, 7),
    ("predict beside its network", [*BESIDE, "predict", "w.star"], 8.0, np.inf),
    ("report beside its network", [*BESIDE, "report", "w.star"], 8.0, np.inf),
    ("predict of halves beside its network", [*BESIDE, "predict", "h.star", "--halves"], 12.0, 400),
    ("report of halves beside its network", [*BESIDE, "report", "h.star", "--halves"], 16.0, 400),
    ("predict, builtin, CPU", PREDICT, 8.0, 7),
)
# CPU seconds and MiB of before resize cropped the transform and make_mask filtered in blocks, by million voxels
BEFORE = {
    ("deconv", 400): "12.5, 1721",
    ("deconv", 1568): "49.8, 6167",
    ("make_mask", 400): "10.1, 1119",
    ("make_mask", 1568): "35.9, 4210",
    ("resize to 13.48 A", 400): "45, 6260",
    ("resize to 9.31 A", 400): "52.5, -",
    ("predict beside its network", 400): "56, -",
    ("report beside its network", 400): "22, 5300",
}


def make(folder: Path, shape: tuple[int, ...]) -> None:
    """A tomogram of noise, where it is not too large its halves, and its tables."""
    rng = np.random.default_rng(0)
    names = ["tomoset", *(["even", "odd"] if np.prod(shape, dtype=object) <= MOST_OF_HALVES else [])]
    with contextlib.ExitStack() as files:
        paths = [folder / name / "t.mrc" for name in names]
        whole, *halves = [files.enter_context(writing_volume(path, shape, np.float32, 10.0)) for path in paths]
        for z in range(len(whole)):
            whole[z] = rng.standard_normal(shape[1:], dtype=np.float32)
            apart = rng.standard_normal(shape[1:], dtype=np.float32)
            for half, sign in zip(halves, (1, -1)):
                half[z] = whole[z] + sign * apart
            for volume in (whole, *halves):
                release_now_and_then(volume, z)
    row = "1 tomoset/t.mrc 10 30000 100"
    for name in "tw":
        (folder / f"{name}.star").write_text(f"{HEAD}{row}\n")
    (folder / "h.star").write_text(f"{HEAD}{HALVES}{row} even/t.mrc odd/t.mrc\n")


def fill_memory() -> None:
    """Write once to what memory is free; the files that the system keeps in the rest stay there."""
    free = int(Path("/proc/meminfo").read_text().split("MemFree:")[1].split()[0]) << 10
    np.ones(int(FILLED * free), np.uint8)


def bytes_per_second() -> float:
    """That a copy in main memory reads and writes, on one core."""
    source = np.ones(1 << 26, np.float32)
    target, best = np.zeros_like(source), np.inf
    for _ in range(5):
        started = time.process_time()
        target[:] = source
        best = min(best, time.process_time() - started)
    return 2 * source.nbytes / best


def plot(costs: dict[str, list[tuple[float, float, int]]], path: Path) -> None:
    """CPU seconds and MiB against millions of voxels."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure((12, 4), layout="constrained")
    seconds, memory = figure.subplots(1, 2)
    measured = {name: values for name, values in costs.items() if values}  # none of the sizes is for the others
    for (name, values), colour in zip(measured.items(), colormaps["tab20"].colors):
        voxels, taken, peak = zip(*values)
        seconds.loglog(voxels, taken, "o-", color=colour)
        memory.loglog(voxels, peak, "o-", color=colour, label=name)
    sizes = sorted({count for values in measured.values() for count, *_ in values})
    memory.loglog(sizes, [4e6 * count / 2**20 for count in sizes], "k:", label="the tomogram")
    figure.legend(loc="outside right", fontsize=8)
    for axes, what in ((seconds, "CPU seconds"), (memory, "peak MiB")):
        axes.set_xlabel("million voxels")
        axes.set_ylabel(what)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    options = parser.parse_args()
    # in a process of its own: a child's peak memory counts its parent's at the fork
    with get_context("spawn").Pool(1) as pool:
        speed = pool.apply(bytes_per_second)
    lines = [
        "# Cost of the stages, by size",
        "",
        f"Made by `python benchmarks/{Path(__file__).name}`, one run of a whole process for each row. A copy in main "
        f"memory moves {speed / 1e9:.1f} GB/s. *Ratio*: CPU seconds, divided by those of reading and writing the "
        "stage's files once. *Before*: figures of an earlier version, from another machine. Prediction takes the "
        "largest tiles that half of the free main memory allows: at 100x250x250 one of 8.9 million voxels holds all.",
        "",
        "| stage | tomogram | CPU s | MiB | MiB over tomogram's | ratio | before: CPU s, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    costs: dict[str, list[tuple[float, float, int]]] = {name: [] for name, *_ in STAGES}
    for text in options.shapes:
        shape = tuple(int(side) for side in text.split("x"))
        voxels = int(np.prod(shape, dtype=object))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            maker = get_context("spawn").Process(target=make, args=(folder, shape))
            maker.start()
            maker.join()
            for stage, command, moved, most in STAGES:
                if voxels > most * 1e6:
                    continue
                filling = get_context("spawn").Process(target=fill_memory)
                filling.start()
                filling.join()
                seconds, memory, _ = measure(Stage(stage, command, (0, 0), (0, 0)), folder)
                costs[stage].append((voxels / 1e6, seconds, memory))
                before = BEFORE.get((stage, round(voxels / 1e6)), "")
                lines.append(
                    f"| {stage} | {text} | {seconds:.1f} | {memory} | {memory * 2**20 / (4 * voxels):.2f} | "
                    f"{seconds / (moved * voxels / speed):.0f} | {before} |"
                )
                print(lines[-1], file=sys.stderr, flush=True)
    picture = options.out.with_suffix(".png")
    plot(costs, picture)
    options.out.write_text("\n".join([*lines, "", f"![Cost against voxels]({picture.name})", ""]))


if __name__ == "__main__":
    main()
