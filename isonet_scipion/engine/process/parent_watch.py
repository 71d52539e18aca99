"""The engine ends when the program that started it is gone."""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil

from isonet_scipion.engine.process.signals import GRACE

PARENT = "ISONET_PARENT"  # environment variable: number of the process to live with
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_CLEAN_UP = GRACE + 4.0  # what is half-written is deleted once the grace is over


def live_with_parent() -> None:
    """End this process, as SIGTERM does, once the process ISONET_PARENT is gone; does nothing without that variable.

    A protocol of Scipion that is killed can't stop its engine, which would go on writing where Continue works.
    """
    number = os.environ.pop(PARENT, None)
    if number is not None:
        threading.Thread(target=_watch, args=(int(number),), daemon=True).start()


def _watch(number: int) -> None:
    try:
        parent = psutil.Process(number)
        # a killed process stays a zombie until somebody asks for its status
        while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except psutil.NoSuchProcess:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_CLEAN_UP)
    os._exit(128 + signal.SIGTERM)  # a long computation does not hear the signal
