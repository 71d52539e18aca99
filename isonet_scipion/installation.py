"""Makes the engine's environment: `python -m isonet_scipion.installation FOLDER`. Scipion's install hook calls it.

It is made beside FOLDER and moved there once the engine's own check has trained and predicted in it, since Scipion
shows any folder as installed: until it is complete there is no such folder, or still that of an earlier version.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from isonet_scipion import environment
from isonet_scipion.engine.process.backend import CHOICE
from isonet_scipion.interpreters import NoPython, Version, examine, find_python

CHECK = "isonet-engine check"


class Failed(Exception):
    """The installation can't go on; the message says why."""


def say(text: str) -> None:
    """Tell the user."""
    print(f"== {text}", flush=True)


def call(command: list[str], variables: dict[str, str] | None = None) -> int:
    """Run a command with further environment variables; its exit status."""
    # what lies on PYTHONPATH would count as installed, and a cluster's libraries may not fit the environment's
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LD_LIBRARY_PATH")}
    return subprocess.run(command, env={**kept, **(variables or {})}).returncode


def install(home: Path, backend: str, gpu: bool, conda: str) -> None:
    """Make the environment of the folder `home`.

    Parameters
    ----------
    home : Path
        The engine's folder; replaced once all is well.
    backend : str
        tensorflow or jax.
    gpu : bool
        Whether with CUDA.
    conda : str
        Shell command that makes conda available; empty: as it is on PATH.

    Raises
    ------
    Failed, NoPython
        With the cause.
    """
    base = find_python(environment.PYTHONS, conda)
    found = examine(base)
    if found is None:
        raise Failed(f"{base} can't be run")
    version = found[0]
    say(f"Engine: Python {version[0]}.{version[1]} ({base}), {backend} for the {'GPU' if gpu else 'CPU'}")
    new = home.with_name(f"{home.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        # Scipion's pip serves: Debian's Python can't put one into a new environment without python3-venv
        if call([base, "-m", "venv", "--without-pip", str(new / environment.FOLDER)]):
            raise Failed("the virtual environment could not be made")
        python = str(new / environment.PYTHON)
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--disable-pip-version-check"]
        if call([*pip, *wanted(backend, gpu, version)]):
            raise Failed("pip could not install the packages")
        (new / environment.FOLDER / CHOICE).write_text(backend, encoding="utf-8")
        check(python, gpu)
        write_command(new / environment.FOLDER / "bin", home / environment.PYTHON)
        (new / environment.installed_flag()).touch()
        shutil.rmtree(home, ignore_errors=True)
        new.rename(home)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        with contextlib.suppress(OSError):
            home.rmdir()  # only if it is empty: Scipion made it, and takes any folder for an installation
        raise


def wanted(backend: str, gpu: bool, version: Version) -> list[str]:
    """What pip is to install: the tested packages with their hashes where they are known, else by their ranges."""
    locked = environment.locked(backend, gpu, version)
    machine = os.uname()
    if locked.exists() and (machine.sysname, machine.machine) == ("Linux", "x86_64"):
        return ["--require-hashes", "--only-binary=:all:", "-r", str(locked)]
    say(f"No list of tested packages for this machine ({locked.name}): the newest that fit are installed")
    return environment.requirements(backend, gpu, version)


def check(python: str, gpu: bool) -> None:
    """Train and predict there; where that fails with the GPU, it is enough that the CPU works, and it is said."""
    command = [python, "-I", environment.LAUNCHER, "check"]
    if call(command) == 0:
        return
    if not gpu or call(command, {"CUDA_VISIBLE_DEVICES": "-1"}):
        raise Failed("the engine's check failed: see above")
    say("The engine works on the CPU but NOT ON THE GPU, for the reason above. It is installed; once that is mended,")
    say(f"'{CHECK}' tells whether the GPU works. Until then choose Use GPU? No.")


def write_command(folder: Path, python: Path) -> None:
    """A command `isonet-engine` in the environment, which runs the code of this package."""
    script = folder / "isonet-engine"
    script.write_text(f'#!/bin/sh\nexec "{python.absolute()}" -I "{environment.LAUNCHER}" "$@"\n', encoding="utf-8")
    script.chmod(0o755)


def main() -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backend", choices=environment.OFFERED, default=None, help="default: by the GPU")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--cpu", action="store_true", help="without CUDA, though there is an NVIDIA driver")
    where.add_argument("--gpu", action="store_true", help="with CUDA, though no driver is here (to build a container)")
    parser.add_argument("--conda", default="", help="shell command that makes conda available")
    arguments = parser.parse_args()
    try:
        backend, gpu = (
            arguments.backend or environment.usual_backend(),
            arguments.gpu or (environment.has_gpu() and not arguments.cpu),
        )
        install(arguments.folder.absolute(), backend, gpu, arguments.conda)
    except (Failed, NoPython) as error:
        print(f"ERROR: IsoNet's engine was not installed: {error}.".replace("..", "."), file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("ERROR: IsoNet's engine was not installed: interrupted.", file=sys.stderr, flush=True)
        return 130
    say(f"Installed in {arguments.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
