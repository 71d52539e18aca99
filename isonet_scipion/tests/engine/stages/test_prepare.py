"""prepare_star on files."""

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import Star, read_star, write_star
from isonet_scipion.engine.io.tomogram_entry import HALF_LABELS
from isonet_scipion.tests.engine.conftest import SHAPE, make_tomogram, set_cells


def test_own_masks_are_taken_and_checked(run, tmp_path):
    make_tomogram(tmp_path / "tomoset" / "t.mrc")
    mask = np.zeros(SHAPE, np.int8)
    mask[16, 20:24, 20:24] = 1
    write_volume(tmp_path / "masks" / "t_mask.mrc", mask, 12.0)
    options = ("--pixel_size", 12, "--mask_folder_in", "masks", "--number_subtomos", 5)
    assert run("prepare_star", "tomoset", *options)[0] == 0
    assert run("extract", "tomograms.star", "--cube_size", 8, "--crop_size", 12)[0] == 0
    assert {row["rlnCoordinateZ"] for row in read_star("subtomo.star").rows} == {"16"}
    write_volume(tmp_path / "masks" / "t_mask.mrc", mask, 10.0)
    status, log = run("extract", "tomograms.star", "--cube_size", 8, "--crop_size", 12)
    assert status == 1 and "voxel size is 10.000 A, the tomogram's 12.000 A" in log
    write_volume(tmp_path / "masks" / "t_mask.mrc", mask[1:], 12.0)
    status, log = run("prepare_star", "tomoset", "--pixel_size", 12, "--mask_folder_in", "masks")
    assert status == 1 and "its shape (31, 48, 52)" in log


def test_what_other_commands_wrote_is_left_out_or_told(run, tmp_path):
    make_tomogram(tmp_path / "set" / "t.mrc")
    assert run("prepare_star", "set", "--defocus", 20000)[0] == 0
    for command, folder in (("deconv", "--deconv_folder"), ("make_mask", "--mask_folder")):
        status, log = run(command, "tomograms.star", folder, f"{command}s")
        assert status == 0, log
    (tmp_path / "deconvs" / "t.mrc").rename(tmp_path / "set" / "d.mrc")
    (tmp_path / "make_masks" / "t_mask.mrc").rename(tmp_path / "set" / "t_mask.mrc")
    for other in ("u.map", "v.mrc.gz", "notes.txt"):
        (tmp_path / "set" / other).touch()
    status, log = run("prepare_star", "set", "--defocus", 20000, "--output_star", "again.star")
    assert status == 0, log
    rows = read_star("again.star").rows
    assert [row["rlnMicrographName"] for row in rows] == ["set/d.mrc", "set/t.mrc"]
    assert "set: left out, as they are to be converted or unpacked: u.map, v.mrc.gz" in log
    assert [row["isonetCtfState"] for row in rows] == ["corrected", "None"]
    assert "set: left out, as they are masks, confidence volumes or subtomograms: t_mask.mrc" in log
    assert "set: taken as deconvolved, as deconv wrote them: d.mrc" in log
    status, log = run("deconv", "again.star", "--tomo_idx", "1")
    assert status == 1 and "d.mrc" in log, log
    for name in ("d", "t"):
        (tmp_path / "set" / f"{name}.mrc").unlink()
    status, log = run("prepare_star", "set")
    assert status == 1 and "set: it holds masks, confidence volumes or subtomograms alone" in log


def test_subtomograms_are_not_taken_as_tomograms(project, run):
    assert run("extract", "tomograms.star", "--cube_size", 8, "--subtomo_folder", "tomoset")[0] == 0
    assert run("prepare_star", "tomoset", "--output_star", "again.star")[0] == 0
    assert [row["rlnMicrographName"] for row in read_star("again.star").rows] == ["tomoset/TS.1_bin4.mrc"]


