"""A Python of a version that fits is found or got, with stand-ins for conda and for uv's wheel."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path

import pytest

from isonet_scipion import interpreters
from isonet_scipion.interpreters import Elsewhere, NoPython, find_python, refuse_elsewhere

WANTED = ((9, 7), (9, 5))  # that no machine has
# `conda run` finds what an earlier `conda create` made
CONDA = """#!/bin/sh
echo "$@" >> "{folder}/calls"
case "$1" in
    create) touch "{folder}/made" ;;
    run) [ -e "{folder}/made" ] || exit 1; echo "a remark of conda's"; echo "{python}" ;;
esac
"""
UV = """#!/bin/sh
[ "$2" = install ] && {{ echo "cannot
 reach the host" >&2; exit {status}; }}
[ "$2" = find ] && echo "{python}"
"""


def interpreter(path: Path, version: str = "9 7", status: int = 0) -> Path:
    """A stand-in that tells this version, as `examine` asks for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "{version} {path}"\nexit {status}\n')
    path.chmod(0o755)
    return path


def uv_wheel(folder: Path, python: Path, status: int) -> None:
    """A wheel `uv` whose program downloads nothing."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "uv-99.0-py3-none-any.whl", "w") as wheel:
        program = zipfile.ZipInfo("uv-99.0.data/scripts/uv")
        program.external_attr = 0o100755 << 16
        wheel.writestr(program, UV.format(python=python, status=status))
        wheel.writestr("uv-99.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 99.0\n")
        wheel.writestr("uv-99.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("uv-99.0.dist-info/RECORD", "")


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine whose PATH has nothing but a shell, and whose pip has no network; returns its folder."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'first'}:{tmp_path / 'second'}:/usr/bin:/bin")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setattr(interpreters.shutil, "which", lambda name: None)
    return tmp_path


def test_one_that_does_not_run_does_not_hide_the_next_on_path(bare):
    interpreter(bare / "first" / "python9.7", status=127)
    runs = interpreter(bare / "second" / "python9.7")
    assert find_python(WANTED, get=False) == str(runs)


def test_the_preferred_version_comes_first(bare):
    interpreter(bare / "first" / "python9.5", "9 5")
    preferred = interpreter(bare / "second" / "python9.7")
    assert find_python(WANTED, get=False) == str(preferred)


def test_conda_makes_one_once(bare):
    python = interpreter(bare / "of conda" / "python")
    conda = bare / "first" / "conda"
    conda.parent.mkdir()
    conda.write_text(CONDA.format(folder=bare, python=python))
    conda.chmod(0o755)
    for _ in range(2):
        assert find_python(WANTED, conda="true") == str(python)
    name = f"{interpreters.CONDA_ENVIRONMENT}9.7"
    calls = [line.split(" python", 1)[0] for line in (bare / "calls").read_text().splitlines()]
    assert calls == [f"run -n {name}", f"create -y -q -n {name}", f"run -n {name}", f"run -n {name}"]


@pytest.mark.parametrize("pip", [True, False])
def test_uv_downloads_one_whether_this_python_has_pip_or_not(bare, monkeypatch, pip):
    python = interpreter(bare / "of uv" / "python")
    uv_wheel(bare / "wheels", python, 0)
    monkeypatch.setattr(sys, "executable", sys._base_executable if not pip else sys.executable)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: pip or None)
    assert find_python(WANTED) == str(python)


def test_what_was_tried_is_told(bare):
    uv_wheel(bare / "wheels", bare, 1)
    with pytest.raises(NoPython) as told:
        find_python(WANTED)
    here = ".".join(map(str, sys.version_info[:2]))
    assert str(told.value).startswith("Python 9.5 or 9.7 is needed. ")
    for words in (f" is {here};", "conda is not there;", "uv could not download one (cannot reach the host)."):
        assert words in str(told.value)
    (bare / "wheels" / "uv-99.0-py3-none-any.whl").unlink()
    with pytest.raises(NoPython, match=r"uv, which downloads Pythons, could not be installed \(.*No matching"):
        find_python(WANTED)


@pytest.mark.parametrize("setting", ["prefix = /elsewhere", "target = /elsewhere", "index-url = https://mirror.lab"])
def test_pips_configuration_files_that_lead_elsewhere_are_told(tmp_path, monkeypatch, setting):
    file = tmp_path / "pip.conf"
    file.write_text(f"[install]\n{setting}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_TARGET", "/left/out")  # by `for_pip`
    if setting.startswith("index"):
        refuse_elsewhere(sys.executable)
        return
    named = rf"has install\.{setting.split()[0]}='/elsewhere', .*PIP_CONFIG_FILE=/dev/null"
    with pytest.raises(Elsewhere, match=named):
        refuse_elsewhere(sys.executable)
