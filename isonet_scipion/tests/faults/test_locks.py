"""Commands that write the same things at the same time, links under temporary names, and private files."""

import errno
import fcntl
import os
import signal
import stat
import time

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import alone, replacing
from isonet_scipion.engine.io.star import read_star, write_star
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.tests.faults.conftest import engine, python, table, the_error

# command, the lock that it takes
COMMANDS = (
    (("deconv", "t.star"), ".t.star.lock"),
    (("make_mask", "t.star"), ".t.star.lock"),
    (("predict", "t.star", "m.keras"), ".t.star.lock"),
    (("resize", "t.star"), ".t.star.lock"),
    (("extract", "t.star", "--cube_size=8", "--crop_size=10"), ".subtomo.star.lock"),
    (("refine", "s.star"), ".results.lock"),
    (("prepare_star", ".", "--output_star=t.star"), ".t.star.lock"),
    (("prepare_subtomo_star", "cubes"), ".subtomo.star.lock"),
    (("export_model", "m.keras", "m.h5"), ".m.h5.lock"),
)


@pytest.mark.parametrize(("command", "lock"), COMMANDS, ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_the_second_command_on_the_same_output_says_so(scene, run, command, lock):
    before = {path: path.read_bytes() for path in scene.rglob("*.*") if path.is_file()}
    with open(scene / lock, "w+") as other:
        other.write("process 4711 on another\n")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        status, log = run(*command)
        assert status == 1
        assert "another command is working on it (process 4711 on another)" in the_error(log)
        (scene / lock).unlink()
    assert {path: path.read_bytes() for path in scene.rglob("*.*") if path.is_file()} == before


def test_two_processes_on_one_table_lose_no_column(scene):
    processes = [engine(scene, *command) for command in (("deconv", "t.star"), ("make_mask", "t.star")) * 3]
    logs = [process.communicate(timeout=120)[1] for process in processes]
    done = [process.returncode == 0 for process in processes]
    assert any(done), logs
    for process, log in zip(processes, logs):
        assert process.returncode == 0 or "is working on it" in the_error(log)
    labels = read_star(scene / "t.star").labels
    assert ("rlnDeconvTomoName" in labels) == any(done[0::2])
    assert ("rlnMaskName" in labels) == any(done[1::2])
    assert [path.name for path in scene.rglob(".*")] == []


def test_two_runs_in_one_folder_on_different_tables_do_not_collide(scene):
    for number in (1, 2):
        table(scene / f"{number}.star", [{"rlnMicrographName": f"t{number}.mrc"}])
    processes = [engine(scene, "deconv", f"{number}.star") for number in (1, 2)]
    logs = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], logs
    for number in (1, 2):
        assert read_star(scene / f"{number}.star").rows[0]["rlnDeconvTomoName"] == f"deconv/t{number}.mrc"
    assert sorted(path.name for path in (scene / "deconv").iterdir()) == ["t1.mrc", "t2.mrc"]


def test_a_killed_commands_lock_is_taken_over_and_removed(scene, run):
    process = engine(scene, "refine", "s.star", "--filter_base=2", "--unet_depth=1", "--iterations=99")
    until = time.monotonic() + 120
    while not (scene / ".results.lock").exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert (scene / ".results.lock").exists()
    with alone(scene / "results"):
        pass
    assert not (scene / ".results.lock").exists()


def test_a_file_that_changed_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "a" / "f.txt"

    def late():
        with replacing(path) as temporary:
            temporary.write_text("late")
            with replacing(path) as early:
                early.write_text("early")

    with pytest.raises(EngineError, match="written by another"):
        late()
    assert path.read_text() == "early"
    with replacing(path, since=False) as temporary:
        temporary.write_text("late")
        path.write_text("somebody's")
    assert path.read_text() == "late"
    assert len(list(path.parent.iterdir())) == 1


def test_folders_made_for_a_lock_go_again(tmp_path):
    with alone(tmp_path / "a" / "b" / "results"):
        assert (tmp_path / "a" / "b" / ".results.lock").exists()
    assert list(tmp_path.iterdir()) == []
    with alone(tmp_path / "a" / "results"):
        (tmp_path / "a" / "kept").write_text("")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]


