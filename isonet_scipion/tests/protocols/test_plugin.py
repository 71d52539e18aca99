"""Where the engine runs, how its command is written, and what Scipion sees of the package."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pwem
import pytest
import pyworkflow
from pyworkflow.protocol.executor import StepExecutor
from pyworkflow.utils import process

import isonet_scipion
from isonet_scipion import environment, protocols
from isonet_scipion.constants import ISONET_ENGINE_HOME, ISONET_ENGINE_PYTHON
from isonet_scipion.engine.io.outcome import Outcome, reserve_outcome, write_outcome
from isonet_scipion.plugin import Plugin
from isonet_scipion.protocols.base import EngineFailure, ending, readStatus

PACKAGE = Path(isonet_scipion.__file__).parent


@pytest.fixture
def variables(monkeypatch, tmp_path):
    """Plugin variables for one test; ISONET_ENGINE_HOME is an empty folder."""
    monkeypatch.setattr(Plugin, "_vars", {**Plugin._vars, ISONET_ENGINE_HOME: str(tmp_path), ISONET_ENGINE_PYTHON: ""})
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


def test_environment_of_other_requirements_or_another_python_does_not_serve(variables, monkeypatch, tmp_path):
    mark_installed(tmp_path)
    monkeypatch.setattr(environment, "damage", lambda python: "it lacks tensorflow")
    before = environment.installed_flag()
    monkeypatch.setattr(sys, "base_prefix", "/another/python")
    assert environment.installed_flag() != before and Plugin.enginePython() is None
    assert str(tmp_path) in " ".join(Plugin.validateInstallation())
    monkeypatch.undo()
    texts = environment.requirements(gpu=True)
    # an update whose metadata merely lists them in another order keeps the environment
    original = environment.requirements
    monkeypatch.setattr(environment, "requirements", lambda gpu: original(gpu)[::-1])
    assert environment.installed_flag() == before
    monkeypatch.setattr(environment, "requirements", lambda gpu: [*texts, "newlibrary"])
    assert environment.installed_flag() != before


@pytest.mark.parametrize(
    ("script", "damage"),
    [("exit 3", "does not work"), ("echo broken >&2; exit 1", "broken"), ("echo numpy", "lacks numpy")],
)
def test_damaged_environment_is_told_with_the_remedy(variables, tmp_path, script, damage):
    mark_installed(tmp_path).write_text(f"#!/bin/sh\n{script}\n")
    wrong, remedy = Plugin.validateInstallation()
    assert damage in wrong and str(tmp_path) in wrong
    assert "scipion3 uninstallb isonet_engine-1.0" in remedy and "scipion3 installb isonet_engine" in remedy


def test_libraries_are_looked_for_in_that_very_python(tmp_path):
    assert environment.damage(sys.executable) == ""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    lacks = environment.damage(str(bare / "bin" / "python"))
    assert {"tensorflow", "keras", "numpy", "mrcfile"} <= set(re.findall(r"\w+", lacks))


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


def test_requirements_of_the_environment_are_those_of_the_package_with_tensorflow_pinned():
    cpu, gpu = environment.requirements(gpu=False), environment.requirements(gpu=True)
    (cpu_version,) = (text.split("==")[1] for text in cpu if text.startswith("tensorflow"))
    (gpu_version,) = (text.split("==")[1] for text in gpu if text.startswith("tensorflow[and-cuda]"))
    assert cpu_version == gpu_version and not any("and-cuda" in text for text in cpu)
    assert any(text.startswith("keras==") for text in cpu)
    assert "mrcfile" in cpu and not any("scipion" in text or "pytest" in text for text in cpu + gpu)


@pytest.mark.parametrize("driver", [True, False])
def test_driver_decides_between_gpu_and_cpu_build(monkeypatch, tmp_path, driver):
    version = tmp_path / "version"
    if driver:
        version.touch()
    monkeypatch.setattr(environment, "NVIDIA_DRIVER", str(version))
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    packages = []
    recorder = SimpleNamespace(addPackage=lambda name, **kwargs: packages.append((name, kwargs)))
    Plugin.defineBinaries(recorder)
    ((name, kwargs),) = packages
    ((command, flag),) = kwargs["commands"]
    # Scipion finds a binary by its name up to the first dash
    assert name == "isonet_engine" and flag == environment.installed_flag()
    assert ("tensorflow[and-cuda]==" in command) == driver


@pytest.mark.parametrize("fails_at", ["-m venv", "-m pip", "check", None])
def test_environment_appears_only_when_it_is_complete(monkeypatch, tmp_path, fails_at):
    home = tmp_path / "isonet engine"
    tool = tmp_path / "python"
    # stands for both Pythons: makes the environment's own when asked for, fails where it is told to
    making = 'mkdir -p env/bin; cp "$0" env/bin/python'
    tool.write_text(f'#!/bin/sh\ncase "$*" in *"{fails_at}"*) exit 1;; *"-m venv"*) {making};; esac\n')
    tool.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tool))
    command = environment.installation_command(gpu=False)
    old = home / "env" / "of-an-earlier-version"
    old.mkdir(parents=True)
    subprocess.run(command, shell=True, cwd=home)
    assert not (tmp_path / "isonet engine.new").exists()
    # the earlier one stays until the new one takes its place
    assert old.exists() == (fails_at is not None)
    shutil.rmtree(home)
    home.mkdir()
    subprocess.run(command, shell=True, cwd=home)
    assert home.exists() == (home / environment.installed_flag()).exists() == (fails_at is None)


@pytest.fixture
def predict(tmp_path):
    protocol = protocols.ProtIsoNetPredict(workingDir=str(tmp_path))
    (tmp_path / "logs").mkdir()
    (tmp_path / "extra").mkdir()
    return protocol


@pytest.fixture
def commands(monkeypatch, predict):
    """Command lines that would go to the shell."""
    lines = []
    monkeypatch.setattr(process, "runCommand", lambda command, **kwargs: lines.append(command.strip()))
    monkeypatch.setattr(predict, "getSubmitDict", dict)
    return lines


@pytest.mark.parametrize(
    ("gpus", "prefix"), [([], ""), ([1], "CUDA_VISIBLE_DEVICES=1 "), ([0, 2], "CUDA_VISIBLE_DEVICES=0,2 ")]
)
def test_gpus_and_hard_names_reach_the_engine_unharmed(predict, commands, gpus, prefix):
    predict.setStepsExecutor(StepExecutor(None, gpuList=gpus))
    name = "it's; $HOME 50%d %s `x`.star"
    predict._runEngine("predict", [name], {"output_dir": "a b"})
    assert commands[0].startswith(f"{prefix}{Plugin.engineCommand()}")
    # what the shell makes of it, with the engine replaced by something that prints its arguments
    echo = f"{sys.executable} -c 'import sys; print(sys.argv[1:])'"
    line = commands[0].replace(Plugin.engineCommand(), echo)
    words = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
    assert words.stdout.strip().endswith(str(["predict", name, "--output_dir", "a b"])[1:])


def test_without_gpu_the_cpu_is_forced(predict, commands):
    predict.setStepsExecutor(StepExecutor(None, gpuList=[0]))
    predict.useGpu.set(False)
    predict._runEngine("predict", [], {})
    assert commands[0].startswith("CUDA_VISIBLE_DEVICES=-1 ")


@pytest.fixture
def engine(predict, monkeypatch):
    """What the engine writes of its end, by what it works on, and its exit status."""
    ends = {}

    def run(program, arguments, **kwargs):
        path = shlex.split(arguments)[1]
        name = re.fullmatch("predict_(.*)_outcome.json", os.path.basename(path))[1]
        outcome, status = ends[name]
        if outcome is not None:
            reserve_outcome(path)
            write_outcome(path, outcome)
        if status:
            raise subprocess.CalledProcessError(status, program)

    monkeypatch.setattr(predict, "runJob", run)
    predict.setStepsExecutor(StepExecutor(None, gpuList=[]))
    return ends


def test_each_command_tells_its_own_error(predict, engine):
    engine["TS_1"] = Outcome(1, "a.mrc", "truncated", "Copy it again."), 1
    engine["TS_11"] = Outcome(1, "b.mrc", "empty", "Make it again."), 1
    for name in ("TS_11", "TS_1"):
        outcome, _ = engine[name]
        with pytest.raises(EngineFailure) as failure:
            predict._runEngine("predict", [], {}, name=name)
        assert str(failure.value) == outcome.error


def test_an_outcome_of_an_earlier_run_does_not_count(predict, engine):
    engine["TS_1"] = Outcome(1, "a.mrc", "truncated", "Copy it again."), 1
    with pytest.raises(EngineFailure, match="truncated"):
        predict._runEngine("predict", [], {}, name="TS_1")
    engine["TS_1"] = None, -9
    with pytest.raises(EngineFailure, match="isonet-engine predict was ended by SIGKILL"):
        predict._runEngine("predict", [], {}, name="TS_1")


def test_work_that_is_done_counts_however_its_process_ended(predict, engine):
    engine["TS_1"] = Outcome(0, warnings=("t.mrc: its header is odd.",)), -6
    engine["TS_2"] = Outcome(0, warnings=("t.mrc: its header is odd.", "u.mrc: too.")), 0
    for name in engine:
        predict._runEngine("predict", [], {}, name=name)
    assert predict._engineWarnings() == ["*Warning*: t.mrc: its header is odd.", "*Warning*: u.mrc: too."]


@pytest.mark.parametrize(
    ("status", "words"),
    [(-9, "ended by SIGKILL"), (137, "ended by SIGKILL"), (143, "ended by SIGTERM"), (3, "status 3")],
)
def test_the_end_of_a_command_is_told(status, words):
    assert words in ending(status)


def test_the_status_that_a_job_left_is_read_once(tmp_path):
    path = tmp_path / "TS_01.status"
    path.write_text("137\n")
    assert [readStatus(str(path)) for _ in range(2)] == [137, 0]
