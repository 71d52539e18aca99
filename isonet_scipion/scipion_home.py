"""Scipion without its windows and its installer: what its environment must hold before anything of it is imported."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path


def prepare(home: str | os.PathLike[str]) -> None:
    """Set the variables that Scipion's start script would set; projects of a Scipion in use are not touched.

    Parameters
    ----------
    home : path
        Folder for Scipion's software, configuration and projects; made if missing.
    """
    folder = Path(home).resolve()
    (folder / "data").mkdir(parents=True, exist_ok=True)
    spec = importlib.util.find_spec("scipion")
    assert spec is not None and spec.submodule_search_locations  # this package requires it
    package = spec.submodule_search_locations[0]
    values = {
        "SCIPION_HOME": folder,
        "SCIPION_USER_DATA": folder / "data",
        "SCIPION_DOMAIN": "pwem",
        "SCIPION_PRIORITY_PACKAGE_LIST": "pwem tomo",
        "SCIPION_NOTIFY": "False",
        "SCIPION_TEST_NOSYNC": "True",
        "SCIPION_PYTHON": sys.executable,
        "SCIPION_HOSTS": Path(package) / "templates" / "hosts.template",
    }
    os.environ.update({name: str(value) for name, value in values.items()})
