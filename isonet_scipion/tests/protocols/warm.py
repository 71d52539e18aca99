"""A Python whose modules are imported already: each script that it is given runs in a process forked from it.

Scipion's packages take a second to import and TensorFlow four, in each of the hundreds of processes that the tests of
protocols start. `start` gives the path of a program that is called like Python. It runs this file, which hands its
words, environment, folder and standard streams to the process with the modules, passes on signals, and ends with the
script's status; where it is killed, the script is too.
"""

import atexit
import contextlib
import gc
import itertools
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback

SECONDS_BETWEEN_LOOKS = 5  # for whether the tests have ended
PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
# the engine's modules; TensorFlow with the fast kernels that the engine has it take, which it reads where it is
# imported; tiny trainings need no graphs, and nobody looks at its pictures
ENGINE = """
import runpy; runpy.run_path(os.path.join(os.path.dirname(__file__), "..", "..", "launch_engine.py"))
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
import tensorflow; tensorflow.config.run_functions_eagerly(True)
from matplotlib.backends.backend_agg import FigureCanvasAgg
FigureCanvasAgg.draw = FigureCanvasAgg.get_renderer
from isonet_scipion.engine import cli
for name in cli.MODULES:
    cli.record_of(name)
"""


def start(folder, modules, **environ):
    """Path of the program, in this folder; `modules` is the code that imports them, run with further variables."""
    import subprocess  # which takes as long as all else that a call has to wait for

    folder.mkdir()
    path = folder / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, str(os.getpid()), modules],
            stdin=listener, start_new_session=True, env={**os.environ, **environ},
        )  # fmt: skip
    program = folder / "python"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -IS '{__file__}' '{path}' \"$@\"\n")
    program.chmod(0o755)
    return program


class Script:
    """One that runs in a process forked from the warm one, whose number is `pid`."""

    def __init__(self, path, words, folder, environ, streams):
        """Start it with three streams; `path` is the socket beside the program."""
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(path)
        socket.send_fds(self._connection, [b"\0"], streams)
        self._connection.sendall(json.dumps([words, folder, environ]).encode())
        self._connection.shutdown(socket.SHUT_WR)
        self._told = self._connection.makefile()
        self.pid = int(self._told.readline())

    def wait(self, seconds=None):
        """Its exit status, that of a signal negative; None where it has not ended by then."""
        if not select.select([self._connection], [], [], seconds)[0]:
            return None
        return int(self._told.readline())


def ask(path, words):
    """Have a script run; returns its exit status, as a shell tells it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until there is somebody to pass them on to
    script = Script(path, words, os.getcwd(), dict(os.environ), [0, 1, 2])
    for number in PASSED_ON:
        signal.signal(number, lambda number, _: os.kill(script.pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    status = script.wait()
    return status if status >= 0 else 128 - status


def asked(tests):
    """Wait for scripts while the process `tests` is there; returns in a process for each, with its words."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=0) as listener:
        while os.getppid() == tests:
            if not select.select([listener], [], [], SECONDS_BETWEEN_LOOKS)[0]:
                continue
            connection = listener.accept()[0]
            if not os.fork():
                listener.detach()  # one of the script's streams takes its number
                return take(connection)
            connection.close()
    sys.exit()


def take(connection):
    """Start the process of a script and wait for its end; returns in it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    streams = socket.recv_fds(connection, 1, 3)[1]
    words, folder, environ = json.load(connection.makefile())
    child = os.fork()
    if child:
        for stream in (*streams, 0):  # who reads them waits for their last writer
            os.close(stream)
        connection.sendall(b"%d\n" % child)
        threading.Thread(target=end_with, args=(connection, child), daemon=True).start()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection.sendall(b"%d\n" % status)
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    return words


def end_with(connection, script):
    """Kill a script once the process that asked for it is gone."""
    ends = select.poll()
    ends.register(connection, 0)  # nothing but the end of both directions
    ends.poll()
    with contextlib.suppress(ProcessLookupError):
        os.kill(script, signal.SIGKILL)


def run(script):
    """End this process as Python does after a script, but for taking all modules apart, which takes long."""
    status = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    if sys.flags.isolated:
        path, *words = sys.argv[1:]
        if next(word for word in words if word != "-I").startswith("-"):  # no script
            os.execv(sys.executable, [sys.executable, *words])
        sys.exit(ask(path, words))
    del sys.path[0]  # the folder of this file
    tests, modules = sys.argv[1:]
    exec(modules)
    gc.freeze()  # what is forked does not look through all that again
    sys.argv = list(itertools.dropwhile("-I".__eq__, asked(int(tests))))
    run(sys.argv[0])
