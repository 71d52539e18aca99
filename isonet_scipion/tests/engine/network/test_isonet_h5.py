"""Models go to IsoNet 0.2, that is to Keras 2, and back."""

import json
import resource
import signal
import subprocess
import sys
import venv
from pathlib import Path

import h5py
import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.network.isonet_h5 import legacy_network, save_legacy
from isonet_scipion.engine.network.model_file import load_model, save_model
from isonet_scipion.engine.network.unet import build_unet, run_network
from isonet_scipion.engine.process.device import choose_devices
from isonet_scipion.engine.settings.network import NetworkSettings

choose_devices()
KERAS_2 = "tensorflow-cpu==2.15.*"
IN_KERAS_2 = """
import numpy, sys, tensorflow
for folder in sys.argv[1:]:
    model = tensorflow.keras.models.load_model(folder + "/m.h5")
    data = numpy.load(folder + "/x.npy")
    numpy.save(folder + "/y.npy", model.predict_on_batch(data))
    model.train_on_batch(data, data)
    model.save(folder + "/trained.h5")
"""


@pytest.fixture(scope="module")
def keras_2():
    """Python of a virtual environment with Keras 2, made once inside this one."""
    folder = Path(sys.prefix) / "keras2"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        installed = subprocess.run(
            [python, "-m", "pip", "install", "-q", "--no-compile", KERAS_2], capture_output=True, text=True
        )
        if installed.returncode:
            pytest.skip(f"no environment with {KERAS_2} can be made: {installed.stderr[-200:]}")
        ready.touch()
    return python


def test_keras_2_gives_the_same_output_and_what_it_trained_comes_back(tmp_path, run, keras_2):
    rng, batch = np.random.default_rng(0), {}
    shapes = {
        "usual": NetworkSettings(filter_base=4, unet_depth=2),
        "other": NetworkSettings(filter_base=4, unet_depth=2, pool=(2, 2, 2), drop_out=0, batch_normalization=False),
    }
    models = {name: build_unet(settings) for name, settings in shapes.items()}
    for name, model in models.items():
        (tmp_path / name).mkdir()
        model.set_weights([weight + rng.uniform(-0.02, 0.03, weight.shape) for weight in model.get_weights()])
        save_model(tmp_path / name / "m.keras", model, ModelMetadata(shapes[name]))
        assert run("export_model", f"{name}/m.keras", f"{name}/m.h5")[0] == 0
        batch[name] = rng.normal(size=(2, 16, 16, 16)).astype(np.float32)
        np.save(tmp_path / name / "x.npy", batch[name][..., None])
    # in one process, as TensorFlow takes seconds to import
    subprocess.run([keras_2, "-c", IN_KERAS_2, *shapes], cwd=tmp_path, check=True, capture_output=True)
    for name, model in models.items():
        made = np.load(tmp_path / name / "y.npy")[..., 0]
        np.testing.assert_allclose(made, run_network(model, batch[name]), atol=1e-5, err_msg=name)
        again, metadata = load_model(tmp_path / name / "trained.h5")
        assert metadata.network.filter_base == 4
        assert np.isfinite(run_network(again, batch[name])).all()


def test_a_table_is_no_model(tmp_path):
    (tmp_path / "t.star").write_text("data_\n")
    with pytest.raises(EngineError, match=r"t\.star: it is a table, not a model\. Name the table first"):
        legacy_network(tmp_path / "t.star")


def test_only_h5_files_are_exported(tmp_path, run):
    settings = NetworkSettings(filter_base=2, unet_depth=1)
    save_model(tmp_path / "m.keras", build_unet(settings), ModelMetadata(settings))
    status, log = run("export_model", "m.keras", "m.onnx")
    assert status == 1 and "m.onnx" in log and not (tmp_path / "m.onnx").exists()


INFINITE = float("inf")


@pytest.mark.parametrize(
    "change", [{"filters": INFINITE}, {"filters": float("nan")}, {"kernel_size": [INFINITE] * 3}, {"filters": 10**4000}]
)
def test_numbers_that_no_network_has_are_told(tmp_path, change):
    model, path = build_unet(NetworkSettings(filter_base=2, unet_depth=1)), tmp_path / "m.h5"
    save_legacy(path, model, 1e-4)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["config"]["name"] == "down_level_0_no_0":
                layer["config"].update(change)
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(EngineError, match=r"m\.h5: it is not a model of IsoNet 0\.2"):
        legacy_network(path)


def test_a_disk_that_fails_while_a_model_is_written_leaves_none(tmp_path, run):
    settings = NetworkSettings(filter_base=2, unet_depth=1)
    save_model(tmp_path / "m.keras", build_unet(settings), ModelMetadata(settings))
    # HDF5 itself says nothing of some writes that fail
    heeded, before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        status, log = run("export_model", "m.keras", "m.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heeded)
    assert status == 1 and "m.h5: can't be written (File too large" in log
    assert "Traceback" not in log and not (tmp_path / "m.h5").exists()
