"""resize on files."""

import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.ome_zarr import write_store
from isonet_scipion.engine.io.star import Star, read_star, write_star
from isonet_scipion.engine.io.tomogram_entry import HALF_LABELS
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.engine.physics.borders import find_border
from isonet_scipion.engine.stages import resize
from isonet_scipion.tests.engine.conftest import SHAPE, make_tomogram, set_cells


def test_resize_keeps_the_field_of_view(project, run):
    status, log = run("resize", "tomograms.star", "--apix", 9, "--out_folder", "finer")
    assert status == 0 and "Finer voxels add no detail, but cost time and space: TS.1_bin4" in log, log
    status, log = run("resize", "tomograms.star", "--apix", 24)
    assert status == 0 and "Finer voxels" not in log, log
    row = read_star("tomograms_resized.star").rows[0]
    assert float(row["rlnPixelSize"]) == 24
    volume = open_volume(row["rlnMicrographName"])
    assert volume.shape == (16, 24, 26) and volume.voxel_size == pytest.approx(24)
    original = open_volume("tomoset/TS.1_bin4.mrc").data
    averaged = original.reshape(16, 2, 24, 2, 26, 2).mean((1, 3, 5))
    assert np.corrcoef(averaged.ravel(), volume.data.ravel())[0, 1] > 0.97


def test_the_same_voxel_size_converts_to_mrc_and_keeps_the_values(tmp_path, monkeypatch, run):
    pytest.importorskip("zarr", minversion="3.1", reason="zarr 3.1 is optional, and needs Python 3.11")
    monkeypatch.chdir(tmp_path)
    voxels = np.random.default_rng(3).normal(size=(20, 33, 26)).astype(np.float32)
    write_store("stores/TS_1.zarr", voxels, 10.0, (0.0, 0.0, 0.0), b"mark")
    assert run("prepare_star", "stores")[0] == 0
    assert run("resize", "tomograms.star", "--apix", 10, "--out_folder", "mrc")[0] == 0
    np.testing.assert_array_equal(open_volume("mrc/TS_1.mrc").data, voxels)


@pytest.mark.parametrize("apix", [16.0, 9.0])
def test_a_border_stays_one_and_does_not_ring(tmp_path, monkeypatch, run, apix):
    monkeypatch.chdir(tmp_path)
    smooth = np.kron(np.random.default_rng(1).normal(size=(10, 16, 16)), np.ones((4, 4, 4)))
    data = (1000 + 50 * smooth).astype(np.float32)
    for name, widths in (("bare", 0), ("padded", 20)):
        write_volume(f"{name}/t.mrc", np.pad(data, ((0, 0), (widths, 0), (0, widths))), 12.0)
        assert run("prepare_star", name, "--output_star", f"{name}.star")[0] == 0
        assert run("resize", f"{name}.star", "--apix", apix, "--out_folder", f"{name}_resized")[0] == 0
    bare, padded = (open_volume(f"{name}_resized/t.mrc").data for name in ("bare", "padded"))
    border, step = find_border(padded), apix / 12.0
    assert border is not None and border.share == pytest.approx(1 - (64 / 84) ** 2, abs=0.03)
    edge = round(20 / step)
    inner = padded[:, edge : edge + bare.shape[1], : bare.shape[2]]
    size = min(inner.shape[1], bare.shape[1])
    assert np.abs(inner[:, 8:size] - bare[:, 8:size])[:, :, :-8].std() < 0.5 * bare.std()
    assert inner[:, 2:, :-2].min() > 700


@pytest.fixture
def with_halves(project):
    """The project's table with halves, a mask, and what somebody typed."""
    star = read_star("tomograms.star")
    write_volume("mask.mrc", np.ones(SHAPE, np.int8), 12.0)
    for seed, label in enumerate(HALF_LABELS, 1):
        make_tomogram(project / f"half{seed}.mrc", seed=seed)
        star.set(star.rows[0], label, f"half{seed}.mrc")
    star.set(star.rows[0], "rlnMaskName", "mask.mrc")
    star.set(star.rows[0], "rlnVoltage", 200.0)
    write_star("tomograms.star", star)
    return star


