"""Steps are compiled where that is faster, and the trial leaves no trace. A CPU stands in for the GPU."""

import dataclasses

import numpy as np
import pytest

from isonet_scipion.engine.process.device import Devices, choose_devices

choose_devices("-1")

import keras  # noqa: E402

from isonet_scipion.engine.learning import compiler_trial  # noqa: E402
from isonet_scipion.engine.learning.ahead import Ahead  # noqa: E402
from isonet_scipion.engine.learning.compiler_trial import LEAST_STEPS, settle  # noqa: E402
from isonet_scipion.engine.learning.epoch import fit_epoch, seed_dropout  # noqa: E402
from isonet_scipion.engine.learning.state import RunState  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.tests.engine.learning.one_pass_parts import (  # noqa: E402
    TINY,
    OnePassModel,
    batches_of,
    weighted_error,
)

if keras.backend.backend() != "tensorflow":
    pytest.skip("TensorFlow alone leaves the choice", allow_module_level=True)

GPU = Devices("tensorflow", ("a GPU",), "float32", ("CPU:0",))
DROPPING = dataclasses.replace(TINY, drop_out=0.3)


def trained(method, dropping=DROPPING):
    """What is trained, and its batches, as each method makes them."""
    keras.utils.set_random_seed(1)
    network, batches = build_unet(dropping), batches_of(2, steps=3)
    # Adam would blow up the rounding of gradients near 0
    optimiser = keras.optimizers.SGD(0.01, momentum=0.9, use_ema=method == "one-pass")
    if method == "iterative":
        network.compile(optimiser, loss="mae", jit_compile=False)
        optimiser.build(network.trainable_variables)

        class Pairs(keras.utils.PyDataset):
            def __len__(self):
                return 3

            def __getitem__(self, step):
                cubes = np.random.default_rng(step).normal(size=(2, 2, 8, 8, 8, 1)).astype(np.float32)
                return cubes[0], cubes[1]

        return network, Pairs()
    model = OnePassModel(network, build_unet(dropping), batches.cube_size, False)
    model.compile(optimiser, loss=weighted_error, jit_compile=False)
    optimiser.build(network.trainable_variables)
    return model, batches


def all_of(model):
    return [np.array(variable) for variable in (*model.variables, *model.optimizer.variables)]


def take(monkeypatch, plain, compiled):
    """Have the steps take so many seconds."""
    real = compiler_trial._seconds

    def told(model, batch, **how):
        real(model, batch, **how)
        return compiled if how["compiled"] else plain

    monkeypatch.setattr(compiler_trial, "_seconds", told)


@pytest.mark.parametrize("method", ["iterative", "one-pass"])
def test_the_faster_is_kept_and_weights_optimiser_and_dropout_are_as_before(monkeypatch, caplog, method):
    caplog.set_level("INFO")
    model, batches = trained(method)
    seed_dropout(getattr(model, "network", model), 1, 0)
    before, state = all_of(model), RunState()
    take(monkeypatch, plain=2.0, compiled=1.0)
    settle(model, Ahead(batches), state, GPU, LEAST_STEPS)
    assert state.compiled and model.jit_compile
    assert "takes 1.000 s compiled with XLA, 2.000 s without: the training goes on with it." in caplog.text
    for variable, kept in zip(all_of(model), before):
        np.testing.assert_array_equal(variable, kept)

    losses = {}
    for compiled in (True, False):
        other, batches = trained(method, TINY)  # compiled dropout drops others
        settle(other, Ahead(batches), RunState(compiled=compiled), GPU, LEAST_STEPS)
        assert other.jit_compile is compiled
        seed_dropout(getattr(other, "network", other), 1, 0)
        unseen = Ahead(batches)
        found = fit_epoch(other, Ahead(batches, unseen), unseen, lambda loss: None)
        losses[compiled] = found, other.get_weights()
    np.testing.assert_allclose(losses[True][0], losses[False][0], rtol=1e-4)
    for one, two in zip(losses[True][1], losses[False][1]):
        np.testing.assert_allclose(one, two, atol=1e-4)


def test_what_is_slower_is_not_taken_and_a_run_that_goes_on_does_not_try_again(monkeypatch):
    model, batches = trained("iterative")
    state = RunState()

    def told(model, _, compiled):  # without a step
        model.jit_compile = compiled
        return 2.0 if compiled else 1.0

    monkeypatch.setattr(compiler_trial, "_seconds", told)
    settle(model, Ahead(batches), state, GPU, LEAST_STEPS)
    assert state.compiled is False and model.jit_compile is False
    monkeypatch.setattr(compiler_trial, "_is_faster_compiled", None)  # not called any more
    settle(model, Ahead(batches), state, GPU, LEAST_STEPS)
    settle(model, Ahead(batches), RunState(compiled=True), GPU, LEAST_STEPS)
    assert model.jit_compile is True
    settle(model, Ahead(batches), RunState(compiled=True), Devices("tensorflow", (), "float32"), LEAST_STEPS)
    assert model.jit_compile is False  # on a CPU


def test_a_step_that_can_not_be_compiled_stays_as_it_is(monkeypatch, caplog):
    caplog.set_level("INFO")
    model, batches = trained("iterative")
    before, state = all_of(model), RunState()

    def failing(_, __, compiled):
        if compiled:
            raise ValueError("no kernel\nand a long story")
        return 1.0

    monkeypatch.setattr(compiler_trial, "_seconds", failing)
    settle(model, Ahead(batches), state, GPU, LEAST_STEPS)
    assert state.compiled is False and model.jit_compile is False
    assert "XLA can't compile a step (no kernel): the training goes on without it." in caplog.text
    for variable, kept in zip(all_of(model), before):
        np.testing.assert_array_equal(variable, kept)
    assert np.isfinite(float(model.train_on_batch(*batches[0])))


@pytest.mark.parametrize(
    ("devices", "steps"),
    [
        (Devices("tensorflow", (), "float32"), LEAST_STEPS),
        (Devices("tensorflow", ("a GPU",) * 2, "float32", ("GPU:0", "GPU:1")), LEAST_STEPS),
        (GPU, LEAST_STEPS - 1),
        (Devices("jax", ("a GPU",), "float32", ("GPU:0",)), LEAST_STEPS),
    ],
)
def test_where_there_is_no_choice_nothing_is_tried(monkeypatch, devices, steps):
    model, batches = trained("iterative", TINY)
    monkeypatch.setattr(compiler_trial, "_is_faster_compiled", None)
    state = RunState()
    settle(model, Ahead(batches), state, devices, steps)
    assert state.compiled is None and model.jit_compile is False
