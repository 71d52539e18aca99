import json
import zipfile

import h5py
import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.network.correction import correct, measured_halo
from isonet_scipion.engine.network.isonet_h5 import save_legacy
from isonet_scipion.engine.network.model_file import load_model, read_metadata, save_model
from isonet_scipion.engine.network.tiling import automatic_tiling, isonet_tiling
from isonet_scipion.engine.network.unet import build_unet, run_network
from isonet_scipion.engine.physics.grey_scale import normalise
from isonet_scipion.engine.process.device import choose_devices
from isonet_scipion.engine.settings.network import NetworkSettings

choose_devices()
TINY = NetworkSettings(filter_base=4, unet_depth=2, convs_per_depth=2)


def batch(size=16):
    return np.random.default_rng(0).normal(size=(2, size, size, size)).astype(np.float32)


def test_default_network_has_the_released_programs_parameters():
    assert build_unet(NetworkSettings()).count_params() == 27_333_121


@pytest.mark.parametrize("name", ["model_fb8", "model_fb8_pool"])
def test_released_models_give_the_released_outputs(reference, name):
    model, _ = load_model(reference / f"{name}.h5")
    stored = np.load(reference / f"{name}_io.npz")
    np.testing.assert_allclose(run_network(model, stored["x"][..., 0]), stored["y"][..., 0], atol=1e-5)


def test_prediction_agrees_with_the_released_program(reference):
    model, _ = load_model(reference / "model_fb8.h5")
    cell_files = reference / "cell_deconv.mrc", reference / "cell_corrected.mrc"
    with mrcfile.open(cell_files[0]) as cell, mrcfile.open(cell_files[1]) as expected:
        tiling = isonet_tiling(32, 64)
        result = correct(cell.data, lambda tiles: run_network(model, tiles), tiling, 4, normalized_output=True)
        source = -normalise(-cell.data)
        changes = (result - source).ravel(), (expected.data - source).ravel()
        assert np.corrcoef(*changes)[0, 1] > 0.9995


@pytest.mark.parametrize(
    "settings",
    [
        TINY,
        NetworkSettings(filter_base=4, unet_depth=2, pool=(2, 2, 2), drop_out=0, batch_normalization=False),
        NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=4, kernel=(3, 5, 1)),
    ],
)
def test_models_come_back_from_both_formats(tmp_path, settings):
    model = build_unet(settings)
    model.set_weights([weight + np.random.default_rng(1).random(weight.shape) * 0.1 for weight in model.get_weights()])
    expected = run_network(model, batch())
    save_model(tmp_path / "m.keras", model, ModelMetadata(settings, voxel_size=10.0, tilt_min=-50.0))
    save_legacy(tmp_path / "m.h5", model, 4e-4)
    for name in ("m.keras", "m.h5"):
        again, metadata = load_model(tmp_path / name)
        np.testing.assert_allclose(run_network(again, batch()), expected, atol=1e-5)
        assert metadata.network.filter_base == settings.filter_base
    metadata = read_metadata(tmp_path / "m.keras")
    assert (metadata.voxel_size, metadata.tilt_min) == (10.0, -50.0)


@pytest.mark.parametrize("name", ["m.h5", "m", "m.keras.zip"])
def test_a_model_of_ours_under_another_name_is_told_as_such(tmp_path, name):
    save_model(tmp_path / "m.keras", build_unet(TINY), ModelMetadata(TINY))
    (tmp_path / "m.keras").rename(tmp_path / name)
    with pytest.raises(EngineError, match=f"{name}: it is a .keras model of this program under another name. Rename"):
        load_model(tmp_path / name)