def test_the_temporary_file_can_not_be_reached_by_others(tmp_path):
    umask = os.umask(0)
    os.umask(umask)
    with alone(tmp_path / "f.txt"), replacing(tmp_path / "f.txt") as temporary:
        folder = next(path for path in tmp_path.iterdir() if path.name.endswith(".partial"))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in (temporary, tmp_path / ".f.txt.lock"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        temporary.write_text("whole")
    assert stat.S_IMODE((tmp_path / "f.txt").stat().st_mode) == 0o666 & ~umask


def test_a_link_in_the_place_of_the_temporary_folder_leads_nowhere(tmp_path):
    private = tmp_path / "private"
    private.mkdir()
    (private / "f.txt").write_text("precious")
    (private / "f.txt").chmod(0o600)
    shared = tmp_path / "shared"
    with replacing(shared / "f.txt") as temporary:
        (folder,) = shared.iterdir()
        # what somebody may do who may write in the shared folder
        folder.rename(shared / "elsewhere")
        folder.symlink_to(private)
        temporary.write_text("result")
    assert (shared / "f.txt").read_text() == "result"
    assert (private / "f.txt").read_text() == "precious"
    assert stat.S_IMODE((private / "f.txt").stat().st_mode) == 0o600


def test_temporary_names_are_never_the_same(tmp_path):
    names = set()
    for _ in range(20):
        with replacing(tmp_path / "f.txt"):
            names |= {path.name for path in tmp_path.iterdir() if path.name != "f.txt"}
    assert len(names) == 20


def test_what_a_killed_process_left_is_deleted_and_nothing_else(tmp_path):
    code = "import sys, os, signal; from isonet_scipion.engine.io.files import replacing\n"
    code += "with replacing('f.txt') as path: path.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    assert python(tmp_path, code).wait(60) == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    foreign = tmp_path / ".ffffffff-1-00000000.partial"  # of another machine
    foreign.mkdir()
    code = "from isonet_scipion.engine.io.files import replacing\n"
    code += "with replacing('f.txt') as path: path.write_text('whole')"
    assert python(tmp_path, code).wait(60) == 0
    assert (tmp_path / "f.txt").read_text() == "whole"
    assert not left.exists() and foreign.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_without_locks_commands_work_and_say_so(scene, run, monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    table(scene / "c.star", [{}])
    network = ("--filter_base=2", "--unet_depth=1", "--convs_per_depth=2")
    commands = [
        ("deconv", "c.star"),
        ("predict", "c.star", "m.keras", "--cube_size=20", "--crop_size=40"),
        ("refine", "s.star", "--iterations=1", "--epochs=1", "--steps_per_epoch=1", *network),
    ]
    for command in commands:
        status, log = run(*command)
        assert status == 0 and "Traceback" not in log, log
        assert "this file system has no locks" in log


NO_LOCKS = """
import fcntl, sys
fcntl.flock = lambda *_: None  # it excludes nobody
from isonet_scipion.engine.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_columns_that_another_machine_wrote_meanwhile_are_kept(scene):
    processes = [python(scene, NO_LOCKS, *command) for command in (("deconv", "t.star"), ("make_mask", "t.star"))]
    for process in processes:
        log = process.communicate(timeout=120)[1]
        assert process.returncode == 0, log
    for row in read_star(scene / "t.star").rows:
        assert row["rlnDeconvTomoName"].startswith("deconv/") and row["rlnMaskName"].startswith("mask/")


def test_an_update_changes_its_own_cells_only(scene):
    mine = TomogramTable(scene / "t.star")
    others = read_star(scene / "t.star")
    others.set(others.rows[0], "rlnMaskName", "mask/of_another_machine.mrc")
    others.rows[1]["rlnDefocus"] = "31000"
    write_star(scene / "t.star", others)
    mine.update(mine.select(None)[1], {"rlnDeconvTomoName": "deconv/t2.mrc"})
    star = read_star(scene / "t.star")
    assert star.rows[0]["rlnMaskName"] == "mask/of_another_machine.mrc"
    assert (star.rows[1]["rlnDefocus"], star.rows[1]["rlnDeconvTomoName"]) == ("31000", "deconv/t2.mrc")
    star.rows = star.rows[:1]
    write_star(scene / "t.star", star)
    with pytest.raises(EngineError, match=r"it has t2\.mrc no longer"):
        mine.update(mine.select(None)[1], {"rlnDeconvTomoName": "deconv/t2.mrc"})


def test_a_linked_table_stays_a_link(scene, run):
    (scene / "real").mkdir()
    (scene / "t.star").rename(scene / "real" / "t.star")
    (scene / "t.star").symlink_to("real/t.star")
    assert run("deconv", "t.star")[0] == 0
    assert (scene / "t.star").is_symlink()
    assert "rlnDeconvTomoName" in read_star(scene / "real" / "t.star").labels
    with open(scene / "real" / ".t.star.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run("deconv", "t.star")[0] == 1
