"""A process that is forked from a warm one is like one of Python's own."""

import signal
import subprocess
import sys

import psutil
import pytest

from isonet_scipion.tests.protocols import warm
from isonet_scipion.tests.protocols.live import commandLine, waitFor

SCRIPT = """
import atexit, os, sys
atexit.register(print, "the end")
print(sys.argv[1:], os.getcwd(), os.environ["WORD"], "PATH" in os.environ, "fractions" in sys.modules, input())
print("a complaint", file=sys.stderr)
{end}
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [("", 0), ("sys.exit(3)", 3), ("1 / 0", 1), ("os.kill(os.getpid(), 9)", 137)],
    ids=["ends", "exits", "fails", "is killed"],
)
def test_words_folder_environment_streams_and_status_are_those_of_the_call(tmp_path, end, status):
    program = warm.start(tmp_path / "warm", "import fractions")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(end=end))
    for word in ("one", "two"):  # the second finds nothing of the first
        done = subprocess.run(
            [program, "-I", script, "a b", "--c"], input=f"{word}\n", cwd=tmp_path, env={"WORD": word},
            capture_output=True, text=True,
        )  # fmt: skip
        said = f"['a b', '--c'] {tmp_path} {word} False True {word}\n"
        assert (done.returncode, done.stdout) == (status, said if status == 137 else f"{said}the end\n")
        assert "a complaint" in done.stderr and ("ZeroDivisionError" in done.stderr) == (status == 1)


WAITING = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print(os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 7), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_script_gets_the_signals_of_who_called_it_and_ends_with_it(tmp_path, number, status):
    program = warm.start(tmp_path / "warm", "import fractions")
    script = tmp_path / "script.py"
    script.write_text(WAITING)
    caller = subprocess.Popen([program, script], stdout=subprocess.PIPE, text=True)
    process = int(caller.stdout.readline())
    caller.send_signal(number)
    assert caller.wait() == status
    waitFor(lambda: not psutil.pid_exists(process))


def test_it_ends_with_the_tests_though_they_end_while_it_imports(tmp_path):
    modules = f"""import os, time
while not os.path.exists({str(tmp_path / "seen")!r}):
    time.sleep(0.1)"""
    tests = f"import pathlib, sys; from {warm.__name__} import start; start(pathlib.Path(sys.argv[1]), sys.argv[2])"
    subprocess.run([sys.executable, "-c", tests, tmp_path / "warm", modules], check=True)

    def started():
        return [process for process in psutil.process_iter() if modules in commandLine(process)]

    assert started()
    (tmp_path / "seen").touch()
    waitFor(lambda: not started())


def test_what_is_no_script_is_for_python_itself(tmp_path):
    program = warm.start(tmp_path / "warm", "import fractions")
    command = [program, "-I", "-c", "import sys; print(sys.executable, 'fractions' in sys.modules)"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == f"{sys.executable} False\n"
