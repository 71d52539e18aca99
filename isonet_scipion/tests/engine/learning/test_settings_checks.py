"""What of a training's settings is told before it."""

import pytest

from isonet_scipion.engine.learning.settings_checks import check_settings, without_effect
from isonet_scipion.engine.settings.training import IterativeSettings, OnePassSettings


@pytest.mark.parametrize(("given", "told"), [
    ({"noise_dir": "noise", "noise_level": (0.0,)}, {"noise_dir": "a noise_level above 0"}),
    ({"noise_dir": "noise", "noise_level": (0.0, 0.1)}, {}),
    ({"bfactor": 500.0, "ctf_state": "corrected", "voltage": 200.0},
     dict.fromkeys(("bfactor", "voltage", "ctf_state"), "ctf_aware")),
    ({"bfactor": 500.0, "cs": 2.7, "ctf_aware": True}, {}),
    ({}, {}),
])  # fmt: skip
def test_options_without_effect_are_told(given, told):
    assert dict(without_effect(OnePassSettings(**given))) == told


@pytest.mark.parametrize(("iterations", "level", "said"), [
    (30, None, None),
    (20, "INFO", "noise_level: 0.15,0.2 not reached, as noise_start_iter 21,26 is beyond the last of 20 iterations."),
    (10, "WARNING", "noise_level: 0.05,0.1,0.15,0.2 not reached, as noise_start_iter 11,16,21,26 is beyond the last"),
])  # fmt: skip
def test_noise_that_would_begin_after_the_last_iteration_is_told(caplog, iterations, level, said):
    caplog.set_level("INFO")
    check_settings(IterativeSettings(iterations=iterations), 64)
    assert [record.levelname for record in caplog.records] == ([] if level is None else [level])
    assert said is None or said in caplog.text
