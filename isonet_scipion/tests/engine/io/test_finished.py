"""A repeated predict leaves what is finished, and does the rest."""

import os
import shutil

import numpy as np
import pytest

from isonet_scipion.engine import cli
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import read_star, write_star
from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.io.model_metadata import ModelMetadata  # noqa: E402
from isonet_scipion.engine.network.model_file import save_model  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402
from isonet_scipion.engine.stages.report import Reporter  # noqa: E402

SHAPE = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)


PREDICT = ("predict", "tomograms.star", "m.keras", "--gpuID", "-1")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A folder of three tomograms, the second of them a link, their table and a model."""
    folder = tmp_path_factory.mktemp("fresh")
    for number, name in enumerate("abc"):
        tomogram = np.random.default_rng(number).normal(size=(24, 40, 40)).astype(np.float32)
        write_volume(folder / "tomo" / f"{name}.mrc", tomogram, 10.0)
    os.rename(folder / "tomo" / "b.mrc", folder / "elsewhere.mrc")
    os.symlink("../elsewhere.mrc", folder / "tomo" / "b.mrc")
    save_model(folder / "m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main(["prepare_star", "tomo"]) == 0
    return folder


@pytest.fixture(scope="module")
def finished(fresh, tmp_path_factory):
    """The same folder, after a prediction of all."""
    folder = copied(fresh, tmp_path_factory.mktemp("finished"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main([*PREDICT]) == 0
    return folder


def copied(folder, copy):
    """Copy a folder with its files' times and links, by which a result is known as finished."""
    return shutil.copytree(folder, copy, symlinks=True, dirs_exist_ok=True)


@pytest.fixture
def project(fresh, tmp_path):
    return copied(fresh, tmp_path)


@pytest.fixture
def done(finished, tmp_path):
    return copied(finished, tmp_path)


def corrected(run, *more):
    """The names of the tomograms that a command corrects, and its log."""
    status, log = run(*PREDICT, *more)
    assert status == 0, log
    return "".join(name for name in "abc" if f"{name}_corrected.mrc and its picture" in log), log


def test_the_rest_is_done_and_the_page_shows_all(project, run):
    assert corrected(run, "--tomo_idx", "2")[0] == "b"
    before = os.stat("corrected_tomos/b_corrected.mrc")
    again, log = corrected(run)
    assert again == "ac" and "Corrected already" in log and "left alone: 1 of 3 tomograms." in log, log
    assert os.stat("corrected_tomos/b_corrected.mrc") == before
    page = project / "corrected_tomos" / "report.html"
    assert all(f"{name}_corrected" in page.read_text() for name in "abc")
    page.unlink()  # as if the command had been ended before it was written
    for more in ((), ("--log_level", "debug"), ("--output_dir", "corrected_tomos")):
        assert corrected(run, *more)[0] == ""
    assert page.exists()


