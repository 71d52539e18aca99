"""Scipion's half on Python 3.8, which Scipion's official installer makes where it finds conda."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from isonet_scipion.tests.install.wheel import CHECKOUT, PACKAGE

BUILTINS = {"dict", "list", "tuple", "set", "frozenset", "type"}
FUNCTIONS, METHODS = {"math.lcm", "functools.cache"}, {"removeprefix", "removesuffix"}  # since 3.9
ONE_PROTOCOL = Path(__file__).with_name("one_protocol.py")
SCIPION = ("scipion-app", "scipion-pyworkflow", "scipion-em", "scipion-em-tomo")
# Stand-ins for the engine's Python and its environment's, in which pip need not put what these tests' own Python has:
# that it does is seen in an official Scipion (test_official_scipion).
BASE = """#!/bin/sh
case "$*" in
    *"import sys, venv"*) echo 3 12 "$0" ;;
    "-I -m venv "*) mkdir -p "$5/bin" && cp "{inner}" "$5/bin/python" ;;
esac
"""
INNER = """#!/bin/sh
case "$*" in
    *"-m ensurepip"*|*"-m pip install"*) echo "$*" >> "{notes}" ;;
    *) exec "{python}" "$@" ;;
esac
"""


def scipions_half() -> list[Path]:
    """Its modules, and those of the engine that they import."""
    found: list[Path] = []
    left = [path for path in PACKAGE.rglob("*.py") if {"engine", "tests"}.isdisjoint(path.relative_to(PACKAGE).parts)]
    while left:
        path = left.pop()
        if path in found:
            continue
        found.append(path)
        for name in re.findall(r"^(?:from|import) isonet_scipion\.([\w.]+)", path.read_text(), re.MULTILINE):
            module = PACKAGE / name.replace(".", "/")
            left += [one for one in (module.with_suffix(".py"), module / "__init__.py") if one.exists()]
    return found


def problems(path: Path) -> list[str]:
    """What a module does, when it is imported or run, that Python 3.8 does not know."""
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    generic = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "collections.abc"
        for alias in node.names
    } | BUILTINS
    written = {id(note) for node in ast.walk(tree) for note in annotations(node)}
    wrong = []
    for node in ast.walk(tree):
        if id(node) in written:
            continue
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in generic:
            wrong.append(f"{path.name}:{node.lineno}: {node.value.id}[...]")
        if isinstance(node, ast.Attribute) and (node.attr in METHODS or ast.unparse(node) in FUNCTIONS):
            wrong.append(f"{path.name}:{node.lineno}: .{node.attr}")
    return wrong


def annotations(node: ast.AST) -> list[ast.AST]:
    """The nodes of annotations, which are not evaluated."""
    notes = [getattr(node, name, None) for name in ("annotation", "returns")]
    return [inner for note in notes if isinstance(note, ast.AST) for inner in ast.walk(note)]


def test_scipions_half_keeps_to_what_python_38_knows():
    modules = scipions_half()
    assert PACKAGE / "engine" / "settings" / "option.py" in modules and PACKAGE / "convert" / "rows.py" in modules
    assert not [line for path in modules for line in problems(path)]


def test_what_python_38_does_not_know_is_found(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(
        "from collections.abc import Mapping\nimport math\n"
        "A = tuple[int, ...]\nB = Mapping[str, int]\nC = math.lcm(2, 3)\ndef f(x: dict[str, int]) -> list[int]: ...\n"
    )
    assert len(problems(module)) == 3


def python_38() -> str | None:
    """One that runs and has Tk, which Scipion imports: on PATH, else of pyenv, whose python3.8 on PATH may not run."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for python in (shutil.which("python3.8"), *sorted(pyenv.glob("3.8*/bin/python"))):
        test = [str(python), "-c", "import ctypes, sys, tkinter; assert sys.version_info[:2] == (3, 8)"]
        if python and subprocess.run(test, stderr=subprocess.DEVNULL).returncode == 0:
            return str(python)
    return None


def test_pyenvs_python_38_is_taken_where_the_one_on_path_does_not_run(tmp_path, monkeypatch):
    for file, status in ((tmp_path / "python3.8", 127), (tmp_path / "versions" / "3.8.18" / "bin" / "python", 0)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\nexit {status}\n")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert python_38() == str(file)


def test_options_are_read_there(tmp_path):
    found = python_38()
    if found is None:
        pytest.skip("no Python 3.8 with Tk was found")
    code = (
        "from isonet_scipion.engine.settings import correction, option, preparation, training\n"
        "for module in (correction, preparation):\n"
        "    for name in dir(module):\n"
        "        if name.endswith('Settings'):\n"
        "            assert option.options(getattr(module, name)), name\n"
        "assert 'denoiser' in training.training_options()\n"
    )
    subprocess.run([found, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(PACKAGE.parent)}, check=True)


@pytest.mark.install
@pytest.mark.timeout(3600)
def test_a_protocol_runs_there_through_the_engines_own_python(tmp_path):
    found = python_38()
    if found is None:
        pytest.skip("no Python 3.8 with Tk was found: only the syntax was looked at")
    python, engine = tmp_path / "scipion" / "bin" / "python", tmp_path / "engine"
    foreign = re.compile("SCIPION|ISONET|KERAS|PYTHON|VIRTUAL")
    kept = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    path = os.pathsep.join([str(tmp_path / "path"), os.environ["PATH"]])
    environment = {**kept, "PATH": path, "PIP_COMPILE": "0"}  # imports compile the part that they need
    base, inner, notes = tmp_path / "path" / "python3.12", tmp_path / "inner", tmp_path / "notes"
    base.parent.mkdir()
    base.write_text(BASE.format(inner=inner))
    inner.write_text(INNER.format(notes=notes, python=sys.executable))
    for script in (base, inner):
        script.chmod(0o755)
    steps = (
        (found, "-m", "venv", tmp_path / "scipion"),
        (python, "-m", "pip", "install", "-q", *SCIPION, CHECKOUT),
        (python, "-m", "isonet_scipion.installation", "--cpu", engine),
        (python, ONE_PROTOCOL, tmp_path),
    )
    for step in steps:
        variables = {**environment, "ISONET_ENGINE_PYTHON": str(engine / "env" / "bin" / "python")}
        done = subprocess.run(
            [str(word) for word in step], cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        log = done.stdout.decode()
        assert done.returncode == 0, log
    (packages,) = (line for line in notes.read_text().splitlines() if "pip install" in line)
    assert "tensorflow" in packages
    told = dict(line.split(" ", 1) for line in log.splitlines() if line.split(" ")[0].isupper())
    assert told["VALIDATION"] == "[]" and told["ENGINE"].startswith(str(engine))
    assert told["OUTPUT"] == "(24, 32, 40) 10.0 True"
