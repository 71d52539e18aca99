"""Models go to IsoNet 0.2, that is to Keras 2, and back."""

import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.network.model_file import load_model, save_model
from isonet_scipion.engine.network.unet import build_unet, run_network
from isonet_scipion.engine.process.device import choose_devices
from isonet_scipion.engine.settings import NetworkSettings

choose_devices()
KERAS_2 = "tensorflow-cpu==2.15.*"
IN_KERAS_2 = """
import numpy, sys, tensorflow
model = tensorflow.keras.models.load_model(sys.argv[1])
data = numpy.load(sys.argv[2])
numpy.save(sys.argv[3], model.predict(data, verbose=0))
model.train_on_batch(data, data)
model.save(sys.argv[4])
"""


@pytest.fixture(scope="module")
def keras_2():
    """Python of a virtual environment with Keras 2, made once inside this one."""
    folder = Path(sys.prefix) / "keras2"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        installed = subprocess.run([python, "-m", "pip", "install", "-q", KERAS_2], capture_output=True, text=True)
        if installed.returncode:
            pytest.skip(f"no environment with {KERAS_2} can be made: {installed.stderr[-200:]}")
        ready.touch()
    return python


@pytest.mark.parametrize(
    "settings",
    [
        NetworkSettings(filter_base=4, unet_depth=2),
        NetworkSettings(filter_base=4, unet_depth=2, pool=(2, 2, 2), drop_out=0, batch_normalization=False),
    ],
)
def test_keras_2_gives_the_same_output_and_what_it_trained_comes_back(tmp_path, run, keras_2, settings):
    model = build_unet(settings)
    rng = np.random.default_rng(0)
    model.set_weights([weight + rng.uniform(-0.02, 0.03, weight.shape) for weight in model.get_weights()])
    save_model(tmp_path / "m.keras", model, ModelMetadata(settings))
    assert run("export_model", "m.keras", "m.h5")[0] == 0
    batch = rng.normal(size=(2, 16, 16, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", batch[..., None])
    files = [tmp_path / name for name in ("m.h5", "x.npy", "y.npy", "trained.h5")]
    subprocess.run([keras_2, "-c", IN_KERAS_2, *files], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy")[..., 0], run_network(model, batch), atol=1e-5)
    again, metadata = load_model(tmp_path / "trained.h5")
    assert metadata.network.filter_base == 4
    assert np.isfinite(run_network(again, batch)).all()


def test_only_h5_files_are_exported(tmp_path, run):
    settings = NetworkSettings(filter_base=2, unet_depth=1)
    save_model(tmp_path / "m.keras", build_unet(settings), ModelMetadata(settings))
    status, log = run("export_model", "m.keras", "m.onnx")
    assert status == 1 and "m.onnx" in log and not (tmp_path / "m.onnx").exists()
