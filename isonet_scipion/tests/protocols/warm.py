"""A Python whose modules are imported already: each script that it is given runs in a process forked from it.

Scipion's packages take a second to import and TensorFlow four, in each of the hundreds of processes that the tests of
protocols start. `start` gives the path of a program that is called like Python. It runs this file, which hands its
words, environment, folder and standard streams to the process with the modules, and ends with the script's status.
"""

import atexit
import gc
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


def ask(path, words):
    """Have a script run; returns its exit status."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [b"\0"], [0, 1, 2])
        connection.sendall(json.dumps([words, os.getcwd(), dict(os.environ)]).encode())
        connection.shutdown(socket.SHUT_WR)
        return int(connection.makefile().read())


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
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection.sendall(b"%d" % (status if status >= 0 else 128 - status))
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    return words


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
    sys.argv = [word for word in asked(int(tests)) if word != "-I"]
    run(sys.argv[0])
