"""Libraries and packages: those of the environment come before a cluster's and the user's."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from sysconfig import get_paths

PATHS = "LD_LIBRARY_PATH"


def own_libraries(packages: str | os.PathLike[str]) -> list[str]:
    """Folders of the libraries of CUDA that were installed with a backend, in a folder of packages."""
    return sorted(str(folder) for folder in Path(packages, "nvidia").glob("*/lib"))


def library_path(current: str | None, own: list[str]) -> str | None:
    """LD_LIBRARY_PATH with some folders in front; None where that changes nothing.

    Examples
    --------
    >>> library_path("/opt/cuda-11/lib64", ["/env/cudnn/lib"])
    '/env/cudnn/lib:/opt/cuda-11/lib64'
    >>> library_path(None, ["/env/cudnn/lib"]) is None
    True
    """
    if not current or not own:
        return None  # the packages find their own libraries
    wanted = [*own, *(folder for folder in current.split(os.pathsep) if folder not in own)]
    return None if wanted == current.split(os.pathsep) else os.pathsep.join(wanted)


def prefer_own_packages() -> None:
    """Look for packages in PYTHONPATH's folders last: another numpy or keras there would take our own's place."""
    named = {os.path.abspath(folder) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder}
    sys.path.sort(key=lambda folder: os.path.abspath(folder) in named)


def prefer_own_libraries() -> None:
    """Start this process anew where LD_LIBRARY_PATH would bring in other libraries: the loader reads it only then."""
    wanted = library_path(os.environ.get(PATHS), own_libraries(get_paths()["purelib"]))
    words = getattr(sys, "orig_argv", None)  # Python 3.9 does not tell
    if wanted is not None and words:
        os.environ[PATHS] = wanted
        os.execv(sys.executable, [sys.executable, *words[1:]])
