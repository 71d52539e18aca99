"""The builtin model: what it is trained on, and that it is a start and a model."""

import numpy as np
import pytest

from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.measure.grid import grid_peak
from isonet_scipion.engine.network.model_file import BUILTIN, BUILTIN_FILE, halve, load_model, read_metadata, save_model
from isonet_scipion.engine.network.unet import build_unet, run_network
from isonet_scipion.engine.physics.grey_scale import normalise
from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.engine.simulation.phantom import Example, through_tilts
from isonet_scipion.engine.simulation.views import tilt_series


def test_a_model_in_half_precision_is_half_as_large_and_the_same(tmp_path):
    shape = NetworkSettings(filter_base=32, unet_depth=1, convs_per_depth=2, stem=2, fine=4)
    model = build_unet(shape)
    large = next(layer for layer in model.layers if "normalization" in layer.name)
    large.set_weights([np.full_like(weight, 1e6) for weight in large.get_weights()])  # beyond half precision
    save_model(tmp_path / "m.keras", model, ModelMetadata(shape, simulated=True))
    size = (tmp_path / "m.keras").stat().st_size
    halve(tmp_path / "m.keras")
    assert (tmp_path / "m.keras").stat().st_size < 0.8 * size
    read, metadata = load_model(tmp_path / "m.keras")
    assert metadata.simulated
    for ours, theirs in zip(read.get_weights(), model.get_weights()):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


@pytest.mark.traced
def test_it_fills_the_wedge_of_a_scene_that_it_never_saw(tmp_path, run):
    example = Example(shape=(48, 64, 64), snr=5.0, seed=3)
    truth, _ = example.make()
    seen = through_tilts(truth, 10.0, example.tilt, example.ctf_parameters, 5.0, 4)
    write_volume(tmp_path / "tomo" / "t.mrc", seen, 10.0)
    assert run("prepare_star", "tomo")[0] == 0
    status, log = run("predict", "tomograms.star", BUILTIN)
    assert status == 0 and "A per voxel" not in log, log
    corrected = -open_volume("corrected_tomos/t_corrected.mrc").data
    k = [np.fft.fftfreq(n) for n in truth.shape]
    kz, kx = k[0][:, None, None], k[2]
    hidden = (np.abs(kz) > 2 * np.abs(kx)) & (kz**2 + k[1][:, None] ** 2 + kx**2 < 0.1**2) & (kz != 0)
    spectra = [np.fft.fftn(volume)[hidden] for volume in (truth, corrected)]
    cross = np.vdot(*spectra).real / np.sqrt(np.prod([np.vdot(s, s).real for s in spectra]))
    print("correlation in the wedge", cross)
    assert cross > 0.5


def _through_tilts(volume):
    """What a tilt series of -60 to 60 degrees shows of white noise."""
    kz, kx = np.fft.fftfreq(volume.shape[0])[:, None], np.fft.rfftfreq(volume.shape[2])
    deviation = tilt_series(kz, kx, np.arange(-60.0, 61.0, 3.0), 1.0)[1]
    return np.fft.irfftn(np.fft.rfftn(volume) * deviation[:, None], volume.shape).astype(np.float32)


def test_it_makes_nothing_of_noise_and_leaves_no_grid():
    noise = np.random.default_rng(0).normal(size=(64, 96, 96)).astype(np.float32)
    noise = normalise(_through_tilts(noise))
    made = run_network(load_model(BUILTIN)[0], noise[None])[0]
    inside = (slice(16, -16),) * 3  # its own borders are zeros, which a prediction's tiles keep outside
    assert made[inside].var() < 0.05 * noise.var()
    assert grid_peak(made - noise) < 2


def test_refinement_starts_from_it_in_its_shape(tmp_path, run):
    rng = np.random.default_rng(0)
    write_volume(tmp_path / "tomo" / "t.mrc", rng.normal(size=(32, 32, 32)).astype(np.float32), 10.0)
    assert run("prepare_star", "tomo", "--number_subtomos=2")[0] == 0
    small = ("--iterations=1", "--epochs=1", "--steps_per_epoch=1", "--batch_size=2", "--learning_rate=1e-9")
    options = ("--method=one-pass", "--cube_size=16", "--seed=1", "--preprocessing_ncpus=1")
    status, log = run("refine", "tomograms.star", *options, *small, "--pretrained_model", BUILTIN)
    assert status == 0, log
    ours, theirs = load_model("results/model_iter01.keras")[0], load_model(BUILTIN)[0]
    for variable, start in zip(ours.trainable_variables, theirs.trainable_variables):
        np.testing.assert_allclose(np.array(variable), np.array(start), atol=1e-6)
    # the iterative method takes its shape too
    assert run("extract", "tomograms.star", "--cube_size=8", "--crop_size=16", "--seed=1")[0] == 0
    status, log = run("refine", "subtomo.star", *small, "--pretrained_model", BUILTIN, "--result_dir=iterative")
    assert status == 0, log
    assert read_metadata("iterative/model_iter01.keras").network.stem == read_metadata(BUILTIN).network.stem
    other = ("--filter_base=4", "--result_dir=other")
    status, log = run("refine", "tomograms.star", *options, "--pretrained_model", BUILTIN, *other)
    assert status == 1 and "its network has another shape: filter_base" in log


def test_it_says_what_it_is():
    assert BUILTIN_FILE.stat().st_size < 8 << 20
    assert read_metadata(BUILTIN).simulated
    card = (BUILTIN_FILE.parent / "MODEL_CARD.md").read_text()
    assert "simulat" in card and "prior" in card
