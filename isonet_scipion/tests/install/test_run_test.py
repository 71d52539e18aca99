"""`run.py test`: its steps, those beside the others too, end in what failed and in its words."""

from __future__ import annotations

import sys

import pytest

from isonet_scipion.tests.install.wheel import run_script

FINE = [["-c", "print('fine')"]]


@pytest.mark.parametrize(
    ("words", "ends"), [("print('fine')", "passed"), ("import os; os.write(2, b'odd \\xff'); 1 / 0", "FAILED")]
)
@pytest.mark.parametrize("where", ["STEPS", "BESIDE"])
def test_what_fails_is_shown_wherever_it_runs(monkeypatch, capfd, where, words, ends):
    run = run_script()
    monkeypatch.setattr(run, "PYTHON", sys.executable)
    other = {"STEPS": "BESIDE", "BESIDE": "STEPS"}[where]
    monkeypatch.setattr(run, where, {"first": [["-c", words], *FINE], "second": FINE})
    monkeypatch.setattr(run, other, {"third": FINE})
    has_failed = ends == "FAILED"
    assert run.all_steps() == has_failed
    said = "".join(capfd.readouterr())
    assert ("odd \N{REPLACEMENT CHARACTER}" in said and "ZeroDivisionError" in said) == has_failed
    assert f"first     {ends}" in said and "second    passed" in said and "third     passed" in said
    assert f"{int(has_failed)} steps failed" in said
