"""Batches, several devices, and too little memory."""

import subprocess
import sys

import numpy as np
import pytest

from isonet_scipion.engine.learning.pairs import prepare
from isonet_scipion.engine.measure.history import EpochRecord
from isonet_scipion.engine.physics.back_projected_noise import NoiseSource
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.process.device import Devices, choose_devices, is_out_of_memory

choose_devices()

from isonet_scipion.engine.learning import watchers  # noqa: E402
from isonet_scipion.engine.learning.epoch import PairBatches, PairSource, compile_model, falling  # noqa: E402
from isonet_scipion.engine.learning.method import Losses  # noqa: E402
from isonet_scipion.engine.learning.run import Run  # noqa: E402 (imports Keras)
from isonet_scipion.engine.learning.watchers import StateFile  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.settings import IterativeSettings, NetworkSettings  # noqa: E402

TWO_DEVICES = """
import numpy as np
from isonet_scipion.engine.process.device import Devices, choose_devices, training_scope
choose_devices()
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from isonet_scipion.engine.network.unet import build_unet, run_network
from isonet_scipion.engine.settings import NetworkSettings
from isonet_scipion.engine.learning.pairs import prepare
from isonet_scipion.engine.learning.epoch import PairSource, train_epoch
from isonet_scipion.engine.physics.wedge import TiltRange
import keras
target = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
prepared = prepare(target, TiltRange(), 16)
source = PairSource(lambda number: prepared, 1, 16, [], 0.0, seed=1)
results = []
for replicas in (("CPU:0",), ("CPU:0", "CPU:1")):
    keras.utils.set_random_seed(3)
    with training_scope(Devices("tensorflow", (), "float32", replicas)):
        # batch statistics and dropout are those of each device's share, so both are off
        model = build_unet(NetworkSettings(filter_base=2, unet_depth=2, drop_out=0, batch_normalization=False))
        # Adam would blow up the rounding of gradients near 0, and hide a wrong scale of them
        model.compile(keras.optimizers.SGD(0.02), loss="mae", jit_compile=False)
    # far from the identity, so that no gradient is a sum that nearly cancels
    rng = np.random.default_rng(5)
    model.set_weights([weight + rng.uniform(-0.04, 0.08, weight.shape) for weight in model.get_weights()])
    before = run_network(model, target[None, :16, :16, :16])
    losses = train_epoch(model, source, 0, 3, 4, 2)
    results.append((losses, run_network(model, target[None, :16, :16, :16])))
np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-4)
np.testing.assert_allclose(results[0][1], results[1][1], atol=1e-4)
assert np.abs(results[0][1] - before).max() > 0.005  # it learned something
print("same")
"""


def source(noise=(), level=0.0, seed=1, count=2):
    rng = np.random.default_rng(0)
    prepared = [prepare(rng.normal(size=(12,) * 3).astype(np.float32), TiltRange(), 8) for _ in range(count)]
    return PairSource(prepared.__getitem__, count, 8, list(noise), level, seed)


def test_two_devices_train_as_one():
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES], capture_output=True, text=True)
    assert done.stdout.strip() == "same", done.stderr[-2000:]


def test_a_tenth_of_the_pairs_is_unseen_and_never_trained_on():
    pairs = source()
    training, unseen = pairs.split()
    assert len(unseen) == 4 and not set(training) & set(unseen)
    drawn = np.concatenate([PairBatches(pairs, training, 3, 7, epoch, 1).numbers for epoch in range(6)])
    assert len(drawn) == 6 * 7 * 3
    assert set(drawn) == set(training)
    # every pair comes once before any comes twice, across epochs
    assert sorted(drawn[:36]) == sorted(training)


def test_batches_hold_pairs_plus_noise_of_the_asked_for_strength():
    noise = [NoiseSource.simulated(8, TiltRange(), "noFilter", np.random.default_rng(0))] * 2
    clean, noisy = source(), source(noise, 0.5)
    numbers = np.array([0, 25, 25])
    x, y = clean.batch(numbers, (1, 2))
    assert x.shape == y.shape == (3, 8, 8, 8, 1)
    np.testing.assert_array_equal(x[1], x[2])
    added = noisy.batch(numbers, (1, 2))[0] - x
    np.testing.assert_allclose(added.std(axis=(1, 2, 3, 4)), 0.5, rtol=0.01)
    assert abs(np.corrcoef(added[1].ravel(), added[2].ravel())[0, 1]) < 0.3
    np.testing.assert_array_equal(noisy.batch(numbers, (1, 2))[1], y)


def test_learning_rate_falls_within_an_iteration():
    rates = [falling(epoch, 10) for epoch in range(10)]
    assert rates[0] == 1 and rates[-1] == pytest.approx(0.1) and rates == sorted(rates, reverse=True)
    assert falling(0, 1) == 1


class Greedy:
    """A method whose memory suffices for so many pairs."""

    cube_size = crop_size = 8
    least_batch = 1

    def __init__(self, error):
        self.error, self.tried, self.enough, self.found = error, [], 1, []

    def fit(self, batches, state, on_step):
        self.tried.append(state.batch_size)
        kernel = self.model.weights[0]
        self.found.append(kernel.numpy().copy())
        kernel.assign(kernel + 1)  # some steps went well before
        if state.batch_size > self.enough:
            raise self.error
        return Losses(0.1, 0.2)


def test_out_of_memory_halves_the_batch_and_then_tells_what_to_lower(tmp_path):
    import tensorflow as tf

    from isonet_scipion.engine.errors import EngineError

    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    assert is_out_of_memory(error) and not is_out_of_memory(ValueError("wrong shape"))
    given = {"result_dir": str(tmp_path), "filter_base": 4, "steps_per_epoch": 3, "batch_size": 8, "seed": 1}
    run = Run(Greedy(error), IterativeSettings.given(given), {}, Devices("tensorflow", (), "float32"))
    run.model = run.method.model = build_unet(NetworkSettings(filter_base=1, unet_depth=1, convs_per_depth=2))
    compile_model(run.model, 0.001)
    assert run._fit(None, None) == (0.1, 0.2)
    for kernel in run.method.found:  # each time from the epoch's start
        np.testing.assert_array_equal(kernel, run.method.found[0])
    assert run.method.tried == [8, 4, 2, 1] and run.state.batch_size == 1
    run.method.enough = 0
    with pytest.raises(EngineError, match="Lower cube_size to 4 or filter_base to 2"):
        run._fit(None, None)


def test_the_state_is_written_at_first_at_iterations_ends_and_by_time(monkeypatch, tmp_path):
    written, now = [], [0.0]
    monkeypatch.setattr(watchers, "save_model", lambda *_: written.append(now[0]))
    monkeypatch.setattr(watchers.time, "monotonic", lambda: now[0])
    given = {"result_dir": str(tmp_path), "epochs": 10, "steps_per_epoch": 1, "batch_size": 4, "seed": 1}
    settings = IterativeSettings.given(given)
    runs = [Run(Greedy(None), settings, {}, Devices("tensorflow", (), "float32")) for _ in range(2)]
    monkeypatch.setattr(Run, "identity", lambda self: {})
    watcher = StateFile()
    for run in runs:
        for epoch in range(1, 11):
            now[0] += 80.0
            watcher.after_epoch(run, EpochRecord(1, epoch, 0.1, 0.1, 0.0, 80.0))
    # after the first epoch, every third (240 s), and the last, of each run
    assert written == [80.0, 320.0, 560.0, 800.0, 880.0, 1120.0, 1360.0, 1600.0]
