"""Makes the engine's environment: `python -m isonet_scipion.installation FOLDER`. Scipion's install hook calls it.

It is FOLDER/env; nothing else there is touched. It is made beside that and takes its name once the engine's own check
has trained and predicted in it; an earlier one is moved aside for that, and deleted last.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import glob
import itertools
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator

from isonet_scipion import environment
from isonet_scipion.constants import ISONET_ENGINE_BACKEND
from isonet_scipion.engine.process.backend import CHOICE
from isonet_scipion.interpreters import Elsewhere, NoPython, Version, examine, find_python, for_pip, refuse_elsewhere

CHECK = "isonet-engine check"
NEW, OLD = ".isonet-new", ".isonet-old"  # ends of the names of environments that are being made or were replaced
PIP = "pip>=23.1.2"  # the first that Python 3.12 runs


class Failed(Exception):
    """The installation can't go on; the message says why."""


def say(text: str) -> None:
    """Tell the user."""
    print(f"== {text}", flush=True)


def call(command: list[str], variables: dict[str, str] | None = None) -> int:
    """Run a command with further environment variables; its exit status."""
    # a cluster's libraries may not fit the environment's
    kept = {name: value for name, value in for_pip().items() if name != "LD_LIBRARY_PATH"}
    return subprocess.run(command, env={**kept, **(variables or {})}).returncode