def change(project, what):
    """Change something after a prediction; returns which tomograms, and the options, with which it is to be redone."""
    folder = project / "corrected_tomos"
    if what in ("b_corrected.mrc", "b_corrected.png", "b_corrected_report.json", "b_corrected_report.png"):
        (folder / what).unlink()
    elif what == "cut off":
        with open(folder / "b_corrected.mrc", "r+b") as file:
            file.truncate(2000)
    elif what == "another's result":
        shutil.copy(folder / "a_corrected.mrc", folder / "b_corrected.mrc")
    elif what == "tomogram behind a link":
        write_volume(project / "elsewhere.mrc", -open_volume("tomo/a.mrc").data, 10.0)
    elif what == "row":
        table = read_star("tomograms.star")
        table.set(table.rows[1], "rlnTiltMin", -50.0)
        write_star("tomograms.star", table)
    elif what == "model":
        save_model(project / "m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0))
        return "abc", ()
    elif what == "option":
        return "abc", ("--normalized_output", "True")
    return "b", ()


@pytest.mark.parametrize(
    "what",
    [
        "b_corrected.mrc", "b_corrected.png", "b_corrected_report.json", "b_corrected_report.png", "cut off",
        "another's result", "tomogram behind a link", "row", "model", "option",
    ],
)  # fmt: skip
def test_what_is_gone_or_would_differ_is_made_anew(done, run, what):
    expected, more = change(done, what)
    assert corrected(run, *more)[0] == expected
    assert corrected(run, *more)[0] == ""


def test_what_makes_no_difference_does_not_count(done, run, tmp_path_factory):
    assert corrected(run)[0] == ""
    table = read_star("tomograms.star")
    table.rows.reverse()
    for number, row in enumerate(table.rows, 1):
        table.set(row, "rlnIndex", number)
        table.set(row, "rlnNumberSubtomo", 7)
    write_star("tomograms.star", table)
    assert corrected(run)[0] == ""
    os.chdir(copied(done, tmp_path_factory.mktemp("elsewhere")))
    assert corrected(run)[0] == ""


@pytest.mark.parametrize("kind", ["int16", "float16"])
def test_results_in_another_folder_are_remembered(done, run, kind):
    model = build_unet(SHAPE)
    model.set_weights([3 * weight for weight in model.get_weights()])
    save_model(done / "n.keras", model, ModelMetadata(SHAPE, voxel_size=10.0))
    with_n = ("predict", "tomograms.star", "n.keras", "--gpuID", "-1", "--output_dir", "cn", "--output_type", kind)
    before = read_star("tomograms.star")
    assert run(*with_n)[0] == 0
    assert corrected(run)[0] == ""
    after = read_star("tomograms.star")
    for label in ("rlnCorrectedTomoName", "isonetCorrectedBy"):
        assert [row[label] for row in after.rows] == [row[label] for row in before.rows]
    assert all(row.get("isonetCorrectedScale", "1") == "1" for row in after.rows)
    assert "cn/b_corrected.mrc and its picture" in run(*with_n)[1]  # whose scale is known no more
    (done / "corrected_tomos" / "b_corrected.mrc").unlink()
    assert corrected(run)[0] == "b"


def test_a_report_made_again_leaves_the_result_finished(done, run):
    assert run("report", "tomograms.star", "m.keras", "--gpuID", "-1")[0] == 0
    assert corrected(run)[0] == ""


def test_a_report_of_another_model_is_not_taken_for_this_ones(done, run, monkeypatch):
    told = (done / "corrected_tomos" / "b_corrected_report.json").read_text()
    model = build_unet(SHAPE)
    model.set_weights([3 * weight for weight in model.get_weights()])
    save_model(done / "m.keras", model, ModelMetadata(SHAPE, voxel_size=10.0))

    def interrupted(*_):
        raise EngineError("disk", "it is full", "Free some.")

    monkeypatch.setattr(Reporter, "write", interrupted)
    assert run(*PREDICT, "--tomo_idx", "2")[0] == 1
    monkeypatch.undo()
    os.chdir(done)
    assert corrected(run, "--tomo_idx", "2")[0] == "b"
    assert (done / "corrected_tomos" / "b_corrected_report.json").read_text() != told


def test_a_tomogram_too_small_for_a_confidence_is_finished_without_one(project, run):
    assert corrected(run, "--confidence", "True")[0] == "abc" and corrected(run, "--confidence", "True")[0] == ""


def test_tomograms_whose_files_tell_no_change_are_made_anew(project, run):
    pytest.importorskip("zarr")
    assert corrected(run, "--output_format", "zarr", "--tomo_idx", "1")[0] == ""  # the log names another file
    table = read_star("tomograms.star")
    table.set(table.rows[1], "rlnMicrographName", "corrected_tomos/a_corrected.zarr")
    write_star("tomograms.star", table)
    for _ in range(2):
        status, log = run(*PREDICT, "--output_dir", "o")
        assert status == 0 and "a_corrected_corrected.mrc and its picture" in log, log


@pytest.mark.parametrize("name", ["tomo/a.mrc/x", "n" * 300])
def test_a_name_that_no_file_has_is_left_to_the_stage(project, run, name):
    table = read_star("tomograms.star")
    table.set(table.rows[1], "rlnMaskName", name)
    write_star("tomograms.star", table)
    assert corrected(run, "--report", "False")[0] == "abc"