@pytest.mark.parametrize("pool", [None, (2, 2, 2)])
@pytest.mark.parametrize("kind", ["fine", "denoiser"])
def test_layers_at_full_resolution_come_back_from_our_format_and_are_refused_for_the_other(tmp_path, pool, kind):
    settings = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2, stem=2, pool=pool, **{kind: 3})
    model = build_unet(settings)
    model.set_weights([weight + np.random.default_rng(1).random(weight.shape) * 0.1 for weight in model.get_weights()])
    save_model(tmp_path / "m.keras", model, ModelMetadata(settings))
    again, metadata = load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(run_network(again, batch()), run_network(model, batch()), atol=1e-5)
    assert metadata.network == settings
    with pytest.raises(EngineError, match="unknown to IsoNet"):
        save_legacy(tmp_path / "m.h5", model, 4e-4)
    assert not (tmp_path / "m.h5").exists()


def hostile_files(folder):
    """Files that would run code, or are no models of ours."""
    model = build_unet(TINY)
    save_model(folder / "good.keras", model, ModelMetadata(TINY))
    content = (folder / "good.keras").read_bytes()
    yield "empty.keras", b""
    yield "cut.keras", content[: len(content) // 2]
    yield "text.h5", b"this is no model"
    with zipfile.ZipFile(folder / "lambda.keras", "w") as archive:
        layer = {"class_name": "Lambda", "config": {"function": "__import__('os').mknod('ran')"}}
        archive.writestr("config.json", json.dumps(layer))
    yield "lambda.keras", (folder / "lambda.keras").read_bytes()
    with h5py.File(folder / "lambda.h5", "w") as file:
        layers = [{"class_name": "Lambda", "config": {"name": "bad", "function": ["ran", None, None]}}]
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": layers}})
    yield "lambda.h5", (folder / "lambda.h5").read_bytes()
    other = NetworkSettings(filter_base=4, unet_depth=2, convs_per_depth=3)
    save_model(folder / "other.keras", model, ModelMetadata(other))
    yield "other.keras", (folder / "other.keras").read_bytes()


def test_files_that_are_no_models_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in hostile_files(tmp_path):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EngineError, match=name):
            load_model(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("wrong", [{"kernel": (3, 3)}, {"unet_depth": 0}, {"drop_out": 1.0}, {"pool": (2, 0, 2)}])
def test_impossible_networks_are_refused(wrong):
    with pytest.raises(EngineError):
        NetworkSettings(**wrong)


def test_tiles_show_no_seams(reference):
    model, _ = load_model(reference / "model_fb8.h5")
    with mrcfile.open(reference / "cell_deconv.mrc") as cell:
        tomogram = cell.data
    tilings = [automatic_tiling(tomogram.shape, (8, 8, 8), voxels) for voxels in (1 << 22, 600_000)]
    assert tilings[0].counts(tomogram.shape) == (1, 1, 1) and np.prod(tilings[1].counts(tomogram.shape)) > 4
    whole, pieces = (correct(tomogram, lambda tiles: run_network(model, tiles), tiling) for tiling in tilings)
    inside = (slice(16, -16),) * 3
    assert np.abs(pieces - whole)[inside].max() < 0.01 * whole.std()
    assert np.abs(whole - tomogram).max() > 0.1 * whole.std()
    # with the halo that this network needs, which is less than that of one that nothing is known of
    bright = normalise(-tomogram)
    halo = measured_halo(lambda tiles: run_network(model, tiles), bright, (8, 8, 8))
    assert halo <= 16
    narrow = automatic_tiling(tomogram.shape, (8, 8, 8), 400_000, halo)
    assert np.prod(narrow.counts(tomogram.shape)) > 4
    pieces = correct(tomogram, lambda tiles: run_network(model, tiles), narrow)
    assert np.abs(pieces - whole)[inside].max() < 0.01 * whole.std()


def test_a_disk_that_fails_while_metadata_are_added_leaves_no_model_without_weights(tmp_path, monkeypatch):
    def fails(_):
        raise OSError(5, "Input/output error")

    model = build_unet(NetworkSettings(filter_base=2, unet_depth=1))
    monkeypatch.setattr(zipfile, "_EndRecData", fails)
    with pytest.raises(EngineError, match=r"m\.keras: can't be written \(Input/output error\)"):
        save_model(tmp_path / "m.keras", model, ModelMetadata(TINY))
    assert list(tmp_path.iterdir()) == []
