"""Where the engine runs, how its command is written, and what Scipion sees of the package."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import pyworkflow
from pyworkflow.protocol.executor import StepExecutor
from pyworkflow.utils import process

import isonet_scipion
from isonet_scipion import protocols
from isonet_scipion.constants import INSTALLED_FLAG, ISONET_HOME, ISONET_PYTHON
from isonet_scipion.plugin import LAUNCHER, Plugin
from isonet_scipion.protocols.base import EngineFailure

PACKAGE = Path(isonet_scipion.__file__).parent


@pytest.fixture
def variables(monkeypatch, tmp_path):
    """Plugin variables for one test; ISONET_HOME is an empty folder."""
    monkeypatch.setattr(Plugin, "_vars", {**Plugin._vars, ISONET_HOME: str(tmp_path), ISONET_PYTHON: ""})
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


def test_protocols_conf_lists_every_protocol_once():
    text = (PACKAGE / "protocols.conf").read_text(encoding="utf-8")
    json.loads(text.split("=", 1)[1])
    assert sorted(re.findall(r'"value": "(\w+)"', text)) == sorted(protocols.__all__)


def test_python_of_ones_own_comes_before_the_installed_one(variables, tmp_path):
    (tmp_path / INSTALLED_FLAG).touch()
    assert Plugin.enginePython() == str(tmp_path / "env/bin/python")
    variables[ISONET_PYTHON] = "/some/where/python"
    assert Plugin.enginePython() == "/some/where/python"
    assert ISONET_PYTHON in " ".join(Plugin.validateInstallation())


def test_scipions_python_serves_if_it_has_tensorflow(variables, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "tensorflow")
    assert Plugin.enginePython() == sys.executable and Plugin.validateInstallation() == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "installb isonet-engine" in " ".join(Plugin.validateInstallation())


def test_another_python_runs_this_very_code(variables, tmp_path):
    decoy = tmp_path / "decoy" / "isonet_scipion"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise SystemExit('the wrong package')")
    own = tmp_path / "another python's"
    own.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    own.chmod(0o755)
    variables[ISONET_PYTHON] = str(own)
    assert "-I" in Plugin.engineCommand() and LAUNCHER in Plugin.engineCommand()
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


def test_requirements_of_the_environment_are_those_of_the_package():
    cpu, gpu = Plugin.engineRequirements(gpu=False), Plugin.engineRequirements(gpu=True)
    assert any(text.startswith("tensorflow") and "and-cuda" not in text for text in cpu)
    assert any(text.startswith("tensorflow[and-cuda]") for text in gpu)
    assert "mrcfile" in cpu and not any("scipion" in text or "pytest" in text for text in cpu + gpu)


@pytest.fixture
def predict(tmp_path):
    protocol = protocols.ProtIsoNetPredict(workingDir=str(tmp_path))
    (tmp_path / "logs").mkdir()
    return protocol


@pytest.fixture
def commands(monkeypatch, predict):
    """Command lines that would go to the shell."""
    lines = []
    monkeypatch.setattr(process, "runCommand", lambda command, **kwargs: lines.append(command.strip()))
    monkeypatch.setattr(predict, "getSubmitDict", dict)
    return lines


@pytest.mark.parametrize(
    "gpus, prefix", [([], ""), ([1], "CUDA_VISIBLE_DEVICES=1 "), ([0, 2], "CUDA_VISIBLE_DEVICES=0,2 ")]
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
    assert words.stdout.strip() == str(["predict", name, "--output_dir", "a b"])


def test_without_gpu_the_cpu_is_forced(predict, commands):
    predict.setStepsExecutor(StepExecutor(None, gpuList=[0]))
    predict.useGpu.set(False)
    predict._runEngine("predict", [], {})
    assert commands[0].startswith("CUDA_VISIBLE_DEVICES=-1 ")


def test_error_message_is_the_engines_own_line(predict, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        with open(tmp_path / "logs" / "run.stderr", "a") as log:
            log.write("50 %|####\risonet-engine: error: TS_01.mrc: truncated. Copy it again.\n")
            log.write("isonet-engine: error: TS_02.mrc: empty. Copy it again.\n")
        raise subprocess.CalledProcessError(1, "engine")

    (tmp_path / "logs" / "run.stderr").write_text("isonet-engine: error: TS_01: of an earlier run.\n")
    monkeypatch.setattr(predict, "runJob", fail)
    predict.setStepsExecutor(StepExecutor(None, gpuList=[]))
    with pytest.raises(EngineFailure, match="^TS_01.mrc: truncated. Copy it again.$"):
        predict._runEngine("predict", [], {}, name="TS_01")
