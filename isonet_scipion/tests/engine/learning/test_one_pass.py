"""The one-pass refinement: its training step in numbers, its data, and its runs."""

import dataclasses
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.io.mrc import open_volume, write_volume  # noqa: E402
from isonet_scipion.engine.learning.one_pass_batches import SHOWN_WEIGHT, CropBatches, TomogramSource  # noqa: E402
from isonet_scipion.engine.learning.one_pass_step import (  # noqa: E402
    COARSE,
    PART,
    OnePassModel,
    in_wedge_planes,
    plane_filter,
    rotated_mask,
    shown_and_target,
    weighted_error,
)
from isonet_scipion.engine.network.model_file import load_model, read_facts, read_metadata, save_model  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.physics.back_projected_noise import NoiseSource  # noqa: E402
from isonet_scipion.engine.physics.grey_scale import GreyScale, normalise  # noqa: E402
from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge  # noqa: E402
from isonet_scipion.engine.sampling.training_positions import MARGIN, crop_side, fitting_cube  # noqa: E402
from isonet_scipion.engine.settings import NetworkSettings, OnePassSettings  # noqa: E402
from isonet_scipion.engine.simulation.phantom import make_truth  # noqa: E402

TINY = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2, drop_out=0.0, stem=2)
TILT = TiltRange(-40.0, 55.0)
RUN = (
    "--method=one-pass", "--cube_size=8", "--filter_base=4", "--unet_depth=1", "--iterations=3", "--epochs=2",
    "--steps_per_epoch=4", "--batch_size=2", "--preprocessing_ncpus=2", "--seed=3",
)  # fmt: skip


def source(halves, seed=0, size=40):
    rng = np.random.default_rng(seed)
    volumes = tuple(rng.normal(size=(size,) * 3).astype(np.float32) for _ in range(halves))
    centres = np.stack([rng.permutation(np.arange(14, size - 14)) for _ in range(3)], axis=1)
    return TomogramSource("t", volumes, GreyScale(0.0, 1.0), centres, TILT)


def batches_of(halves, size=8, pairs=4, steps=1, seed=(1, 0), filled=0.2, **noise):
    return CropBatches([source(halves)], size, size + 16, 0.0, filled, pairs, steps, seed, 1, **noise)


def step(batches, order=False):
    """Errors and loss of one step of networks that change nothing."""
    networks = build_unet(TINY), build_unet(TINY)
    model = OnePassModel(*networks, batches.cube_size, order)
    inputs, weights = batches[0]
    errors = model(inputs, training=False)
    return inputs, np.asarray(errors), float(np.mean(weighted_error(weights, errors)))


@pytest.mark.parametrize("halves", [1, 2])
def test_a_step_fills_the_crop_cuts_the_wedge_and_compares(halves):
    inputs, errors, _ = step(batches_of(halves))
    assert inputs["crops"].shape == (2, halves, 24, 24, 24) and errors.shape == (2, 2, 8, 8, 8)
    middle = (slice(MARGIN, MARGIN + 8),) * 3
    for crop, views in enumerate(inputs["matrices"]):
        # a network that changes nothing estimates the wedge as what the halves' mean holds there: a crop stays as it is
        mean = inputs["crops"][crop].mean(axis=0)
        filled = [mean + apply_wedge(half - mean, TILT) for half in inputs["crops"][crop]]
        for view, matrix in enumerate(views):
            points = np.stack(np.meshgrid(*[np.arange(24) - 11.5] * 3, indexing="ij")).reshape(3, -1)
            places = np.rint(matrix @ points + 11.5).astype(int)
            turned = [volume[tuple(places)].reshape(24, 24, 24) for volume in filled]
            middle_of_both, half_apart = np.mean(turned, axis=0), (turned[view % halves] - turned[view - 1]) / 2
            if halves == 1:
                half_apart = np.zeros_like(middle_of_both)
            shown = apply_wedge(middle_of_both + PART * half_apart, TILT)
            target = middle_of_both - apply_wedge(half_apart, TILT) / PART
            np.testing.assert_allclose(errors[crop, view], (shown - target)[middle], atol=1e-4)


def parts_of(signal, seed=5):
    """(1, 2, n, n, n): halves of a volume, with independent noise of the same strength."""
    rng = np.random.default_rng(seed)
    return np.stack([signal + rng.normal(size=signal.shape).astype(np.float32) for _ in range(2)])[None]


def both_views(parts, part):
    filters = plane_filter(parts.shape[-1], TILT)[None]
    pairs = (shown_and_target(parts, view, filters, part) for view in range(2))
    return [(np.asarray(shown)[0], np.asarray(target)[0]) for shown, target in pairs]