def test_a_mean_of_deconvolved_halves_is_deconvolved(run, tmp_path):
    for seed, name in enumerate(("t_EVN", "t_ODD")):
        make_tomogram(tmp_path / "set" / f"{name}.mrc", seed=seed)
    write_star("each.star", _table_of("set/t_EVN.mrc", "set/t_ODD.mrc"))
    assert run("deconv", "each.star", "--deconv_folder", "halves")[0] == 0
    status, log = run("prepare_star", "halves")
    assert status == 0 and "taken as deconvolved, as deconv wrote them: t_EVN.mrc, t_ODD.mrc" in log, log
    assert "Without defocus" not in log, log
    (row,) = read_star("tomograms.star").rows
    assert row["isonetCtfState"] == "corrected"
    assert run("deconv", "tomograms.star")[0] == 1


def _table_of(*paths):
    rows = [
        {"rlnIndex": str(number), "rlnMicrographName": path, "rlnPixelSize": "12", "rlnDefocus": "20000"}
        for number, path in enumerate(paths, 1)
    ]
    return Star(list(rows[0]), rows)


def test_raw_halves_of_a_deconvolved_tomogram_are_refused(run, tmp_path):
    for number, folder in enumerate(("tomo", "even", "odd")):
        make_tomogram(tmp_path / folder / "t.mrc", seed=0 if folder == "tomo" else number)
        assert run("prepare_star", folder, "--output_star", f"{folder}.star", "--defocus=20000")[0] == 0
        assert run("deconv", f"{folder}.star", "--deconv_folder", f"deconv_{folder}")[0] == 0
    given = ("prepare_star", "deconv_tomo", "--output_star", "d.star")
    status, log = run(*given, "--even_folder", "deconv_even", "--odd_folder", "deconv_odd")
    assert status == 0 and "another defocus" not in log, log
    for even, odd, raw in (("even", "odd", "even/t.mrc"), ("deconv_even", "odd", "odd/t.mrc")):
        status, log = run(*given, "--even_folder", even, "--odd_folder", odd)
        assert status == 1 and f"{raw}: it is not deconvolved, but deconv_" in log, log
    set_cells("odd.star", 0, rlnDefocus=25000)
    assert run("deconv", "odd.star", "--deconv_folder", "deconv_odd")[0] == 0
    status, log = run(*given, "--even_folder", "deconv_even", "--odd_folder", "deconv_odd")
    assert status == 0 and "deconv_tomo/t.mrc: deconv took another defocus" in log, log


def test_a_voxel_size_that_headers_round_is_told_once(run, tmp_path):
    for width in (53, 61, 95):  # of which the last digits of 13.3 A times the width depend
        make_tomogram(tmp_path / "tomo" / f"t{width}.mrc", (24, 24, width), voxel_size=13.3)
    assert len({open_volume(path).voxel_size for path in (tmp_path / "tomo").iterdir()}) > 1
    status, log = run("prepare_star", "tomo")
    assert status == 0 and "tomograms.star: 3 tomograms of 13.3 A\n" in log, log


