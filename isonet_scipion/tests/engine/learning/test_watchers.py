"""What follows a run: when the state that it goes on from is written, and the time that is told."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from isonet_scipion.engine.measure.history import EpochRecord
from isonet_scipion.engine.process.device import Devices, choose_devices

choose_devices()

from isonet_scipion.engine.learning import watchers  # noqa: E402
from isonet_scipion.engine.learning.run import Run  # noqa: E402 (imports Keras)
from isonet_scipion.engine.learning.watchers import Page, StateFile  # noqa: E402
from isonet_scipion.engine.settings.training import IterativeSettings  # noqa: E402


class Remembered(SimpleNamespace):
    """That watchers can remember without keeping it alive."""


def written_states(monkeypatch, folder, seconds):
    """When the state is written, of two runs of ten epochs that take so many seconds each."""
    written, now = [], [0.0]
    monkeypatch.setattr(watchers, "save_model", lambda *_: written.append(now[0]))
    monkeypatch.setattr(watchers.time, "monotonic", lambda: now[0])
    given = {"result_dir": str(folder), "epochs": 10, "steps_per_epoch": 1, "batch_size": 4, "seed": 1}
    settings = IterativeSettings.given(given)
    runs = [Run(None, settings, {}, Devices("tensorflow", (), "float32")) for _ in range(2)]
    monkeypatch.setattr(Run, "identity", lambda self: {})
    watcher = StateFile()
    for run in runs:
        for epoch in range(1, 11):
            now[0] += seconds
            watcher.after_epoch(run, EpochRecord(1, epoch, 0.1, 0.1, 0.0, seconds))
    return written


def test_the_state_is_written_at_first_at_iterations_ends_and_by_time(monkeypatch, tmp_path):
    written = written_states(monkeypatch, tmp_path, 80.0)
    # after the first epoch, every third (240 s), and the last, of each run
    assert written == [80.0, 320.0, 560.0, 800.0, 880.0, 1120.0, 1360.0, 1600.0]


@pytest.mark.parametrize("seconds", [1.0, 80.0, 170.0, 600.0])
def test_the_epoch_that_was_begun_and_three_minutes_are_repeated_at_most_as_is_told(monkeypatch, tmp_path, seconds):
    written = written_states(monkeypatch, tmp_path, seconds)
    assert max(np.diff([0.0, *written])) <= 180.0 + seconds
    text = (Path(__file__).parents[4] / "docs" / "cluster.md").read_text(encoding="utf-8")
    told = "the epoch that was begun is repeated as a whole, however long it is, and at most three minutes of training"
    assert told in " ".join(text.split())


def test_pictures_hold_up_short_epochs_seldom(monkeypatch, tmp_path):
    drawn, now = [], [0.0]
    monkeypatch.setattr(watchers, "draw_losses", lambda path, history: drawn.append((now[0], len(history))))
    monkeypatch.setattr(watchers, "write_training_page", lambda folder, history, *_: drawn.append(len(history)))
    monkeypatch.setattr(watchers.time, "monotonic", lambda: now[0])
    method = SimpleNamespace(tested=lambda: "")
    state = SimpleNamespace(history=[], start_correlation=None)
    settings = IterativeSettings.given({"epochs": 20})
    facts = {"folder": tmp_path, "settings": settings, "state": state, "method": method, "earlier": []}
    run = Remembered(**facts, chosen_iteration=lambda: None)
    page = Page()
    for epoch in range(1, 21):
        now[0] += 2.0
        state.history.append(EpochRecord(1, epoch, 0.1, 0.1, 0.0, 2.0))
        page.after_epoch(run, state.history[-1])
    # after the first epoch, every eighth (more than 15 s), and the last; picture and page are of the same epochs
    assert drawn == [(2.0, 1), 1, (18.0, 9), 9, (34.0, 17), 17, (40.0, 20), 20]


def test_the_time_that_is_left_counts_epochs_that_take_longer(caplog):
    settings = IterativeSettings.given({"iterations": 2, "epochs": 5})
    method = SimpleNamespace(cost=lambda epoch: 2.0 if epoch >= 3 else 1.0)
    history = [EpochRecord(1, epoch + 1, 0.1, 0.1, 0.0, 10.0) for epoch in range(3)]
    history += [EpochRecord(1, epoch + 1, 0.1, 0.1, 0.0, 22.0, with_denoiser=1) for epoch in range(3, 5)]
    with caplog.at_level("INFO"):
        for past in (2, 4):  # those that are as the last one tell
            run = SimpleNamespace(settings=settings, method=method, state=SimpleNamespace(history=history[: past + 1]))
            watchers.Log().after_epoch(run, history[past])
    assert [message.split(", ")[-1] for message in caplog.messages] == ["0:02:20 left", "0:01:50 left"]


def test_the_time_that_is_left_forgets_a_pause(caplog):
    method = SimpleNamespace(cost=lambda epoch: 1.0)
    history = [EpochRecord(1, epoch + 1, 0.1, 0.1, 0.0, seconds) for epoch, seconds in enumerate((10.0, 3600.0, 10.0))]
    settings = IterativeSettings.given({"iterations": 1, "epochs": 5})
    run = SimpleNamespace(settings=settings, method=method, state=SimpleNamespace(history=history))
    with caplog.at_level("INFO"):
        watchers.Log().after_epoch(run, history[-1])
    assert caplog.messages[-1].endswith(", 0:00:20 left")
