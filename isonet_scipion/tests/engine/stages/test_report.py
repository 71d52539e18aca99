"""report, by itself and within predict."""

import json
import os
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

import keras  # noqa: E402

from isonet_scipion.engine.io.marks import mark_in  # noqa: E402
from isonet_scipion.engine.io.model_metadata import ModelMetadata  # noqa: E402
from isonet_scipion.engine.io.mrc import open_volume, write_volume  # noqa: E402
from isonet_scipion.engine.io.origin import origin_in, voxels_digest  # noqa: E402
from isonet_scipion.engine.io.report_file import TomogramReport, read_report  # noqa: E402
from isonet_scipion.engine.io.star import Star, read_star, write_star  # noqa: E402
from isonet_scipion.engine.network.model_file import save_model  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402
from isonet_scipion.engine.stages import predict as predict_stage  # noqa: E402

SHAPE = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)
SIZE = 32


def noise(seed, size=SIZE):
    return np.random.default_rng(seed).normal(size=(size,) * 3).astype(np.float32)


@pytest.mark.drawn
def test_predict_reports_each_tomogram_and_report_does_it_anew(run):
    star = Star([])
    for index, name in enumerate(("TS_01", "a <b> & $x$"), 1):
        data = noise(index, 40)
        data[10:20, 10:25, 8:30] -= 5
        names = {label: f"{folder}/{name}.mrc" for label, folder in
                 (("rlnMicrographName", "raw"), ("rlnTomoReconstructedTomogramHalf1", "even"),
                  ("rlnTomoReconstructedTomogramHalf2", "odd"))}  # fmt: skip
        for path, scatter in zip(names.values(), (0, 1, 1)):
            write_volume(path, data + scatter * noise(index + len(path), 40), 10.0)
        row = {}
        star.rows.append(row)
        for label, value in {"rlnIndex": index, "rlnPixelSize": 10.0, **names}.items():
            star.set(row, label, value)
    write_star("t.star", star)
    keras.utils.set_random_seed(1)
    save_model("m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, iteration=1))
    status, log = run("predict", "t.star", "m.keras")
    assert status == 0, log
    assert "TS_01: restored wedge correlation" in log
    page = Path("corrected_tomos/report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "a &lt;b&gt; &amp; $x$" in page and "<b> &" not in page and "http" not in page
    report = json.loads(Path("corrected_tomos/TS_01_corrected_report.json").read_text())
    assert set(report) == {field.name for field in fields(TomogramReport)}
    assert report["wedge_power_after"] > 0 and report["box_side"] == 40
    # an untrained network neither restores anything nor changes the data
    assert report["restored_wedge_correlation"] == 0 and report["agreement_with_measured"] > 0.99
    assert report["verdict"] in page and "no better than invention" in report["verdict"]
    assert report["verdict"] in log and "nowhere better than chance" in page
    assert set(report["resolution_A"]) == {"x", "y", "z"}

    for path in Path("corrected_tomos").glob("*report*"):
        path.unlink()
    status, log = run("report", "t.star", "builtin")
    assert status == 1 and "TS_01_corrected.mrc: another model than builtin made it" in log, log
    shutil.copy("m.keras", "copy.keras")
    assert run("report", "t.star", "copy.keras", "--tomo_idx=2")[0] == 0
    for path in Path("corrected_tomos").glob("*report*"):
        path.unlink()
    assert run("report", "t.star", "m.keras", "--tomo_idx=1")[0] == 0
    again = json.loads(Path("corrected_tomos/TS_01_corrected_report.json").read_text())
    assert again["restored_wedge_correlation"] == pytest.approx(report["restored_wedge_correlation"], abs=1e-5)
    assert not list(Path("corrected_tomos").glob("a*report*"))
    assert run("predict", "t.star", "m.keras", "--output_dir=bare", "--report=False")[0] == 0
    assert not list(Path("bare").glob("*report*"))


def test_tomograms_that_are_too_small_for_the_test_are_told_by_their_names(run):
    for seed, name in enumerate("ab"):
        write_volume(f"raw/{name}.mrc", noise(seed, 12), 10.0)
    assert run("prepare_star", "raw")[0] == 0
    save_model("m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, iteration=1))
    status, log = run("predict", "tomograms.star", "m.keras")
    assert status == 0 and all(f"{name}: too small for the hidden-wedge test." in log for name in "ab"), log


def test_a_report_on_other_voxels_than_were_corrected_is_refused(run):
    write_volume("raw/t.mrc", noise(1), 10.0)
    assert run("prepare_star", "raw", "--defocus=20000")[0] == 0
    save_model("m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, iteration=1))
    assert run("predict", "tomograms.star", "m.keras", "--report=False")[0] == 0
    assert run("report", "tomograms.star", "m.keras")[0] == 0
    assert run("deconv", "tomograms.star")[0] == 0  # the report would say that it was deconvolved
    status, log = run("report", "tomograms.star", "m.keras")
    told = "corrected_tomos/t_corrected.mrc: it was made of other voxels than {} has now"
    assert status == 1 and told.format("deconv/t.mrc") in log, log
    assert run("report", "tomograms.star", "m.keras", "--use_deconv_tomo=False")[0] == 0
    write_volume("raw/t.mrc", noise(2), 10.0)
    status, log = run("report", "tomograms.star", "m.keras", "--use_deconv_tomo=False")
    assert status == 1 and told.format("raw/t.mrc") in log, log


def test_a_report_on_what_another_model_made_or_with_other_tilts_is_refused(run):
    write_volume("raw/t.mrc", noise(1), 10.0)
    assert run("prepare_star", "raw", "--tilt_min=-50", "--tilt_max=50")[0] == 0
    for name in "ab":
        save_model(f"{name}.keras", build_unet(SHAPE), ModelMetadata(SHAPE, iteration=ord(name)))
    assert run("predict", "tomograms.star", "a.keras", "--report=False")[0] == 0
    assert run("report", "tomograms.star", "a.keras")[0] == 0
    shutil.copy("tomograms.star", "copy.star")
    assert run("predict", "copy.star", "b.keras", "--report=False")[0] == 0  # the first table still says a.keras
    told = "corrected_tomos/t_corrected.mrc: it was made by another model, or with another tilt range or voxel size"
    status, log = run("report", "tomograms.star", "a.keras")
    assert status == 1 and told in log, log
    assert run("report", "copy.star", "b.keras")[0] == 0
    table = read_star("copy.star")
    table.set(table.rows[0], "rlnTiltMax", 30)
    write_star("copy.star", table)
    status, log = run("report", "copy.star", "b.keras")
    assert status == 1 and told in log, log


def test_a_report_on_what_was_made_with_another_ctf_is_refused(run):
    write_volume("raw/t.mrc", noise(1), 10.0)
    assert run("prepare_star", "raw", "--defocus=30000")[0] == 0
    save_model("m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, iteration=1, ctf_aware=True))
    assert run("predict", "tomograms.star", "m.keras", "--report=False")[0] == 0
    told = "or with another tilt range, voxel size or CTF (also ctf_state)"
    status, log = run("report", "tomograms.star", "m.keras", "--ctf_state=phase-flipped")
    assert status == 1 and told in log, log
    status, log = run("report", "tomograms.star", "m.keras")
    assert status == 0 and log.count("taken as raw") == 1, log
    table = read_star("tomograms.star")
    table.set(table.rows[0], "rlnDefocus", 60000.0)
    write_star("tomograms.star", table)
    status, log = run("report", "tomograms.star", "m.keras")
    assert status == 1 and told in log, log


@pytest.mark.parametrize("corrects_mean", [False, True])
def test_halves_that_were_replaced_or_removed_since_are_refused_until_predicted_anew(run, corrects_mean):
    signal, target = noise(0), "corrected_tomos/t_corrected.mrc"
    whole, even, odd = (signal + 0.5 * noise(seed) for seed in (1, 2, 3))
    for folder, data in (("raw", whole), ("even", even), ("odd", odd)):
        write_volume(f"{folder}/t.mrc", data, 10.0)
    assert run("prepare_star", "raw", "--even_folder=even", "--odd_folder=odd")[0] == 0
    save_model("m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, halves=True, corrects_mean=corrects_mean))
    predict = ("predict", "tomograms.star", "m.keras", "--report=False")
    later = (("report", "tomograms.star", "m.keras"), ("export_relion", "tomograms.star"))
    assert run(*predict)[0] == 0
    assert "Corrected already" in run(*predict)[1] and [run(*command)[0] for command in later] == [0, 0]

    def refused(why):
        for command in later:
            status, log = run(*command)
            assert status == 1 and f"{target}: it was made of other voxels than raw/t.mrc {why}" in log, log

    replaced = signal + 0.5 * noise(4)
    write_volume("odd/t.mrc", replaced, 10.0)
    refused("or its halves have now")
    write_volume("odd/t.mrc", odd, 10.0)  # as it was
    assert [run(*command)[0] for command in later] == [0, 0]
    table = read_star("tomograms.star")
    for half in (1, 2):
        table.set(table.rows[0], f"rlnTomoReconstructedTomogramHalf{half}", None)
    shutil.copy("tomograms.star", "kept.star")
    write_star("tomograms.star", table)
    refused("has now, or of halves that tomograms.star does not name")
    assert "Corrected already" not in run(*predict)[1] and [run(*command)[0] for command in later] == [0, 0]
    shutil.copy("kept.star", "tomograms.star")
    assert "Corrected already" not in run(*predict)[1]
    os.rename("odd/t.mrc", "kept.mrc")  # to save space: nothing tells that it was another
    assert run(*later[1])[0] == 0
    # of earlier versions, which told the whole alone
    told = mark_in(target)[:-19] + entry_origin(open_volume("raw/t.mrc"), target)
    write_volume(target, open_volume(target).data.copy(), 10.0, mark=told)
    write_volume("odd/t.mrc", replaced, 10.0)
    assert [run(*command)[0] for command in later] == [0, 0]
    write_volume("raw/t.mrc", replaced, 10.0)
    refused("or its halves have now")


def entry_origin(volume, corrected):
    """What earlier versions told of a result of halves."""
    return str(origin_in(corrected, "predict")._replace(voxels=voxels_digest(volume))).encode()


def test_report_before_correction_is_an_error(run):
    write_volume("raw/a.mrc", noise(1), 10.0)
    assert run("prepare_star", "raw")[0] == 0
    status, log = run("report", "tomograms.star", "builtin")
    assert status == 1 and "has no rlnCorrectedTomoName" in log


@pytest.mark.parametrize("header", [1.0, 25.0])
def test_all_that_is_told_and_written_has_the_tables_voxel_size(run, monkeypatch, header):
    names = {"rlnMicrographName": "t.mrc", "rlnTomoReconstructedTomogramHalf1": "even.mrc",
             "rlnTomoReconstructedTomogramHalf2": "odd.mrc"}  # fmt: skip
    for seed, path in enumerate(names.values()):
        write_volume(path, noise(seed, 48) - np.float32(5) * (np.arange(48) % 20 > 9), header)
    star = Star([], [{}])
    for label, value in {"rlnIndex": 1, "rlnPixelSize": 10.0, **names}.items():
        star.set(star.rows[0], label, value)
    write_star("t.star", star)
    assert run("make_mask", "t.star")[0] == 0  # its header has the table's
    keras.utils.set_random_seed(1)
    save_model("m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, iteration=1))
    drawn, said = [], []
    draw, words = predict_stage.save_comparison, predict_stage._in_words
    monkeypatch.setattr(predict_stage, "save_comparison", lambda *given: drawn.append(given[3]) or draw(*given))
    monkeypatch.setattr(predict_stage, "_in_words", lambda *given: said.append(given[2]) or words(*given))
    status, log = run("predict", "t.star", "m.keras", "--calibrate", "True", "--confidence", "True")
    assert status == 0 and "says 10.000 A, which is used" in log, log
    assert (drawn, said) == ([10.0], [10.0])
    for _ in range(2):  # also as report makes it anew
        report = json.loads(Path("corrected_tomos/t_corrected_report.json").read_text())
        assert report["voxel_size_A"] == 10.0 and report["shell_resolution_A"][-1] == pytest.approx(20)
        for suffix in ("", "_confidence"):
            assert open_volume(f"corrected_tomos/t_corrected{suffix}.mrc").voxel_size == 10.0
        assert run("report", "t.star", "m.keras", "--confidence", "True")[0] == 0


def test_a_report_tells_of_a_model_that_no_training_has_changed(run):
    write_volume("t.mrc", noise(1), 10.0)
    star = Star([])
    star.rows.append({})
    for label, value in {"rlnIndex": 1, "rlnMicrographName": "t.mrc", "rlnPixelSize": 10.0}.items():
        star.set(star.rows[0], label, value)
    write_star("t.star", star)
    save_model("model_iter00.keras", build_unet(SHAPE), ModelMetadata(SHAPE, iteration=0, simulated=True))
    status, log = run("predict", "t.star", "model_iter00.keras")
    assert status == 0, log
    report = read_report("corrected_tomos/t_corrected_report.json")
    assert report.model == "model_iter00.keras, a copy of the builtin model"
    assert report.model in Path("corrected_tomos/report.html").read_text(encoding="utf-8")