def test_what_was_typed_into_the_table_is_kept_where_nothing_else_tells(run, tmp_path):
    for name in ("a", "b", "c"):
        make_tomogram(tmp_path / "set" / f"{name}.mrc")
    assert run("prepare_star", "set")[0] == 0
    status, log = run("prepare_star", "set")
    assert status == 0 and "table that was there" not in log, log
    typed = {"rlnDefocus": 25000, "rlnNumberSubtomo": 300, "rlnMaskBoundary": "a.mod", "rlnTiltMin": -57}
    set_cells("tomograms.star", 1, **typed, rlnVoltage=200)
    set_cells("tomograms.star", 2, rlnTiltMax=48)
    (tmp_path / "set" / "a.mrc").unlink()  # the others move up
    (tmp_path / "link").symlink_to("set")
    status, log = run("prepare_star", "link")
    assert status == 0, log
    star = read_star("tomograms.star")
    assert {label: star.rows[0][label] for label in ("rlnIndex", "rlnMaskBoundary", "rlnNumberSubtomo")} == {
        "rlnIndex": "1", "rlnMaskBoundary": "a.mod", "rlnNumberSubtomo": "300",
    }  # fmt: skip
    numbers = [star.number(star.rows[0], f"rln{label}") for label in ("Defocus", "TiltMin", "TiltMax", "Voltage")]
    assert numbers == [25000, -57, 60, 200]
    assert [star.number(star.rows[1], f"rln{label}") for label in ("Defocus", "TiltMin", "TiltMax")] == [0, -60, 48]
    assert "b: kept from the table that was there: rlnTiltMin -57, rlnDefocus 25000, rlnNumberSubtomo 300, " in log
    assert "Without defocus, which deconv and --ctf_aware need: c\n" in log and "was found" not in log
    # what options and tilt files tell comes first, and is told in one line
    (tmp_path / "tilts").mkdir()
    for name in ("b", "c"):
        (tmp_path / "tilts" / f"{name}.tlt").write_text("-50\n0\n52\n")
    status, log = run("prepare_star", "set", "--tilt_files=tilts", "--defocus=0", "--number_subtomos=100")
    assert status == 0, log
    (line,) = [line for line in log.splitlines() if "other than in the table that was there" in line]
    for change in ("Defocus of b.mrc 0, before 25000;", "NumberSubtomo of b.mrc 100, before 300;"):
        assert f"rln{change}" in line
    assert "rlnTiltMin of b.mrc -50, before -57 (and 1 more); rlnTiltMax of b.mrc 52, before 60 (and 1 more)" in line
    assert read_star("tomograms.star").rows[0]["rlnMaskBoundary"] == "a.mod"


def test_what_was_typed_wrong_is_told_unless_an_option_comes_before_it(run, tmp_path):
    make_tomogram(tmp_path / "set" / "a.mrc")
    assert run("prepare_star", "set")[0] == 0
    set_cells("tomograms.star", 0, rlnDefocus=2.5, rlnTiltMin=-1, rlnTiltMax=1)
    status, log = run("prepare_star", "set", "--defocus=25000")
    assert status == 1 and "tomograms.star, rlnTiltMin and rlnTiltMax of a: -1..1 degrees is too narrow" in log, log
    status, log = run("prepare_star", "set", "--tilt_min=-50", "--tilt_max=50")
    assert status == 1 and "tomograms.star, rlnDefocus of a: " in log and "25000" in log, log
    assert run("prepare_star", "set", "--tilt_min=-50", "--tilt_max=50", "--defocus=25000")[0] == 0
    set_cells("tomograms.star", 0, rlnTiltMax="wide")
    status, log = run("prepare_star", "set")
    assert status == 1 and "tomograms.star: _rlnTiltMax is 'wide' in row 1, not a number" in log, log


def test_contrast_ctf_state_and_both_defoci_of_the_earlier_table_are_kept(run, tmp_path):
    make_tomogram(tmp_path / "set" / "a.mrc")
    assert run("prepare_star", "set", "--ctf_state=phase-flipped", "--invert=True")[0] == 0
    set_cells("tomograms.star", 0, rlnDefocusU=24000, rlnDefocusV=26000)
    for options, defocus, state, inverted in (
        ((), 25000, "phase-flipped", "1"),
        (("--ctf_state=raw", "--invert=False", "--defocus=30000"), 30000, "raw", None),
    ):
        status, log = run("prepare_star", "set", *options)
        assert status == 0, log
        star = read_star("tomograms.star")
        (row,) = star.rows
        found = star.number(row, "rlnDefocus"), row["isonetCtfState"], star.text(row, "isonetInverted")
        assert found == (defocus, state, inverted)
    set_cells("tomograms.star", 0, isonetCtfState="flipped")
    status, log = run("prepare_star", "set")
    assert status == 1 and "tomograms.star, isonetCtfState: it is 'flipped' for set/a.mrc. Give raw, " in log, log