@pytest.mark.parametrize("part", [0.3, 0.7, 1.0, 2.0])
def test_noise_of_what_is_shown_and_of_what_it_is_compared_with_is_independent(part):
    parts = parts_of(np.zeros((48,) * 3, np.float32))
    mean = parts[0].mean(axis=0)
    for shown, target in both_views(parts, part):
        compared = apply_wedge(target, TILT)
        spread = shown.std() * compared.std() / np.sqrt(0.6 * shown.size)
        assert abs(np.mean(shown * compared)) < 4 * spread
        # unlike that with the mean, which would teach the network its own noise
        assert np.mean(shown * mean) > 20 * spread
        assert shown.std() == pytest.approx(apply_wedge(mean, TILT).std() * np.sqrt(1 + part**2), rel=0.02)


@pytest.mark.parametrize("part", [0.3, 1.0, 2.0])
def test_shown_and_hidden_make_the_whole_mean(part):
    signal = np.random.default_rng(1).normal(size=(24,) * 3).astype(np.float32)
    parts = parts_of(signal)
    mean = parts[0].mean(axis=0)
    views = both_views(parts, part)
    for shown, target in views:
        np.testing.assert_allclose(target - apply_wedge(target, TILT), mean - apply_wedge(mean, TILT), atol=1e-4)
        assert np.abs(shown - apply_wedge(mean, TILT)).max() > 0.1
    shown, target = (np.mean(both, axis=0) for both in zip(*views))
    np.testing.assert_allclose(shown + (target - apply_wedge(target, TILT)), mean, atol=1e-4)
    np.testing.assert_allclose(target, mean, atol=1e-4)


def test_with_1_a_half_is_shown_and_the_other_compared():
    parts = parts_of(np.zeros((24,) * 3, np.float32))
    for (shown, target), half, other in zip(both_views(parts, 1.0), parts[0], parts[0][::-1]):
        np.testing.assert_allclose(shown, apply_wedge(half, TILT), atol=1e-4)
        np.testing.assert_allclose(apply_wedge(target, TILT), apply_wedge(other, TILT), atol=1e-4)


def test_loss_tells_measured_from_estimated_frequencies():
    losses = {filled: step(batches_of(2, filled=filled))[2] for filled in (0.0, 0.5, 1.0)}
    errors = step(batches_of(2))[1]
    assert losses[1.0] == pytest.approx(np.mean(errors**2), rel=1e-4)
    assert 0 < losses[0.0] < losses[0.5] < losses[1.0]
    assert losses[0.5] == pytest.approx((losses[0.0] + losses[1.0]) / 2, rel=1e-4)


@pytest.mark.parametrize("halves", [1, 2])
def test_without_halves_what_the_input_shows_hardly_counts(halves):
    _, weights = batches_of(halves, filled=1.0)[0]
    weights = weights.reshape(-1, 8, 8, 8)
    shown = rotated_mask(8, np.eye(3), TILT) > 0
    assert 0.3 < shown.mean() < 0.9
    k = np.fft.fftfreq(8)
    ky, kx, kz = np.meshgrid(k, k, k, indexing="ij")
    coarse = np.exp(-(kx**2 + ky**2 + kz**2) / COARSE**2)
    least = 1.0 if halves == 2 else SHOWN_WEIGHT
    expected = np.broadcast_to((least + (1 - least) * coarse)[shown], (len(weights), shown.sum()))
    assert expected.max() == 1 and expected.min() == pytest.approx(least, rel=1e-3)
    np.testing.assert_allclose(weights[:, shown], expected, rtol=1e-4)
    np.testing.assert_allclose(weights[:, ~shown], 1.0)


def test_measured_frequencies_turn_with_the_volume():
    rng = np.random.default_rng(0)
    volume = apply_wedge(rng.normal(size=(9, 9, 9)), TILT)  # odd: rotations of the cube are exact on its grid
    inputs, _ = batches_of(1, 9, pairs=8)[0]
    for matrix in inputs["matrices"].reshape(-1, 3, 3):
        points = np.stack(np.meshgrid(*[np.arange(9) - 4] * 3, indexing="ij")).reshape(3, -1)
        places = np.rint(matrix @ points + 4).astype(int)
        spectrum = np.fft.fftn(volume[tuple(places)].reshape(9, 9, 9)).transpose(1, 2, 0)
        mask = rotated_mask(9, matrix, TILT)
        assert np.abs(spectrum * (1 - mask)).max() < 1e-4 * np.abs(spectrum).max()
        assert 0.4 < mask.mean() < 0.7


