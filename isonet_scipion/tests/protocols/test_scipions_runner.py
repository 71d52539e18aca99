"""`scipion3 tests` in a Scipion that has no pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = """
import sys
for name in ("pytest", "hypothesis", "_pytest"):
    sys.modules[name] = None
import pyworkflow as pw
from isonet_scipion import scipion_home
scipion_home.prepare(sys.argv.pop(1))
from pyworkflow.apps.pw_run_tests import Tester
Tester().main()
"""


NAMES = {path.stem for path in Path(__file__).parent.glob("test_*.py")}


def lines(result):
    return (result.stdout + result.stderr).splitlines()


@pytest.fixture
def runner(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-c", RUNNER, str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)

    return run


def test_it_lists_the_protocols_tests_and_no_error(runner):
    # a module that can't be imported is listed by its last name alone
    failed = [line.split(".")[-1] for line in lines(runner("--mode", "all", "--grep", "_FailedTest"))]
    assert not set(failed) & NAMES
    result = runner("--grep", "isonet_scipion")
    text = "\n".join(lines(result))
    assert result.returncode == 0 and "Error loading the test" not in text, text
    assert "isonet_scipion.tests.protocols.test_chain.TestIsoNetChain" in text
    assert "isonet_scipion.tests.engine" not in result.stdout
    assert "these are run by pytest" in result.stderr


def test_a_grep_of_pytests_files_says_so(runner):
    result = runner("--run", "--grep", "isonet_scipion.tests.engine")
    assert result.returncode == 1 and "these are run by pytest, in a checkout: python3 run.py test" in result.stderr
