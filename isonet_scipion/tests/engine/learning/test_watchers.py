"""What follows a run: when the state that it goes on from is written, and the time that is told."""

from types import SimpleNamespace

from isonet_scipion.engine.measure.history import EpochRecord
from isonet_scipion.engine.process.device import Devices, choose_devices

choose_devices()

from isonet_scipion.engine.learning import watchers  # noqa: E402
from isonet_scipion.engine.learning.run import Run  # noqa: E402 (imports Keras)
from isonet_scipion.engine.learning.watchers import StateFile  # noqa: E402
from isonet_scipion.engine.settings.training import IterativeSettings  # noqa: E402


def test_the_state_is_written_at_first_at_iterations_ends_and_by_time(monkeypatch, tmp_path):
    written, now = [], [0.0]
    monkeypatch.setattr(watchers, "save_model", lambda *_: written.append(now[0]))
    monkeypatch.setattr(watchers.time, "monotonic", lambda: now[0])
    given = {"result_dir": str(tmp_path), "epochs": 10, "steps_per_epoch": 1, "batch_size": 4, "seed": 1}
    settings = IterativeSettings.given(given)
    runs = [Run(None, settings, {}, Devices("tensorflow", (), "float32")) for _ in range(2)]
    monkeypatch.setattr(Run, "identity", lambda self: {})
    watcher = StateFile()
    for run in runs:
        for epoch in range(1, 11):
            now[0] += 80.0
            watcher.after_epoch(run, EpochRecord(1, epoch, 0.1, 0.1, 0.0, 80.0))
    # after the first epoch, every third (240 s), and the last, of each run
    assert written == [80.0, 320.0, 560.0, 800.0, 880.0, 1120.0, 1360.0, 1600.0]


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
