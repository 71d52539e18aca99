"""How busy the GPU is, as nvidia-smi tells."""

from __future__ import annotations

import subprocess
import tempfile

import numpy as np


class Busy:
    """Share of the time, while it is entered, in which the first GPU computes; nan without nvidia-smi."""

    def __enter__(self) -> Busy:
        self.output = tempfile.TemporaryFile("w+")
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100", "-i", "0"]
        try:
            self.process = subprocess.Popen(query, stdout=self.output, stderr=subprocess.DEVNULL)
        except OSError:
            self.process = None
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    @property
    def share(self) -> float:
        """0 to 1."""
        self.output.seek(0)
        values = [float(line) for line in self.output.read().split() if line.isdigit()]
        return float(np.mean(values)) / 100 if values else float("nan")


def visible_gpus() -> list[str]:
    """Names of the GPUs that nvidia-smi lists."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []
