"""How many steps an epoch has, and how many pairs a step."""

import json
import math
import zipfile

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.learning.steps import with_batches, with_steps
from isonet_scipion.engine.network.model_file import METADATA, STATE_FILE
from isonet_scipion.engine.process.device import Devices
from isonet_scipion.engine.settings.training import IterativeSettings, OnePassSettings


def gpus(count):
    return Devices("jax", ("a GPU",) * count, "float32", tuple(f"GPU:{number}" for number in range(count)))


@pytest.mark.parametrize(
    ("count", "steps", "given", "expected"),
    [
        (0, 40, None, 2),
        (1, 40, None, 4),
        (2, 40, None, 4),
        (8, 40, None, 16),  # a crop for each
        (1, 3, None, 2),  # 4 would not give 6 pairs
        (1, 1, None, 2),
        (1, 40, 2, 2),
        (1, 40, 32, 32),
    ],
)
def test_a_gpu_sees_as_many_pairs_in_fewer_steps_at_a_higher_rate(tmp_path, count, steps, given, expected):
    asked = OnePassSettings(steps_per_epoch=steps, batch_size=given, result_dir=str(tmp_path))
    devices = gpus(count) if count else Devices("jax", (), "float32")
    found = with_batches(with_steps(asked, devices, 2), devices, 1, 2, 2, "")
    assert found.batch_size == expected
    if given is None:
        assert found.batch_size * found.steps_per_epoch == 2 * steps
        assert found.learning_rate == pytest.approx(asked.learning_rate * math.sqrt(expected / 2))
    else:
        assert (found.steps_per_epoch, found.learning_rate) == (steps, asked.learning_rate)


@pytest.mark.parametrize(
    ("count", "given", "steps"),
    [
        (0, {}, 40),
        (0, {"denoiser": 16}, 32),
        (1, {}, 80),  # of 4 pairs: 4 * 40 of 2
        (1, {"denoiser": 16}, 64),
        (1, {"denoiser": 16, "pretrained_model": "m.keras"}, 20),
        (1, {"preset": "small"}, 20),
        (0, {"preset": "large"}, 400),
        (0, {"preset": "medium", "pretrained_model": "m.keras"}, 160),
        (0, {"preset": "large", "steps_per_epoch": 7}, 7),
    ],
)
def test_a_preset_gives_the_steps_where_no_number_is_given(tmp_path, count, given, steps, caplog):
    asked = OnePassSettings.given({"result_dir": str(tmp_path), **given})
    devices = gpus(count) if count else Devices("jax", (), "float32")
    with caplog.at_level("INFO"):
        assert with_steps(asked, devices, 2).steps_per_epoch == steps
    assert ("no effect" in caplog.text) == (steps == 7)
    assert ("Preset" in caplog.text) == (steps in (80, 64, 400, 160))


def test_a_batch_that_devices_cannot_share_is_refused():
    asked = IterativeSettings(batch_size=5, steps_per_epoch=7)
    assert with_batches(asked, gpus(1), 10, 4, 1, "one pair") == asked
    with pytest.raises(EngineError, match=r"batch_size: 5 is not a multiple of 2, one pair for each device\. Give 4"):
        with_batches(asked, gpus(2), 10, 4, 1, "one pair")


def test_a_run_is_gone_on_with_on_other_gpus_in_its_own_steps(tmp_path):
    """Without numbers, 4 GPUs begin with 8 pairs, and one would with 4, in other steps: a run of its own."""
    asked = IterativeSettings(result_dir=str(tmp_path))
    begun = with_batches(asked, gpus(4), 20, 4, 1, "one pair")
    assert (begun.batch_size, begun.steps_per_epoch) == (8, 15)
    with zipfile.ZipFile(tmp_path / STATE_FILE, "w") as state:
        state.writestr(METADATA, json.dumps({"run": {"batch_size": 8, "steps_per_epoch": 15}}))
    assert with_batches(asked, gpus(1), 20, 4, 1, "one pair") == begun
    with pytest.raises(EngineError, match=r"gpuID: the training in .* has 8 pairs in a step, which 3 can't share"):
        with_batches(asked, gpus(3), 20, 4, 1, "one pair")
