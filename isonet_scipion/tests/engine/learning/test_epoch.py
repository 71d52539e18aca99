"""Batches, several devices, and too little memory."""

import subprocess
import sys

import numpy as np
import pytest

from isonet_scipion.engine.learning.pairs import prepare
from isonet_scipion.engine.physics.back_projected_noise import NoiseSource
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.process.device import choose_devices

choose_devices()

from isonet_scipion.engine.learning.epoch import PairBatches, PairSource, falling  # noqa: E402

TWO_DEVICES = """
import numpy as np
from isonet_scipion.engine.process.device import Devices, choose_devices, training_scope
choose_devices()

import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from isonet_scipion.engine.network.unet import build_unet, run_network
from isonet_scipion.engine.settings.network import NetworkSettings
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
