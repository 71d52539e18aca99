"""The engine's environment, which the install hook makes with Python's venv and pip: contents, commands, damages."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shlex
import shutil
import subprocess
import sys

from packaging.requirements import Requirement

LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch_engine.py")
PYTHON = os.path.join("env", "bin", "python")
NVIDIA_DRIVER = "/proc/driver/nvidia/version"
FIND_MODULES = "import sys; from importlib.util import find_spec; print(*[m for m in sys.argv[1:] if not find_spec(m)])"


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA driver."""
    return os.path.exists(NVIDIA_DRIVER) or shutil.which("nvidia-smi") is not None


def requirements(gpu: bool) -> list[str]:
    """pip's requirements for this Python: those of the package without Scipion, with TensorFlow for GPU or CPU."""
    extra = {"extra": "engine-gpu" if gpu else "engine"}
    found = [Requirement(text) for text in importlib.metadata.requires("isonet_scipion") or []]
    wanted = [one for one in found if one.marker is None or one.marker.evaluate(extra)]
    for one in wanted:
        one.marker = None
    return [str(one) for one in wanted if not one.name.startswith("scipion")]


def installed_flag() -> str:
    """Path, in the environment's folder, of the file that says: complete, for these requirements and this Python."""
    # sorted: their order in the metadata depends on the setuptools that wrote it
    wanted = sorted({*requirements(gpu=False), *requirements(gpu=True)})
    parts = [*wanted, sys.base_prefix, *map(str, sys.version_info[:2])]
    return os.path.join("env", f"installed-for-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}")


def installation_command(gpu: bool) -> str:
    """Shell command that makes the environment of the current folder; until it is complete there is no such folder.

    It is made beside that folder and moved there once the engine's own check has trained and predicted in it, since
    Scipion shows any folder as installed, and kills the shell when the user presses Ctrl-C.
    """
    python = shlex.quote(sys.executable)
    wanted = " ".join(map(shlex.quote, requirements(gpu)))
    steps = [
        'mkdir "$home.new"',
        'cd "$home.new"',
        # Scipion's pip serves: Debian's Python can't put one into a new environment without python3-venv
        f"{python} -m venv --without-pip env",
        # what lies on PYTHONPATH would count as installed
        f"PYTHONPATH= {python} -m pip --python {PYTHON} install --disable-pip-version-check {wanted}",
        f"{PYTHON} -I {shlex.quote(LAUNCHER)} check",
        f"touch {installed_flag()}",
        'rm -rf "$home"',
        'mv "$home.new" "$home"',
    ]
    # rmdir leaves an environment of an earlier version in its place until the new one is there
    return f'home=$PWD; rmdir "$home" 2>/dev/null; rm -rf "$home.new"; {" && ".join(steps)} || rm -rf "$home.new"'


def damage(python: str) -> str:
    """What keeps an environment's Python from running the engine, looked up in a moment; empty if nothing."""
    names = [Requirement(text).name for text in requirements(gpu=False)]
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    modules = [backend if name.startswith("tensorflow") else name for name in names]
    try:
        result = subprocess.run([python, "-I", "-c", FIND_MODULES, *modules], capture_output=True, text=True)
    except OSError as error:
        return f"it can't be run ({error.strerror})"
    if result.returncode:
        return f"it does not work ({(result.stderr.strip() or str(result.returncode)).splitlines()[-1]})"
    return f"it lacks {', '.join(result.stdout.split())}" if result.stdout.strip() else ""
