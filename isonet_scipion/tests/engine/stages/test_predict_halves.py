"""predict with half tomograms, and how strongly what is filled in counts."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.measure.hidden_wedge import HiddenWedgeTest
from isonet_scipion.engine.measure.wedge_power import wedge_power_ratio
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.io.model_metadata import ModelMetadata  # noqa: E402
from isonet_scipion.engine.network.model_file import save_model  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402
from isonet_scipion.engine.stages import predict as stage  # noqa: E402

SHAPE = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)


@pytest.mark.parametrize("facts", [{"kept_beyond": 24}, {"simulated": True}, {}])
def test_what_the_hidden_wedge_test_does_not_support_is_weakened(noise_twice, run, tmp_path, facts):
    """The network has random weights: what it puts into the wedge is invented."""
    model, rng = build_unet(SHAPE), np.random.default_rng(0)
    model.set_weights([weight + 0.3 * rng.normal(size=weight.shape) ** 2 for weight in model.get_weights()])
    save_model(tmp_path / "own.keras", model, ModelMetadata(SHAPE, voxel_size=10.0, **facts))
    powers = {}
    for calibrate in ("False", "True", None):
        given = ["--calibrate", calibrate] if calibrate else []
        folder = f"out{calibrate}"
        wanted = ["--report", "False", "--tomo_idx", "1", "--output_dir", folder, *given]
        status, log = run("predict", "tomograms.star", "own.keras", *wanted)
        assert status == 0, log
        said = re.findall(r"a: what is filled in is multiplied by (\d.\d\d) at 100 A", log)
        assert len(said) == (calibrate == "True" or (calibrate is None and bool(facts)))
        powers[calibrate] = wedge_power_ratio(open_volume(str(tmp_path / folder / "a_corrected.mrc")).data, TiltRange())
    assert powers["True"] < 0.3 * powers["False"]
    assert powers[None] == powers["True" if facts else "False"]


@pytest.mark.parametrize("of_model", [{"halves": True, "corrects_mean": True}, {"halves": True}, {}])
def test_halves_tell_how_much_of_the_signal_is_kept(run, tmp_path, monkeypatch, of_model):
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(48, 64, 64))
    noise = rng.normal(size=(2, *signal.shape))
    for folder, volume in zip(("tomo", "even", "odd"), (signal + noise.mean(axis=0), *(signal + noise))):
        write_volume(tmp_path / folder / "a.mrc", volume.astype("f4"), 10.0)
    save_model(tmp_path / "m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0, **of_model))
    kept = []
    monkeypatch.setattr(stage, "corrector", lambda *_, **__: lambda tiles: 0.5 * tiles)
    monkeypatch.setattr(HiddenWedgeTest, "strength", lambda self, given, transfer: kept.append(given))
    assert run("prepare_star", "tomo", "--even_folder", "even", "--odd_folder", "odd")[0] == 0
    status, log = run("predict", "tomograms.star", "m.keras", "--report", "False", "--calibrate", "True")
    assert status == 0, log
    np.testing.assert_allclose(kept[0].amplitudes()[3:], 0.5, rtol=1e-3)


def halves_of_another_scale(folder, model, factor, more, kind="f4", pad=0):
    """Write a tomogram, its halves times a factor and with an offset, and a model: returns the tomogram's voxels."""
    rng = np.random.default_rng(0)
    signal, *noise = rng.normal(size=(3, 48, 64, 64))
    halves = [signal + one for one in noise]
    whole = np.pad(np.mean(halves, axis=0), ((0, 0), (pad, 0), (0, 0)), constant_values=-9)
    for name, volume in (("even", halves[0]), ("odd", halves[1])):
        volume = np.pad(volume * factor + more, ((0, 0), (pad, 0), (0, 0)), constant_values=-9 * factor + more)
        write_volume(folder / name / "a.mrc", volume.astype(kind), 10.0)
    write_volume(folder / "tomo" / "a.mrc", whole.astype("f4"), 10.0)
    save_model(folder / "m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0, **model))
    return whole


@pytest.mark.parametrize("model", [{"halves": True, "corrects_mean": True}, {"halves": True}])
@pytest.mark.parametrize(("factor", "more", "kind", "pad"), [
    (1000, 5000, "i2", 0),
    (0.5, 0, "f4", 0),  # the tomogram is their sum
    (1, 3, "f4", 7),
    (1, 0, "f4", 0),
])  # fmt: skip
def test_what_is_made_of_halves_has_the_grey_scale_of_the_tomogram(
    run, tmp_path, monkeypatch, model, factor, more, kind, pad
):
    whole, drawn = halves_of_another_scale(tmp_path, model, factor, more, kind, pad), []
    monkeypatch.setattr(stage, "corrector", lambda *_, **__: lambda tiles: tiles)
    monkeypatch.setattr(stage, "save_comparison", lambda _, before, after, *__: drawn.append((before, after[:])))
    assert run("prepare_star", "tomo", "--even_folder", "even", "--odd_folder", "odd")[0] == 0
    command = ("predict", "tomograms.star", "m.keras", "--report", "False", "--output_dir")
    status, log = run(*command, "own")
    assert status == 0 and ("another grey scale" in log) == ((factor, more) != (1, 0)), log
    np.testing.assert_allclose(open_volume("own/a_corrected.mrc").data, whole, atol=2e-3)
    np.testing.assert_allclose(*drawn[0], atol=2e-3)
    # IsoNet 0.2's scale, in the border as in the data
    assert run(*command, "normalised", "--normalized_output", "True")[0] == 0
    made = open_volume("normalised/a_corrected.mrc").data
    np.testing.assert_allclose(np.percentile(made[:, pad:], (4, 96)), (-1, 0), atol=0.1)
    low, high = np.percentile(whole[:, pad:], (4, 96))
    np.testing.assert_allclose(made[:, :pad], (-9 - high) / (high - low), atol=0.6)


def test_halves_of_another_scale_are_shown_on_the_tomograms(run, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(stage, "corrector", lambda *_, **__: np.tanh)
    monkeypatch.setattr(HiddenWedgeTest, "strength", lambda self, given, transfer: kept.append(given))
    for number, (factor, more) in enumerate([(1, 0), (1000, 500)]):
        halves_of_another_scale(tmp_path, {}, factor, more)
        if not number:
            assert run("prepare_star", "tomo", "--even_folder", "even", "--odd_folder", "odd")[0] == 0
        command = ("--report", "False", "--calibrate", "True", "--output_dir", str(number))
        assert run("predict", "tomograms.star", "m.keras", *command)[0] == 0
    same, other = (one.amplitudes() for one in kept[::2])
    assert same[5:].min() > 0.1 and same[5:].max() < 0.9
    np.testing.assert_allclose(other, same, rtol=1e-3)


@pytest.mark.parametrize("model", [{"halves": True, "corrects_mean": True}, {}])
def test_a_report_and_a_confidence_do_not_depend_on_the_scale_of_halves(run, tmp_path, monkeypatch, model):
    told = []
    for number, (factor, more) in enumerate([(1, 0), (1000, 500)]):
        halves_of_another_scale(tmp_path, model, factor, more)
        if not number:
            assert run("prepare_star", "tomo", "--even_folder", "even", "--odd_folder", "odd")[0] == 0
        command = ("--confidence", "True", "--output_dir", str(number))
        status, log = run("predict", "tomograms.star", "m.keras", *command)
        assert status == 0, log
        told.append(json.loads(Path(f"{number}/a_corrected_report.json").read_text()))
    for key, value in told[0].items():
        if isinstance(value, float):
            assert told[1][key] == pytest.approx(value, abs=2e-3), key


def test_halves_that_do_not_fit_are_told_before_the_work(run, tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("tomo", "even", "odd"):
        write_volume(tmp_path / folder / "a.mrc", rng.normal(size=(32, 64, 64)).astype("f4"), 10.0)
    save_model(tmp_path / "m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0))
    assert run("prepare_star", "tomo", "--even_folder", "even", "--odd_folder", "odd")[0] == 0
    write_volume(tmp_path / "odd" / "a.mrc", rng.normal(size=(32, 64, 32)).astype("f4"), 10.0)
    status, log = run("predict", "tomograms.star", "m.keras")
    assert status == 1 and re.search(r"error: odd/a.mrc: .*\(32, 64, 32\)", log), log
    assert not Path("corrected_tomos").exists()
    status, log = run("predict", "tomograms.star", "m.keras", "--report", "False", "--calibrate", "False")
    assert status == 0, log
