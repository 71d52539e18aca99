"""What belongs to another table is not replaced: that one would name a wrong tomogram as its own."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.tests.faults.conftest import VOXEL_SIZE, contents, table, the_error, voxels

# command, after the table; the folder that it writes to; the option for that
STAGES = {
    "deconv": (("--ncpu=1",), "deconv", "deconv_folder"),
    "make_mask": (("--patch_size=2",), "mask", "mask_folder"),
    "extract": (("--cube_size=8", "--crop_size=10", "--seed=1"), "subtomo", "subtomo_folder"),
    "resize": (("--apix=13",), "tomograms_resized", "out_folder"),
    "predict": (("tiny.keras", "--cube_size=20", "--crop_size=40"), "corrected_tomos", "output_dir"),
}


@pytest.fixture
def sessions(project):
    """Two tables whose tomograms are called the same."""
    for number, name in enumerate("ab"):
        write_volume(project / name / "TS_01.mrc", voxels(seed=number) + 500 * number, VOXEL_SIZE)
        table(project / f"{name}.star", [{"rlnMicrographName": f"{name}/TS_01.mrc"}])
    return project


def command(stage, name):
    more = {"extract": (f"--subtomo_star={name}_subtomo.star",)}.get(stage, ())
    return (stage, f"{name}.star", *STAGES[stage][0], *more)


@pytest.mark.parametrize("stage", STAGES)
def test_the_second_table_is_told_to_take_another_folder(sessions, run, stage):
    _, folder, option = STAGES[stage]
    assert run(*command(stage, "a"))[0] == 0
    before = {path: path.read_bytes() for path in sessions.rglob("*") if path.is_file()}
    status, log = run(*command(stage, "b"))
    error = the_error(log)
    assert status == 1 and "TS_01" in error and f"--{option}" in error
    assert {path: path.read_bytes() for path in sessions.rglob("*") if path.is_file()} == before
    assert run(*command(stage, "b"), f"--{option}=other")[0] == 0
    # its own outputs are replaced, by the same command on the same table
    times = {path: path.stat().st_mtime_ns for path in Path(folder).glob("*.mrc")}
    for picture in Path(folder).glob("*_corrected.png"):
        picture.unlink()  # else predict has nothing left to do
    assert run(*command(stage, "a"))[0] == 0
    assert all(path.stat().st_mtime_ns != time for path, time in times.items())


@pytest.mark.parametrize("stage", ["deconv", "make_mask", "predict", "extract", "resize"])
def test_what_a_killed_run_left_is_replaced(sessions, run, stage):
    tables = {name: (sessions / name).read_bytes() for name in ("a.star", "b.star")}
    assert run(*command(stage, "a"))[0] == 0
    first = {path.name: np.array(open_volume(path).data) for path in Path(STAGES[stage][1]).glob("*.mrc")}
    # it was killed when its files were there, before their names came into a table
    for name in ("a_subtomo.star", "a_resized.star"):
        Path(name).unlink(missing_ok=True)
    for name, text in tables.items():
        Path(name).write_bytes(text)
    assert run(*command(stage, "a"))[0] == 0
    for name, data in first.items():
        np.testing.assert_array_equal(open_volume(Path(STAGES[stage][1]) / name).data, data)
    # for another table they are foreign all the same
    assert run(*command(stage, "b"))[0] == 1


def test_a_file_of_the_users_own_is_not_replaced(sessions, run):
    (sessions / "deconv").mkdir()
    shutil.copy("a/TS_01.mrc", "deconv/TS_01.mrc")
    status, log = run("deconv", "a.star")
    assert status == 1 and "it is there already" in the_error(log)
    (sessions / "deconv" / "TS_01.mrc").unlink()
    (sessions / "deconv" / "TS_01.mrc").symlink_to("nowhere")
    assert run("deconv", "a.star")[0] == 1
    assert Path("deconv/TS_01.mrc").is_symlink()


@pytest.mark.parametrize("name", ["TS_01_corrected.png", "TS_01_corrected_report.png"])
def test_a_picture_of_the_users_own_is_not_replaced(sessions, run, name):
    assert run(*command("predict", "a"))[0] == 0
    folder = sessions / "corrected_tomos"
    for path in folder.glob("*.mrc"):
        path.unlink()
    assert run(*command("predict", "a"))[0] == 0  # those of the first run are its own
    for path in folder.glob("*.mrc"):
        path.unlink()
    (folder / name).write_bytes(b"\x89PNG of somebody else")
    status, log = run(*command("predict", "a"))
    assert status == 1 and f"{name}: it is there already" in the_error(log)
    assert (folder / name).read_bytes() == b"\x89PNG of somebody else" and not list(folder.glob("*.mrc"))


TRAINING = (
    "--filter_base=2", "--unet_depth=1", "--convs_per_depth=2", "--epochs=2", "--steps_per_epoch=1", "--batch_size=2",
    "--seed=3",
)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "losses.png",
        "slices_iter01.png",
        "s1_iter00.mrc",
        "model_iter01.keras",
        "model_iter02.keras",
        "refine_iter02.json",
    ],
)
def test_a_file_of_the_users_own_in_the_folder_of_a_training_is_kept(scene, run, name):
    (scene / "results").mkdir()
    (scene / "results" / name).write_bytes(b"the user's own, made with Matplotlib")
    status, log = run("refine", "s.star", *TRAINING, "--iterations=3")
    assert status == 1 and f"{name}: it is there already" in the_error(log)
    assert contents(scene / "results") == {name: b"the user's own, made with Matplotlib"}


@pytest.mark.usefixtures("untrained")
def test_a_training_goes_on_beside_what_it_wrote_itself(scene, run):
    assert run("refine", "s.star", *TRAINING, "--iterations=2")[0] == 0
    results = scene / "results"
    # as version 1.0.0 wrote them
    for path in results.glob("*.png"):
        path.write_bytes(path.read_bytes().replace(b"isonet_scipion", b"Matplotlib ver"))
    assert run("refine", "s.star", *TRAINING, "--iterations=3")[0] == 0
    (results / "model_iter04.keras").write_bytes(b"the user's own")
    status, log = run("refine", "s.star", *TRAINING, "--iterations=4")
    assert status == 1 and "model_iter04.keras: it is there already" in the_error(log)
    # the state was deleted to save space: what there is belongs to a run that is over
    (results / "training_state.keras").unlink()
    (results / "model_iter04.keras").unlink()
    before = contents(results)
    status, log = run("refine", "s.star", *TRAINING, "--iterations=3")
    assert status == 1 and "model_iter01.keras: it is there already" in the_error(log)
    assert contents(results) == before


@pytest.mark.usefixtures("untrained")
def test_what_a_kill_before_the_first_state_left_is_made_anew(scene, run):
    short = [*TRAINING, "--epochs=1", "--iterations=1"]
    assert run("refine", "s.star", *short)[0] == 0
    results = scene / "results"
    for path in results.iterdir():
        if path.name != "model_iter01.keras":
            path.unlink()
    status, log = run("refine", "s.star", *short)
    assert status == 0, log
    assert (results / "losses.csv").exists()


# command after the table or model, and the file that it writes
TABLES = [
    (("prepare_star", "a", "--output_star=x.star"), "x.star"),
    (("prepare_subtomo_star", "cubes", "--cube_size=8", "--output_star=x.star"), "x.star"),
    (("extract", "t.star", "--cube_size=8", "--crop_size=10", "--subtomo_star=x.star"), "x.star"),
    (("resize", "t.star", "--apix=13"), "t_resized.star"),
    (("export_relion", "t.star", "--output_star=x.star"), "x.star"),
    (("export_model", "m.keras", "x.h5"), "x.h5"),
    (("--outcome", "x.json", "deconv", "t.star"), "x.json"),
]
OTHERS = [b"the user's notes", b"data_\nloop_\n_rlnOther #1\n5\n"]


@pytest.mark.parametrize("kept", OTHERS)
@pytest.mark.parametrize(("command", "name"), TABLES)
def test_a_file_that_is_no_such_table_is_not_replaced(scene, run, command, name, kept):
    (scene / "a").mkdir()
    shutil.copy(scene / "t1.mrc", scene / "a")
    (scene / name).write_bytes(kept)
    before = contents(scene)
    status, log = run(*command)
    assert status == 1 and f"{name}: it is there already" in the_error(log)
    assert contents(scene) == before
    (scene / name).unlink()
    for _ in range(2):  # the second time its own file is there
        status, log = run(*command)
        assert status == 0, log


def test_the_table_of_another_program_is_not_replaced_by_what_is_made_of_it(scene, run):
    assert run("export_relion", "t.star", "--output_star=tomograms.star")[0] == 0
    before = (scene / "tomograms.star").read_bytes()
    status, log = run("prepare_star", "--from", "tomograms.star")
    assert status == 1 and "replace this input" in the_error(log)
    assert (scene / "tomograms.star").read_bytes() == before


def test_columns_that_are_lost_with_a_replaced_table_are_named(scene, run):
    (scene / "a").mkdir()
    shutil.copy(scene / "t1.mrc", scene / "a")
    assert run("prepare_star", "a", "--defocus=20000", "--output_star=x.star")[0] == 0
    assert run("deconv", "x.star")[0] == 0
    status, log = run("prepare_star", "a", "--output_star=x.star")
    assert status == 0 and "it also had" in log and "rlnDeconvTomoName" in log


def test_a_moved_project_goes_on_with_what_its_table_names(sessions, run, monkeypatch):
    assert run("deconv", "a.star")[0] == 0
    sessions.rename(sessions.with_name("moved"))
    monkeypatch.chdir(sessions.with_name("moved"))
    assert run("deconv", "a.star", "--snrfalloff=0.5")[0] == 0
    assert read_star("a.star").rows[0]["rlnDeconvTomoName"] == "deconv/TS_01.mrc"


def test_labels_of_the_tomogram_are_kept_beside_the_mark(sessions, run):
    import mrcfile

    with mrcfile.open("a/TS_01.mrc", "r+") as mrc:
        mrc.header.label[:10] = [f"label {number}".encode() for number in range(10)]
        mrc.header.nlabl = 10
    assert run("deconv", "a.star")[0] == 0
    labels = open_volume("deconv/TS_01.mrc").labels
    assert labels[:9] == tuple(f"label {number}".encode() for number in range(9))
    assert labels[9].startswith(b"isonet_scipion deconv ")
    assert run("make_mask", "a.star", "--patch_size=2")[0] == 0
    labels = open_volume("mask/TS_01_mask.mrc").labels
    assert [label[:22] for label in labels[-2:]] == [b"label 8", b"isonet_scipion make_ma"]
