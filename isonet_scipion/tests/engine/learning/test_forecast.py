"""What a training will need."""

import logging

import pytest

from isonet_scipion.engine.learning import forecast
from isonet_scipion.engine.learning.forecast import Forecast, estimate_bytes, model_bytes
from isonet_scipion.engine.process.device import Devices


def test_disk_space_of_models_and_estimates():
    # one model an iteration, and twice the state with Adam's two moments
    assert model_bytes(1000, 5) == 4 * 1000 * 11
    assert estimate_bytes(10, 20, 3) == 4 * 10 * 8000 * 3


def test_the_time_that_is_left_is_told_once_after_seven_steps(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(forecast.time, "monotonic", lambda: now[0])
    caplog.set_level(logging.INFO)
    told = Forecast(107, Devices("tensorflow", (), "float32"))
    for _ in range(20):
        now[0] += 100 if told.seen < 2 else 2  # the first ones compile
        told.step()
    (message,) = caplog.messages
    seconds = float(message.split("steps: ")[1].split(" s per")[0])
    assert seconds == pytest.approx(2 * 1.04) and ", 0:03:28 in all" in message
    assert message.endswith(" GiB of the main memory")
