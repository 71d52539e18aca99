"""Batches come once each, in their order, on the device, and before they are asked for."""

import importlib.util
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

import keras  # noqa: E402

from isonet_scipion.engine.learning.ahead import Ahead  # noqa: E402


class Counted(keras.utils.PyDataset):
    """Batches of which it is known how often each was made."""

    def __init__(self, steps, ahead=2):
        super().__init__(workers=2, max_queue_size=ahead)
        self.steps, self.made = steps, []

    def __len__(self):
        return self.steps

    def __getitem__(self, step):
        self.made.append(step)
        return np.full((2, 3), step, np.float32), np.full((2, 1), step, np.float32)


def wait_for(condition):
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_keras_trains_on_each_batch_in_turn_and_each_is_made_once():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(0.01), loss="mae")
    ahead, plain = (Counted(7), Counted(7))
    unseen = Counted(3)
    losses, validation = [], Ahead(unseen)
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: losses.append(logs["loss"]))
    model.fit(Ahead(ahead, validation), shuffle=False, verbose=0, callbacks=[note])
    model.evaluate(validation, verbose=0)
    assert sorted(ahead.made) == list(range(7)) and sorted(unseen.made) == list(range(3))
    with_ahead, losses[:] = list(losses), []
    model.set_weights([np.zeros((3, 1))])
    model.fit(plain, shuffle=False, verbose=0, callbacks=[note])
    np.testing.assert_allclose(with_ahead, losses, rtol=1e-6)


def test_no_more_are_made_than_are_to_be_ahead_and_then_those_that_follow():
    first, second = Counted(4, ahead=3), Counted(4, ahead=3)
    following = Ahead(second)
    batches = Ahead(first, following)
    batches[0]
    wait_for(lambda: sorted(first.made) == [0, 1, 2])
    for step in range(4):
        assert batches[step][0][0, 0] == step
    wait_for(lambda: sorted(second.made) == [0, 1])
    assert sorted(first.made) == [0, 1, 2, 3]
    assert [following[step][0][0, 0] for step in (0, 1, 0, 1, 2, 3)] == [0, 1, 0, 1, 2, 3]  # as Keras looks at them
    assert sorted(second.made) == [0, 1, 2, 3]
    assert following[0][0][0, 0] == 0  # as TensorFlow asks with several GPUs, once it has seen all


def test_errors_come_where_the_batch_is_asked_for_and_what_is_closed_makes_no_more():
    class Failing(Counted):
        def __getitem__(self, step):
            if step == 1:
                raise OSError("the file went")
            return super().__getitem__(step)

    class Held(Counted):
        def __getitem__(self, step):
            assert closed.wait(20)
            return super().__getitem__(step)

    batches = Ahead(Failing(3))
    assert batches[0][0][0, 0] == 0
    with pytest.raises(OSError, match="the file went"):
        batches[1]
    held, after, closed = Held(20), Counted(2), threading.Event()
    batches = Ahead(held, Ahead(after))
    batches.begin(22)
    batches.close()
    closed.set()
    Ahead(Counted(1))[0]  # behind them in the queue
    wait_for(lambda: all(result.ready() for result in batches._results.values()))
    assert len(held.made) <= 2 and after.made == []  # one for each thread, which it had begun with


def test_threads_are_the_same_for_all_and_as_many_as_asked_for():
    before = threading.active_count()
    for _ in range(3):
        assert len([Ahead(Counted(5))[step] for step in range(5)]) == 5
    assert threading.active_count() <= before + 2 + 3  # a pool of Python has three of its own


LEFT_RUNNING = """
from isonet_scipion.engine.process.device import choose_devices
choose_devices("-1")
from isonet_scipion.engine.learning.ahead import Ahead, _threads
from isonet_scipion.tests.engine.learning.test_ahead import Counted
assert Ahead(Counted(3))[0] is not None and len(_threads(1).map(abs, [1])) == 1
"""


def test_threads_end_with_python_without_a_complaint():
    command = [sys.executable, "-W", "always::ResourceWarning:multiprocessing.pool", "-c", LEFT_RUNNING]
    done = subprocess.run(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Pool" not in done.stderr


ON_TWO_DEVICES = """
import numpy as np
from isonet_scipion.engine.process.device import Devices, choose_devices, training_scope
choose_devices("-1")
import jax
from isonet_scipion.tests.engine.learning.test_ahead import Ahead, Counted
for scope, count in ((Devices("jax", (), "float32", ("CPU:0", "CPU:1")), 2), (Devices("jax", (), "float32"), 1)):
    with training_scope(scope):
        batches = Ahead(Counted(3))
        batches[0]
        while not batches._results[1].ready():
            pass
        batches[0]
        inputs, targets = batches._on_device[1]  # before it is asked for
        assert isinstance(inputs, jax.Array) and len(inputs.devices()) == len(targets.devices()) == count
        assert inputs.addressable_shards[0].data.shape == (2 // count, 3)
        assert batches[1][0] is inputs
print("placed")
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_the_next_batch_is_on_the_devices_that_share_it():
    environment = {
        **os.environ, "KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": "-1",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", ON_TWO_DEVICES], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["placed"], done.stderr[-3000:]
