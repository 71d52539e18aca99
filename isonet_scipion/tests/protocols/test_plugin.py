"""What Scipion sees of the package, and which Python the plugin runs the engine with."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pwem
import pytest
import pyworkflow

import isonet_scipion
from isonet_scipion import environment, protocols
from isonet_scipion.constants import ISONET_ENGINE_BACKEND, ISONET_ENGINE_HOME, ISONET_ENGINE_PYTHON
from isonet_scipion.plugin import Plugin

PACKAGE = Path(isonet_scipion.__file__).parent


@pytest.fixture
def variables(monkeypatch, tmp_path):
    """Plugin variables for one test; ISONET_ENGINE_HOME is an empty folder."""
    ours = {ISONET_ENGINE_HOME: str(tmp_path), ISONET_ENGINE_PYTHON: "", ISONET_ENGINE_BACKEND: ""}
    monkeypatch.setattr(Plugin, "_vars", {**Plugin._vars, **ours})
    return Plugin._vars


def test_package_imports_without_scipion():
    code = "import sys, isonet_scipion, isonet_scipion.engine; print([m for m in sys.modules if 'pyworkflow' in m])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_scipion_finds_protocols_objects_and_templates():
    domain = pyworkflow.Config.getDomain()
    assert set(protocols.__all__) <= set(domain.getProtocols())
    assert "IsoNetModel" in domain.getObjects()
    assert domain.getPluginModule("isonet_scipion")._pluginInstance.getPath() == str(PACKAGE)


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_plugin_with_the_older_plugins_variables_changes_nothing(monkeypatch, first):
    """scipion-em-isonet has ISONET_HOME; Scipion keeps one dictionary for all plugins and fills it in any order."""

    class Older(pwem.Plugin):
        _homeVar = "ISONET_HOME"

        @classmethod
        def _defineVariables(cls):
            cls._defineEmVar("ISONET_HOME", "isonet-0.2")
            cls._defineVar("ISONET_PYTHON", "/another/python")

    monkeypatch.setattr(pwem.Plugin, "_vars", {})
    for plugin in (Plugin, Older) if first == "ours" else (Older, Plugin):
        plugin._defineVariables()
    assert Plugin.getHome().endswith("isonet_engine-1.0") and Older.getHome().endswith("isonet-0.2")
    assert Plugin.enginePython() == sys.executable


def test_people_see_a_short_name_that_the_older_plugin_does_not_have():
    assert protocols.ProtIsoNetDeconv.getClassLabel() == "IsoNet - CTF deconvolution"


def test_protocols_conf_lists_every_protocol_once():
    text = (PACKAGE / "protocols.conf").read_text(encoding="utf-8")
    json.loads(text.split("=", 1)[1])
    assert sorted(re.findall(r'"value": "(\w+)"', text)) == sorted(protocols.__all__)


def mark_installed(home: Path) -> Path:
    """What a complete installation leaves; returns its Python, which stands for one with all libraries."""
    python = home / environment.PYTHON
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (home / environment.installed_flag()).touch()
    return python


def test_python_of_ones_own_comes_before_the_installed_one(variables, tmp_path):
    python = mark_installed(tmp_path)
    assert Plugin.enginePython() == str(python) and Plugin.validateInstallation() == []
    variables[ISONET_ENGINE_PYTHON] = "/some/where/python"
    assert Plugin.enginePython() == "/some/where/python"
    assert re.search(
        f"/some/where/python.*can't be run.*{ISONET_ENGINE_PYTHON}", " ".join(Plugin.validateInstallation())
    )


def test_scipions_python_serves_if_it_has_what_the_engine_needs(variables, monkeypatch):
    assert Plugin.enginePython() == sys.executable and Plugin.validateInstallation() == []
    monkeypatch.setattr(environment, "damage", lambda python: "it lacks tensorflow")
    assert Plugin.enginePython() is None
    assert "scipion3 installb isonet_engine" in " ".join(Plugin.validateInstallation())


def test_environment_of_other_requirements_does_not_serve(variables, monkeypatch, tmp_path):
    mark_installed(tmp_path)
    before, original = environment.installed_flag(), environment.requirements
    # an update whose metadata merely lists them in another order keeps the environment
    monkeypatch.setattr(environment, "requirements", lambda *kind: original(*kind)[::-1])
    assert environment.installed_flag() == before
    monkeypatch.setattr(environment, "requirements", lambda *kind: [*original(*kind), "newlibrary"])
    monkeypatch.setattr(environment, "damage", lambda python: "it lacks tensorflow")
    assert environment.installed_flag() != before and Plugin.enginePython() is None
    assert str(tmp_path) in " ".join(Plugin.validateInstallation())


@pytest.mark.parametrize("closed", ["", "env"])
def test_an_environment_that_others_may_not_read_is_not_said_to_be_missing(variables, monkeypatch, tmp_path, closed):
    python, access = mark_installed(tmp_path), os.access
    folder = tmp_path / closed
    # as for a user to whom the folder is closed; root may read all
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and access(path, mode))
    monkeypatch.setattr(os.path, "exists", lambda path: not Path(path).is_relative_to(python.parent.parent))
    monkeypatch.setattr(environment, "damage", lambda python: "it lacks tensorflow")
    wrong, remedy = Plugin.validateInstallation()
    assert f"{folder}, can't be read" in wrong and remedy.endswith(f"chmod -R a+rX {folder}")


@pytest.mark.parametrize(
    ("script", "damage"),
    [("exit 3", "does not work"), ("echo broken >&2; exit 1", "broken"), ("echo numpy", "lacks numpy")],
)
def test_damaged_environment_is_told_with_the_remedy(variables, tmp_path, script, damage):
    mark_installed(tmp_path).write_text(f"#!/bin/sh\n{script}\n")
    wrong, remedy = Plugin.validateInstallation()
    assert damage in wrong and str(tmp_path) in wrong
    assert f"Delete the folder {tmp_path / 'env'}," in remedy and "scipion3 installb isonet_engine" in remedy


@pytest.mark.parametrize("kind", ["scipion's own", "another"])
def test_every_python_runs_this_very_code(variables, tmp_path, kind):
    decoy = tmp_path / "decoy" / "isonet_scipion"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise SystemExit('the wrong package')")
    if kind == "another":
        own = tmp_path / "another python's"
        own.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        own.chmod(0o755)
        variables[ISONET_ENGINE_PYTHON] = str(own)
    result = subprocess.run(
        f"{Plugin.engineCommand()} --version",
        shell=True,
        cwd=decoy.parent,
        env={**os.environ, "PYTHONPATH": str(decoy.parent)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert isonet_scipion.__version__ in result.stdout


@pytest.mark.parametrize("chosen", ["", "jax"])
def test_the_hook_installs_with_scipions_python(variables, monkeypatch, tmp_path, chosen):
    variables[ISONET_ENGINE_BACKEND] = chosen
    monkeypatch.setattr(pyworkflow.Config, "CONDA_ACTIVATION_CMD", ". /opt/conda's/conda.sh")
    packages = []
    Plugin.defineBinaries(SimpleNamespace(addPackage=lambda name, **kwargs: packages.append((name, kwargs))))
    ((name, kwargs),) = packages
    ((command, flag),) = kwargs["commands"]
    # Scipion finds a binary by its name up to the first dash; it is made where the plugin looks for it
    assert name == "isonet_engine" and flag == Plugin.getHome(environment.installed_flag())
    words = shlex.split(command)
    assert words[:3] == [sys.executable, "-m", "isonet_scipion.installation"]
    assert words[-3:] == ["--conda", ". /opt/conda's/conda.sh", str(tmp_path)]
    assert ("--backend" in words) == bool(chosen)
