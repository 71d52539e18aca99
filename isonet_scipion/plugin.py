"""The plugin: where the engine's Python is, how its command is written, how its environment is made."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pwem
import pyworkflow as pw
import pyworkflow.utils as pwutils
from pyworkflow.constants import TOMO

import isonet_scipion
from isonet_scipion import environment
from isonet_scipion.constants import (
    ENGINE_PACKAGE,
    ENVIRONMENT_VERSION,
    ISONET_ENGINE_BACKEND,
    ISONET_ENGINE_HOME,
    ISONET_ENGINE_PYTHON,
    PLUGIN_NAME,
)

INSTALL = f"scipion3 installb {ENGINE_PACKAGE}"
# of the user or of Scipion, for other programs; matplotlib's and the loader's are dealt with by the engine
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "KERAS_BACKEND", "KERAS_HOME")


class Plugin(pwem.Plugin):
    """What Scipion knows of the package."""

    # Scipion looks names, paths and templates up through the module that registers the class
    __module__ = "isonet_scipion"
    _homeVar = ISONET_ENGINE_HOME
    _url = "https://doi.org/10.1038/s41467-022-33957-8"
    _supportedVersions = [ENVIRONMENT_VERSION]
    _processingField = [TOMO]

    def getName(self) -> str:
        """What Scipion's windows call the plugin: in the tree, in forms and in the names of runs."""
        return PLUGIN_NAME

    @classmethod
    def getUrl(cls, protClass: type | None = None) -> str:
        """The page on parameters of the checkout that the plugin is installed from, else the method's publication."""
        page = Path(isonet_scipion.__file__).parents[1] / "docs" / "parameters.md"
        return page.as_uri() if page.exists() else cls._url

    @classmethod
    def _defineVariables(cls) -> None:
        cls._defineEmVar(
            ISONET_ENGINE_HOME,
            f"{ENGINE_PACKAGE}-{ENVIRONMENT_VERSION}",
            description=f"Folder of the environment with TensorFlow that '{INSTALL}' makes.",
        )
        cls._defineVar(
            ISONET_ENGINE_PYTHON,
            "",
            description="Python of an environment of your own with the engine's libraries. Empty: the installed one.",
        )
        cls._defineVar(
            ISONET_ENGINE_BACKEND,
            "",
            description=f"What '{INSTALL}' installs to compute with: tensorflow or jax. Empty: what suits the GPU.",
        )

    @classmethod
    def getEnviron(cls) -> pwutils.Environ:
        """The environment that the engine's commands run in: Scipion's, without what is meant for other programs."""
        return pwutils.Environ({name: value for name, value in os.environ.items() if name not in FOREIGN})

    @classmethod
    def enginePython(cls) -> str | None:
        """Path of ISONET_ENGINE_PYTHON, else of the installed Python, else of Scipion's; None if none can run it."""
        own = cls.getVar(ISONET_ENGINE_PYTHON)
        if own:
            return os.path.expanduser(own)
        if os.path.exists(cls.getHome(environment.installed_flag())):
            return cls.getHome(environment.PYTHON)
        return None if environment.damage(sys.executable) else sys.executable

    @classmethod
    def engineCommand(cls) -> str:
        """The start of the engine's command line, for a shell. The engine's code is always that of this package."""
        python = cls.enginePython()
        assert python is not None  # else `validateInstallation` keeps it from being run
        # isolated (-I): neither PYTHONPATH nor the working directory nor the user's site-packages bring in other code
        return f"{shlex.quote(python)} -I {shlex.quote(environment.LAUNCHER)}"

    @classmethod
    def validateInstallation(cls) -> list[str]:
        """What is wrong with the engine's environment, and how to mend it."""
        python, home = cls.enginePython(), cls.getHome()
        if python is None:
            hidden = [path for path in (home, cls.getHome(environment.FOLDER)) if cls._isClosed(path)]
            if hidden:
                return [
                    f"The folder of IsoNet's engine, {hidden[0]}, can't be read by you.",
                    f"Ask its owner to run: chmod -R a+rX {shlex.quote(hidden[0])}",
                ]
            wrong = (
                f"the installation in {home} was broken off, or is for another Python or version of the plugin"
                if os.path.exists(home)
                else f"Scipion's Python has no TensorFlow and there is no environment in {home}"
            )
            return [
                f"IsoNet's engine is not installed: {wrong}.",
                f"Run *{INSTALL}*, or set {ISONET_ENGINE_PYTHON} in Scipion's configuration "
                "to the Python of an environment that has the engine's libraries.",
            ]
        damage = environment.damage(python)
        if not damage:
            return []
        mending = (
            f"Correct {ISONET_ENGINE_PYTHON} in Scipion's configuration, or that environment."
            if cls.getVar(ISONET_ENGINE_PYTHON)
            else f"Delete the folder {cls.getHome(environment.FOLDER)}, then run *{INSTALL}*."
        )
        return [f"{python}, the Python of IsoNet's engine, is not in order: {damage}.", mending]

    @staticmethod
    def _isClosed(folder: str) -> bool:
        """Whether there is a folder that this user may not look into."""
        return os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK)

    @classmethod
    def defineBinaries(cls, env: Any) -> None:
        """Make the engine's environment; it counts as installed once the engine runs in it."""
        # Scipion makes its own folder for it, but the engine is where it is looked for
        home = cls.getHome()
        words = [sys.executable, "-m", "isonet_scipion.installation"]
        backend, conda = cls.getVar(ISONET_ENGINE_BACKEND), pw.Config.CONDA_ACTIVATION_CMD
        options = [*(["--backend", backend] if backend else []), *(["--conda", conda] if conda else [])]
        env.addPackage(
            ENGINE_PACKAGE,
            version=ENVIRONMENT_VERSION,
            tar="void.tgz",
            neededProgs=["wget"],
            commands=[(shlex.join([*words, *options, home]), os.path.join(home, environment.installed_flag()))],
            default=True,
        )
