"""The limit on open files is raised as far as it goes, and never lowered."""

import subprocess
import sys

import pytest

CODE = """
import resource
import sys
from isonet_scipion.engine.process.open_files import allow_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
allow_open_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard"), [(64, 512), (512, 512)])
def test_the_soft_limit_becomes_the_hard_one(soft, hard):
    command = [sys.executable, "-c", CODE, str(soft), str(hard)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["512", "512"]


def test_there_is_no_need_for_more_than_enough(monkeypatch):
    from isonet_scipion.engine.process import open_files

    asked = []
    monkeypatch.setattr(open_files.resource, "setrlimit", lambda _, limits: asked.append(limits))
    for limits in ((1024, 1 << 20), (1 << 18, 1 << 20), (-1, -1), (1024, -1)):
        monkeypatch.setattr(open_files.resource, "getrlimit", lambda _, now=limits: now)
        open_files.allow_open_files()
    assert asked == [(open_files.ENOUGH, 1 << 20), (open_files.ENOUGH, -1)]


def test_commands_raise_it():
    code = CODE.replace(
        "isonet_scipion.engine.process.open_files import allow_open_files", "isonet_scipion.engine.cli import main"
    )
    code = code.replace("allow_open_files()", "sys.argv = ['isonet-engine', '--version']; main()")
    command = [sys.executable, "-c", code, "64", "512"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-2:] == ["512", "512"]
