"""What a one-pass run makes of its table: halves and deconvolution, tilt ranges, voxel sizes."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine import cli
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.star import Star, read_star, write_star
from isonet_scipion.engine.io.tomogram_entry import TomogramEntry
from isonet_scipion.engine.network.model_file import read_metadata
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge
from isonet_scipion.engine.process.device import Devices
from isonet_scipion.engine.settings.training import METHODS, OnePassSettings
from isonet_scipion.engine.simulation.phantom import make_truth, through_tilts
from isonet_scipion.engine.stages import refine as stage

RUN = (
    "--method=one-pass", "--cube_size=16", "--filter_base=2", "--unet_depth=1", "--convs_per_depth=2",
    "--iterations=1", "--epochs=1", "--steps_per_epoch=1", "--batch_size=2", "--preprocessing_ncpus=1", "--seed=3",
    "--batch_normalization=False", "--drop_out=0",
)  # fmt: skip
TILT = TiltRange(-66, 30)
BARELY = ("--report=False", "--calibrate=False")
WARNING = "deconvolved, but the model was trained"
pytestmark = pytest.mark.usefixtures("untrained")


@pytest.fixture(scope="module")
def deconvolved(tmp_path_factory):
    """A folder of two tomograms with halves, tilted by TILT, both deconvolved, and their table."""
    folder, rng = tmp_path_factory.mktemp("deconvolved"), np.random.default_rng(0)
    for name in "ab":
        halves = [apply_wedge(rng.normal(size=(48, 48, 48)).astype(np.float32), TILT) for _ in range(2)]
        for kind, volume in zip(("tomo", "even", "odd"), (np.mean(halves, axis=0), *halves)):
            write_volume(folder / kind / f"{name}.mrc", volume, 10.0)
    told = ("--tilt_min=-66", "--tilt_max=30", "--defocus=30000", "--number_subtomos=4")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main(["prepare_star", "tomo", "--even_folder=even", "--odd_folder=odd", *told]) == 0
        assert cli.main(["deconv", "tomograms.star"]) == 0
    return folder


@pytest.fixture
def table(deconvolved, tmp_path, run):
    """Its table, in a copy that is the working folder."""
    shutil.copytree(deconvolved, tmp_path, dirs_exist_ok=True)
    return read_star("tomograms.star")


def put(table, values, rows=(0, 1)):
    for row in rows:
        for label, value in values.items():
            table.set(table.rows[row], label, value)
    write_star("tomograms.star", table)


def test_a_model_knows_all_tilt_ranges_that_it_was_trained_for(table, run):
    put(table, {"rlnTiltMin": -48, "rlnTiltMax": 60}, rows=(1,))
    assert run("refine", "tomograms.star", *RUN, "--use_deconv_tomo=False")[0] == 0
    assert read_metadata("results/model_iter01.keras").tilts_in_words == "-66..60 to -48..30"
    predict = ("predict", "tomograms.star", "results/model_iter01.keras", "--use_deconv_tomo=False", *BARELY)
    status, log = run(*predict)
    assert status == 0 and "the model was trained for" not in log, log
    put(table, {"rlnTiltMin": -40, "rlnTiltMax": 60}, rows=(1,))
    status, log = run(*predict, "--output_dir=other")
    assert status == 0 and log.count("the model was trained for -66..60 to -48..30 degrees") == 1, log
    assert "b.mrc: tilts -40..60, but" in log


def test_halves_that_are_not_those_of_the_deconvolved_tomogram_are_refused(table, run):
    status, log = run("refine", "tomograms.star", *RUN)
    assert status == 1 and "deconv/a.mrc: it is deconvolved, but the halves that tomograms.star names are not" in log
    assert not Path("results").exists()
    status, log = run("refine", "tomograms.star", *RUN, "--use_deconv_tomo=False")
    assert status == 0 and read_metadata("results/model_iter01.keras").deconvolved is False, log
    status, log = run("predict", "tomograms.star", "results/model_iter01.keras")
    assert status == 1 and "the halves that tomograms.star names are not" in log
    assert not Path("corrected_tomos").exists()
    status, log = run("predict", "tomograms.star", "results/model_iter01.keras", "--use_deconv_tomo=False", *BARELY)
    assert status == 0 and WARNING not in log, log


def test_tomograms_that_lack_halves_that_others_have_are_named_before_any_is_read(table, run, monkeypatch):
    monkeypatch.setattr("isonet_scipion.engine.learning.one_pass_batches.read_source", None)
    put(table, {f"rlnTomoReconstructedTomogramHalf{half}": None for half in (1, 2)}, rows=(1,))
    status, log = run("refine", "tomograms.star", *RUN, "--use_deconv_tomo=False")
    assert status == 1 and "tomograms.star: only some of the tomograms have halves, not b. Name both" in log, log


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


def run_on_a_gpu(run, arguments, monkeypatch):
    """A command with the choices of a GPU, which the CPU carries out: its exit status and its messages."""
    here = Devices("tensorflow", ("a GPU",), "float32", ("CPU:0",))
    with monkeypatch.context() as patch:
        patch.setattr(stage, "choose_devices", lambda *_: here)
        return run(*arguments)


def test_a_training_goes_on_with_the_preset_that_it_was_begun_with(table, run, monkeypatch):
    arguments = ["refine", "tomograms.star", "--use_deconv_tomo=False", *RUN]
    arguments = [one for one in arguments if "batch_size" not in one and "steps_per_epoch" not in one]
    monkeypatch.setattr(OnePassSettings, "STEPS", 2)
    monkeypatch.setattr(OnePassSettings, "STEPS_WITH_DENOISER", 2)
    status, log = run_on_a_gpu(run, arguments, monkeypatch)
    assert status == 0 and "Preset medium: 4 times as many steps" in log and "4 steps x 4 pairs" in log, log
    status, log = run(*arguments, "--iterations=2")
    assert status == 0 and "Going on with iteration 2" in log and "4 steps x 4 pairs of 16^3; CPU" in log, log
    status, log = run(*arguments, "--iterations=3", "--preset=small")
    assert status == 1 and "it holds a run with steps_per_epoch 4, not 1" in log, log
    # what the preset came to is restored, and another one is not ignored without a word
    again = ("refine", "tomograms.star", "--continue_from=results/refine_iter02.json", "--iterations=3")
    status, log = run(*again, "--preset=large", "--result_dir=other")
    assert status == 0 and "preset has no effect, as steps_per_epoch is 4." in log, log


def test_a_training_with_a_preset_is_gone_on_with_without_a_warning(table, run, monkeypatch):
    monkeypatch.setattr(OnePassSettings, "STEPS_WITH_DENOISER", 1)
    arguments = [one for one in ("refine", "tomograms.star", "--use_deconv_tomo=False", *RUN) if "steps_per" not in one]
    assert run(*arguments, "--preset=medium")[0] == 0
    status, log = run("refine", "tomograms.star", "--continue_from=results/refine_iter01.json", "--iterations=2")
    assert status == 0 and " x 4 steps x 2 pairs" in log and "preset has no effect" not in log, log


def test_a_training_begun_on_a_gpu_goes_on_elsewhere_with_its_steps(table, run, monkeypatch):
    arguments = ("refine", "tomograms.star", "--use_deconv_tomo=False", *RUN, "--steps_per_epoch=4")
    arguments = [one for one in arguments if "batch_size" not in one]
    status, log = run_on_a_gpu(run, arguments, monkeypatch)
    assert status == 0 and "4 pairs in a step, as suits the GPU" in log and "2 steps instead of 4" in log, log
    status, log = run(*arguments, "--iterations=2")
    assert status == 0 and "Going on with iteration 2" in log and "2 steps x 4 pairs of 16^3; CPU" in log, log
    stored = json.loads(Path("results/refine_iter02.json").read_text())
    assert (stored["batch_size"], stored["steps_per_epoch"]) == (4, 2)
    assert stored["learning_rate"] == 0.004 * math.sqrt(2)
    status, log = run(*arguments, "--iterations=3", "--batch_size=2")
    assert status == 1 and "it holds a run with steps_per_epoch 2, not 4" in log, log
    monkeypatch.setattr(
        stage, "choose_devices", lambda *_: Devices("jax", ("a GPU",) * 3, "float32", ("GPU:0", "GPU:1", "GPU:2"))
    )
    status, log = run(*arguments, "--iterations=3")
    assert status == 1 and "4 pairs in a step, which 3 can't share. Go on with it on one GPU" in log, log


def test_the_tilt_range_is_checked_against_the_data(table, run):
    put(table, {"rlnDeconvTomoName": "None", "rlnTiltMin": -30, "rlnTiltMax": 66}, rows=[1])
    put(table, {"rlnDeconvTomoName": "None"})
    status, log = run("refine", "tomograms.star", *RUN)
    warnings = [line for line in log.splitlines() if "the tilt range" in line]
    assert status == 0 and len(warnings) == 1, log
    assert "b.mrc: the tilt range -30..66 seems to be mirrored" in warnings[0]
    assert "degrees are assumed" not in log


def test_tilt_ranges_that_only_some_rows_have_are_told_by_each_stage(table, run):
    put(table, {"rlnDeconvTomoName": "None", "rlnTiltMin": "None", "rlnTiltMax": "None"}, rows=[1])
    put(table, {"rlnDeconvTomoName": "None"})
    told = "no tilt range (rlnTiltMin and rlnTiltMax) of b: -60..60 degrees are assumed."
    status, log = run("refine", "tomograms.star", *RUN)
    assert status == 0 and log.count(told) == 1, log
    status, log = run("predict", "tomograms.star", "results/model_iter01.keras", *BARELY)
    assert status == 0 and log.count(told) == 1, log
    status, log = run("extract", "tomograms.star", "--cube_size=16", "--crop_size=24")
    assert status == 0 and log.count(told) == 1, log
    cubes = read_star("subtomo.star")
    for label in ("rlnTiltMin", "rlnTiltMax"):
        cubes.set(cubes.rows[0], label, "None")
    write_star("subtomo.star", cubes)
    status, log = run("refine", "subtomo.star", "--result_dir=cubes", *RUN[2:])
    assert status == 0 and "of a_000000: -60..60 degrees are assumed." in log, log
    options = ("--result_dir=given", "--tilt_min=-66", "--tilt_max=30")
    status, log = run("refine", "subtomo.star", *options, *RUN[2:])
    assert status == 0 and "degrees are assumed" not in log, log


@pytest.mark.parametrize(("shapes", "told"), [([64, 30], True), ([30, 31], False), ([90, 64], False)])
def test_a_thin_tomogram_that_makes_all_cubes_small_is_named(caplog, shapes, told):
    star = Star([], path="t.star")
    entries = [TomogramEntry(f"TS_{number}", {}, star) for number in range(len(shapes))]
    side = stage._fitting_cube(entries, [(shape, 99, 99) for shape in shapes], OnePassSettings(), 8)
    assert side == (8 if min(shapes) < 32 else 48)
    words = (
        "t.star: cubes of 8 voxels, as the shortest sides of some tomograms have no room for larger ones: TS_1 (30)."
    )
    assert (words in caplog.text) == bool(caplog.text) == told


@pytest.mark.parametrize("sign", [1, -1])
def test_subtomograms_in_which_protein_is_bright_are_told(tmp_path, run, sign):
    truth = make_truth((48, 96, 96), 10.0, seed=2)
    seen = sign * through_tilts(truth, 10.0, TiltRange(-60, 60), CtfParameters(), snr=2, seed=1)
    Path("cubes").mkdir()
    for number, (y, x) in enumerate(np.ndindex(2, 2)):
        cube = seen[8:40, 16 + 32 * y : 48 + 32 * y, 16 + 32 * x : 48 + 32 * x]
        write_volume(f"cubes/{number}.mrc", np.ascontiguousarray(cube), 10.0)
    assert run("prepare_subtomo_star", "cubes", "--cube_size=16")[0] == 0
    status, log = run("refine", "subtomo.star", *RUN[2:])
    assert status == 0, log
    told = "cubes/0.mrc and others: by the grey values protein seems to be bright, but it is taken as dark (multiply"
    assert (told in log) == (sign < 0), log


@pytest.mark.parametrize("method", ["one-pass", "iterative"])
def test_unlike_voxel_sizes_are_refused(table, run, method):
    put(table, {"rlnPixelSize": 14.0}, rows=[1])
    put(table, {"rlnDeconvTomoName": "None"})  # another voxel size would need another deconvolution
    of_tables = {"one-pass": "tomograms.star: its tomograms", "iterative": "subtomo.star: its subtomograms"}
    options = RUN[1:]
    if method == "iterative":
        assert run("extract", "tomograms.star", "--cube_size=16", "--crop_size=24")[0] == 0
        options = RUN[2:]
    status, log = run("refine", of_tables[method].split(":")[0], f"--method={method}", *options)
    assert status == 1 and f"{of_tables[method]} have voxel sizes from 10 to 14 A" in log, log
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
        ("one-pass", METHODS["one-pass"].WITH_HALVES, False),  # they have a denoiser
    ],
)
def test_float16_is_allowed_to_new_networks_of_normalised_features(monkeypatch, method, given, fits):
    monkeypatch.setattr(stage, "choose_devices", lambda *asked: asked)
    assert stage._devices(METHODS[method].given(given))[:3] == (None, "auto", fits)


def test_deconvolved_and_other_tomograms_are_not_learned_from_together(table, run):
    put(table, {label: "None" for label in table.labels if "Half" in label})
    names = [row["rlnDeconvTomoName"] for row in table.rows]
    assert run("extract", "tomograms.star", "--cube_size=16", "--crop_size=24", "--seed=1")[0] == 0
    put(table, {"rlnDeconvTomoName": "None"}, rows=[1])
    status, log = run("refine", "tomograms.star", *RUN)
    assert status == 1 and (
        "tomograms.star: only some of the tomograms are deconvolved, not b. Run deconv on these too, take them out of "
        "the table, or give --use_deconv_tomo False." in log
    ), log
    subtomograms = read_star("subtomo.star")
    for row in subtomograms.rows:
        subtomograms.set(row, "isonetDeconvolved", int(row["rlnTomoName"] == "a"))
    write_star("subtomo.star", subtomograms)
    status, log = run("refine", "subtomo.star", *RUN[2:])
    assert status == 1 and (
        "subtomo.star: only some of the subtomograms are of deconvolved tomograms, not those of b. Extract all" in log
    ), log
    assert not Path("results").exists()
    # what some rows don't tell is not known of the model
    for row in subtomograms.rows:
        subtomograms.set(row, "isonetDeconvolved", 1 if row["rlnTomoName"] == "a" else "None")
    write_star("subtomo.star", subtomograms)
    assert run("refine", "subtomo.star", *RUN[2:])[0] == 0
    assert read_metadata("results/model_iter01.keras").deconvolved is None
    # one-pass tells which of them have no mask
    write_volume("mask.mrc", np.ones((48, 48, 48), np.int8), 10.0)
    put(table, {"rlnDeconvTomoName": names[1], "rlnMaskName": "None"}, rows=[1])
    put(table, {"rlnMaskName": "mask.mrc"}, rows=[0])
    status, log = run("refine", "tomograms.star", *RUN, "--result_dir=other")
    assert status == 0 and "have masks, not b: crops are taken anywhere in these. Make masks of these too." in log, log
    assert read_metadata("other/model_iter01.keras").deconvolved is True


def test_subtomograms_for_cubes_of_several_sizes_are_refused(table, run):
    assert run("extract", "tomograms.star", "--cube_size=16", "--crop_size=24")[0] == 0
    subtomograms = read_star("subtomo.star")
    subtomograms.set(subtomograms.rows[3], "rlnCubeSize", 8)
    write_star("subtomo.star", subtomograms)
    status, log = run("refine", "subtomo.star", *RUN[2:])
    assert status == 1 and (
        "subtomo.star: its rows have rlnCubeSize 8, 16; all must be equal. Extract all with one cube_size, or" in log
    ), log
    assert not Path("results").exists()


@pytest.mark.parametrize("size", [0, -16])
def test_subtomograms_for_cubes_of_no_size_are_refused(table, run, size):
    assert run("extract", "tomograms.star", "--cube_size=16", "--crop_size=24")[0] == 0
    subtomograms = read_star("subtomo.star")
    for row in subtomograms.rows:
        subtomograms.set(row, "rlnCubeSize", size)
    write_star("subtomo.star", subtomograms)
    status, log = run("refine", "subtomo.star", *RUN[2:])
    assert status == 1 and f"subtomo.star: its rlnCubeSize {size} is too small. Make it anew with --cube_size" in log
