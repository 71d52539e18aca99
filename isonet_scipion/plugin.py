"""The plugin: where the engine's Python is, how its command is written, how its environment is made."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shlex
import sys

import pwem
import pyworkflow.utils as pwutils
from packaging.requirements import Requirement

from isonet_scipion.constants import (
    ENGINE_PACKAGE,
    ENVIRONMENT_VERSION,
    INSTALLED_FLAG,
    ISONET_HOME,
    ISONET_PYTHON,
)

LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch_engine.py")
NVIDIA_DRIVER = "/proc/driver/nvidia/version"


class Plugin(pwem.Plugin):
    """What Scipion knows of the package."""

    # Scipion looks names, paths and templates up through the module that registers the class
    __module__ = "isonet_scipion"
    _homeVar = ISONET_HOME
    _url = "https://doi.org/10.1038/s41467-022-33957-8"
    _supportedVersions = [ENVIRONMENT_VERSION]

    @classmethod
    def _defineVariables(cls) -> None:
        cls._defineEmVar(
            ISONET_HOME,
            f"{ENGINE_PACKAGE}-{ENVIRONMENT_VERSION}",
            description="Folder of the environment with TensorFlow that 'scipion3 installb isonet-engine' makes.",
        )
        cls._defineVar(
            ISONET_PYTHON,
            "",
            description="Python of an environment of your own with the engine's libraries. Empty: the installed one.",
        )

    @classmethod
    def getEnviron(cls) -> pwutils.Environ:
        """The environment that the engine's commands run in: the one of Scipion."""
        return pwutils.Environ(os.environ)

    @classmethod
    def enginePython(cls) -> str | None:
        """The engine's Python: ISONET_PYTHON, else the installed one, else Scipion's own; None if none can run it."""
        own = cls.getVar(ISONET_PYTHON)
        if own:
            return os.path.expanduser(own)
        if os.path.exists(cls.getHome(INSTALLED_FLAG)):
            return cls.getHome("env", "bin", "python")
        return sys.executable if importlib.util.find_spec("tensorflow") else None

    @classmethod
    def engineCommand(cls) -> str:
        """The start of the engine's command line, for a shell. The engine's code is always that of this package."""
        python = cls.enginePython()
        # Another Python must not see Scipion's libraries through PYTHONPATH or the user's site-packages
        how = "-m isonet_scipion.engine" if python == sys.executable else f"-I {shlex.quote(LAUNCHER)}"
        return f"{shlex.quote(python)} {how}"

    @classmethod
    def validateInstallation(cls) -> list[str]:
        """What is wrong with the engine's environment, and how to mend it."""
        python = cls.enginePython()
        if python is None:
            return [
                "IsoNet's engine is not installed: Scipion's Python has no TensorFlow and there is no "
                f"environment in {cls.getHome()}.",
                f"Run *scipion3 installb {ENGINE_PACKAGE}*, or set {ISONET_PYTHON} in Scipion's configuration "
                "to the Python of an environment that has the engine's libraries.",
            ]
        if not os.access(python, os.X_OK):
            origin = ISONET_PYTHON if cls.getVar(ISONET_PYTHON) else ISONET_HOME
            return [
                f"{python}, IsoNet's Python according to {origin}, can't be run.",
                f"Correct {origin} in Scipion's configuration or run *scipion3 installb {ENGINE_PACKAGE}* again.",
            ]
        return []

    @classmethod
    def engineRequirements(cls, gpu: bool) -> list[str]:
        """pip's requirements of the engine's environment: those of the package without Scipion, with TensorFlow."""
        extra = {"extra": "engine-gpu" if gpu else "engine"}
        parsed = [Requirement(text) for text in importlib.metadata.requires("isonet_scipion") or []]
        wanted = [r for r in parsed if r.marker is None or r.marker.evaluate(extra)]
        # an empty `extras` is written as nothing, so this is name[extras]>=version
        names = [(r.name, f"[{','.join(sorted(r.extras))}]" if r.extras else "", str(r.specifier)) for r in wanted]
        return ["".join(parts) for parts in names if not parts[0].startswith("scipion")]

    @classmethod
    def defineBinaries(cls, env: object) -> None:
        """Make the engine's environment (Python's venv and pip); it counts as installed once the engine runs in it."""
        requirements = cls.engineRequirements(gpu=os.path.exists(NVIDIA_DRIVER))
        python = os.path.join("env", "bin", "python")
        commands = [
            f"{shlex.quote(sys.executable)} -m venv --clear env",
            f"{python} -m pip install --disable-pip-version-check " + " ".join(map(shlex.quote, requirements)),
            f"{python} -I {shlex.quote(LAUNCHER)} check",
            f"touch {INSTALLED_FLAG}",
        ]
        env.addPackage(
            ENGINE_PACKAGE,
            version=ENVIRONMENT_VERSION,
            tar="void.tgz",
            commands=[(" && ".join(commands), INSTALLED_FLAG)],
            default=True,
        )
