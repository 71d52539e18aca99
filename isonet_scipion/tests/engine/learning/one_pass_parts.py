"""What the tests of the one-pass method's batches and step are made with."""

import numpy as np

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.learning.one_pass_batches import CropBatches, TomogramSource  # noqa: E402
from isonet_scipion.engine.learning.one_pass_step import OnePassModel, weighted_error  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.physics.grey_scale import GreyScale  # noqa: E402
from isonet_scipion.engine.physics.wedge import TiltRange  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402

TINY = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2, drop_out=0.0, stem=2)
TILT = TiltRange(-40.0, 55.0)


def source(halves, seed=0, size=40):
    rng = np.random.default_rng(seed)
    volumes = tuple(rng.normal(size=(size,) * 3).astype(np.float32) for _ in range(halves))
    centres = np.stack([rng.permutation(np.arange(14, size - 14)) for _ in range(3)], axis=1)
    return TomogramSource("t", volumes, GreyScale(0.0, 1.0), centres, TILT)


def batches_of(halves, size=8, pairs=4, steps=1, seed=(1, 0), filled=0.2, **noise):
    return CropBatches([source(halves)], size, size + 16, 0.0, filled, pairs, steps, seed, 1, **noise)


def step(batches, order=False):
    """Errors and loss of one step of networks that change nothing."""
    networks = build_unet(TINY), build_unet(TINY)
    model = OnePassModel(*networks, batches.cube_size, order)
    inputs, weights = batches[0]
    errors = model(inputs, training=False)
    return inputs, np.asarray(errors), float(np.mean(weighted_error(weights, errors)))
