"""predict where memory or the number format does not suffice, with networks that are functions."""

import re
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

import keras  # noqa: E402

from isonet_scipion.engine.io.model_metadata import ModelMetadata  # noqa: E402
from isonet_scipion.engine.network import fitting_tiles  # noqa: E402
from isonet_scipion.engine.network.model_file import save_model  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402
from isonet_scipion.engine.stages import predict as stage  # noqa: E402

SHAPE = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)


def test_tiles_that_do_not_fit_are_halved_and_stay_so_and_memory_is_asked_for_once(noise_twice, run, monkeypatch):
    largest, asked, seen = 200_000, [], []

    def network(tiles):
        seen.append(tiles.size)
        if tiles.size > largest:
            raise RuntimeError("No algorithm worked!  Error messages: CUDNN_STATUS_ALLOC_FAILED")
        return tiles

    monkeypatch.setattr(stage, "corrector", lambda *_, **__: network)
    monkeypatch.setattr(fitting_tiles, "measured_halo", lambda *_: 8)
    monkeypatch.setattr(fitting_tiles, "free_memory", lambda devices: asked.append(devices) or 1 << 30)
    status, log = run("predict", "tomograms.star", "m.keras", "--report", "False", "--gpuID", "-1")
    assert status == 0, log
    assert len(asked) == 1
    refused = sum(size > largest for size in seen)
    assert refused == log.count("going on with tiles of half the size") > 0
    assert all(size <= largest for size in seen[refused:]), "the second tomogram starts with the smaller tiles"
    for name in "ab":
        np.testing.assert_allclose(open_volume(f"corrected_tomos/{name}_corrected.mrc").data, noise_twice, atol=1e-4)


def test_other_options_in_the_same_process_leave_the_model_and_the_tiles(noise_twice, run, monkeypatch):
    loaded, asked, real = [], [], stage.load_model
    monkeypatch.setattr(stage, "load_model", lambda path: loaded.append(path) or real(path))
    monkeypatch.setattr(fitting_tiles, "free_memory", lambda devices: asked.append(devices) or 1 << 30)
    command = ("predict", "tomograms.star", "m.keras", "--report", "False", "--gpuID", "-1", "--tomo_idx", "1")
    for more in ((), ("--output_dir", "other"), ("--output_type", "float16", "--output_dir", "half")):
        status, log = run(*command, *more)
        assert status == 0, log
    assert len(loaded) == len(asked) == 1
    assert run(*command, "--cube_size", "32", "--crop_size", "56", "--output_dir", "fixed")[0] == 0
    assert len(loaded) == 2


def test_less_memory_than_the_smallest_tiles_need_is_one_line(noise_twice, run, monkeypatch):
    def network(tiles):
        raise RuntimeError("Dst tensor is not initialized.")

    monkeypatch.setattr(stage, "corrector", lambda *_, **__: network)
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1")
    assert status == 1 and re.search(
        r"error: tomograms\.star: 2 of 2 .*: memory: not even tiles of [0-9]+ voxels fit", log
    ), log


def test_a_report_that_memory_does_not_allow_leaves_the_other_tomograms(noise_twice, run, monkeypatch):
    real = stage.Reporter.write

    def write(reporter, work, *words):
        if work.entry.name == "a":
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
        real(reporter, work, *words)

    monkeypatch.setattr(stage.Reporter, "write", write)
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1")
    assert status == 1 and re.search(
        r"error: the report on corrected_tomos/a_corrected\.mrc: memory: .* The corrected tomogram is there", log
    ), log
    assert Path("corrected_tomos/a_corrected.mrc").exists() and Path("corrected_tomos/b_corrected_report.json").exists()
    monkeypatch.setattr(stage.Reporter, "write", real)
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1")
    assert status == 0 and "Corrected already" in log and "left alone: 1 of 2 tomograms." in log, log
    assert Path("corrected_tomos/a_corrected_report.json").exists()


def test_a_shortage_of_memory_that_is_over_is_forgotten(noise_twice, run, monkeypatch):
    is_short, seen = [True], []

    def network(tiles):
        if is_short[0]:
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
        seen.append(tiles.shape[1:])
        return tiles

    monkeypatch.setattr(stage, "corrector", lambda *_, **__: network)
    monkeypatch.setattr(fitting_tiles, "measured_halo", lambda *_: 8)
    command = ("predict", "tomograms.star", "m.keras", "--gpuID", "-1", "--report", "False", "--tomo_idx", "1")
    assert run(*command)[0] == 1
    is_short[0] = False
    assert run(*command)[0] == 0 and len(seen) == 1  # all in one tile


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # squares of what it makes are beyond float32 too
def test_a_network_beyond_float16_ends_with_an_error_and_no_tomogram(noise_twice, run, tmp_path):
    model = build_unet(SHAPE)
    model.set_weights([1e3 * weight for weight in model.get_weights()])  # activations beyond 65504
    save_model(tmp_path / "large.keras", model, ModelMetadata(SHAPE, voxel_size=10.0))
    try:
        command = ("predict", "tomograms.star", "large.keras", "--gpuID", "-1", "--report", "False")
        status, log = run(*command, "--precision", "mixed_float16")
        assert status == 1 and "number format mixed_float16). Give precision float32" in log, log
        assert not list(tmp_path.glob("corrected_tomos/*.mrc"))
        status, log = run(*command, "--precision", "float32")
        assert status == 0 and np.isfinite(open_volume("corrected_tomos/a_corrected.mrc").data).all(), log
    finally:
        keras.config.set_dtype_policy("float32")
