"""Progress in a log."""

import logging
from io import StringIO

import pytest

from isonet_scipion.engine.process import progress
from isonet_scipion.engine.process.progress import Progress, clock


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3725, "1:02:05"), (360000, "100:00:00")]
)
def test_durations(seconds, text):
    assert clock(seconds) == text


def test_a_long_task_writes_a_line_now_and_then_and_at_its_end(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys, "stderr", StringIO())
    caplog.set_level(logging.INFO)
    with Progress("Work", 4, "parts") as work:
        for _ in range(4):
            now[0] += 6
            work.advance(note="loss 1")
    assert caplog.messages == ["Work: 2 of 4 parts, 0:00:12 left, loss 1", "Work: 4 of 4 parts, 0:00:00 left, loss 1"]


def test_a_short_task_and_one_that_fails_write_nothing(monkeypatch, caplog):
    monkeypatch.setattr(progress.sys, "stderr", StringIO())
    caplog.set_level(logging.INFO)
    with Progress("Work", 1, "parts") as work:
        work.advance()
    with pytest.raises(ValueError, match="broken"), Progress("Work", 1, "parts"):
        raise ValueError("broken")
    assert caplog.messages == []
