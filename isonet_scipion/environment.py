"""The engine's environment: what is in it, where it is, what may be wrong with it. `installation` makes it."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata as metadata
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Iterator

from packaging.requirements import Requirement

from isonet_scipion.engine.process.backend import BACKENDS, environment_choice
from isonet_scipion.engine.process.gpus import NVIDIA_DRIVER

if TYPE_CHECKING:
    from isonet_scipion.interpreters import Version

PACKAGE = Path(__file__).resolve().parent
LAUNCHER = str(PACKAGE / "launch_engine.py")
FOLDER = "env"  # in the home folder of the engine
PYTHON = os.path.join(FOLDER, "bin", "python")
PYTHONS = ((3, 12), (3, 11), (3, 13), (3, 10))  # that the engine runs on, the preferred one first
OFFERED = ("tensorflow", "jax")  # backends that an environment is made for
# TensorFlow 2.21, the newest, can't compile for GPUs from this compute capability (Blackwell) on
NO_TENSORFLOW = 10.0
FIND_MODULES = "import sys; from importlib.util import find_spec; print(*[m for m in sys.argv[1:] if not find_spec(m)])"


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA driver."""
    return os.path.exists(NVIDIA_DRIVER) or shutil.which("nvidia-smi") is not None


def compute_capabilities() -> list[float]:
    """Of each NVIDIA GPU, such as 8.6; empty where nvidia-smi does not tell."""
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout.decode()
        return [float(line) for line in told.split()]
    except (OSError, subprocess.CalledProcessError, ValueError):
        return []


def usual_backend() -> str:
    """jax where a GPU is too new for TensorFlow, else tensorflow."""
    return "jax" if any(capability >= NO_TENSORFLOW for capability in compute_capabilities()) else "tensorflow"


@functools.lru_cache(maxsize=None)  # a form asks for all kinds each time it is checked
def requirements(backend: str, gpu: bool, python: Version) -> tuple[str, ...]:
    """pip's requirements for the engine: those of the package without Scipion, and the backend's for GPU or CPU.

    Parameters
    ----------
    backend : str
        tensorflow or jax.
    gpu : bool
        Whether with CUDA.
    python : (int, int)
        Version of the Python that they are for, which need not be this one.
    """
    version = ".".join(map(str, python))
    there = {"python_version": version, "python_full_version": f"{version}.0"}
    there["extra"] = f"engine-{backend}{'-gpu' if gpu else ''}"
    found = [Requirement(text) for text in metadata.requires("isonet_scipion") or []]
    wanted = [one for one in found if one.marker is None or one.marker.evaluate(there)]
    for one in wanted:
        one.marker = None
    return tuple(str(one) for one in wanted if not one.name.startswith("scipion"))


def locked(backend: str, gpu: bool, python: Version) -> Path:
    """File of the tested version and hash of every package, for Linux on x86-64; it may be missing for other cases."""
    return PACKAGE / "requirements" / f"{backend}-{'gpu' if gpu else 'cpu'}-{python[0]}.{python[1]}.txt"


def installed_flag() -> str:
    """Path, in the engine's home, of the file that says: complete, for what this version of the plugin requires."""
    # sorted: their order in the metadata depends on the setuptools that wrote it
    wanted = sorted({text for kind in kinds() for text in requirements(*kind)})
    return os.path.join(FOLDER, f"installed-for-{hashlib.sha256(' '.join(wanted).encode()).hexdigest()[:12]}")


def kinds() -> Iterator[tuple[str, bool, Version]]:
    """All environments that can be chosen: backend, whether with CUDA, version of Python."""
    for backend in OFFERED:
        for gpu in (False, True):
            for python in PYTHONS:
                yield backend, gpu, python


def damage(python: str) -> str:
    """What keeps an environment's Python from running the engine, looked up in a moment; empty if nothing."""
    names = [Requirement(text).name for text in requirements("tensorflow", False, PYTHONS[0])]
    modules = [name for name in names if not name.startswith("tensorflow")]
    try:
        command = [python, "-I", "-c", FIND_MODULES, *modules, *BACKENDS]
        result = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        return f"it can't be run ({error.strerror})"
    if result.returncode:
        return f"it does not work ({(result.stderr.strip() or str(result.returncode)).splitlines()[-1]})"
    lacking = set(result.stdout.split())
    # an environment of one's own may have any of them
    choice = environment_choice(Path(python).parent.parent)
    backends = lacking & ({choice} if choice else set(BACKENDS))
    lacks_backend = bool(choice and backends) or backends == set(BACKENDS)
    absent = sorted(lacking - set(BACKENDS)) + ([choice or "tensorflow"] if lacks_backend else [])
    return f"it lacks {', '.join(absent)}" if absent else ""