def test_ome_zarr_of_a_folder_and_of_runs(run, tmp_path):
    pytest.importorskip("zarr", minversion="3.1", reason="zarr 3.1 is optional, and needs Python 3.11")
    for number in (1, 2):
        folder = tmp_path / "ExperimentRuns" / f"TS_{number}" / "VoxelSpacing13.480"
        write_volume(folder / "wbp.zarr", np.arange(64, dtype=np.float32).reshape(4, 4, 4), 13.48)
    status, log = run("prepare_star", "--from", ".", "--output_star", "runs.star")
    assert status == 0, log
    rows = read_star("runs.star").rows
    assert [(row["rlnTomoName"], float(row["rlnPixelSize"])) for row in rows] == [("TS_1", 13.48), ("TS_2", 13.48)]
    assert rows[1]["rlnMicrographName"].endswith("TS_2/VoxelSpacing13.480/wbp.zarr")
    status, log = run("prepare_star", folder, "--output_star", "folder.star")
    assert status == 0, log
    assert read_star("folder.star").rows[0]["rlnPixelSize"] == "13.480000"


def test_averages_get_the_given_voxel_size(run, tmp_path):
    for seed, half in enumerate(("half1", "half2")):
        make_tomogram(tmp_path / "halves" / f"TS_1_{half}.mrc", seed=seed, voxel_size=25.0)
    status, log = run("prepare_star", "halves", "--pixel_size", 10)
    assert status == 0 and "25.000 A, but pixel_size says 10.000 A, which is used" in log, log
    assert open_volume("averages/TS_1.mrc").voxel_size == 10.0


def _make_halves(folder, seed=0):
    for number, half in enumerate(("EVN", "ODD")):
        make_tomogram(folder / f"TS_01_{half}.mrc", seed=seed + number)


def _is_mean(path, folder):
    halves = [open_volume(f"{folder}/TS_01_{half}.mrc").data for half in ("EVN", "ODD")]
    return np.allclose(open_volume(path).data, (halves[0] + halves[1]) / 2, atol=1e-3)


def test_the_mean_of_another_folders_halves_is_not_replaced(run, tmp_path):
    for seed, day in enumerate(("day1", "day2")):
        _make_halves(tmp_path / day, 10 * seed)
    assert run("prepare_star", "day1", "--output_star=day1.star")[0] == 0
    status, log = run("prepare_star", "day2", "--output_star=day2.star")
    assert (
        status == 1
        and "averages/TS_01.mrc: it is there already, and nothing tells that it was made of day2/TS_01_EVN.mrc and"
        in log
    )
    assert "Give another folder with --average_folder, or delete it." in log and _is_mean("averages/TS_01.mrc", "day1")
    assert run("prepare_star", "day2", "--output_star=day2.star", "--average_folder=means")[0] == 0
    # made again by the same table, and by another of the same halves
    for table in ("day1.star", "again.star"):
        assert run("prepare_star", "day1", f"--output_star={table}")[0] == 0
    assert _is_mean("averages/TS_01.mrc", "day1") and _is_mean("means/TS_01.mrc", "day2")


@pytest.mark.parametrize(
    ("shape", "values", "said"),
    [
        ((32, 44, 52), (), "its shape (32, 44, 52) is not that of halves/TS_01_EVN.mrc, (32, 48, 52)"),
        (SHAPE, (7.0,), "all its voxels are equal"),
        (SHAPE, (7.0, np.nan), "it holds NaN or infinite voxels"),
    ],
)
def test_halves_that_have_no_mean_are_refused(run, tmp_path, shape, values, said):
    _make_halves(tmp_path / "halves")
    odd = make_tomogram(tmp_path / "halves" / "TS_01_ODD.mrc", shape, seed=1)
    for place, value in enumerate(values):
        odd[place:] = value
    write_volume("halves/TS_01_ODD.mrc", odd, 12.0)
    status, log = run("prepare_star", "halves")
    assert status == 1 and f"halves/TS_01_ODD.mrc: {said}" in log and not (tmp_path / "averages").exists(), log


