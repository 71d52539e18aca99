"""The one-pass refinement: its training step in numbers, its data, and its runs."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from isonet_scipion.engine.process.device import Devices, choose_devices

choose_devices("-1")

import keras  # noqa: E402

from isonet_scipion.engine.errors import EngineError  # noqa: E402
from isonet_scipion.engine.io.mrc import open_volume, write_volume  # noqa: E402
from isonet_scipion.engine.learning import one_pass  # noqa: E402
from isonet_scipion.engine.learning.one_pass import DENOISED_COST, LearningRate, OnePass, _cosine  # noqa: E402
from isonet_scipion.engine.learning.one_pass_step import OnePassModel  # noqa: E402
from isonet_scipion.engine.learning.run import Run  # noqa: E402
from isonet_scipion.engine.learning.state import RunState  # noqa: E402
from isonet_scipion.engine.measure.history import EpochRecord  # noqa: E402
from isonet_scipion.engine.network.model_file import load_model, read_metadata, save_model  # noqa: E402
from isonet_scipion.engine.network.unet import denoises  # noqa: E402
from isonet_scipion.engine.physics.grey_scale import normalise  # noqa: E402
from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge  # noqa: E402
from isonet_scipion.engine.process.progress import Progress  # noqa: E402
from isonet_scipion.engine.sampling.training_positions import MARGIN, crop_side, fitting_cube  # noqa: E402
from isonet_scipion.engine.settings.training import OnePassSettings  # noqa: E402
from isonet_scipion.engine.simulation.phantom import make_truth  # noqa: E402

RUN = (
    "--method=one-pass", "--cube_size=8", "--filter_base=4", "--unet_depth=1", "--convs_per_depth=2",
    "--iterations=3", "--epochs=2", "--steps_per_epoch=2", "--batch_size=2", "--preprocessing_ncpus=2", "--seed=3",
)  # fmt: skip
ONCE = (*RUN, "--iterations=1", "--epochs=1", "--steps_per_epoch=1")


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


@pytest.mark.traced
def test_run_learns_from_halves_and_corrects_their_mean(project, run):
    status, log = run("refine", "tomograms.star", *RUN)
    assert status == 0 and "2 tomograms with halves" in log, log
    assert "With half tomograms: denoiser 16 unless other values are given." in log
    model = "results/model_iter03.keras"
    metadata = read_metadata(model)
    assert metadata.halves and metadata.corrects_mean and metadata.voxel_size == 10
    assert (metadata.network.stem, metadata.network.denoiser, metadata.network.drop_out) == (2, 16, 0.2)
    assert denoises(load_model(model)[0])  # the graphs of the last epochs are not those of the first, without it
    # not the tomogram that the table names, which a program may have filtered
    volume = open_volume("tomo/t0.mrc")
    write_volume("tomo/t0.mrc", np.roll(volume.data, 3, axis=2), 10.0)
    whole = "--calibrate=False"  # halves tell how strongly what is filled in is to count
    status, log = run("predict", "tomograms.star", model, "--tomo_idx=1", whole)
    assert status == 0 and "t0: the mean of its halves is corrected" in log, log
    ours = open_volume("corrected_tomos/t0_corrected.mrc").data
    write_volume("mean/t0.mrc", np.mean([open_volume(f"{half}/t0.mrc").data for half in ("even", "odd")], axis=0), 10.0)
    assert run("prepare_star", "mean", "--output_star=mean.star")[0] == 0
    status, log = run("predict", "mean.star", model, "--output_dir=mean_out", whole)
    assert status == 0 and "halves" not in log, log
    np.testing.assert_allclose(ours, open_volume("mean_out/t0_corrected.mrc").data, atol=1e-4)


@pytest.mark.usefixtures("untrained")
def test_a_model_that_corrects_each_half_still_does(project, run):
    assert run("refine", "tomograms.star", *ONCE)[0] == 0
    model, metadata = load_model("results/model_iter01.keras")
    rng = np.random.default_rng(0)  # by weights of its start it would change next to nothing
    model.set_weights([weight + rng.uniform(0, 0.1, weight.shape) for weight in model.get_weights()])
    save_model(Path("old.keras"), model, dataclasses.replace(metadata, corrects_mean=False))
    assert read_metadata("old.keras").by_halves
    whole = "--calibrate=False"  # by its own test each half would be weakened differently
    status, log = run("predict", "tomograms.star", "old.keras", "--tomo_idx=1", whole)
    assert status == 0 and "mean of its halves" not in log, log
    both = open_volume("corrected_tomos/t0_corrected.mrc").data
    for half in ("even", "odd"):
        assert run("prepare_star", half, f"--output_star={half}.star")[0] == 0
        status, log = run("predict", f"{half}.star", "old.keras", f"--output_dir={half}_out", whole)
        assert status == 0 and "trained on halves, but the table names none" in log, log
    halves = [open_volume(f"{half}_out/t0_corrected.mrc").data for half in ("even", "odd")]
    np.testing.assert_allclose(both, np.mean(halves, axis=0), atol=1e-4)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("given", "fine", "denoiser", "drop_out"),
    [
        ((), 0, 16, 0.2),
        (("--fine=0", "--denoiser=4"), 0, 4, 0.2),
        (("--denoiser=0",), 0, 0, 0.2),
        (("--fine=4", "--drop_out=0.3"), 4, 0, 0.3),
    ],
)
def test_what_is_given_goes_before_what_halves_take(project, run, given, fine, denoiser, drop_out):
    status, log = run("refine", "tomograms.star", *ONCE, *given)
    assert status == 0, log
    network = read_metadata("results/model_iter01.keras").network
    assert (network.fine, network.denoiser, network.drop_out) == (fine, denoiser, drop_out)
    assert ("With half tomograms" in log) == (given == ())
    assert "made it worse" not in log, log
    # from a model the network is the model's
    options = (*RUN[:2], *ONCE[-3:], "--batch_size=2", "--pretrained_model=results/model_iter01.keras", "--seed=1")
    status, log = run("refine", "tomograms.star", *options, "--result_dir=from")
    assert status == 0 and "With half tomograms" not in log, log
    assert "Cubes of 8 voxels: in simulations trainings from a model with cubes of 32 made it worse" in log, log
    assert read_metadata("from/model_iter01.keras").network == network


@pytest.mark.usefixtures("untrained")
def test_without_halves_the_network_is_the_usual_one(project, run):
    assert run("prepare_star", "tomo", "--output_star=whole.star")[0] == 0
    status, log = run("refine", "whole.star", *ONCE)
    assert status == 0 and "With half tomograms" not in log, log
    metadata, usual = read_metadata("results/model_iter01.keras"), OnePassSettings.network
    assert not metadata.halves and not metadata.corrects_mean
    assert (metadata.network.fine, metadata.network.denoiser, metadata.network.drop_out) == (0, 0, usual.drop_out)
    # a run that learned without them, or in the old way, is another
    status, log = run("refine", "tomograms.star", *ONCE, "--denoiser=0")
    assert status == 1 and "results" in log, log


def denoiser_of(path):
    return [weight.numpy() for weight in load_model(path)[0].weights if "denoiser" in weight.path]


def test_the_denoiser_is_trained_last_and_the_others_all_the_time(project, run):
    arguments = ("refine", "tomograms.star", *RUN, "--epochs=1", "--iterations=4")
    assert run(*arguments)[0] == 0
    models = [f"results/model_iter0{number}.keras" for number in range(1, 5)]
    assert [denoises(load_model(model)[0]) for model in models] == [False, False, True, True]
    first = denoiser_of(models[0])
    for ours, theirs in zip(denoiser_of(models[1]), first):
        np.testing.assert_array_equal(ours, theirs)
    assert not any(all(map(np.array_equal, denoiser_of(model), first)) for model in models[2:])
    for before, after in zip(models, models[1:]):
        one, other = (load_model(model)[0].get_layer("stem").get_weights()[0] for model in (before, after))
        assert not np.array_equal(one, other)
    # a denoiser that was trained stays with the others
    status, log = run(*arguments[:-1], "--iterations=5")
    assert status == 0 and "Going on with iteration 5" in log, log
    assert not all(map(np.array_equal, denoiser_of("results/model_iter05.keras"), denoiser_of(models[3])))


def test_halves_are_learned_from_as_their_mean_until_the_denoiser_is_trained(project, run, monkeypatch):
    drawn, dropped, made = [], [], []
    fit = OnePass.fit

    def spied(self, *how):
        losses = fit(self, *how)
        drawn.append(self._coming[1].batches.as_mean)
        dropped.append({layer.rate for layer in self.network.layers if "dropout" in layer.name})
        made.append(int(self.network.optimizer.iterations))
        return losses

    monkeypatch.setattr(OnePass, "fit", spied)
    assert run("refine", "tomograms.star", *RUN, "--iterations=4", "--epochs=1")[0] == 0
    assert drawn == [True, False, False, False]  # of the epoch that comes
    assert dropped == [{0.2}, {0.2}, {0.0}, {0.0}]
    assert made == [2, 4, 2, 4]  # steps of the optimiser, which begins anew


def test_the_rate_falls_and_rises_again_for_the_denoiser():
    rate = LearningRate(0.0, 57, warmup_target=0.1, warmup_steps=3)
    rate.denoising = keras.optimizers.schedules.CosineDecay(0.0, 19, warmup_target=0.1, warmup_steps=1)
    rate.denoised_from = 60
    found = np.array([float(rate(step)) for step in range(80)])
    assert found[0] == 0 and found[3] == pytest.approx(0.1) and (np.diff(found[3:60]) < 0).all()
    assert found[59] < 1e-3 and found[60] == 0 and found[61] == pytest.approx(0.1)
    assert (np.diff(found[61:]) < 0).all() and found[79] < 1e-3
    # an optimiser that starts in the middle of the run
    rate.before = 61
    again = np.array([float(rate(step)) for step in range(19)])
    assert again[0] == 0 and again[1] < 0.05
    np.testing.assert_allclose(again[3:], found[64:], rtol=1e-5)


def test_what_is_left_counts_epochs_with_the_denoiser_for_more(monkeypatch):
    method = object.__new__(OnePass)
    method.trainer, method.network = SimpleNamespace(is_whole=True), None
    monkeypatch.setattr(one_pass, "denoises", lambda network: is_trained)
    is_trained = False
    for denoiser, more in ((16, DENOISED_COST), (0, 1)):
        given = {"denoiser": denoiser, "seed": 1, "batch_size": 2, "steps_per_epoch": 10}
        method.settings = OnePassSettings.given(given)
        assert [method.cost(epoch) for epoch in (0, 69, 70, 99)] == [1, 1, more, more]
        run = Run(method, method.settings, {}, Devices("tensorflow", (), "float32"))
        assert run._steps_left() == 70 * 10 + 30 * 10 * more
        run.state.iteration = 20
        assert run._steps_left() == 5 * 10
    # gone on with for more iterations, once it was trained
    method.settings = OnePassSettings.given({"denoiser": 16, "iterations": 40})
    is_trained = True
    assert {method.cost(epoch) for epoch in range(100, 200)} == {DENOISED_COST}


def test_the_second_rise_takes_as_many_steps_as_the_first():
    rate = _cosine(4000, 0.004, LearningRate)
    rate.denoising, rate.denoised_from = _cosine(1000, 0.004), 2400
    rate.before = 2400  # its optimiser has begun anew
    found = np.array([float(rate(step)) for step in range(1000)])
    assert 180 < found.argmax() < 200 and 0.0037 < found.max() < 0.004  # it meets the fall, which began at step 50
    np.testing.assert_allclose(found[:180], 0.004 * np.arange(180) / 200, rtol=1e-5)


def test_idle_iterations_count_from_the_denoiser_on():
    run = Run.__new__(Run)
    run.settings = OnePassSettings.given({"denoiser": 4, "patience": 2, "epochs": 1, "iterations": 9})

    def has_settled(*with_denoiser):
        records = [EpochRecord(n, 1, 0.1, 0.1, 0, 1, 0.5, 0.01, used) for n, used in enumerate(with_denoiser, 1)]
        run.state = RunState(iteration=len(records) + 1, history=records)
        return run._has_settled()

    assert not has_settled(0, 0, 0, 0) and not has_settled(0, 0, 0, 1, 1)
    assert has_settled(0, 0, 0, 1, 1, 1)


def test_a_denoiser_needs_halves(project, run):
    assert run("prepare_star", "tomo", "--output_star=whole.star")[0] == 0
    status, log = run("refine", "whole.star", *RUN, "--denoiser=4")
    assert status == 1 and "denoiser: without half tomograms it can't learn" in log, log
    status, log = run("refine", "tomograms.star", *RUN, "--denoiser=4", "--fine=4")
    assert status == 1 and "denoiser: layers around all others (fine) remove noise, too" in log, log
    assert not Path("results").exists() or not list(Path("results").iterdir())


def test_a_run_that_is_cut_in_the_midst_of_an_epoch_ends_in_the_same_weights(project, run, monkeypatch):
    # with a denoiser: test_a_run_that_is_cut_trains_its_denoiser_to_the_same_weights
    plain = (*RUN, "--iterations=2", "--denoiser=0")
    assert run("refine", "tomograms.star", *plain)[0] == 0
    with monkeypatch.context() as cut:
        left, advance = iter(range(7)), Progress.advance  # in the second iteration

        def cut_short(progress, *how):
            if next(left, None) is None:
                raise EngineError("", "cut", "")
            advance(progress, *how)

        cut.setattr(Progress, "advance", cut_short)
        assert "cut" in run("refine", "tomograms.star", *plain, "--result_dir=cut")[1]
    status, log = run("refine", "tomograms.star", *plain, "--result_dir=cut")
    assert status == 0 and "Going on with iteration 2 after 0 of its epochs" in log, log
    for ours, theirs in zip(weights("results/model_iter02.keras"), weights("cut/model_iter02.keras")):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.traced
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
        cube_size=8, filter_base=2, unet_depth=1, convs_per_depth=2, stem=2, drop_out=0.0, denoiser=0,
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
    # batch statistics and dropout are those of each device's share, so both are off; at this rate a denoiser would
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
