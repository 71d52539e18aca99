"""What a GPU makes of the network: one command, no network connection, no Scipion, data of its own.

    python benchmarks/gpu.py [--parts kernels,training,stages,scene] [--budget 540] [--write benchmarks/GPU.md]

Each backend that is installed (TensorFlow, JAX, PyTorch) and each part run in a process of their own, which is ended
when its share of the budget (seconds, of the whole command) is used up; what it has measured until then counts.

kernels   Products of matrices, copies, convolutions, Fourier transforms, resampling, in each number format.
training  Steps per second of both methods in float32, bfloat16 and float16, for batches up to the GPU's memory, cubes
          of 64 and 96; on all GPUs too where there are several. "Waits" is what the steps take longer than with one
          ready batch; "busy" is the share of the time in which the GPU computes, as nvidia-smi tells.
stages    `predict` with its report at real size, under a profiler, with the network of each method.
scene     One-pass trained to its end on a small scene whose truth is known, and its score.

To run it on a machine without connection, take along this repository and wheels of what that machine lacks:

    python -m pip download --no-deps --only-binary=:all: -d wheels keras mrcfile namex optree emtable click tqdm
    python -m pip install --no-index --no-deps --target site wheels/*.whl   # there
    PYTHONPATH=site:. python benchmarks/gpu.py
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from gpu_parts.busy import visible_gpus
from gpu_parts.rows import emitted, header, line, with_peak

PARTS = {"kernels": 0.13, "training": 0.45, "stages": 0.27, "scene": 0.15}  # shares of the budget
BACKENDS = {"jax": "jax", "tensorflow": "tensorflow", "torch": "torch"}  # Keras's name and the package's


def child(arguments: argparse.Namespace, backend: str, part: str, gpus: str | None, seconds: float) -> Iterator[dict]:
    """Rows of a part, as its process tells them."""
    command = [sys.executable, __file__, "--child", part, "--budget", str(seconds)]
    command += [*(["--small"] if arguments.small else []), *(["--gpus", gpus] if gpus else [])]
    here = str(Path(__file__).resolve().parent.parent)
    environment = {
        **os.environ, "KERAS_BACKEND": backend, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    timer = threading.Timer(seconds, lambda: os.killpg(process.pid, 9))
    timer.start()
    yield from emitted(process.stdout)
    if process.wait():
        print(f"{backend}, {part}: ended with {process.returncode}", file=sys.stderr, flush=True)
    timer.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--backends", help="such as jax,torch; default: the first of JAX, TensorFlow, PyTorch for all "
                        "parts, the others for kernels and training")  # fmt: skip
    parser.add_argument("--budget", type=float, default=540.0, help="seconds, of the whole command")
    parser.add_argument("--gpus", help="numbers such as 0,1; default: the first, and all of them for the training")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the command on a CPU")
    parser.add_argument("--write", type=Path, help="Markdown file to write; the JSON goes beside it")
    parser.add_argument("--child", choices=list(PARTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    started = time.monotonic()
    if arguments.child:
        part = import_module(f"gpu_parts.{arguments.child}")
        getattr(part, arguments.child)(arguments, started + 0.95 * arguments.budget)
        return
    gpus, parts = visible_gpus(), arguments.parts.split(",")
    backends = [name for name, package in BACKENDS.items() if importlib.util.find_spec(package)]
    if arguments.backends:
        backends = arguments.backends.split(",")
    if not backends:
        raise SystemExit("Neither TensorFlow nor JAX nor PyTorch is installed.")
    groups = [arguments.gpus] if arguments.gpus or not gpus else ["0"]
    if len(gpus) > 1 and not arguments.gpus:
        groups.append(",".join(map(str, range(len(gpus)))))
    plan = [
        (part, backend, group)
        for part in parts
        for backend in (backends if arguments.backends or part in ("kernels", "training") else backends[:1])
        for group in (groups if part == "training" else groups[:1])
    ]
    weights = [PARTS[part] / (1 + 2 * (backend != backends[0])) for part, backend, _ in plan]
    machine = f"{'; '.join(gpus) or 'no GPU'}; {os.cpu_count()} CPU cores; {', '.join(backends)}"
    lines, rows = ["# Speed on a GPU", "", machine], []
    print("\n".join(lines), flush=True)
    for number, (part, backend, group) in enumerate(plan):
        if number == 0 or part != plan[number - 1][0]:
            lines += header(part)
            print("\n".join(header(part)), flush=True)
        left = arguments.budget - (time.monotonic() - started)
        for row in child(arguments, backend, part, group, max(5.0, left * weights[number] / sum(weights[number:]))):
            rows.append(with_peak(row, rows))
            lines.append(line(row))
            print(lines[-1], flush=True)
    lines += ["", f"`python benchmarks/gpu.py`, {time.monotonic() - started:.0f} seconds in all."]
    print("\n".join(lines[-2:]), flush=True)
    if arguments.write:
        arguments.write.write_text("\n".join(lines) + "\n")
        arguments.write.with_suffix(".json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