def test_halves_come_along_and_what_is_left_out_is_told(with_halves, run):
    status, log = run("resize", "tomograms.star", "--apix", 24, "--out_folder", "small")
    assert status == 0, log
    row = read_star("tomograms_resized.star").rows[0]
    halves = [row[label] for label in HALF_LABELS]
    assert halves == ["small/even/TS.1_bin4.mrc", "small/odd/TS.1_bin4.mrc"] and row["rlnVoltage"] == "200.000000"
    for number, path in enumerate(halves, 1):
        voxels = open_volume(f"half{number}.mrc").data.reshape(16, 2, 24, 2, 26, 2).mean((1, 3, 5))
        assert np.corrcoef(voxels.ravel(), open_volume(path).data.ravel())[0, 1] > 0.9
    (said,) = (line for line in log.splitlines() if "does not name" in line)
    assert "rlnMaskName (run make_mask on it)" in said and "rlnMaskBoundary" not in said and "Half" not in said
    assert "rlnMaskName" not in row


def test_what_was_deconvolved_is_not_deconvolved_again(project, run):
    assert run("deconv", "tomograms.star")[0] == 0
    star = read_star("tomograms.star")
    star.set(star.rows[0], "rlnMicrographName", star.rows[0]["rlnDeconvTomoName"])
    write_star("deconvolved.star", star)
    status, log = run("resize", "deconvolved.star", "--apix", 24)
    assert status == 0 and "run deconv" not in log, log
    assert run("resize", "deconvolved_resized.star", "--apix", 30, "--out_folder", "again")[0] == 0
    assert run("prepare_star", "again", "--output_star", "found.star", "--defocus", 20000)[0] == 0
    for table in ("deconvolved_resized.star", "deconvolved_resized_resized.star", "found.star"):
        assert read_star(table).rows[0]["isonetCtfState"] == "corrected"
        status, log = run("deconv", table, "--deconv_folder", "twice")
        assert status == 1 and "corrected" in log, log


def test_tomograms_of_different_ctf_states_keep_theirs(run, tmp_path):
    paths = [f"set/{name}.mrc" for name in ("a", "b", "c", "d")]
    for path in paths:
        make_tomogram(tmp_path / path)
    labels = ["rlnIndex", "rlnMicrographName", "rlnPixelSize", "rlnDefocus", "rlnDeconvTomoName", "rlnVoltage"]
    rows = [
        dict(zip(labels, (str(number), path, "12", "20000", "None" if number == 3 else path, "200")))
        for number, path in enumerate(paths, 1)
    ]
    write_star("t.star", Star(labels, rows))
    status, log = run("resize", "t.star", "--apix", 24)
    assert status == 0, log
    resized = read_star("t_resized.star")
    assert [row["isonetCtfState"] for row in resized.rows] == ["corrected", "corrected", "None", "corrected"]
    assert [row["rlnVoltage"] for row in resized.rows] == ["200"] * 4
    found = TomogramTable("t_resized.star").select(None)
    assert [entry.deconvolved for entry in found] == [True, True, False, True]


def test_half_a_pair_is_refused(with_halves, run):
    with_halves.rows[0][HALF_LABELS[1]] = "None"
    write_star("tomograms.star", with_halves)
    status, log = run("resize", "tomograms.star", "--apix", 24)
    assert status == 1 and f"tomograms.star, {HALF_LABELS[1]}: " in log and "has one half only" in log, log


def test_a_second_run_tells_the_columns_that_are_lost(with_halves, run):
    for _ in range(2):  # what it makes itself is not lost
        status, log = run("resize", "tomograms.star", "--apix", 24)
        assert status == 0 and "it also had" not in log, log
    star = read_star("tomograms_resized.star")
    for label in ("rlnMaskName", "rlnMine"):
        star.set(star.rows[0], label, "typed")
    write_star("tomograms_resized.star", star)
    status, log = run("resize", "tomograms.star", "--apix", 24)
    assert status == 0 and "tomograms_resized.star: the table that was there is replaced" in log
    assert "it also had rlnMaskName, rlnMine" in log