def test_planes_are_filtered_as_numpy_does():
    volumes = np.random.default_rng(0).normal(size=(2, 10, 6, 10)).astype(np.float32)
    filters = np.stack([plane_filter(10, TILT)] * 2)
    expected = np.fft.ifft2(np.fft.fft2(volumes, axes=(1, 3)) * filters[:, :, None], axes=(1, 3)).real
    np.testing.assert_allclose(np.asarray(in_wedge_planes(volumes, filters)), expected, atol=1e-5)


def test_any_angle_takes_crops_without_empty_corners():
    batches = CropBatches([source(1, size=64)], 8, crop_side(8, True, 4), 1.0, 0.2, 2, 1, (1, 0), 1)
    inputs, errors, _ = step(batches, order=True)
    grid, side = 8 + 2 * MARGIN, crop_side(8, True, 4)
    assert inputs["crops"].shape[-1] == side and not np.allclose(np.abs(inputs["matrices"]).max(-1), 1)
    corner = np.array([[-1, 1]] * 3) * (grid - 1) / 2
    corners = np.stack(np.meshgrid(*corner, indexing="ij")).reshape(3, -1)
    assert np.abs(Rotation.random(100, random_state=0).as_matrix() @ corners).max() <= side / 2
    assert np.isfinite(errors).all()


def test_crops_suit_the_network_and_turn_onto_voxels():
    for cube, any_angle, divisor in ((32, False, 8), (36, False, 9), (27, True, 9), (40, True, 8), (24, False, 12)):
        side = crop_side(cube, any_angle, divisor)
        assert side % divisor == 0 and (side - cube) % 2 == 0
        assert side >= (cube + 2 * MARGIN) * (3**0.5 if any_angle else 1)
    assert crop_side(32, False, 8) == 48


@pytest.mark.parametrize(("shortest", "cube"), [(200, 48), (64, 48), (63, 40), (36, 16), (24, 8), (10, 8)])
def test_cubes_are_smaller_in_thin_tomograms(shortest, cube):
    assert fitting_cube(shortest, False, 8) == cube
    assert fitting_cube(shortest, True, 8) <= cube


def test_batches_depend_on_seed_epoch_and_step_alone_and_hold_out_their_centres():
    def drawn(seed, step=0):
        return batches_of(1, steps=2, seed=seed)[step][0]

    first, again = drawn((1, 0)), drawn((1, 0))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    for other in (drawn((2, 0)), drawn((1, 1)), drawn((1, 0), 1)):
        assert not np.array_equal(first["crops"], other["crops"])
    data, unseen = source(1), set()
    for number in range(20):
        unseen |= {crop.tobytes() for crop in drawn((number, -1))["crops"]}
    training = {crop.tobytes() for number in range(60) for crop in drawn((number, 0))["crops"]}
    assert len(unseen) == 1 and len(training) == len(data.centres) - 1 and not unseen & training


def test_noise_of_the_asked_for_strength_is_added():
    noise = [NoiseSource(np.random.default_rng(1).normal(size=(40, 8, 8)).astype(np.float32))]
    plain, noisy = (batches_of(1, **more)[0][0]["noise"] for more in ({}, {"noise": noise, "noise_level": 0.3}))
    assert not plain.any()
    np.testing.assert_allclose(noisy.std(axis=(2, 3, 4)), 0.3, rtol=1e-5)


@pytest.fixture
def project(tmp_path, run):
    """Two tomograms with halves, and their table."""
    rng = np.random.default_rng(0)
    for number in range(2):
        truth = make_truth((32, 40, 40), 10.0, number)
        halves = [rng.normal(0, 0.5, truth.shape).astype(np.float32) - truth for _ in range(2)]
        for folder, volume in zip(("tomo", "even", "odd"), (np.mean(halves, axis=0), *halves)):
            write_volume(tmp_path / folder / f"t{number}.mrc", volume, 10.0)
    assert run("prepare_star", "tomo", "--even_folder=even", "--odd_folder=odd")[0] == 0
    return tmp_path


def weights(path):
    return load_model(path)[0].get_weights()


