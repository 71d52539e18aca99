"""What a training over two nodes would send in each step: the gradients' traffic, measured between two processes.

    python benchmarks/node_traffic.py [--steps 5]

Two processes of this machine sum the gradients of a network, as TensorFlow's workers on two nodes do. The bytes that
pass the loopback interface are counted: keep it quiet otherwise. Linux and TensorFlow alone.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

NETWORKS = ("iterative", "one-pass", "one-pass with halves")


def sent() -> int:
    """Bytes that the loopback interface has sent so far."""
    lines = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()
    return next(int(line.split(":")[1].split()[8]) for line in lines if line.strip().startswith("lo:"))


def work(network: str, steps: int) -> None:
    """One of the two processes: sums gradients with the other; the first prints what was sent, and the seconds."""
    import tensorflow as tf

    from isonet_scipion.engine.network.unet import build_unet
    from isonet_scipion.engine.settings.training import IterativeSettings, OnePassSettings

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    settings = {
        "iterative": IterativeSettings.given({}).network,
        "one-pass": OnePassSettings.given({}).network,
        "one-pass with halves": OnePassSettings.given(dict(OnePassSettings.WITH_HALVES)).network,
    }
    shapes = [weight.shape for weight in build_unet(settings[network]).trainable_variables]
    gradients = [tf.ones(shape) for shape in shapes]

    @tf.function
    def summed() -> list[tf.Tensor]:
        def step() -> list[tf.Tensor]:
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)

        return strategy.run(step)

    summed()  # compiles, and connects the two
    before, started = sent(), time.monotonic()
    for _ in range(steps):
        total = summed()
    seconds = (time.monotonic() - started) / steps
    assert float(tf.reduce_max(total[0])) == 2
    if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 0:
        weights = sum(int(tf.size(gradient)) for gradient in gradients)
        print(f"| {network} | {weights / 1e6:.2f} | {(sent() - before) / steps / 2 / 1e6:.1f} | {seconds:.2f} |")


def free_port() -> int:
    """A port of this machine that nothing uses."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--worker", choices=NETWORKS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.steps)
        return
    print("| network | million weights | MB from each node | seconds on one machine |\n|---|---|---|---|")
    for network in NETWORKS:
        workers = [f"localhost:{free_port()}" for _ in range(2)]
        processes = []
        for index in range(2):
            told = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
            environment = {**os.environ, "TF_CONFIG": told, "CUDA_VISIBLE_DEVICES": "",
                           "TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"}  # fmt: skip
            command = [sys.executable, __file__, "--worker", network, "--steps", str(given.steps)]
            processes.append(subprocess.Popen(command, env=environment))
        if any(process.wait() for process in processes):
            raise SystemExit(f"{network}: a process failed")


if __name__ == "__main__":
    main()