def test_a_tomogram_of_the_users_own_is_not_replaced_by_a_mean(run, tmp_path):
    _make_halves(tmp_path / "halves")
    make_tomogram(tmp_path / "mine" / "TS_01.mrc", seed=9)
    before = (tmp_path / "mine" / "TS_01.mrc").read_bytes()
    make_tomogram(tmp_path / "halves" / "u.mrc")
    write_star("tomograms.star", _table_of("mine/TS_01.mrc", "halves/u.mrc"))  # not as a mean of these halves
    status, log = run("prepare_star", "halves", "--average_folder=mine")
    assert status == 1 and "mine/TS_01.mrc: it is there already" in log, log
    assert (tmp_path / "mine" / "TS_01.mrc").read_bytes() == before


def test_a_mean_that_a_former_version_made_is_made_again_with_what_was_typed(run, tmp_path):
    _make_halves(tmp_path / "halves")
    assert run("prepare_star", "halves")[0] == 0
    set_cells("tomograms.star", 0, rlnDefocus=25000)
    volume = open_volume("averages/TS_01.mrc")
    write_volume("averages/TS_01.mrc", np.zeros_like(volume.data), volume.voxel_size)  # without a mark
    status, log = run("prepare_star", "halves")
    assert status == 0 and "TS_01: kept from the table that was there: rlnDefocus 25000" in log, log
    assert _is_mean("averages/TS_01.mrc", "halves")


def test_a_folder_of_means_of_deconvolved_halves_is_taken_as_deconvolved(run, tmp_path):
    _make_halves(tmp_path / "set")
    write_star("each.star", _table_of("set/TS_01_EVN.mrc", "set/TS_01_ODD.mrc"))
    assert run("deconv", "each.star", "--deconv_folder", "halves")[0] == 0
    assert run("prepare_star", "halves")[0] == 0
    assert run("prepare_star", "averages", "--output_star=means.star")[0] == 0
    assert read_star("means.star").rows[0]["isonetCtfState"] == "corrected"


def test_two_tomograms_of_one_name_get_no_common_mean(run, tmp_path):
    for seed, day in enumerate(("day1", "day2")):
        _make_halves(tmp_path / day, 10 * seed)
    labels = ["rlnIndex", "rlnTomoName", "rlnPixelSize", *HALF_LABELS]
    cells = [[str(n), "None", "12", f"day{n}/TS_01_EVN.mrc", f"day{n}/TS_01_ODD.mrc"] for n in (1, 2)]
    write_star("isonet2.star", Star(labels, [dict(zip(labels, row)) for row in cells]))
    status, log = run("prepare_star", "--from=isonet2.star")
    assert status == 1 and "averages/TS_01.mrc: it would be the mean of several tomograms' halves" in log, log


def test_a_table_of_other_tomograms_is_not_replaced(run, tmp_path):
    for seed, day in enumerate(("day1", "day2")):
        make_tomogram(tmp_path / day / "TS_01.mrc", seed=seed)
    assert run("prepare_star", "day1")[0] == 0
    before = (tmp_path / "tomograms.star").read_bytes()
    status, log = run("prepare_star", "day2")
    assert status == 1 and "tomograms.star: it is there already, of other tomograms or halves: day1/TS_01.mrc. " in log
    assert "Give another --output_star, or delete it" in log
    assert (tmp_path / "tomograms.star").read_bytes() == before


def test_what_was_typed_for_halves_is_not_taken_for_others_of_the_same_name(run, tmp_path):
    for seed, day in enumerate(("day1", "day2")):
        _make_halves(tmp_path / day, 10 * seed)
    assert run("prepare_star", "day1")[0] == 0
    status, log = run("prepare_star", "day2")
    assert status == 1 and "it is there already, of other tomograms or halves: averages/TS_01.mrc. " in log