def test_a_second_run_tells_what_was_typed_and_is_otherwise_now(project, run):
    command = ("resize", "tomograms.star", "--apix", 24)
    for _ in range(2):
        status, log = run(*command)
        assert status == 0 and "other than in the table" not in log, log
    status, log = run("resize", "tomograms.star", "--apix", 30)
    assert status == 0 and "1 tomogram of 30 A, in place of those of 24 A" in log and "other than" not in log, log
    assert run(*command)[0] == 0
    set_cells("tomograms_resized.star", 0, rlnDefocus="31000")
    status, log = run(*command)
    assert status == 0 and "_resized.star: other than in the table that was there: rlnDefocus of TS.1_bin4.mrc 2" in log


def test_a_file_in_the_place_of_a_half_is_not_replaced(with_halves, run):
    write_volume("tomograms_resized/odd/TS.1_bin4.mrc", np.ones((4, 4, 4), np.float32), 12.0)
    status, log = run("resize", "tomograms.star", "--apix", 24)
    assert status == 1 and "odd/TS.1_bin4.mrc: it is there already" in log


@pytest.mark.parametrize(("start", "expected"), [((10, -21, 4), (5, -10, 2)), ((2**31 - 1, 0, 0), (2**30, 0, 0))])
def test_the_place_stays(project, run, start, expected):
    with mrcfile.open("tomoset/TS.1_bin4.mrc", "r+") as mrc:
        mrc.header.nxstart, mrc.header.nystart, mrc.header.nzstart = start
    assert run("resize", "tomograms.star", "--apix", 24)[0] == 0
    volume = open_volume("tomograms_resized/TS.1_bin4.mrc")
    assert (volume.start, volume.origin) == (expected, (-10.0, 20.0, 30.0))
    assert run("resize", "tomograms.star", "--apix", 6)[0] == 0
    finer = tuple(min(2 * place, 2**31 - 1) for place in start)
    assert open_volume("tomograms_resized/TS.1_bin4.mrc").start == finer


def test_a_voxel_size_in_nm_is_refused(project, run):
    status, log = run("resize", "tomograms.star", "--apix", 1.5)
    assert status == 1 and "apix: 1.5 A is much finer than the 12 A of tomoset/TS.1_bin4.mrc. Give it in A, not" in log


def test_a_voxel_size_that_leaves_next_to_nothing_is_refused(project, run):
    status, log = run("resize", "tomograms.star", "--apix", 1000)
    assert status == 1 and "apix: 1000 A leaves 2 voxels of the shortest side of tomoset/TS.1_bin4.mrc" in log, log
    assert "Give at most 48 A, which leaves 8." in log and not (project / "tomograms_resized").exists(), log
    assert run("resize", "tomograms.star", "--apix", 48)[0] == 0
    make_tomogram(project / "thin" / "t.mrc", (7, 48, 52))  # too thin already
    assert run("prepare_star", "thin", "--output_star", "thin.star")[0] == 0
    assert run("resize", "thin.star", "--apix", 10)[0] == 0


def test_columns_of_the_corrected_tomogram_go_with_it_and_options_of_stages_stay(with_halves, run):
    options = {"rlnMaskDensityPercentage": 40.0, "rlnMaskStdPercentage": 45.0, "rlnSnrFalloff": 0.7}
    corrected = dict.fromkeys(("rlnCorrectedTomoName", "isonetCorrectedBy", "isonetCorrectedFrom"), "made")
    corrected["isonetCorrectedScale"] = "0.01"
    for label, value in {**options, **corrected}.items():
        with_halves.set(with_halves.rows[0], label, value)
    write_star("tomograms.star", with_halves)
    assert run("resize", "tomograms.star", "--apix", 24)[0] == 0
    resized = read_star("tomograms_resized.star")
    assert not corrected.keys() & set(resized.labels)
    assert {label: resized.number(resized.rows[0], label) for label in options} == options


def test_an_interrupted_resize_leaves_no_table_of_what_it_has_replaced(with_halves, project, run, monkeypatch):
    assert run("resize", "tomograms.star", "--apix", 24)[0] == 0
    rescale, made = resize._rescale, []

    def killed(*how):
        if made:
            raise KeyboardInterrupt
        made.append(how)
        rescale(*how)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(resize, "_rescale", killed)
        assert run("resize", "tomograms.star", "--apix", 30)[0] != 0
    assert made and not (project / "tomograms_resized.star").exists()
    assert run("resize", "tomograms.star", "--apix", 30)[0] == 0
    assert float(read_star("tomograms_resized.star").rows[0]["rlnPixelSize"]) == 30
