"""The builtin model: what it is trained on, and that it is a start and a model."""

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.network.model_file import BUILTIN, BUILTIN_FILE, load_model, read_metadata
from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge
from isonet_scipion.engine.simulation.phantom import Example, through_tilts
from isonet_scipion.engine.simulation.scenes import random_scene
from isonet_scipion.engine.simulation.views import Views, random_view, tilt_series


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


def test_batches_depend_on_the_seed_and_their_number_alone():
    views = Views(16, 2, 1, 24)
    first = [views.batch(number) for number in range(3)]
    again = Views(16, 2, 1, 24)
    for number in (2, 0):
        np.testing.assert_array_equal(again.batch(number)[0], first[number][0])
    assert not np.array_equal(Views(16, 2, 2, 24).batch(0)[0], first[0][0])
    inputs, truths, weights = first[0]
    assert inputs.shape == truths.shape == (2, 16, 16, 16, 1) and weights.shape == (2,) and (weights > 0).all()


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
    assert cross > 0.3


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
    assert read_metadata("iterative/model_iter01.keras")["stem"] == read_metadata(BUILTIN)["stem"]
    other = ("--filter_base=4", "--result_dir=other")
    status, log = run("refine", "tomograms.star", *options, "--pretrained_model", BUILTIN, *other)
    assert status == 1 and "its network has another shape: filter_base" in log


def test_it_says_what_it_is():
    assert BUILTIN_FILE.stat().st_size < 8 << 20
    assert read_metadata(BUILTIN)["simulated"]
    card = (BUILTIN_FILE.parent / "MODEL_CARD.md").read_text()
    assert "simulat" in card and "prior" in card
