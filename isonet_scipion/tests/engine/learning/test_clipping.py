"""A batch whose gradient is huge moves the one-pass training no further than another."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from isonet_scipion.engine.learning.one_pass import OnePass  # noqa: E402
from isonet_scipion.engine.network.unet import NetworkSettings, build_unet  # noqa: E402
from isonet_scipion.engine.settings.training import OnePassSettings  # noqa: E402


@pytest.mark.parametrize(("size", "kept"), [(1e-3, 1e-3), (0.5, 0.5), (1.0, 1.0), (40.0, 1.0), (1e6, 1.0)])
def test_gradients_are_shortened_to_the_norm_1(size, kept):
    settings = OnePassSettings(
        iterations=1,
        epochs=1,
        steps_per_epoch=10,
        batch_size=2,
        seed=1,
        network=NetworkSettings(filter_base=2, unet_depth=1),
    )
    model = build_unet(settings.network)
    method = OnePass.__new__(OnePass)  # without tomograms
    vars(method).update(settings=settings, decided=settings.decided(), cube_size=8)
    method.compile(model)
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=variable.shape) for variable in model.trainable_variables]
    norm = np.sqrt(sum(np.square(gradient).sum() for gradient in gradients))
    model.optimizer.apply([keras.ops.cast(gradient * size / norm, "float32") for gradient in gradients])
    # Adam's first moment after one step is a tenth of what it was given
    moments = [np.asarray(variable) for variable in model.optimizer.variables if "momentum" in variable.path]
    assert np.sqrt(sum(np.square(moment).sum() for moment in moments)) == pytest.approx(0.1 * kept, rel=1e-3)
