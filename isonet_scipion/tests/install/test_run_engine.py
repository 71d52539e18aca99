"""`run.py engine FOLDER`, with a stand-in for Python that notes what it is called for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from isonet_scipion.tests.install.wheel import CHECKOUT, run_script

# an environment's Python notes the same
PYTHON = """#!/bin/sh
echo "$PWD $PIP_USER$PIP_TARGET$PYTHONPATH $*" >> "{notes}"
case "$*" in "-I -m venv "*) mkdir -p "$4/bin"; cp "$0" "$4/bin/python";; esac
"""


def test_folder_and_wheels_count_from_where_the_user_is(tmp_path, monkeypatch):
    run = run_script()
    python, notes = tmp_path / "python", tmp_path / "notes"
    python.write_text(PYTHON.format(notes=notes))
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/of/another/python")
    assert run.install_engine(["folder", "--cpu"]) == 0
    # isolated: a module of the user's folder, such as a random.py, does not take the place of Python's own
    assert all(" -I " in line for line in notes.read_text().splitlines())
    steps = [line for line in notes.read_text().splitlines() if "ensurepip" not in line]
    assert all(line.startswith(f"{tmp_path} 0 ") for line in steps)
    assert steps[-1].endswith("-m isonet_scipion.installation folder --cpu") and f"-e {CHECKOUT}" in steps[-2]


@pytest.mark.parametrize("what", ["engine", "demo"])
def test_a_checkout_that_one_may_not_write_is_told_before_anything_is_made(what, tmp_path, monkeypatch):
    run = run_script()
    monkeypatch.setattr(run, "STAMP", tmp_path / "never-written")
    monkeypatch.setattr(run.os, "access", lambda path, _: Path(path) != CHECKOUT)
    monkeypatch.setattr(run, "call", lambda *words, **_: pytest.fail(f"called {words}"))
    monkeypatch.setattr(sys, "argv", ["run.py", what, str(tmp_path)])
    with pytest.raises(SystemExit, match=f"may not write in {CHECKOUT}"):
        run.main()
