"""One line is said of a process that is ended in the midst of its work, and nothing of one that ends as it should."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from isonet_scipion.engine.process.last_words import ENDINGS, ending_words

START = "from isonet_scipion.engine.process.last_words import leave_last_words; leave_last_words('prog'); "
ENDS = {
    signal.SIGABRT: "import os; os.abort()",
    signal.SIGSEGV: "import ctypes; ctypes.string_at(0)",
    # a file that is cut short under its map
    signal.SIGBUS: "import mmap, tempfile; f = tempfile.TemporaryFile(); f.truncate(9999); "
    "m = mmap.mmap(f.fileno(), 9999); f.truncate(0); m[5000]",
    signal.SIGILL: "import os, signal; os.kill(os.getpid(), signal.SIGILL)",
}


def words(code, **options):
    done = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, timeout=60, **options)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("number", ENDINGS)
def test_an_end_is_told_in_one_line_with_what_to_do(number):
    status, told = words(ENDS[number])
    assert status == -number
    assert told.startswith(f"prog: error: it was ended by {signal.Signals(number).name}, ") and told.count("\n") == 1
    assert ending_words(number) in told and "Traceback" not in told


@pytest.mark.parametrize("code", ["", "raise SystemExit(3)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_of_other_ends_nothing_is_said(code):
    assert words(code)[1] == ""
    assert ending_words(signal.SIGKILL) is None


def test_tracebacks_are_kept_for_who_asked_for_them():
    told = words("import os; os.abort()", env={**os.environ, "PYTHONFAULTHANDLER": "1"})[1]
    assert "Fatal Python error" in told and "prog: error" not in told


def test_the_waiting_process_holds_nothing_and_ends_with_the_other_one(tmp_path):
    lock = open(tmp_path / "lock", "w")  # noqa: SIM115
    code = START + "import sys; print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[lock.fileno()]
    )
    process.stdout.readline()
    (waiting,) = psutil.Process(process.pid).children()
    until = time.monotonic() + 20
    while waiting.num_fds() > 2 and time.monotonic() < until:
        time.sleep(0.02)
    files = [os.readlink(f"/proc/{waiting.pid}/fd/{file}") for file in os.listdir(f"/proc/{waiting.pid}/fd")]
    assert len(files) == 2 and str(tmp_path / "lock") not in files
    waiting.send_signal(signal.SIGTERM)  # as a queue sends to all processes of a job
    waiting.send_signal(signal.SIGINT)
    time.sleep(0.1)
    assert waiting.is_running()
    process.communicate(b"")
    psutil.wait_procs([waiting], timeout=20)
    assert not waiting.is_running() or waiting.status() == psutil.STATUS_ZOMBIE
    lock.close()
