"""The commands on files: the whole chain, and wrong input."""

import json

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.tests.engine.conftest import SHAPE, make_tomogram

TINY = (
    "--filter_base", 2, "--unet_depth", 1, "--convs_per_depth", 2, "--iterations", 2, "--epochs", 2,
    "--steps_per_epoch", 3, "--batch_size", 2, "--seed", 7,
)  # fmt: skip


@pytest.mark.drawn
@pytest.mark.traced
def test_whole_chain(project, run):
    assert run("deconv", "tomograms.star", "--snrfalloff=0.8", "--chunk_size", 20)[0] == 0
    assert run("make_mask", "tomograms.star", "--patch_size", 2)[0] == 0
    assert run("extract", "tomograms.star", "--cube_size", 16, "--crop_size", 20, "--seed", 1)[0] == 0
    status, log = run("refine", "subtomo.star", *TINY)
    assert status == 0, log
    assert run("predict", "tomograms.star", "results/model_iter02.keras")[0] == 0

    row = read_star("tomograms.star").rows[0]
    assert row["rlnDeconvTomoName"] == "deconv/TS.1_bin4.mrc"
    assert row["rlnMaskName"] == "mask/TS.1_bin4_mask.mrc"
    assert row["rlnCorrectedTomoName"] == "corrected_tomos/TS.1_bin4_corrected.mrc"
    source = open_volume("tomoset/TS.1_bin4.mrc")
    for name in (row["rlnDeconvTomoName"], row["rlnMaskName"], row["rlnCorrectedTomoName"]):
        volume = open_volume(name)
        assert volume.shape == SHAPE
        assert volume.voxel_size == pytest.approx(12)
        assert volume.origin == source.origin == (-10, 20, 30)
    corrected = open_volume(row["rlnCorrectedTomoName"]).data
    assert corrected.mean() == pytest.approx(source.data.mean(), abs=float(source.data.std()))
    assert (project / "corrected_tomos" / "TS.1_bin4_corrected.png").stat().st_size > 10_000

    table = read_star("subtomo.star")
    assert len(table.rows) == 6
    deconvolved, mask = open_volume(row["rlnDeconvTomoName"]).data, open_volume(row["rlnMaskName"]).data
    for entry in table.rows:
        z, y, x = (table.integer(entry, f"rlnCoordinate{axis}") for axis in "ZYX")
        cube = open_volume(entry["rlnImageName"])
        assert cube.voxel_size == pytest.approx(12)
        np.testing.assert_array_equal(cube.data, deconvolved[z - 10 : z + 10, y - 10 : y + 10, x - 10 : x + 10])
        assert mask[z, y, x] == 1
    settings = json.loads((project / "results" / "refine_iter02.json").read_text())
    assert (settings["iter_count"], settings["crop_size"], settings["cube_size"]) == (2, 20, 16)
    assert len(settings["losses"]) == 2
    assert sorted(path.name for path in project.iterdir() if path.name.startswith((".", "tmp"))) == []


