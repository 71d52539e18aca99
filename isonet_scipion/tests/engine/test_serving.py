"""`isonet-engine serve`: commands one after the other in one process."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.outcome import read_outcome
from isonet_scipion.engine.process import device
from isonet_scipion.engine.process.gpus import VISIBLE

SERVE = [sys.executable, "-m", "isonet_scipion.engine", "serve", "a test"]


def answers(folder, *lines, environ=None):
    """Exit statuses of commands that one process runs, its own, and what it printed beside them."""
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    done = subprocess.run(
        SERVE, input=text, cwd=folder, env={**os.environ, **(environ or {})}, capture_output=True, text=True
    )
    return [int(line) for line in done.stdout.split()], done.returncode, done.stderr


def test_each_command_is_answered_and_a_failure_is_not_the_end(tmp_path):
    write_volume(tmp_path / "tomo" / "a.mrc", np.random.default_rng(0).normal(size=(8, 16, 16)).astype("f4"), 10.0)
    make = ["--outcome", "made.json", "prepare_star", "tomo"]
    statuses, end, told = answers(tmp_path, ["nonsense"], "no list", ["deconv", "absent.star"], make)
    assert (statuses, end) == ([2, 2, 1, 0], 0)
    assert "not a JSON list of words: 'no list" in told and "absent.star" in told
    assert (tmp_path / "tomograms.star").exists() and read_outcome(tmp_path / "made.json").status == 0


@pytest.fixture
def heeded():
    """Tests that run in the background or under nohup ignore SIGINT, and what they start would too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_ctrl_c_ends_it_without_a_traceback_while_it_waits():
    with subprocess.Popen(SERVE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(b'["nonsense"]\n')
        process.stdin.flush()
        assert process.stdout.readline() == b"2\n"  # from here on it waits
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Traceback" not in told, told


def test_help_says_what_a_line_is():
    done = subprocess.run([*SERVE[:-1], "--help"], input="", capture_output=True, text=True)
    assert done.returncode == 0 and "JSON list" in done.stdout


def test_serve_is_no_line_of_its_own():
    done = subprocess.run(SERVE, input='["serve"]\n', capture_output=True, text=True)
    assert done.stdout.split() == ["2"] and "serve must be the first word" in done.stderr, done.stderr


# in the place of a stage: tells the GPUs that it sees, on both streams
CHOOSING = """
import os, sys
from isonet_scipion.engine.process.gpus import VISIBLE, choose_visible
from isonet_scipion.engine.serving import serve

def run(words):
    choose_visible(*words)
    print(os.environ[VISIBLE])
    return 143 if words == ["0,1"] else 0

sys.exit(serve(run))
"""


def test_numbers_of_gpus_count_among_those_that_the_process_was_given_and_a_signal_ends_it():
    text = '["1"]\n["1"]\n["0,1"]\n["0"]\n'
    environ = {**os.environ, VISIBLE: "5,6"}
    done = subprocess.run([sys.executable, "-c", CHOOSING], input=text, env=environ, capture_output=True, text=True)
    assert (done.stdout.split(), done.returncode) == (["0", "0", "143"], 143)
    assert done.stderr.split() == ["6", "6", "5,6"]


def test_a_process_that_took_gpus_does_not_change_to_others(monkeypatch):
    monkeypatch.setattr(device, "_gpu_names", lambda backend: ("a GPU",))
    monkeypatch.setattr(device, "_compute_capability", lambda backend: (6, 1))
    device._visible_at_first.cache_clear()
    try:
        for _ in range(2):
            monkeypatch.setenv(VISIBLE, "4,5")
            assert device.choose_devices("1").gpus == ("a GPU",)
        monkeypatch.setenv(VISIBLE, "4,5")
        with pytest.raises(device.EngineError, match="'5' already and can't change to '0'"):
            device.choose_devices("0")
    finally:
        device._visible_at_first.cache_clear()
