"""Several devices with JAX, in place of GPUs: both methods train on them to what one device makes."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume, write_volume

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")

START = """
import os
import numpy as np
from isonet_scipion.engine.process.device import Devices, choose_devices, training_scope
choose_devices()

import jax
import keras
assert len(jax.devices()) == 2
ALONE, BOTH = (Devices("jax", (), "float32", names) for names in (("CPU:0",), ("CPU:0", "CPU:1")))
"""

# batch normalisation and dropout are on, since JAX's are those of the whole batch
BOTH_METHODS = """
from isonet_scipion.engine.network.model_file import load_model
from isonet_scipion.engine.stages import refine as stage
shape = dict(filter_base=2, unet_depth=1, convs_per_depth=2, stem=2, drop_out=0.3, learning_rate=1e-3)
length = dict(iterations=1, epochs=2, steps_per_epoch=3, batch_size=4, seed=3, preprocessing_ncpus=1)
noise = dict(noise_level=(0.1,), noise_start_iter=(1,))
for table, own in (("halves.star", dict(cube_size=8, denoiser=2)), ("subtomo.star", dict(fine=2))):
    losses, weights = [], []
    for devices in (ALONE, BOTH):
        stage.choose_devices = lambda *_: devices
        folder = f"{table}_on{devices.count}"
        stage.refine(table, dict(**shape, **length, **noise, **own, result_dir=folder))
        rows = [row.split(",") for row in open(f"{folder}/losses.csv").read().splitlines()[1:]]
        losses.append([[float(cell) for cell in row[2:4]] for row in rows])
        weights.append(load_model(f"{folder}/model_iter01.keras")[0].get_weights())
        assert keras.distribution.distribution() is None  # what follows a training is not shared out
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    for one, two in zip(*weights):
        np.testing.assert_allclose(one, two, atol=1e-3)
    print("same")
try:
    stage.refine("subtomo.star", dict(**shape, **{**length, "batch_size": 3}, result_dir="uneven"))
except Exception as error:
    print(error)
"""

# the program of a step, as the compiler leaves it for one device
ONE_STEP = """
from keras.src.backend.jax.trainer import _distribute_data
from isonet_scipion.engine.network.unet import run_network
from isonet_scipion.tests.engine.learning.one_pass_parts import (
    TINY, OnePassModel, batches_of, build_unet, weighted_error)
batches = batches_of(2, pairs=8)
inputs, weights = batches[0]
with training_scope(BOTH):
    network = build_unet(TINY)
    trainer = OnePassModel(network, build_unet(TINY), batches.cube_size, False)
    trainer.compile(keras.optimizers.SGD(0.01), loss=weighted_error)
    trainer.train_on_batch(inputs, weights)
    kinds = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")
    state = trainer._get_jax_state(**dict.fromkeys(kinds, True))
    program = jax.jit(trainer.train_step).lower(state, _distribute_data((inputs, weights, None))).compile().as_text()
    for count in (2, 3):  # one that both share evenly, one that they can't
        volumes = np.random.default_rng(count).normal(size=(count, 8, 8, 8)).astype(np.float32)
        together = run_network(network, volumes)
        np.testing.assert_allclose(together, network(volumes[..., None])[..., 0], atol=1e-5)
# of the 4 crops each device has 2, of their 8 cubes 4; volumes stay where they are, only sums travel
assert " fft(" in program and "c64[4," not in program.replace("c64[4,24", "")
assert "f32[8,8,8,8" not in program and "all-gather" not in program
print("shared")
# of cubes of usual size: 48^6 is beyond JAX's integers
ones = np.ones((1, 1, 48, 48, 48), np.float32)
print(float(jax.jit(weighted_error)(ones, 2 * ones)[0, 0]))
"""


def on_two_devices(code):
    # the compiler's machine code need not be fast
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([sys.executable, "-c", START + code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_two_devices_train_both_methods_as_one(project, run):
    whole = open_volume("tomoset/TS.1_bin4.mrc").data
    noise = np.random.default_rng(1).normal(0, 0.3 * whole.std(), whole.shape).astype(np.float32)
    for folder, half in (("even", whole + noise), ("odd", whole - noise)):
        write_volume(f"{folder}/TS.1_bin4.mrc", half, 12.0)
    halves = ("--even_folder=even", "--odd_folder=odd", "--output_star=halves.star")
    assert run("prepare_star", "tomoset", "--pixel_size", 12, *halves)[0] == 0
    assert run("extract", "tomograms.star", "--cube_size=8", "--crop_size=16", "--use_deconv_tomo=False")[0] == 0
    *same, refused = on_two_devices(BOTH_METHODS)
    assert same == ["same", "same"]
    assert refused.startswith("batch_size: 3 is not a multiple of 2, one pair for each device. Give 2")


def test_each_device_computes_its_own_share_and_errors_of_cubes_of_usual_size_are_right():
    shared, error = on_two_devices(ONE_STEP)
    assert shared == "shared" and float(error) == pytest.approx(4)  # the mean square
