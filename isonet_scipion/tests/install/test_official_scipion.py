"""The plugin in a Scipion made by the official installer, as the README tells; minutes, so only with `-m install`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from isonet_scipion.environment import PYTHON
from isonet_scipion.tests.install.wheel import CHECKOUT, PACKAGE, build_wheel, copy_sources

if TYPE_CHECKING:
    from isonet_scipion.tests.install.official import Scipion

pytestmark = [pytest.mark.install, pytest.mark.timeout(3600)]
VALIDATION = "Plugin.validateInstallation()"
ENGINE_VERSION = (
    "subprocess.run(Plugin.engineCommand() + ' --version', shell=True, capture_output=True, text=True).stdout"
)


def listing(scipion: Scipion) -> str:
    """The line of `scipion3 installb --help` on the engine."""
    (line,) = (line for line in scipion.scipion3("installb", "--help").stdout.splitlines() if "isonet_engine" in line)
    return line


@pytest.fixture(scope="module")
def failed(scipion: Scipion) -> subprocess.CompletedProcess:
    """The plugin installed from the checkout while pip can't find the engine's TensorFlow."""
    # Scipion takes the folder's name for the distribution's
    source = scipion.scratch / "isonet_scipion"
    source.symlink_to(CHECKOUT, target_is_directory=True)
    constraint = scipion.scratch / "impossible.txt"
    constraint.write_text("tensorflow==0\ntensorflow-cpu==0\n")
    return scipion.scipion3("installp", "-p", source, "--devel", PIP_CONSTRAINT=str(constraint))


@pytest.fixture(scope="module")
def engine(scipion: Scipion, failed: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
    """The hook, simply repeated."""
    return scipion.scipion3("installb", "isonet_engine")


def test_a_failed_hook_says_so_and_leaves_nothing_behind(scipion, failed):
    assert failed.returncode and "ERROR" in failed.stdout
    assert "[X]" not in listing(scipion)
    assert not list((scipion.home / "software" / "em").glob("isonet*"))
    assert "scipion3 installb isonet_engine" in " ".join(scipion.ask(VALIDATION))


def test_the_hook_repeated_makes_a_sound_environment(scipion, engine):
    assert engine.returncode == 0 and "Training step and prediction work" in engine.stdout, engine.stdout
    assert "[X]" in listing(scipion)
    assert scipion.ask(VALIDATION) == []
    assert "skipping" in scipion.scipion3("installb", "isonet_engine").stdout


def test_scipion_finds_the_plugin_without_complaints(scipion, engine):
    inspected = scipion.scipion3("inspect", "isonet_scipion")
    assert inspected.returncode == 0, inspected.stdout
    found = dict(re.findall(r">>> (\w+): +(\w+)", inspected.stdout))
    parts = ("constants", "convert", "protocols", "wizards", "viewers", "tests")
    assert found == dict.fromkeys(parts, "loaded"), inspected.stdout


def test_the_whole_chain_runs_with_the_hooks_python_alone(scipion, engine):
    own = scipion.call(scipion.home / ".scipion3" / "bin" / "python", "-c", "import tensorflow")
    assert "No module named 'tensorflow'" in own.stdout
    result = scipion.scipion3("tests", "isonet_scipion.tests.protocols.test_chain")
    assert result.returncode == 0 and "PASSED" in result.stdout and "FAILED" not in result.stdout, result.stdout
    logs = {log.parts[-3]: log.read_text() for log in scipion.projects.glob("*/Runs/*IsoNet*/logs/run.stdout")}
    pythons = {run: set(re.findall(r"(\S+) -I \S*launch_engine\.py", log)) for run, log in logs.items()}
    hooks = str(scipion.home / "software" / "em" / "isonet_engine-1.0" / PYTHON)
    ran = {re.sub(r"\d+_", "", run) for run, found in pythons.items() if found == {hooks}}
    assert ran >= {f"ProtIsoNet{stage}" for stage in ("Deconv", "Mask", "Extract", "Refine", "Predict")}
    assert all(found <= {hooks} for found in pythons.values())


def test_a_damaged_environment_is_told_with_the_remedy(scipion, engine):
    (package,) = (scipion.home / "software" / "em").glob("isonet_engine-1.0/env/lib/python3*/site-packages/mrcfile")
    shutil.move(package, scipion.scratch / "mrcfile")
    try:
        wrong, remedy = scipion.ask(VALIDATION)
    finally:
        shutil.move(scipion.scratch / "mrcfile", package)
    assert "lacks mrcfile" in wrong
    assert "Delete the folder" in remedy and "scipion3 installb isonet_engine" in remedy


def test_the_engine_is_that_of_the_plugin_after_an_update(scipion, engine, tmp_path):
    launcher = scipion.ask("environment.LAUNCHER")
    assert os.path.samefile(launcher, PACKAGE / "launch_engine.py")
    sources = tmp_path / "sources"
    sources.mkdir()
    init = copy_sources(sources) / "isonet_scipion" / "__init__.py"
    init.write_text(re.sub('__version__ = "[^"]+"', '__version__ = "99.0"', init.read_text()))
    wheel = build_wheel(sources, tmp_path)
    python = scipion.home / ".scipion3" / "bin" / "python"
    updated = scipion.call(python, "-m", "pip", "install", "--upgrade", "--no-deps", wheel)
    assert updated.returncode == 0, updated.stdout
    assert scipion.ask(VALIDATION) == []
    assert "99.0" in scipion.ask(ENGINE_VERSION)
