"""CPU seconds and peak memory of the stages without a network, against the released program's.

    python benchmarks/stages.py [--runs 3] [--write docs/timings.md]

Each stage is a whole process on a tomogram of 200x500x500 voxels, float32 (191 MiB); the least of the runs counts.
The released program's figures were measured in the same way on a 2-core machine (whole process, least of two runs).
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from isonet_scipion.engine.io.mrc import write_volume

ENGINE = [sys.executable, "-m", "isonet_scipion.engine"]
PAIRS = """
import numpy as np
from isonet_scipion.engine.conventions import Normalisation
from isonet_scipion.engine.learning.pairs import filled_target, prepare
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.io.subtomograms import read_subtomograms
table = read_star("pairs.star")
kept, count = [], 0
for subtomogram in read_subtomograms(table, Normalisation.PERCENTILES, (None, None)):
    data = subtomogram.normalised()
    kept.append(prepare(filled_target(data, data, subtomogram.tilt), subtomogram.tilt, 64))
    count += sum(len(kept[-1].pair(number)) // 2 for number in range(20))
assert count == 400
"""
TILES = """
import numpy as np
from isonet_scipion.engine.network.correction import correct
from isonet_scipion.engine.network.tiling import automatic_tiling
from isonet_scipion.engine.io.mrc import open_volume, write_volume
volume = open_volume("tomoset/t.mrc")
tiling = automatic_tiling(volume.shape, (8, 8, 8), 1 << 24)
write_volume("corrected.mrc", correct(volume.data, lambda tiles: tiles, tiling), 10.0, volume)
"""


@dataclass(frozen=True)
class Stage:
    """What is run, and what it cost the released program and may cost us."""

    name: str
    command: list[str]
    released: tuple[float, int]  # CPU seconds, MiB
    target: tuple[float, int]


STAGES = (
    Stage("deconv", [*ENGINE, "deconv", "t.star"], (7.9, 1607), (2.5, 700)),
    Stage("deconv, chunk_size 200", [*ENGINE, "deconv", "t.star", "--chunk_size", "200"], (38, 1136), (6, 450)),
    Stage("make_mask", [*ENGINE, "make_mask", "t.star", "--use_deconv_tomo", "False"], (7.8, 862), (2.5, 450)),
    Stage(
        "extract 100 x 96^3",
        [*ENGINE, "extract", "t.star", "--crop_size", "96", "--use_deconv_tomo", "False"],
        (5.3, 931),
        (1.5, 350),
    ),
    Stage("400 training pairs, cube 64 of 96^3", [sys.executable, "-c", PAIRS], (36.6, 2048), (3, 600)),
    Stage("predict without the network", [sys.executable, "-c", TILES], (21, 4836), (4, 900)),
)
# the table grows to 50 tomograms: small ones, so that it takes seconds
MANY = Stage("50 tomograms of 64x128x128 in one table, deconv", [*ENGINE, "deconv", "many.star"], (0, 0), (0, 0))
ONE = Stage("one of them", [*ENGINE, "deconv", "many.star", "--tomo_idx", "1"], (0, 0), (0, 0))


def measure(stage: Stage, folder: Path) -> tuple[float, int, float]:
    """CPU seconds, peak MiB and elapsed seconds of one run of a stage."""
    started = time.monotonic()
    process = subprocess.Popen(stage.command, cwd=folder, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{stage.name} failed: {stage.command}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024, time.monotonic() - started


def prepare_folder(folder: Path) -> None:
    """Make the inputs."""
    rng = np.random.default_rng(0)
    tomogram = rng.standard_normal((200, 500, 500), dtype=np.float32)
    tomogram[60:140] *= 3
    write_volume(folder / "tomoset" / "t.mrc", tomogram, 10.0)
    head = "data_\nloop_\n_rlnIndex #1\n_rlnMicrographName #2\n_rlnPixelSize #3\n_rlnDefocus #4\n_rlnNumberSubtomo #5\n"
    (folder / "t.star").write_text(f"{head}1 tomoset/t.mrc 10 30000 100\n")
    for number in range(50):
        write_volume(folder / "many" / f"{number}.mrc", tomogram[:64, :128, :128], 10.0)
    rows = "".join(f"{number + 1} many/{number}.mrc 10 30000 10\n" for number in range(50))
    (folder / "many.star").write_text(head + rows)
    for number in range(20):
        write_volume(folder / "subtomo" / f"{number}.mrc", tomogram[:96, :96, 4 * number : 4 * number + 96], 10.0)
    rows = "".join(f"subtomo/{number}.mrc\n" for number in range(20))
    (folder / "pairs.star").write_text(f"data_\nloop_\n_rlnImageName #1\n{rows}")


def table(folder: Path, runs: int) -> str:
    """The results as Markdown."""
    lines = [
        f"Least of {runs} runs on {os.cpu_count()} cores, {platform.processor() or platform.machine()}. Parallel: CPU "
        "seconds over elapsed seconds, of 2 threads.",
        "",
        "| stage | IsoNet 0.2: CPU s, MiB | target | ours | times less CPU | times less memory | parallel |",
        "|---|---|---|---|---|---|---|",
    ]
    for stage in STAGES:
        results = [measure(stage, folder) for _ in range(runs)]
        seconds, memory = min(result[0] for result in results), min(result[1] for result in results)
        parallel = max(result[0] / result[2] for result in results)
        lines.append(
            f"| {stage.name} | {stage.released[0]}, {stage.released[1]} | {stage.target[0]}, {stage.target[1]} | "
            f"{seconds:.2f}, {memory} | {stage.released[0] / seconds:.1f} | {stage.released[1] / memory:.1f} | "
            f"{parallel:.2f} |"
        )
        print(lines[-1], flush=True)
    one, many = (min(measure(stage, folder)[1] for _ in range(runs)) for stage in (ONE, MANY))
    lines += [
        "",
        f"Peak memory with 50 tomograms of 64x128x128 in one table (deconv): {many} MiB, with one: {one} MiB.",
    ]
    print(lines[-1])
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # in a process of its own: a child's peak memory counts its parent's at the fork
        maker = get_context("spawn").Process(target=prepare_folder, args=(Path(folder),))
        maker.start()
        maker.join()
        result = table(Path(folder), arguments.runs)
    if arguments.write:
        arguments.write.parent.mkdir(parents=True, exist_ok=True)
        title = "# Timings of the stages without a network"
        others = "By size: [STAGES.md](../benchmarks/STAGES.md). Many tomograms: [MANY.md](../benchmarks/MANY.md)."
        source = f"Made by `python benchmarks/stages.py --write docs/timings.md`. {others}"
        arguments.write.write_text(f"{title}\n\n{source}\n\n{result}")


if __name__ == "__main__":
    main()