def test_run_learns_from_halves_and_corrects_their_mean(project, run):
    status, log = run("refine", "tomograms.star", *RUN)
    assert status == 0 and "2 tomograms with halves" in log, log
    assert "With halves the network takes fine 16, drop_out 0 where nothing else is given." in log
    model = "results/model_iter03.keras"
    metadata = read_metadata(model)
    assert metadata.halves and metadata.corrects_mean and metadata.voxel_size == 10
    assert (metadata.network.stem, metadata.network.fine, metadata.network.drop_out) == (2, 16, 0.0)
    # not the tomogram that the table names, which a program may have filtered
    volume = open_volume("tomo/t0.mrc")
    write_volume("tomo/t0.mrc", np.roll(volume.data, 3, axis=2), 10.0)
    status, log = run("predict", "tomograms.star", model, "--tomo_idx=1")
    assert status == 0 and "t0: the mean of its halves is corrected" in log, log
    ours = open_volume("corrected_tomos/t0_corrected.mrc").data
    write_volume("mean/t0.mrc", np.mean([open_volume(f"{half}/t0.mrc").data for half in ("even", "odd")], axis=0), 10.0)
    assert run("prepare_star", "mean", "--output_star=mean.star")[0] == 0
    status, log = run("predict", "mean.star", model, "--output_dir=mean_out")
    assert status == 0 and "halves" not in log, log
    np.testing.assert_allclose(ours, open_volume("mean_out/t0_corrected.mrc").data, atol=1e-4)


def test_a_model_that_corrects_each_half_still_does(project, run):
    assert run("refine", "tomograms.star", *RUN)[0] == 0
    model, metadata = load_model("results/model_iter03.keras")
    save_model(Path("old.keras"), model, dataclasses.replace(metadata, corrects_mean=False))
    assert read_metadata("old.keras").by_halves
    status, log = run("predict", "tomograms.star", "old.keras", "--tomo_idx=1")
    assert status == 0 and "mean of its halves" not in log, log
    both = open_volume("corrected_tomos/t0_corrected.mrc").data
    for half in ("even", "odd"):
        assert run("prepare_star", half, f"--output_star={half}.star")[0] == 0
        status, log = run("predict", f"{half}.star", "old.keras", f"--output_dir={half}_out")
        assert status == 0 and "trained on halves, but the table names none" in log, log
    halves = [open_volume(f"{half}_out/t0_corrected.mrc").data for half in ("even", "odd")]
    np.testing.assert_allclose(both, np.mean(halves, axis=0), atol=1e-4)


@pytest.mark.parametrize(
    ("given", "fine", "drop_out"), [((), 16, 0.0), (("--fine=0",), 0, 0.0), (("--fine=4", "--drop_out=0.3"), 4, 0.3)]
)
def test_what_is_given_goes_before_what_halves_take(project, run, given, fine, drop_out):
    once = ("--iterations=1", "--epochs=1", "--steps_per_epoch=1")
    status, log = run("refine", "tomograms.star", *RUN, *once, *given)
    assert status == 0, log
    network = read_metadata("results/model_iter01.keras").network
    assert (network.fine, network.drop_out) == (fine, drop_out)
    assert ("With halves" in log) == (len(given) < 2)
    # from a model the network is the model's
    status, log = run("refine", "tomograms.star", *RUN[:2], *once, "--pretrained_model=results/model_iter01.keras",
                      "--result_dir=from", "--seed=1")  # fmt: skip
    assert status == 0 and "With halves" not in log, log
    assert read_metadata("from/model_iter01.keras").network == network


def test_without_halves_the_network_is_the_usual_one(project, run):
    assert run("prepare_star", "tomo", "--output_star=whole.star")[0] == 0
    once = ("--iterations=1", "--epochs=1", "--steps_per_epoch=1")
    status, log = run("refine", "whole.star", *RUN, *once)
    assert status == 0 and "With halves" not in log, log
    metadata, usual = read_metadata("results/model_iter01.keras"), OnePassSettings.network
    assert not metadata.halves and not metadata.corrects_mean
    assert (metadata.network.fine, metadata.network.drop_out) == (usual.fine, usual.drop_out)
    # a run that learned without them, or in the old way, is another
    status, log = run("refine", "tomograms.star", *RUN, *once, "--fine=0", f"--drop_out={usual.drop_out}")
    assert status == 1 and "results" in log, log


