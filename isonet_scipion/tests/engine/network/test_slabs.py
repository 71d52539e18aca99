"""Layers that work slab by slab make what they make of the whole."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from isonet_scipion.engine.network.slabs import in_slabs  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet, run_network, split  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402


def in_parts(model, network, volumes, most):
    """What a network's parts make, and the shapes of the slabs that they were given."""
    seen = []

    def watched(part):
        def run(volumes):
            seen.append(tuple(volumes[0].shape[1:4]))
            return part(volumes if len(volumes) > 1 else volumes[0])

        return run

    entry, core, last = split(model, network)
    source = keras.ops.convert_to_tensor(volumes[..., None])
    options = {"reach": 3 + network.stem, "step": network.stem, "most": most}
    made = core(in_slabs(watched(entry), [source], **options) if entry else source)
    made = in_slabs(watched(last), [source, made] if entry else [source, made[1], made[0]], **options)
    return np.asarray(made)[..., 0], seen


@pytest.mark.parametrize("sides", [(8, 12, 44), (8, 40, 16), (36, 8, 8)])
@pytest.mark.parametrize(("stem", "more"), [(2, {"fine": 3}), (2, {"denoiser": 3}), (1, {"denoiser": 3})])
def test_slabs_make_what_the_whole_network_makes(stem, more, sides):
    network = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2, stem=stem, **more)
    model = build_unet(network)
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(np.array(weight) + 0.3 * rng.normal(size=weight.shape))
    volumes = rng.normal(size=(2, *sides)).astype(np.float32)
    whole = run_network(model, volumes)
    made, seen = in_parts(model, network, volumes, volumes.size // 4)
    np.testing.assert_allclose(made, whole, rtol=1e-5, atol=1e-5 * whole.std())
    parts = 2 if "fine" in more else 1
    assert len(set(seen)) == 1 and len(seen) > 2 * parts  # all of one shape
    assert np.prod(seen[0]) < np.prod(sides)
    _, all_at_once = in_parts(model, network, volumes, volumes.size)
    assert all_at_once == [sides] * parts


def test_a_slab_that_sees_too_little_would_show():
    volume = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(1, 4, 4, 32, 1)).astype(np.float32))

    def mean(parts):
        return keras.ops.average_pool(parts[0], 5, 1, "same")

    whole = np.asarray(mean([volume]))
    for reach, same in ((2, True), (1, False)):
        made = np.asarray(in_slabs(mean, [volume], reach, most=64))
        assert np.allclose(made, whole, atol=1e-6) == same
