"""What the stages' tests share."""

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.process.device import choose_devices


def write_table_of_noise(tmp_path, **values):
    """Write t.mrc and its table t.star, by hand; `values`: further columns."""
    rng = np.random.default_rng(0)
    write_volume(tmp_path / "t.mrc", rng.normal(size=(24, 32, 32)).astype(np.float32), 10.0)
    row = {"rlnIndex": 1, "rlnMicrographName": "t.mrc", "rlnPixelSize": 10, "rlnNumberSubtomo": 2, **values}
    text = "data_\nloop_\n" + "".join(f"_{label}\n" for label in row) + " ".join(map(str, row.values())) + "\n"
    (tmp_path / "t.star").write_text(text)


@pytest.fixture
def noise_twice(tmp_path, run):
    """A table of two tomograms of the same noise, which is returned, and a network m.keras."""
    choose_devices("-1")
    import keras

    from isonet_scipion.engine.io.model_metadata import ModelMetadata
    from isonet_scipion.engine.network.model_file import save_model
    from isonet_scipion.engine.network.unet import build_unet
    from isonet_scipion.engine.settings.network import NetworkSettings

    shape = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)
    tomogram = np.random.default_rng(0).normal(size=(24, 160, 160)).astype(np.float32)
    for name in "ab":
        write_volume(tmp_path / "tomo" / f"{name}.mrc", tomogram, 10.0)
    keras.utils.set_random_seed(1)
    save_model(tmp_path / "m.keras", build_unet(shape), ModelMetadata(shape, voxel_size=10.0))
    assert run("prepare_star", "tomo")[0] == 0
    return tomogram
