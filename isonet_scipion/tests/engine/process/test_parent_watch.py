import os
import signal
import subprocess
import sys

import pytest

from isonet_scipion.engine.process.parent_watch import PARENT

CHILD = """
import os, signal, sys, time
from isonet_scipion.engine.process import parent_watch as parent
parent.SECONDS_TO_CLEAN_UP = 0.2
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
parent.live_with_parent()
print(parent.PARENT in os.environ, flush=True)
time.sleep(60)
"""


def start(parent, kind="usual"):
    environ = {**os.environ, PARENT: str(parent)}
    return subprocess.Popen([sys.executable, "-c", CHILD, kind], env=environ, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("kind", "status"), [("usual", -signal.SIGTERM), ("deaf", 128 + signal.SIGTERM)])
def test_a_process_ends_with_its_parent(kind, status):
    with subprocess.Popen(["sleep", "60"]) as parent, start(parent.pid, kind) as child:
        assert child.stdout.readline() == "False\n"  # it is not for processes of its own
        assert child.poll() is None
        parent.kill()  # a zombie from now on
        assert child.wait(50) == status  # before it ends by itself


def test_a_process_whose_parent_has_gone_already_ends_at_once():
    parent = subprocess.Popen(["true"])
    parent.wait()
    with start(parent.pid) as child:
        assert child.wait(50) == -signal.SIGTERM


BUSY = """
import ctypes, pathlib, signal, sys
from isonet_scipion.engine.process import parent_watch as parent, signals
longer = parent.SECONDS_TO_CLEAN_UP - signals.GRACE
signals.GRACE, parent.SECONDS_TO_CLEAN_UP = 0.5, max(0, 0.5 + longer)
half = pathlib.Path(sys.argv[1])
with signals.ending_on_signals(half.unlink):
    parent.live_with_parent()
    half.touch()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # another thread gets it, and does not wake this one
    print("ready", flush=True)
    ctypes.CDLL(None).sleep(60)
"""


def test_what_is_half_written_is_deleted_though_a_computation_hears_no_signal(tmp_path):
    half = tmp_path / "half"
    with subprocess.Popen(["sleep", "60"]) as parent:
        environ = {**os.environ, PARENT: str(parent.pid)}
        command = [sys.executable, "-c", BUSY, half]
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout.readline() == "ready\n" and half.exists()
            parent.kill()
            assert child.wait(50) == 128 + signal.SIGTERM
    assert not half.exists()