def test_killed_run_goes_on_and_ends_in_the_same_weights(project, run):
    assert run("refine", "tomograms.star", *RUN)[0] == 0
    arguments = [sys.executable, "-m", "isonet_scipion.engine", "refine", "tomograms.star", *RUN, "--result_dir=cut"]
    state, deadline = Path("cut/training_state.keras"), time.monotonic() + 120
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert read_facts(state)["progress"]["iteration"] < 4
    status, log = run("refine", "tomograms.star", *RUN, "--result_dir=cut")
    assert status == 0 and ("Going on with iteration" in log), log
    for ours, theirs in zip(weights("results/model_iter03.keras"), weights("cut/model_iter03.keras")):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_it_learns_to_fill_the_wedge_of_its_own_tomogram(tmp_path, run):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(48, 48, 48)) > 3.2
    truth = normalise(np.fft.irfftn(np.fft.rfftn(truth) * _ball(48, 1.2), truth.shape).astype(np.float32))
    write_volume(tmp_path / "tomo" / "t.mrc", -apply_wedge(truth, TiltRange()), 10.0)
    assert run("prepare_star", "tomo")[0] == 0
    more = ("--filter_base=16", "--iterations=1", "--epochs=4", "--steps_per_epoch=40", "--cube_size=16")
    status, log = run("refine", "tomograms.star", "--method=one-pass", "--seed=1", *more, "--preprocessing_ncpus=1")
    assert status == 0, log
    # what the next epoch takes for estimates is sound from the first one on
    _, _, loss, validation, *_ = Path("results/losses.csv").read_text().splitlines()[1].split(",")
    assert float(validation) < 1.5 * float(loss)
    assert run("predict", "tomograms.star", "results/model_iter01.keras")[0] == 0
    corrected = -open_volume("corrected_tomos/t_corrected.mrc").data
    hidden = [volume - apply_wedge(volume, TiltRange()) for volume in (corrected, truth)]
    correlation = np.corrcoef(hidden[0].ravel(), hidden[1].ravel())[0, 1]
    print("correlation in the wedge", correlation)
    assert correlation > 0.3


def _ball(size, sigma):
    k = np.fft.fftfreq(size)
    squares = k[:, None, None] ** 2 + k[:, None] ** 2 + np.fft.rfftfreq(size) ** 2
    return np.exp(-2 * (np.pi * sigma) ** 2 * squares)


def test_wrong_input_is_told(project, run):
    cases = (
        (("--cube_size=10",), "cube_size"),
        (("--any_angle=2",), "any_angle"),
        (("--filled_weight=-1",), "filled_weight"),
        (("--cube_size=24",), "even/t0.mrc: its shortest side has 32 voxels, but the crops for training 40"),
    )
    for options, words in cases:
        status, log = run("refine", "tomograms.star", *RUN[:-1], *options)
        assert status == 1 and words in log and "Traceback" not in log, log
    status, log = run("prepare_star", "tomo", "--even_folder=even")
    assert status == 1 and "only one half" in log


TWO_DEVICES = """
import numpy as np
from isonet_scipion.engine.process.device import Devices, choose_devices
choose_devices()
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from isonet_scipion.engine.network.model_file import load_model
from isonet_scipion.engine.stages import refine as stage
results, devices = [], (("CPU:0",), ("CPU:0", "CPU:1"))
for number, replicas in enumerate(devices):
    stage.choose_devices = lambda *_: Devices("tensorflow", (), "float32", replicas)
    folder = f"on{number + 1}"
    typed = dict(
        cube_size=8, filter_base=2, unet_depth=1, convs_per_depth=2, stem=2, drop_out=0.0, fine=0,
        batch_normalization=False, iterations=1, epochs=2, steps_per_epoch=3, batch_size=4, learning_rate=0.02, seed=3,
        noise_level=(0.1,), noise_start_iter=(1,), preprocessing_ncpus=1, result_dir=folder)
    stage.refine("tomograms.star", typed)
    results.append([float(cell) for cell in open(f"{folder}/losses.csv").read().splitlines()[-1].split(",")[2:4]])
    results.append(load_model(f"{folder}/model_iter01.keras")[0].get_weights())
np.testing.assert_allclose(results[0], results[2], rtol=1e-4)
for one, two in zip(results[1], results[3]):
    np.testing.assert_allclose(one, two, atol=2e-3)
print("same")
"""


def test_two_devices_train_as_one(project, run):
    # batch statistics and dropout are those of each device's share, so both are off; at this rate fine layers would
    # make a difference of the sums' rounding
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES], capture_output=True, text=True)
    assert done.stdout.strip().endswith("same"), done.stderr[-2000:]
    status, log = run("refine", "tomograms.star", *RUN, "--batch_size=3")
    assert status == 1 and "batch_size: 3 is not a multiple of 2" in log


def test_keras_ops_only():
    """Only what chooses the devices names a backend, so that the engine runs on each."""
    engine = Path(sys.modules[OnePassModel.__module__].__file__).parent.parent
    naming = {
        path.name
        for path in engine.rglob("*.py")
        if re.search(r"^\s*(import|from) (tensorflow|jax|torch)\b", path.read_text(), re.MULTILINE)
    }
    assert naming == {"device.py"}
