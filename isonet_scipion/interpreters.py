"""Finding a Python of a version that fits, or getting one; the standard library alone, so that run.py can use it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

Version = Tuple[int, int]
# and whether pip can work there
ASK = "import sys, venv, ctypes, ssl; print(*sys.version_info[:2], sys.executable)"
CONDA_ENVIRONMENT = "isonet_engine-python"
# pip's settings that would send packages elsewhere, or nowhere
ELSEWHERE = ("target", "prefix", "root", "python", "dry-run")
LEFT_OUT = {
    *(f"PIP_{name.upper().replace('-', '_')}" for name in (*ELSEWHERE, "no-deps", "require-virtualenv")),
    # of other Pythons: what lies there would count as installed, or take the place of what a Python comes with
    *("PYTHONPATH", "PYTHONHOME"),
}


def for_pip() -> Dict[str, str]:
    """The environment variables, with none of the user's that keep pip from installing, or Python from being itself."""
    kept = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    # also against pip's configuration
    return {**kept, "PIP_USER": "0", "PIP_NO_DEPS": "0", "PIP_REQUIRE_VIRTUALENV": "0"}


def refuse_elsewhere(python: str) -> None:
    """Raise Elsewhere where pip's configuration would send what a Python's pip installs to another folder."""
    listed = subprocess.run([python, "-I", "-m", "pip", "config", "list"], stdout=subprocess.PIPE, env=for_pip())
    lines = listed.stdout.decode(errors="replace").splitlines()
    named = [line for line in lines if line.split("=", 1)[0].split(".", 1)[-1] in ELSEWHERE]
    if named:
        raise Elsewhere(
            f"pip's configuration has {', '.join(named)}, which would send the packages elsewhere. Take that out of "
            "the file ('pip config debug' names it), or repeat with PIP_CONFIG_FILE=/dev/null before the command, "
            "which leaves pip's configuration out"
        )


class NoPython(Exception):
    """No Python fits, and none could be got; the message says what was tried and what to do."""


class Elsewhere(Exception):
    """Packages would not be installed where they are needed; the message says why, and what to do."""


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
        # all of them: pyenv's, which comes first, runs only where that version is chosen
        paths = (os.path.join(folder, f"python{major}.{minor}") for folder in os.get_exec_path())
        yield from filter(os.path.exists, paths)
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
    *others, last = (f"{major}.{minor}" for major, minor in sorted(versions))
    wanted = f"{', '.join(others)} or {last}" if others else last
    if get:
        for way in (_by_conda, _by_uv):
            made, why = way(versions[0], conda)
            found = examine(made) if made else None
            if found and found[0] in versions:
                return found[1]
            tried.append(why)
    raise NoPython(
        f"Python {wanted} is needed. {'; '.join(dict.fromkeys(tried))}. Install one of these "
        "versions (uv python install 3.12, conda create -n py312 python=3.12, or a package of the system where it has "
        "one), put it on PATH and repeat."
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
        done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=for_pip())
        lines = done.stdout.decode(errors="replace").strip().splitlines() or [""]
        if done.returncode == 0:
            return lines[-1], "conda made one"
    return None, f"conda could not make one ({lines[-1][:200]})"


def _by_uv(version: Version, _: str) -> Tuple[Optional[str], str]:
    """Python that uv, which pip installs for the moment, downloads, or None; and what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        for command in _uv_commands(folder):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=for_pip())
            if done.returncode:
                return None, f"uv, which downloads Pythons, could not be installed ({_end(done.stdout)})"
        uv, name = os.path.join(folder, "bin", "uv"), f"{version[0]}.{version[1]}"
        done = subprocess.run([uv, "python", "install", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            return None, f"uv could not download one ({_end(done.stdout)})"
        found = subprocess.run([uv, "python", "find", "--no-project", name], stdout=subprocess.PIPE)
        return found.stdout.decode().strip() or None, "uv downloaded one"


def _uv_commands(folder: str) -> List[List[str]]:
    """What installs uv as `folder`/bin/uv."""
    install = ["-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if importlib.util.find_spec("pip"):
        return [[sys.executable, *install, "--target", folder, "uv"]]
    # Debian's Python has none, but can put one into an environment
    return [[sys.executable, "-I", "-m", "venv", folder], [os.path.join(folder, "bin", "python"), *install, "uv"]]


def _end(output: bytes) -> str:
    """The end of what a program said, in one line."""
    return re.sub(r"\s+", " ", output.decode(errors="replace")).strip()[-200:]
