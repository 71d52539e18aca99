"""What the engine's environment holds, and what is wrong with one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import isonet_scipion
from isonet_scipion import environment

PACKAGE = Path(isonet_scipion.__file__).parent


def test_libraries_are_looked_for_in_that_very_python(tmp_path):
    assert environment.damage(sys.executable) == ""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    lacks = environment.damage(str(bare / "bin" / "python"))
    assert {"tensorflow", "keras", "numpy", "mrcfile"} <= set(re.findall(r"\w+", lacks))


def test_requirements_of_the_environment_are_those_of_the_package_with_the_backend_pinned():
    cpu, gpu = (environment.requirements("tensorflow", with_gpu, (3, 12)) for with_gpu in (False, True))
    (cpu_version,) = (text.split("==")[1] for text in cpu if text.startswith("tensorflow"))
    (gpu_version,) = (text.split("==")[1] for text in gpu if text.startswith("tensorflow[and-cuda]"))
    assert cpu_version == gpu_version and not any("and-cuda" in text for text in cpu)
    assert any(text.startswith("keras==") for text in cpu)
    assert "mrcfile" in cpu and not any("scipion" in text or "pytest" in text for text in cpu + gpu)
    jax = environment.requirements("jax", True, (3, 12))
    assert any(text.startswith("jax[cuda12]") for text in jax) and not any("tensorflow" in text for text in jax)
    # that of the Python that the environment will have, not of Scipion's
    assert "keras==3.12.4" in environment.requirements("tensorflow", False, (3, 10))


@pytest.mark.parametrize(
    ("capabilities", "backend"),
    [
        *(("8.6\n9.0\n", "tensorflow"), ("8.6\n12.0\n", "jax"), ("10.0\n", "jax")),
        *(("", "tensorflow"), ("[N/A]\n", "tensorflow")),
    ],
)
def test_gpus_that_tensorflow_does_not_know_get_jax(monkeypatch, tmp_path, capabilities, backend):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<END\n{capabilities}END\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert environment.usual_backend() == backend


@pytest.mark.parametrize("there", [("driver",), ("nvidia-smi",), ()])
def test_a_gpu_is_known_by_its_driver_or_by_nvidia_smi(monkeypatch, tmp_path, there):
    for name in there:
        (tmp_path / name).touch(0o755)
    monkeypatch.setattr(environment, "NVIDIA_DRIVER", str(tmp_path / "driver"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.has_gpu() is bool(there)


def test_the_lists_of_tested_packages_meet_the_requirements():
    for backend, gpu, python in environment.kinds():
        rows = environment.locked(backend, gpu, python).read_text().splitlines()[1:]
        listed = {row.split("==")[0]: row.split("==")[1].split()[0] for row in rows}
        assert all(" --hash=sha256:" in row for row in rows)
        for text in environment.requirements(backend, gpu, python):
            one = Requirement(text)
            assert one.specifier.contains(listed[one.name]), (backend, gpu, python, text)


@pytest.mark.parametrize("minor", range(8, 13))
def test_the_constraints_of_scipions_half_meet_its_requirements(minor):
    rows = (PACKAGE / "requirements" / f"scipion-3.{minor}.txt").read_text().splitlines()[1:]
    listed = dict(row.split("==") for row in rows)
    required = [Requirement(text) for text in metadata.requires("isonet_scipion")]
    own = [one for one in required if one.marker is None]
    assert len(own) > 10
    for one in own:
        assert one.specifier.contains(listed[one.name.lower()]), one
