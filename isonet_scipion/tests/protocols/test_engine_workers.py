"""Engines that a protocol keeps: lent to one step at a time, replaced when they die, ended when idle."""

import os
import signal
import sys
import time

import psutil
import pytest

from isonet_scipion.protocols.engine_workers import EngineWorkers

# answers with its own process's number, so that it shows which one worked
SERVER = """
import os, sys
for line in sys.stdin:
    if "die" in line:
        os.kill(os.getpid(), 9)
    print(os.getpid(), flush=True)
"""
COMMAND = [sys.executable, "-c", SERVER]


@pytest.fixture
def workers():
    made = EngineWorkers()
    yield made
    made.endIdle()


def run(workers, gpus, *words):
    with workers.lent(gpus, COMMAND, os.environ) as worker:
        return worker.run(words)


def test_one_goes_on_for_further_commands_and_each_gpu_has_its_own(workers):
    first = run(workers, "0", "a")
    assert run(workers, "0", "b") == first
    other = run(workers, "1", "c")
    assert other != first
    with workers.lent("0", COMMAND, os.environ) as one, workers.lent("0", COMMAND, os.environ) as two:
        assert one.run(["d"]) == first and two.run(["d"]) not in (first, other)


def test_the_end_of_one_is_told_and_the_next_command_gets_another(workers):
    first = run(workers, "0", "a")
    assert run(workers, "0", "die") == -signal.SIGKILL
    second = run(workers, "0", "b")
    assert second > 0 and second != first
    os.kill(second, signal.SIGKILL)  # while it is idle
    while psutil.Process(second).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert run(workers, "0", "c") not in (first, second)


def test_those_that_are_idle_end_and_those_at_work_do_not(workers):
    idle = run(workers, "0", "a")
    with workers.lent("1", COMMAND, os.environ) as busy:
        workers.endIdle(60.0)
        assert psutil.pid_exists(idle)
        workers.endIdle()
        assert not psutil.pid_exists(idle)
        assert busy.run(["b"]) > 0
