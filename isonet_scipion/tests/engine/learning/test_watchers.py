"""What follows a run: when the state that it goes on from is written."""

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
