"""The confidence volume as the commands write it."""

import json
from pathlib import Path

import mrcfile
import numpy as np

from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.report_file import read_report, report_path
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.network.model_file import save_model
from isonet_scipion.engine.network.unet import build_unet
from isonet_scipion.engine.settings.network import NetworkSettings

OURS = Path("corrected_tomos/TS_01_corrected_confidence.mrc")


def tomogram(border=0):
    data = np.random.default_rng(0).normal(0, 1, (48, 48, 56 + border)).astype(np.float32)
    data[16:32, 10:30, 10:30] -= 4
    data[:, :, 56:] = 0
    return data


def prepared(run, border=0):
    write_volume("tomoset/TS_01.mrc", tomogram(border), 10.0)
    with mrcfile.open("tomoset/TS_01.mrc", "r+") as mrc:
        mrc.header.origin = (10.0, 20.0, 30.0)
    table_and_model(run)


def table_and_model(run):
    assert run("prepare_star", "tomoset", "--pixel_size", "10")[0] == 0
    network = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)
    save_model("model.keras", build_unet(network), ModelMetadata(network))


def test_predict_writes_it_like_the_tomogram_and_the_report_tells_its_mean(run):
    prepared(run)
    status, log = run("predict", "tomograms.star", "model.keras", "--confidence", "True")
    assert status == 0, log
    found, corrected = open_volume(OURS), open_volume("corrected_tomos/TS_01_corrected.mrc")
    assert found.shape == corrected.shape and found.data.dtype == np.float32
    assert (found.voxel_size, found.origin) == (corrected.voxel_size, corrected.origin) == (10.0, (10.0, 20.0, 30.0))
    assert found.data.min() > 0 and found.data.max() < 1
    assert "TS_01: the hidden-wedge test found nothing above chance: do not trust " in log
    told = read_report(report_path(corrected.path)).confidence
    assert told == json.loads(report_path(corrected.path).read_text())["confidence"]
    assert abs(told - found.data.mean()) < 0.05 and f"mean {told:.2f}" in log
    assert "Confidence<b>" in Path("corrected_tomos/report.html").read_text(encoding="utf-8")
    # report makes the same one anew, in the place of its own, but not of a file of others
    before = found.data.copy()
    assert run("report", "tomograms.star", "model.keras", "--confidence", "True")[0] == 0
    np.testing.assert_allclose(open_volume(OURS).data, before, atol=1e-6)
    write_volume(OURS, before, 10.0)
    status, log = run("report", "tomograms.star", "model.keras", "--confidence", "True")
    assert status == 1 and "_confidence.mrc: it is there already" in log


def test_what_told_of_a_former_result_goes_with_it(run):
    prepared(run)
    folder, others = Path("corrected_tomos"), Path("corrected_tomos/TS_02_corrected_confidence.mrc")
    assert run("predict", "tomograms.star", "model.keras", "--confidence", "True")[0] == 0
    told = {"TS_01_corrected_report.json", "TS_01_corrected_report.png", OURS.name, "report.html"}
    assert told < {path.name for path in folder.iterdir()}
    others.write_bytes(OURS.read_bytes())
    network = NetworkSettings(filter_base=3, unet_depth=1, convs_per_depth=2)
    save_model("other.keras", build_unet(network), ModelMetadata(network))
    status, log = run("predict", "tomograms.star", "other.keras")
    assert status == 0 and f"TS_01: deleted, as told of the former result alone: {OURS.name}" in log
    assert told - {path.name for path in folder.iterdir()} == {OURS.name} and others.exists()
    assert read_report(folder / "TS_01_corrected_report.json").model.startswith("other")
    status, log = run("predict", "tomograms.star", "model.keras", "--report", "False")
    assert status == 0 and "former result alone: TS_01_corrected_report.json" in log
    assert {path.name for path in folder.iterdir()} == {
        "TS_01_corrected.mrc", "TS_01_corrected.png", "report.html", others.name
    }  # fmt: skip
    assert "TS_01" not in (folder / "report.html").read_text(encoding="utf-8")


def test_it_needs_no_report_and_is_0_where_there_is_no_data(run):
    prepared(run, border=24)
    status, log = run("predict", "tomograms.star", "model.keras", "--confidence", "True", "--report", "False")
    assert status == 0, log
    data = open_volume(OURS).data
    assert (data[:, :, 56:] == 0).all() and data[:, :, :56].min() > 0
    assert not list(Path("corrected_tomos").glob("*report*"))


def test_the_hidden_wedge_test_tells_its_level_unless_the_model_learned_from_simulated_tomograms(run):
    prepared(run)
    words = "on the level of the hidden-wedge test"
    means = []
    for simulated in (False, True):
        network = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)
        model = build_unet(network)
        model.set_weights([0.1 * weights for weights in model.get_weights()])
        save_model("model.keras", model, ModelMetadata(network, simulated=simulated))
        status, log = run("predict", "tomograms.star", "model.keras", "--confidence", "True", "--report", "False")
        assert status == 0 and (words in log) is not simulated, log
        means.append(open_volume(OURS).data.mean())
    # an untrained network restores nothing
    assert means[0] < 0.2 and abs(means[1] - means[0]) > 0.02


def test_of_a_tomogram_that_is_too_small_there_is_none_and_the_log_says_so(run):
    write_volume("tomoset/TS_01.mrc", tomogram()[:40], 10.0)
    table_and_model(run)
    status, log = run("predict", "tomograms.star", "model.keras", "--confidence", "True")
    assert status == 0 and "TS_01: too small for a confidence volume" in log and not OURS.exists()
    assert read_report("corrected_tomos/TS_01_corrected_report.json").confidence is None
    star = read_star("tomograms.star")
    assert star.text(star.rows[0], "rlnCorrectedTomoName")
