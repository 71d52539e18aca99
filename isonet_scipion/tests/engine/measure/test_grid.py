"""The measure of a grid finds one along an axis or a diagonal and none in noise; none is left in what is added."""

import numpy as np
import pytest

from isonet_scipion.engine.measure.grid import grid_peak

SHAPE = (64, 128, 128)


def noise(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_noise_has_none():
    assert grid_peak(noise()) < 1.8


@pytest.mark.parametrize("period", [2, 4, 8])
@pytest.mark.parametrize("axes", [(0,), (2,), (0, 1), (0, 1, 2)])
def test_a_faint_grid_is_found(period, axes):
    grid = np.prod([np.cos(2 * np.pi * np.indices(SHAPE)[axis] / period) for axis in axes], axis=0)
    assert grid_peak(noise() + 0.2 / grid.std() * grid) > 4


def test_volumes_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="below 32"):
        grid_peak(noise((32, 31, 32)))


@pytest.mark.parametrize("pool", [None, (2, 2, 2)])
def test_no_network_leaves_one_whatever_its_weights(pool):
    keras = pytest.importorskip("keras")
    from isonet_scipion.engine.network.correction import corrector
    from isonet_scipion.engine.network.unet import build_unet, run_network
    from isonet_scipion.engine.physics.wedge import TiltRange
    from isonet_scipion.engine.settings.network import NetworkSettings

    def made(fine):
        """What it adds to a noisy slab of ice, with weights and offsets drawn at random, and what is kept of this."""
        keras.utils.set_random_seed(1)
        shape = NetworkSettings(filter_base=4, unet_depth=2, convs_per_depth=2, stem=2, fine=fine, pool=pool)
        model, rng = build_unet(shape), np.random.default_rng(2)
        for variable in model.trainable_variables:
            spread = 1 / np.sqrt(np.prod(variable.shape[:-1])) if len(variable.shape) > 1 else 0.5
            variable.assign(np.array(variable) + spread * rng.normal(size=variable.shape))
        ice = noise(SHAPE, 3)[None]
        inside = (0, *(slice(16, -16),) * 3)
        return [
            (result - ice)[inside]
            for result in (run_network(model, ice), corrector(model, shape, TiltRange(-60, 60))(ice))
        ]

    without, filtered, with_them, kept = (grid_peak(added) for fine in (0, 4) for added in made(fine))
    print("without fine layers", without, "filtered", filtered, "with them", with_them, kept)
    assert without > 100 and filtered < 0.05 * without and with_them == kept < 0.05 * without


@pytest.mark.traced
def test_what_one_pass_learns_from_halves_by_default_leaves_none(tmp_path, run):
    pytest.importorskip("keras")
    from isonet_scipion.engine.io.mrc import open_volume, write_volume
    from isonet_scipion.engine.simulation.phantom import make_truth

    truth = make_truth((64, 64, 64), 10.0, 1)
    halves = [noise(truth.shape, number) - truth for number in range(2)]
    for folder, volume in zip(("tomo", "even", "odd"), (np.mean(halves, axis=0), *halves)):
        write_volume(tmp_path / folder / "t.mrc", volume, 10.0)
    assert run("prepare_star", "tomo", "--even_folder=even", "--odd_folder=odd")[0] == 0
    # of one epoch, which trains the denoiser from its first step on
    short = ("--iterations=1", "--epochs=1", "--steps_per_epoch=30", "--cube_size=32", "--seed=1")
    status, log = run("refine", "tomograms.star", "--method=one-pass", *short)
    assert status == 0, log
    status, log = run("predict", "tomograms.star", "results/model_iter01.keras", "--report=False")
    assert status == 0, log
    made = open_volume("corrected_tomos/t_corrected.mrc").data - open_volume("tomo/t.mrc").data
    # where what the denoiser is given is not filtered it leaves 7 (features) to 500 (voxels)
    assert made.std() > 0.01 and grid_peak(made) < 2.5