def install(home: Path, backend: str, gpu: bool, conda: str) -> None:
    """Make the environment of the folder `home`.

    Parameters
    ----------
    home : Path
        The engine's folder: its `env` is replaced once all is well.
    backend : str
        tensorflow or jax.
    gpu : bool
        Whether with CUDA.
    conda : str
        Shell command that makes conda available; empty: as it is on PATH.

    Raises
    ------
    Failed, NoPython, Elsewhere
        With the cause.
    """
    try:
        refuse_foreign(home)
        place = (home / environment.FOLDER).resolve()  # the folder may be a link to a larger disk
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with alone(place.parent):
                base = find_python(environment.PYTHONS, conda)
                found = examine(base)
                if found is None:
                    raise Failed(f"{base} can't be run")
                version = found[0]
                say(f"Engine: Python {version[0]}.{version[1]} ({base}), {backend} for the {'GPU' if gpu else 'CPU'}")
                fill(place, base, version, backend, gpu)
        except BaseException:
            with contextlib.suppress(OSError):
                home.rmdir()  # only if it is empty: Scipion made it, and takes any folder for an installation
            raise
    except OSError as error:
        raise Failed(f"{error.filename or home}: {error.strerror or error}") from error


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other installations out of a folder, where its file system has locks; Failed if one is at work there."""
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Failed(f"another installation is at work in {folder}. Wait until it has ended") from error
        except OSError:  # no locks
            pass
        yield
    finally:
        os.close(held)


def fill(place: Path, base: str, version: Version, backend: str, gpu: bool) -> None:
    """Make an environment beside its place, and put it there once all is well."""
    new = place.with_name(place.name + NEW)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        make(new, base, version, backend, gpu)
        name_finally(new, place)
        put_in_place(new, place)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def refuse_foreign(home: Path) -> None:
    """Raise Failed where the folder holds anything but what an installation left there."""
    env = home / environment.FOLDER
    if (env / CHOICE).exists() or any(env.glob("installed-for-*")):
        return  # made by an earlier installation: what was put beside it since stays
    names = [path.name for path in home.iterdir()] if home.is_dir() else []
    foreign = sorted(name for name in names if not name.startswith((env.name + NEW, env.name + OLD)))
    if foreign:
        some = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise Failed(f"{home} holds other things ({some}). Give a new folder, such as {home / 'isonet_engine'}")


def make(env: Path, base: str, version: Version, backend: str, gpu: bool) -> None:
    """Fill the empty folder `env` with a checked environment."""
    if call([base, "-I", "-m", "venv", "--without-pip", str(env)]):
        raise Failed("the virtual environment could not be made")
    python = str(env / "bin" / "python")
    add_pip(env, version)
    refuse_elsewhere(python)
    if call([python, "-I", "-m", "pip", "install", "--disable-pip-version-check", *wanted(backend, gpu, version)]):
        raise Failed("pip could not install the packages")
    (env / CHOICE).write_text(backend, encoding="utf-8")
    check(python, gpu)
    (env / Path(environment.installed_flag()).name).touch()


def add_pip(env: Path, version: Version) -> None:
    """Put a pip into the environment: that of its own Python, which needs no network, else a newer one."""
    python = str(env / "bin" / "python")
    if subprocess.run([python, "-I", "-c", "import ensurepip"], stderr=subprocess.DEVNULL).returncode == 0:
        command = [python, "-I", "-m", "ensurepip", "--default-pip"]
    else:  # Debian's without python3-venv; this Python's pip serves, however old
        number = f"{version[0]}.{version[1]}"
        packages = str(env / "lib" / f"python{number}" / "site-packages")
        kind = ["--no-deps", "--only-binary=:all:", "--python-version", number]
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *kind, "-t", packages, PIP]
    if call(command):
        raise Failed("the environment got no pip")


def name_finally(new: Path, place: Path) -> None:
    """Write the name that an environment will have into its scripts, and the command `isonet-engine`."""
    folder = new / "bin"
    for script in folder.iterdir():
        text = b"" if script.is_symlink() or script.is_dir() else script.read_bytes()
        if os.fsencode(new.name) in text:
            script.write_bytes(text.replace(os.fsencode(new.name), os.fsencode(place.name)))
    write_command(folder, place / "bin" / "python")


def put_in_place(new: Path, place: Path) -> None:
    """Give the new environment the place of the former one, which is there again if that fails."""
    olds = (place.with_name(f"{place.name}{OLD}{number}") for number in itertools.count(1))
    old = next(path for path in olds if not path.exists())
    if place.exists():
        place.rename(old)
    try:
        new.rename(place)
    except BaseException:
        if old.exists():
            old.rename(place)
        raise
    for former in place.parent.glob(f"{glob.escape(place.name)}{OLD}*"):
        shutil.rmtree(former, ignore_errors=True)
        if former.exists():
            say(f"WARNING: not all of the earlier environment could be deleted, it may be in use: delete {former}")


def wanted(backend: str, gpu: bool, version: Version) -> list[str]:
    """What pip is to install: the tested packages with their hashes where they are known, else by their ranges."""
    locked = environment.locked(backend, gpu, version)
    machine = os.uname()
    if locked.exists() and (machine.sysname, machine.machine) == ("Linux", "x86_64"):
        return ["--require-hashes", "--only-binary=:all:", "-r", str(locked)]
    say(f"No list of tested packages for this machine ({locked.name}): the newest that fit are installed")
    return list(environment.requirements(backend, gpu, version))


def check(python: str, gpu: bool) -> None:
    """Train and predict there; where that fails with the GPU, it is enough that the CPU works, and it is said."""
    command = [python, "-I", environment.LAUNCHER, "check"]
    if call(command) == 0:
        return
    if not gpu or call(command, {"CUDA_VISIBLE_DEVICES": "-1"}):
        raise Failed("the engine's check failed: see above")
    say("The engine works on the CPU but NOT ON THE GPU, for the reason above. It is installed; once that is mended,")
    say(f"'{CHECK}' tells whether the GPU works. Until then choose No at GPU IDs.")


def write_command(folder: Path, python: Path) -> None:
    """A command `isonet-engine` in the environment, which runs the code of this package."""
    script = folder / "isonet-engine"
    command = shlex.join([str(python), "-I", environment.LAUNCHER])
    script.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    script.chmod(0o755)


def _backend(word: str) -> str:
    if word not in environment.OFFERED:
        offered = " nor ".join(environment.OFFERED)
        why = f"{word!r} is neither {offered} (in Scipion's configuration it is {ISONET_ENGINE_BACKEND})"
        raise argparse.ArgumentTypeError(why)
    return word


def main() -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--backend", type=_backend, metavar=" or ".join(environment.OFFERED), help="default: by the GPU"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--cpu", action="store_true", help="without CUDA, though there is an NVIDIA driver")
    where.add_argument("--gpu", action="store_true", help="with CUDA, though no driver is here (to build a container)")
    parser.add_argument("--conda", default="", help="shell command that makes conda available")
    arguments = parser.parse_args()
    home = arguments.folder.absolute()
    try:
        backend, gpu = (
            arguments.backend or environment.usual_backend(),
            arguments.gpu or (environment.has_gpu() and not arguments.cpu),
        )
        install(home, backend, gpu, arguments.conda)
    except (Elsewhere, Failed, NoPython) as error:
        print(f"ERROR: IsoNet's engine was not installed: {str(error).rstrip('.')}.", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("ERROR: IsoNet's engine was not installed: interrupted.", file=sys.stderr, flush=True)
        return 130
    say(f"Installed in {home}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
