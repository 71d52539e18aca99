"""A method of training, as a run sees it."""

import numpy as np
import pytest

from isonet_scipion.engine.process.device import Devices, choose_devices, is_out_of_memory

choose_devices()

from isonet_scipion.engine.learning.epoch import compile_model  # noqa: E402
from isonet_scipion.engine.learning.method import Losses  # noqa: E402
from isonet_scipion.engine.learning.run import Run  # noqa: E402 (imports Keras)
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402
from isonet_scipion.engine.settings.training import IterativeSettings  # noqa: E402


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
    assert run._fit(None, None) == Losses(0.1, 0.2)
    for kernel in run.method.found:  # each time from the epoch's start
        np.testing.assert_array_equal(kernel, run.method.found[0])
    assert run.method.tried == [8, 4, 2, 1] and run.state.batch_size == 1
    run.method.enough = 0
    with pytest.raises(EngineError, match="Lower cube_size to 4 or filter_base to 2"):
        run._fit(None, None)
