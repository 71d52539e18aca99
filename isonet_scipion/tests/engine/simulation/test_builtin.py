"""The builtin model: what it is trained on, and that it is a start and a model."""

import numpy as np
import pytest

from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.measure.grid import grid_peak
from isonet_scipion.engine.network.model_file import BUILTIN, BUILTIN_FILE, halve, load_model, read_metadata, save_model
from isonet_scipion.engine.network.unet import build_unet, run_network
from isonet_scipion.engine.physics.grey_scale import normalise
from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge
from isonet_scipion.engine.settings import NetworkSettings
from isonet_scipion.engine.simulation.phantom import Example, through_tilts
from isonet_scipion.engine.simulation.scenes import Density, random_scene
from isonet_scipion.engine.simulation.views import crops, endless_views, random_view, tilt_series


@pytest.fixture(scope="module")
def scene():
    return random_scene((48, 48, 48), 10.0, np.random.default_rng(0))


def test_scenes_are_repeatable_crowded_and_alike_along_all_axes(scene):
    np.testing.assert_array_equal(scene, random_scene((48, 48, 48), 10.0, np.random.default_rng(0)))
    assert not np.array_equal(scene, random_scene((48, 48, 48), 10.0, np.random.default_rng(1)))
    assert scene.dtype == np.float32 and scene.min() >= 0 and 0.5 < scene.max() < 5
    assert 0.01 < (scene > 0.25).mean() < 0.5
    roughness = np.zeros(3)
    for seed in range(6):
        density = random_scene((32, 32, 32), 12.0, np.random.default_rng(seed))
        roughness += [np.square(np.diff(density, axis=axis)).mean() for axis in range(3)]
    assert roughness.max() < 1.5 * roughness.min()


def test_views_lack_the_wedge_and_correlate_with_their_truth(scene):
    for seed in range(6):
        seen, truth = random_view(scene, 10.0, np.random.default_rng(seed))
        assert seen.shape == truth.shape == scene.shape and seen.dtype == np.float32
        # no tilt range goes beyond 70 degrees
        inside = seen - apply_wedge(seen, TiltRange(-70, 70)) - seen.mean()
        ball = truth - apply_wedge(truth, TiltRange(-70, 70)) - truth.mean()
        assert inside[4:-4].std() < seen.std() and ball.std() > 0
        assert np.corrcoef(seen.ravel(), truth.ravel())[0, 1] > 0.15


def test_a_tilt_series_shows_its_range_and_is_noisier_at_high_tilt():
    n = 64
    kz, kx = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)
    angle = np.degrees(np.arctan2(kz, kx))
    radius = n * np.hypot(kz, kx)
    for tilts in (np.arange(-50.0, 66.0, 1.0), -np.arange(-50.0, 66.0, 1.0)[::-1]):
        shown, noise = tilt_series(kz, kx, tilts, 1.0)
        inside = (angle > tilts[0] + 8) & (angle < tilts[-1] - 8) & (radius > 6)
        outside = ((angle < tilts[0] - 12) | (angle > tilts[-1] + 12)) & (radius > 6) & (kx > 0)
        assert np.abs(shown[inside & (radius < 20)] - 1).max() < 0.05 and shown[outside].max() < 0.02
        at = [noise[inside & (np.abs(radius - 25) < 5) & (np.abs(np.abs(angle) - tilt) < 5)] ** 2 for tilt in (0, 40)]
        # power: (1 + 40/60) / cos(40 degrees)
        assert np.mean(at[1]) / np.mean(at[0]) == pytest.approx(2.18, rel=0.15)
    # a step of 4 degrees leaves gaps far from the origin, one of 1 degree none
    coarse, fine = (tilt_series(kz, kx, np.arange(-60.0, 61.0, step), 1.0)[0] for step in (4.0, 1.0))
    ring = (np.abs(radius - 30) < 1) & (np.abs(angle) < 45)
    assert coarse[ring].std() > 5 * fine[ring].std()


def test_given_densities_are_placed_turned_at_their_size():
    volume = np.full((24, 20, 20), 3.0, np.float32)  # on a background of 3
    volume[4:20, 6:14, 6:14] += 7
    density = Density.of(volume, 10.0)
    assert 0 <= density.values.min() < 0.02 and np.median(density.values[density.values > 0.5]) == pytest.approx(
        1, abs=0.05
    )
    assert density.values.shape == pytest.approx((16, 8, 8), abs=3)
    for voxel_size in (6.0, 10.0, 16.0):
        sampled = density.sampled(voxel_size)
        content = sampled.values.sum() * (sampled.voxel_size * voxel_size) ** 3
        assert content == pytest.approx(density.values.sum() * 10.0**3, rel=0.05)
    alone = random_scene((64, 64, 64), 10.0, np.random.default_rng(4))
    seeds = range(5)
    given = [random_scene((64, 64, 64), 10.0, np.random.default_rng(seed), [density]) for seed in seeds]
    np.testing.assert_array_equal(given[4], random_scene((64, 64, 64), 10.0, np.random.default_rng(4), [density]))
    assert not np.array_equal(given[4], alone)
    assert all(scene.dtype == np.float32 and 0.01 < (scene > 0.25).mean() < 0.6 for scene in given)


def test_crops_are_of_views_mirrored_and_weigh_by_their_signal():
    views = endless_views((1, 2), side=24)
    first = [next(views) for _ in range(2)]
    again = endless_views((1, 2), side=24)
    np.testing.assert_array_equal(first[0], next(again))
    assert first[0].dtype == np.float16 and first[0].shape == (2, 24, 24, 24)
    inputs, truths, weights = crops(first, 16, 3, np.random.default_rng(0))
    assert inputs.shape == truths.shape == (3, 16, 16, 16, 1) and weights.shape == (3,) and (weights > 0).all()
    view = np.arange(2 * 16**3, dtype=np.float32).reshape(2, 16, 16, 16)
    inputs, truths, weights = crops([view], 16, 64, np.random.default_rng(0))
    mirrored = {inputs[n, 0, 0, 0, 0] for n in range(64)}  # its first voxel is a corner of the view
    assert len(mirrored) == 8
    for n in range(64):  # input and truth alike
        np.testing.assert_array_equal(truths[n] - inputs[n], np.full_like(inputs[n], 16**3))
    assert weights[0] == pytest.approx(0.3**2 / view[1].var(), rel=1e-4)
    assert crops([np.zeros((2, 16, 16, 16))], 16, 1, np.random.default_rng(0))[2] == 100


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
    assert run("prepare_star", "tomo")[0] == 0
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
