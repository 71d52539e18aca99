"""A repeated predict leaves what is finished, and does the rest."""

import os
import shutil

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import read_star, write_star
from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.io.model_metadata import ModelMetadata  # noqa: E402
from isonet_scipion.engine.network.model_file import save_model  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402

SHAPE = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)


@pytest.fixture
def project(tmp_path, run):
    for number, name in enumerate("abc"):
        tomogram = np.random.default_rng(number).normal(size=(24, 40, 40)).astype(np.float32)
        write_volume(tmp_path / "tomo" / f"{name}.mrc", tomogram, 10.0)
    save_model(tmp_path / "m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0))
    assert run("prepare_star", "tomo")[0] == 0
    return tmp_path


def corrected(run, *more):
    """The names of the tomograms that a command corrects, and its log."""
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1", *more)
    assert status == 0, log
    return "".join(name for name in "abc" if f"{name}_corrected.mrc and its picture" in log), log


def test_the_rest_is_done_and_the_page_shows_all(project, run):
    assert corrected(run, "--tomo_idx", "2")[0] == "b"
    before = os.stat("corrected_tomos/b_corrected.mrc")
    again, log = corrected(run)
    assert again == "ac" and "1 of 3 tomograms are corrected already" in log, log
    assert os.stat("corrected_tomos/b_corrected.mrc") == before
    assert all(f"{name}_corrected" in (project / "corrected_tomos/report.html").read_text() for name in "abc")
    assert corrected(run)[0] == "" and corrected(run, "--log_level", "debug")[0] == ""


@pytest.mark.parametrize("what", ["result", "report", "tomogram", "row", "model", "option", "resized"])
def test_what_is_gone_or_would_differ_is_made_anew(project, run, what):
    assert corrected(run)[0] == "abc"
    more, expected = (), "b"
    if what == "result":
        os.remove("corrected_tomos/b_corrected.mrc")
    elif what == "report":
        os.remove("corrected_tomos/b_corrected_report.json")
    elif what == "tomogram":
        write_volume(project / "tomo" / "b.mrc", -open_volume("tomo/a.mrc").data, 10.0)
    elif what == "row":
        table = read_star("tomograms.star")
        table.set(table.rows[1], "rlnTiltMin", -50.0)
        write_star("tomograms.star", table)
    elif what == "model":
        expected = "abc"
        save_model(project / "m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0))
    elif what == "option":
        more, expected = ("--normalized_output", "True"), "abc"
    else:
        assert run("resize", "tomograms.star", "--apix", "20")[0] == 0
        shutil.copy("tomograms_resized.star", "tomograms.star")
        more, expected = ("--output_dir", "of_resized"), "abc"
    assert corrected(run, *more)[0] == expected
    assert corrected(run, *more)[0] == ""


def test_tomograms_whose_files_tell_no_change_are_made_anew(project, run):
    pytest.importorskip("zarr")
    assert corrected(run, "--output_format", "zarr", "--tomo_idx", "1")[0] == ""  # the log names another file
    table = read_star("tomograms.star")
    table.set(table.rows[1], "rlnMicrographName", "corrected_tomos/a_corrected.zarr")
    write_star("tomograms.star", table)
    for _ in range(2):
        status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1", "--output_dir", "o")
        assert status == 0 and "a_corrected_corrected.mrc and its picture" in log, log
