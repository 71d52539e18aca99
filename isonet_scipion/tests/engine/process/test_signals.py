"""A signal waits for a short section's end; the rest is in tests/faults."""

import os
import signal
import subprocess
import sys
import time

import pytest

from isonet_scipion.engine.process.signals import Terminated, ending_on_signals, signals_put_off


def test_a_signal_waits_for_the_end_of_a_section():
    reached, cleaned = [], []
    with pytest.raises(Terminated), ending_on_signals(lambda: cleaned.append(True)), signals_put_off():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append(True)
    assert reached == [True] and cleaned == [True]


def test_handlers_are_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with ending_on_signals(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_comes_in_a_finaliser_is_not_lost():
    class Finalised:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    with pytest.raises(Terminated), ending_on_signals(lambda: None):  # noqa: PT012
        Finalised()
        time.sleep(60)
        pytest.fail("it went on")


LEAVING = """
import atexit, sys, threading, time
from isonet_scipion.engine.process.signals import leave
atexit.register(print, "told at the end")
threading.Thread(target=time.sleep, args=(60,)).start()  # Python would wait for it
sys.stdout.write("written ")
leave(143)
"""


def test_leaving_flushes_what_was_written_and_waits_for_no_thread():
    process = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=30)
    assert process.returncode == 143
    assert process.stdout == "written told at the end\n"
