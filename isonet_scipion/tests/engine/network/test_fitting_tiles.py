import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from isonet_scipion.engine.network import fitting_tiles
from isonet_scipion.engine.network.correction import border_of
from isonet_scipion.engine.network.model_file import BUILTIN_FILE, read_metadata
from isonet_scipion.engine.network.tiling import automatic_tiling
from isonet_scipion.engine.network.unet import build_unet, split
from isonet_scipion.engine.process.device import Devices
from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.tests.engine.network.tensors import largest

WITH_HALVES = NetworkSettings(filter_base=32, unet_depth=2, convs_per_depth=2, stem=2, denoiser=16)


# the reach of a default network that was trained, and that of the others on noise; see the test below
@pytest.mark.parametrize(
    ("network", "halo", "loads"),
    [
        (NetworkSettings(), 21, (1.95, 1.5)),
        (WITH_HALVES, 41, (1.6, 1.2)),
        (read_metadata(BUILTIN_FILE).network, 41, (1.65, 1.25)),
    ],
)
@pytest.mark.parametrize(("gibibytes", "place"), [(7.5, 0), (23.5, 1)])
def test_a_large_tomogram_goes_through_a_network_little_more_than_once(gibibytes, place, network, halo, loads):
    devices = Devices("jax", ("a GPU",), "mixed_bfloat16", ("GPU:0",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting_tiles, "free_memory", lambda _: int(gibibytes * 2**30))
        voxels = fitting_tiles.tile_voxels(devices, network)
    border = border_of(network)
    tiling = automatic_tiling((400, 1000, 1000), network.divisor, voxels, halo, border)
    assert round(tiling.load((400, 1000, 1000)), 2) <= loads[place]


ALLOCATED = """
from isonet_scipion.engine.process.device import Devices, choose_devices
choose_devices("-1")
import jax
from isonet_scipion.engine.network.unet import build_unet, split
from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.engine.network import fitting_tiles
fitting_tiles.free_memory = lambda _: 10 << 20
shapes = dict(filter_base=8, unet_depth=1, convs_per_depth=2), dict(filter_base=6, unet_depth=1, stem=2, fine=4)
for shape in shapes:
    network = NetworkSettings(**shape)
    model = build_unet(network)
    if network.is_unjoined:
        _, model, _ = split(model, network)
    weights = [[one.value for one in kind] for kind in (model.trainable_variables, model.non_trainable_variables)]
    run = jax.jit(lambda *all, model=model: model.stateless_call(*all, training=False)[0])
    tile = jax.ShapeDtypeStruct((1, 32, 32, 32, 1), "float32")
    allocated = run.lower(*weights, tile).compile().memory_analysis().temp_size_in_bytes / 32**3
    assumed = 0.8 * (10 << 20) / fitting_tiles.tile_voxels(Devices("jax", ("a GPU",), "float32", ("GPU:0",)), network)
    print(assumed / allocated)
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_what_a_voxel_is_taken_to_need_is_what_xla_allocates_and_half_as_much():
    environment = {**os.environ, "KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([sys.executable, "-c", ALLOCATED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert all(1.5 <= float(ratio) <= 3 for ratio in done.stdout.split()) and len(done.stdout.split()) == 2, done.stdout


@pytest.mark.parametrize("network", [NetworkSettings(), WITH_HALVES, read_metadata(BUILTIN_FILE).network])
def test_the_largest_tensor_of_the_largest_tile_has_as_many_elements_as_one_may_have(network):
    devices = Devices("jax", ("a GPU",), "mixed_bfloat16", ("GPU:0",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting_tiles, "free_memory", lambda _: 500 << 30)
        voxels = fitting_tiles.tile_voxels(devices, network)
    entry, core, _ = split(build_unet(network), network)  # the others work slab by slab
    sides = [4 * side for side in network.divisor]
    elements = largest(core, [side // (network.stem if entry else 1) for side in sides])
    assert voxels * elements / np.prod(sides) == pytest.approx(2**31, rel=1e-6)
