"""What deconvolved tomograms and masks were made of: changes of it are refused or told by later stages."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isonet_scipion.engine.io.marks import made_by
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.origin import numbers_digest, origin_in, voxels_digest
from isonet_scipion.engine.io.star import read_star, write_star
from isonet_scipion.tests.engine.conftest import make_tomogram

TOMOGRAM, DECONVOLVED, MASK = "tomoset/TS.1_bin4.mrc", "deconv/TS.1_bin4.mrc", "mask/TS.1_bin4_mask.mrc"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6), st.integers(0, 5), st.floats(0.1, 10))
def test_each_number_counts(numbers, place, added):
    other = [number + added * (index == place % len(numbers)) for index, number in enumerate(numbers)]
    assert (numbers_digest(numbers) == numbers_digest(other)) == (numbers == other)


@pytest.mark.parametrize("name", ["float.mrc", "folder.zarr"])
def test_voxels_count_wherever_and_in_whatever_format_they_are(tmp_path, name):
    voxels = np.random.default_rng(0).integers(-9, 9, (40, 70, 80))
    for path, values in (("int.mrc", voxels.astype(np.int16)), (name, voxels.astype(np.float32)), ("more.mrc", voxels)):
        write_volume(
            tmp_path / path, np.asarray(values + (path == "more.mrc"), np.float32 if path == name else np.int16), 8.0
        )
    same, other, more = (voxels_digest(open_volume(tmp_path / path)) for path in ("int.mrc", name, "more.mrc"))
    assert same == other != more
    assert len(same) == 12


@pytest.fixture
def prepared(project, run):
    assert run("deconv", "tomograms.star")[0] == 0
    assert run("make_mask", "tomograms.star", "--patch_size", 2)[0] == 0
    assert (made_by(DECONVOLVED), made_by(MASK)) == ("deconv", "make_mask")
    assert (
        origin_in(DECONVOLVED, "deconv").voxels
        == origin_in(MASK, "make_mask").voxels
        == voxels_digest(open_volume(TOMOGRAM))
    )
    return project


STAGES = (
    ("make_mask", "tomograms.star", "--patch_size", 2),
    ("extract", "tomograms.star", "--cube_size", 16, "--crop_size", 20),
    ("predict", "tomograms.star", "builtin", "--report", False),
    ("refine", "tomograms.star", "--method", "one-pass", "--cube_size", 16, "--steps_per_epoch", 1, "--iterations", 1),
)


def change_defocus(project, defocus):
    table = project / "tomograms.star"
    text, count = re.subn(r"\s20000\.?0*\s", f" {defocus} ", table.read_text(), count=1)
    assert count == 1
    table.write_text(text)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage[0])
def test_what_was_deconvolved_from_another_tomogram_is_refused(prepared, run, stage):
    make_tomogram(prepared / TOMOGRAM, seed=5)
    status, log = run(*stage)
    assert status == 1
    assert f"error: {DECONVOLVED}: it was made of other voxels than {TOMOGRAM} has now. Run deconv again" in log


def test_what_was_deconvolved_with_another_defocus_is_refused(prepared, run):
    change_defocus(prepared, 30000)
    status, log = run(*STAGES[1])
    assert status == 1
    assert f"error: {DECONVOLVED}: it was made with another defocus" in log
    assert run("deconv", "tomograms.star")[0] == 0
    assert run(*STAGES[1])[0] == 0


def test_what_was_deconvolved_as_raw_is_refused_once_the_table_says_phase_flipped(prepared, run):
    star = read_star("tomograms.star")
    for row in star.rows:
        star.set(row, "isonetCtfState", "phase-flipped")
    write_star("tomograms.star", star)
    status, log = run(*STAGES[1])
    assert status == 1 and f"error: {DECONVOLVED}: it was made with another defocus" in log and "isonetCtfState" in log
    assert run("deconv", "tomograms.star")[0] == 0
    assert run(*STAGES[1])[0] == 0
    assert run("deconv", "tomograms.star", "--ctf_state", "raw")[0] == 0  # which the table then says
    assert run(*STAGES[1])[0] == 0


def test_a_deconvolved_tomogram_that_another_table_names_is_not_deconvolved_again(prepared, run):
    star = read_star("tomograms.star")
    for row in star.rows:
        star.set(row, "rlnMicrographName", row["rlnDeconvTomoName"])
        star.set(row, "rlnDeconvTomoName", None)
    write_star("own.star", star)
    status, log = run("deconv", "own.star", "--deconv_folder", "twice")
    assert status == 1 and f"{DECONVOLVED}: its CTF is corrected already" in log, log


def test_what_is_the_same_as_before_is_used(prepared, run):
    voxels, table = open_volume(TOMOGRAM).data.copy(), prepared / "tomograms.star"
    write_volume(prepared / TOMOGRAM, voxels, 12.0)  # written anew, with the same voxels
    status, log = run(*STAGES[1])
    assert status == 0, log
    assert "made of other voxels" not in log
    (prepared / TOMOGRAM).unlink()  # to save space
    assert run(*STAGES[1])[0] == 0
    star = read_star("tomograms.star")
    for row in star.rows:
        star.set(row, "rlnVoltage", 300.0)  # as it is taken where the table does not tell
    write_star("tomograms.star", star)
    assert run(*STAGES[1])[0] == 0
    change_defocus(prepared, 0)  # not known
    assert run(*STAGES[1])[0] == 0, table.read_text()


def test_an_outdated_mask_is_told_until_it_is_made_again(prepared, run):
    make_tomogram(prepared / TOMOGRAM, seed=5)
    told = "the masks of TS.1_bin4 were made of other voxels than the tomograms have now. Make them again,"
    without = (*STAGES[1], "--use_deconv_tomo", False)
    status, log = run(*without)
    assert status == 0 and told in log
    assert run(*STAGES[0], "--use_deconv_tomo", False)[0] == 0
    status, log = run(*without)
    assert status == 0 and told not in log


def test_a_mask_of_another_tomogram_is_told(tmp_path, run):
    for name in "ab":
        make_tomogram(tmp_path / "tomoset" / f"{name}.mrc", seed=ord(name))
    assert run("prepare_star", "tomoset")[0] == 0 and run("make_mask", "tomograms.star", "--patch_size", 2)[0] == 0
    star = read_star("tomograms.star")
    names = [row["rlnMaskName"] for row in star.rows]
    for row, name in zip(star.rows, names[::-1]):
        star.set(row, "rlnMaskName", name)
    write_star("tomograms.star", star)
    status, log = run(*STAGES[1])
    assert status == 0 and "the masks of a, b were made of other voxels" in log, log
    status, log = run("make_mask", "tomograms.star", "--patch_size", 2)
    assert status == 1 and "mask/a_mask.mrc: it is that of another tomogram, tomoset/b.mrc, by tomograms.star" in log


def test_a_mask_of_ones_own_is_not_replaced(prepared, run):
    own = np.ones(open_volume(TOMOGRAM).shape, np.int8)
    write_volume(prepared / MASK, own, 10.0)
    status, log = run("make_mask", "tomograms.star", "--use_deconv_tomo", False)
    assert status == 1 and f"{MASK}: it is there already, and bears no mark of make_mask" in log, log
    np.testing.assert_array_equal(open_volume(MASK).data, own)
    assert run("make_mask", "tomograms.star", "--use_deconv_tomo", False, "--mask_folder", "other")[0] == 0


def test_results_of_former_versions_without_a_mark_are_made_again(prepared, run):
    write_volume(prepared / DECONVOLVED, open_volume(TOMOGRAM).data.copy(), 10.0)
    assert run("deconv", "tomograms.star")[0] == 0 and made_by(DECONVOLVED) == "deconv"


def test_a_mask_of_another_version_of_the_tomogram_is_not_told(prepared, run):
    star = read_star("tomograms.star")
    star.set(star.rows[0], "rlnMicrographName", star.rows[0]["rlnDeconvTomoName"])
    star.set(star.rows[0], "rlnDeconvTomoName", None)
    write_star("others.star", star)
    status, log = run("extract", "others.star", *STAGES[1][2:])
    assert status == 0 and "made of other voxels" not in log, log


def test_a_mask_of_other_origin_is_not_told(prepared, run):
    mask = open_volume(MASK).data.copy()
    write_volume(prepared / MASK, mask, 12.0)  # drawn by hand
    make_tomogram(prepared / TOMOGRAM, seed=5)
    status, log = run(*STAGES[1], "--use_deconv_tomo", False)
    assert status == 0 and "made of other voxels" not in log
