"""Wheels, and run.py, of this very checkout."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import isonet_scipion

PACKAGE = Path(isonet_scipion.__file__).parent
CHECKOUT = PACKAGE.parent


def copy_sources(target: Path) -> Path:
    """What a wheel is built from, without what earlier builds left in the checkout; returns the copy."""
    if not (CHECKOUT / "setup.py").exists():
        pytest.skip(f"{CHECKOUT} is no checkout: it has no setup.py")
    shutil.copytree(PACKAGE, target / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, target)
    return target


def build_wheel(sources: Path, folder: Path) -> Path:
    """Build a wheel, without the network; returns it."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, sources]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def run_script() -> ModuleType:
    """The checkout's run.py as a module; the test is skipped where there is none."""
    if not (CHECKOUT / "run.py").exists():
        pytest.skip(f"{CHECKOUT} is no checkout: it has no run.py")
    spec = importlib.util.spec_from_file_location("run", CHECKOUT / "run.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    return run
