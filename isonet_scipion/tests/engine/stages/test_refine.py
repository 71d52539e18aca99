"""What a one-pass run makes of its table: halves and deconvolution, tilt ranges, voxel sizes."""

import json
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.star import read_star, write_star
from isonet_scipion.engine.network.model_file import read_metadata
from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge
from isonet_scipion.engine.settings import METHODS
from isonet_scipion.engine.stages import refine as stage

RUN = (
    "--method=one-pass", "--cube_size=16", "--filter_base=2", "--unet_depth=1", "--iterations=1", "--epochs=1",
    "--steps_per_epoch=1", "--batch_size=2", "--preprocessing_ncpus=1", "--seed=3",
)  # fmt: skip
TILT = TiltRange(-66, 30)
WARNING = "deconvolved, but the model was trained"


@pytest.fixture
def table(tmp_path, run):
    """Two tomograms with halves, tilted by TILT, both deconvolved."""
    rng = np.random.default_rng(0)
    for name in "ab":
        halves = [apply_wedge(rng.normal(size=(48, 48, 48)).astype(np.float32), TILT) for _ in range(2)]
        for folder, volume in zip(("tomo", "even", "odd"), (np.mean(halves, axis=0), *halves)):
            write_volume(tmp_path / folder / f"{name}.mrc", volume, 10.0)
    tilts = ("--tilt_min=-66", "--tilt_max=30", "--defocus=30000")
    assert run("prepare_star", "tomo", "--even_folder=even", "--odd_folder=odd", *tilts)[0] == 0
    assert run("deconv", "tomograms.star")[0] == 0
    return read_star("tomograms.star")


def put(table, values, rows=(0, 1)):
    for row in rows:
        for label, value in values.items():
            table.set(table.rows[row], label, value)
    write_star("tomograms.star", table)


def test_halves_that_are_not_those_of_the_deconvolved_tomogram_are_refused(table, run):
    status, log = run("refine", "tomograms.star", *RUN)
    assert status == 1 and "deconv/a.mrc: it is deconvolved, but the halves that tomograms.star names are not" in log
    assert not Path("results").exists()
    status, log = run("refine", "tomograms.star", *RUN, "--use_deconv_tomo=False")
    assert status == 0 and read_metadata("results/model_iter01.keras").deconvolved is False, log
    status, log = run("predict", "tomograms.star", "results/model_iter01.keras")
    assert status == 1 and "the halves that tomograms.star names are not" in log
    assert not Path("corrected_tomos").exists()
    status, log = run("predict", "tomograms.star", "results/model_iter01.keras", "--use_deconv_tomo=False")
    assert status == 0 and WARNING not in log, log


def test_halves_of_a_tomogram_that_is_itself_the_deconvolved_one_count_as_deconvolved(table, run):
    for row in table.rows:
        table.set(row, "rlnDeconvTomoName", row["rlnMicrographName"])
    put(table, {})
    assert run("refine", "tomograms.star", *RUN)[0] == 0
    assert read_metadata("results/model_iter01.keras").deconvolved is True
    status, log = run("predict", "tomograms.star", "results/model_iter01.keras", "--tomo_idx=1")
    assert status == 0 and WARNING not in log, log
    # so what the network makes of each half can be compared
    report = json.loads(Path("corrected_tomos/a_corrected_report.json").read_text())
    assert "halves_measured_after" in report["curves"]


def test_the_tilt_range_is_checked_against_the_data(table, run):
    put(table, {"rlnDeconvTomoName": "None", "rlnTiltMin": -30, "rlnTiltMax": 66}, rows=[1])
    put(table, {"rlnDeconvTomoName": "None"})
    status, log = run("refine", "tomograms.star", *RUN)
    warnings = [line for line in log.splitlines() if "the tilt range" in line]
    assert status == 0 and len(warnings) == 1, log
    assert "b and others: the tilt range -30..66 seems to be mirrored" in warnings[0]


@pytest.mark.parametrize("method", ["one-pass", "iterative"])
def test_unlike_voxel_sizes_are_refused(table, run, method):
    put(table, {"rlnPixelSize": 14.0}, rows=[1])
    of_tables = {"one-pass": "tomograms.star", "iterative": "subtomo.star"}
    options = RUN[1:]
    if method == "iterative":
        assert run("extract", "tomograms.star", "--cube_size=16", "--crop_size=24")[0] == 0
        options = RUN[2:]
    status, log = run("refine", of_tables[method], f"--method={method}", *options)
    assert status == 1 and f"{of_tables[method]}: its tomograms have voxel sizes from 10 to 14 A" in log, log
    assert not Path("results").exists()


def test_options_of_the_other_method_are_refused(table, run):
    assert run("extract", "tomograms.star", "--cube_size=16", "--crop_size=24")[0] == 0
    for star, method, option in (
        ("subtomo.star", "iterative", "--use_deconv_tomo=False"),
        ("tomograms.star", "one-pass", "--select_subtomo_number=2"),
    ):
        status, log = run("refine", star, f"--method={method}", option)
        name = option[2:].split("=")[0]
        assert status == 1 and f"{name}: the method {method} does not take it." in log, log
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("method", "given", "fits"),
    [
        ("iterative", {}, True),
        ("iterative", {"batch_normalization": False}, False),
        ("iterative", {"fine": 8}, False),
        ("iterative", {"pretrained_model": "model.h5"}, False),
        ("one-pass", {}, True),
        ("one-pass", METHODS["one-pass"].WITH_HALVES, False),  # they have fine layers
    ],
)
def test_float16_is_allowed_to_new_networks_of_normalised_features(monkeypatch, method, given, fits):
    monkeypatch.setattr(stage, "choose_devices", lambda *asked: asked)
    assert stage._devices(METHODS[method].given(given))[:3] == (None, "auto", fits)
