"""Finding a Python of a version that fits, or getting one; the standard library alone, so that run.py can use it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Iterator, List, Optional, Sequence, Tuple

Version = Tuple[int, int]
# and whether pip can work there
ASK = "import sys, venv, ctypes, ssl; print(*sys.version_info[:2], sys.executable)"
CONDA_ENVIRONMENT = "isonet_engine-python"


class NoPython(Exception):
    """No Python fits, and none could be got; the message says what was tried and what to do."""


def examine(python: str) -> Optional[Tuple[Version, str]]:
    """Version and true path of an interpreter (a name on PATH may start another one); None if it is of no use."""
    try:
        done = subprocess.run([python, "-I", "-c", ASK], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return None
    words = done.stdout.decode().split(maxsplit=2)
    return ((int(words[0]), int(words[1])), words[2].strip()) if done.returncode == 0 and len(words) == 3 else None


def candidates(versions: Sequence[Version]) -> Iterator[str]:
    """Interpreters to try: this one, then those of the versions on PATH, in their order."""
    # a virtual environment's own base, since an environment must outlive the one that makes it
    yield os.path.realpath(sys.executable) if sys.prefix != sys.base_prefix else sys.executable
    for major, minor in versions:
        found = shutil.which(f"python{major}.{minor}")
        if found:
            yield found
    yield from filter(None, [shutil.which("python3"), "/usr/bin/python3"])


def find_python(versions: Sequence[Version], conda: str = "", get: bool = True) -> str:
    """A Python of one of some versions.

    Parameters
    ----------
    versions : sequence of (int, int)
        Versions that fit, the preferred one first.
    conda : str
        Shell command that makes conda available, such as Scipion's CONDA_ACTIVATION_CMD; empty: as it is on PATH.
    get : bool
        Whether to get one, by conda or uv, where none is found.

    Returns
    -------
    str
        Path of the interpreter: this one, else one on PATH, else one of conda's, else one that uv downloads.

    Raises
    ------
    NoPython
        If there is none.
    """
    tried: List[str] = []
    for python in candidates(versions):
        found = examine(python)
        if found and found[0] in versions:
            return found[1]
        if found:
            tried.append(f"{found[1]} is {found[0][0]}.{found[0][1]}")
    wanted = " or ".join(f"{major}.{minor}" for major, minor in sorted(versions))
    if get:
        for way in (_by_conda, _by_uv):
            python, why = way(versions[0], conda)
            found = examine(python) if python else None
            if found and found[0] in versions:
                return found[1]
            tried.append(why)
    raise NoPython(
        f"Python {wanted} is needed. {'; '.join(dict.fromkeys(tried))}. Install one of these versions (Debian's and "
        "Ubuntu's package python3-venv, conda create -n py312 python=3.12, or uv python install 3.12), put it on PATH "
        "and repeat."
    )


def _by_conda(version: Version, activation: str) -> Tuple[Optional[str], str]:
    """Python of an environment that conda makes, or None; and what came of it."""
    name = f"{CONDA_ENVIRONMENT}{version[0]}.{version[1]}"
    ready = activation.strip()
    ready = f"{ready} && " if ready and ready[-1] not in ";&" else ready
    where = f'{ready} conda run -n {name} python -c "import sys; print(sys.executable)"'
    make = f"{ready} conda create -y -q -n {name} python={version[0]}.{version[1]}"
    if not activation and not shutil.which("conda"):
        return None, "conda is not there"
    for command in (where, f"{make} && {where}"):
        done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        lines = done.stdout.decode(errors="replace").strip().splitlines() or [""]
        if done.returncode == 0:
            return lines[-1], "conda made one"
    return None, f"conda could not make one ({lines[-1][:200]})"


def _by_uv(version: Version, _: str) -> Tuple[Optional[str], str]:
    """Python that uv, which pip installs for the moment, downloads, or None; and what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        install = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--target",
            folder,
            "uv",
        ]
        done = subprocess.run(install, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            return None, "uv, which downloads Pythons, could not be installed by pip"
        uv, name = os.path.join(folder, "bin", "uv"), f"{version[0]}.{version[1]}"
        done = subprocess.run([uv, "python", "install", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            lines = re.sub(r"\s+", " ", done.stdout.decode(errors="replace")).strip()
            return None, f"uv could not download one ({lines[-200:]})"
        found = subprocess.run([uv, "python", "find", "--no-project", name], stdout=subprocess.PIPE)
        return found.stdout.decode().strip() or None, "uv downloaded one"