def wrong_input(folder):
    """Command, and what its error must name."""
    make_tomogram(folder / "thin.mrc", (10, 48, 48))
    write_volume(folder / "zero_mask.mrc", np.zeros(SHAPE, np.int8), 12.0)
    (folder / "empty.mrc").write_bytes(b"")
    (folder / "cut.mrc").write_bytes((folder / "tomoset" / "TS.1_bin4.mrc").read_bytes()[:5000])
    (folder / "no_model.keras").write_text("no model")
    head = "data_\nloop_\n_rlnIndex #1\n_rlnMicrographName #2\n_rlnPixelSize #3\n_rlnMaskName #4\n"
    tables = {"missing": "nowhere.mrc", "empty": "empty.mrc", "cut": "cut.mrc", "thin": "thin.mrc"}
    for name, file in tables.items():
        (folder / f"{name}.star").write_text(f"{head}1 {file} 12 None\n")
    (folder / "zero.star").write_text(f"{head}1 tomoset/TS.1_bin4.mrc 12 zero_mask.mrc\n")
    (folder / "columns.star").write_text("data_\nloop_\n_rlnIndex #1\n_rlnMicrographName #2\n1 thin.mrc\n")
    yield ("deconv", "nowhere.star"), 1, "nowhere.star"
    for name, file in tables.items():
        if name != "thin":
            yield ("deconv", f"{name}.star"), 1, file
            yield ("make_mask", f"{name}.star"), 1, file
            yield ("extract", f"{name}.star", "--cube_size", 8), 1, file
    yield ("deconv", "columns.star"), 1, "columns.star: the column _rlnPixelSize is missing"
    yield ("extract", "thin.star", "--cube_size", 16), 1, "thin.mrc: it has 10 voxels along z, fewer than crop_size 32"
    yield ("extract", "zero.star", "--cube_size", 8), 1, "zero_mask.mrc: it marks no voxel"
    yield ("predict", "zero.star", "good.keras", "--cube_size", 24, "--crop_size", 40), 1, "crop_size"
    yield ("predict", "zero.star", "good.keras", "--cube_size", 24, "--crop_size", 30), 1, "Give 44."  # 24 + 18, by 4
    yield ("predict", "zero.star", "no_model.keras"), 1, "no_model.keras"
    yield ("refine", "subtomo.star", "--unet_depth", 4), 1, "cube_size: 8 is not divisible by 16"
    yield ("refine", "subtomo.star", "--noise_level", "0.1"), 1, "noise_level: it has 1 values, noise_start_iter 4"
    yield ("refine", "subtomo.star", "--pretrained_model", "no_model.keras"), 1, "no_model.keras"
    yield ("refine", "subtomo.star", "--gpuID", "first"), 1, "gpuID"
    yield ("make_mask", "zero.star", "--std_percentage", 0), 1, "std_percentage"
    yield ("deconv", "zero.star", "--tomo_idx", "7"), 1, "rlnIndex 7"
    yield ("prepare_star", "nowhere"), 1, "nowhere"
    yield ("prepare_star", "tomoset", "--tilt_min", 70), 1, "70..60 degrees"
    yield ("deconv", "zero.star", "--strength", 1), 2, "--strength"
    yield ("deconv",), 2, "STAR_FILE"
    yield ("predict", "zero.star", "builtin", "--gpuid", 0), 2, "Did you mean '--gpuID'? See 'isonet"
    yield ("deconv", "zero.star", "-snrfalloff", 1), 2, "begin with two hyphens, as in --help. See"
    yield ("refine", "subtomo.star", "--epochs", "ten"), 2, "ten"
    yield ("extract", "tomograms.star", "--crop_size", 0), 2, "0 is not in the range x>=2"
    yield ("polish", "zero.star"), 2, "polish"
    yield ("deconv", "zero.star", "--snrfalloff", "1,5"), 2, "'1,5' is not a number such as 1.5. See"
    yield ("deconv", "zero.star", "--pad_edges", "maybe"), 2, "'maybe' is neither True nor False. See"
    yield ("deconv", "zero.star", "--pad_edges="), 2, "'' is neither True nor False"


def test_wrong_input_ends_with_one_line_and_no_output(project, run):
    from isonet_scipion.engine.io.model_metadata import ModelMetadata
    from isonet_scipion.engine.network.model_file import save_model
    from isonet_scipion.engine.network.unet import build_unet
    from isonet_scipion.engine.settings.network import NetworkSettings

    tiny = NetworkSettings(filter_base=2, unet_depth=2)
    save_model(project / "good.keras", build_unet(tiny), ModelMetadata(tiny))
    assert run("extract", "tomograms.star", "--cube_size", 8, "--crop_size", 8)[0] == 0
    cases = list(wrong_input(project))
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    for command, expected, named in cases:
        status, log = run(*command)
        errors = [line for line in log.splitlines() if line.startswith("isonet-engine: error: ")]
        assert status == expected, (command, log)
        assert len(errors) == 1 and named in errors[0], (command, log)
        assert "Traceback" not in log, (command, log)
        after = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
        assert after == before, (command, after.keys() ^ before.keys())


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_is_readable_without_any_words_too(words, capsys):
    from isonet_scipion.engine import cli

    assert cli.main(words) == 0
    shown = capsys.readouterr()
    assert {*cli.MODULES, "Options:", "Commands:"} <= set(shown.out.split())
    assert "\n  predict " in shown.out and not shown.err
