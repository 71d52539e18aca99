"""Threads are asked for before they are needed."""

import threading

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.process import threads
from isonet_scipion.engine.process.threads import MOST_ASKED, array_threads, cpus, network_threads, require_threads


def test_too_few_are_told_with_how_many_there_are(monkeypatch):
    start, begun = threading.Thread.start, []

    def start_few(thread):
        begun.append(thread)
        if len(begun) > 3:
            raise RuntimeError("can't start new thread")
        start(thread)

    before = threading.active_count()
    require_threads(3)
    monkeypatch.setattr(threading.Thread, "start", start_few)
    with pytest.raises(EngineError, match=r"start 3 more, the work needs up to 5\. Raise the limit.*ulimit -u"):
        require_threads(5)
    assert threading.active_count() == before


def test_no_more_are_asked_for_than_others_can_spare(monkeypatch):
    begun = []

    class Counted:
        def __init__(self, **_):
            begun.append(self)

        def start(self):
            pass

        def join(self):
            pass

    monkeypatch.setattr(threads.threading, "Thread", Counted)
    require_threads(10**9)
    assert len(begun) == MOST_ASKED


def test_what_the_user_says_of_threads_counts(monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    for told, expected in (("3", 3), ("", cpus()), ("no number", cpus()), ("9" * 30, MOST_ASKED)):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert array_threads() == expected
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert array_threads() == 1
    assert network_threads(7) == network_threads() + 7 > 4 * cpus()
