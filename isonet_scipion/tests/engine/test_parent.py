import os
import signal
import subprocess
import sys

from isonet_scipion.engine.parent import PARENT

CHILD = """
import os, time
from isonet_scipion.engine.parent import PARENT, live_with_parent
live_with_parent()
print(PARENT in os.environ, flush=True)
time.sleep(60)
"""


def start(parent):
    environ = {**os.environ, PARENT: str(parent)}
    return subprocess.Popen([sys.executable, "-c", CHILD], env=environ, stdout=subprocess.PIPE, text=True)


def test_a_process_ends_with_its_parent():
    with subprocess.Popen(["sleep", "60"]) as parent, start(parent.pid) as child:
        assert child.stdout.readline() == "False\n"  # it is not for processes of its own
        assert child.poll() is None
        parent.kill()  # a zombie from now on
        assert child.wait(20) == -signal.SIGTERM


def test_a_process_whose_parent_has_gone_already_ends_at_once():
    parent = subprocess.Popen(["true"])
    parent.wait()
    with start(parent.pid) as child:
        assert child.wait(20) == -signal.SIGTERM