def test_the_row_of_a_file_that_is_away_stays_as_a_comment_and_its_return_is_told(run, tmp_path):
    for name in ("a", "b", "c 1"):
        make_tomogram(tmp_path / "set" / f"{name}.mrc")
    assert run("prepare_star", "set")[0] == 0
    set_cells("tomograms.star", 2, rlnDefocus=31000, rlnTiltMax=48)
    (tmp_path / "set" / "c 1.mrc").rename(tmp_path / "away.mrc")
    status, log = run("prepare_star", "set")
    told = "tomograms.star: left out, since set has them no longer: set/c 1.mrc. Their rows stay as comments at its "
    assert status == 0 and f"{told}top, which alone tell their rlnTiltMax, rlnDefocus." in log, log
    (comment,) = read_star("tomograms.star").comments
    assert 'rlnMicrographName "set/c 1.mrc"' in comment and "rlnDefocus 31000 " in comment
    status, log = run("prepare_star", "set")
    assert status == 0 and "left out" not in log and read_star("tomograms.star").comments == [comment], log
    (tmp_path / "away.mrc").rename(tmp_path / "set" / "c 1.mrc")
    status, log = run("prepare_star", "set")
    assert status == 0 and "only comments named them so far, and they are taken again, without what is told" in log
    assert "c 1.mrc. Copy that" in log and read_star("tomograms.star").comments == [comment]
    status, log = run("prepare_star", "set")
    assert status == 0 and "comments" not in log, log


def test_a_row_that_was_taken_out_stays_a_comment_and_its_return_is_told(run, tmp_path):
    for name in ("a", "b"):
        make_tomogram(tmp_path / "set" / f"{name}.mrc")
    assert run("prepare_star", "set")[0] == 0
    table = tmp_path / "tomograms.star"
    table.write_text(table.read_text().replace("\n2 ", "\n#2 "))
    status, log = run("prepare_star", "set")
    assert status == 0 and "tomograms.star: only comments named them so far" in log and ": b.mrc. Copy" in log, log
    (comment,) = read_star("tomograms.star").comments
    assert comment.startswith("#2 set/b.mrc ")


@pytest.mark.parametrize(("factor", "status", "told"), [
    (3, 1, "as halves of one tomogram they are impossible: their grey values are"),
    (1.7, 0, "times as strong as those of the other"),
])  # fmt: skip
def test_halves_are_compared_before_their_mean_is_written(run, tmp_path, factor, status, told):
    rng = np.random.default_rng(1)
    sample = np.kron(rng.normal(size=(8, 24, 24)), np.ones((4, 4, 4)))
    for half, scale in (("EVN", 1), ("ODD", factor)):
        data = scale * (sample + 0.5 * rng.normal(size=sample.shape))
        write_volume(tmp_path / "set" / f"TS_01_{half}.mrc", data.astype(np.float32), 10.0)
    found, log = run("prepare_star", "set")
    assert found == status and told in log, log
    assert (tmp_path / "averages" / "TS_01.mrc").exists() is (status == 0)


@pytest.mark.parametrize("names", ["TS_01 TS_01_ali TS_01_rec", "TS_01_rec TS_02_rec TS_1 TS_10"])
def test_files_of_one_tilt_series_are_named(run, tmp_path, names):
    rng = np.random.default_rng(0)
    for name in names.split():
        write_volume(tmp_path / "tomo" / f"{name}.mrc", rng.normal(size=(8, 8, 8)).astype("f4"), 10.0)
    status, log = run("prepare_star", "tomo")
    assert status == 0, log
    told = "by their names they are of one tilt series: TS_01.mrc, TS_01_ali.mrc, TS_01_rec.mrc."
    assert (told in log) == ("ali" in names) and ("tilt series:" in log) == ("ali" in names), log


def test_optics_that_deconv_would_refuse_are_refused(project, run):
    set_cells("tomograms.star", 0, rlnVoltage=300000)
    status, log = run("prepare_star", "tomoset")
    assert status == 1 and "voltage of TS.1_bin4: 300000 kV is impossible. Give it in kV" in log, log
