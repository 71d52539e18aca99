"""Commands that write the same things at the same time, links under temporary names, and private files."""

import fcntl
import os
import signal
import stat
import time

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import alone, replacing
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.tests.faults.conftest import engine, table, the_error

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
    process = engine(scene, "refine", "s.star", "--filter_base=2", "--unet_depth=1", "--iterations=9")
    until = time.monotonic() + 60
    while not (scene / ".results.lock").exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert (scene / ".results.lock").exists()
    with alone(scene / "results"):
        pass
    assert not (scene / ".results.lock").exists()


def test_one_file_is_written_once_at_a_time(tmp_path):
    with replacing(tmp_path / "a" / "f.txt") as temporary:
        temporary.write_text("first")
        with pytest.raises(EngineError, match="written by another"), replacing(tmp_path / "a" / "f.txt"):
            pass
        assert temporary.read_text() == "first"
    assert (tmp_path / "a" / "f.txt").read_text() == "first"
    assert len(list((tmp_path / "a").iterdir())) == 1


def test_folders_made_for_a_lock_go_again(tmp_path):
    with alone(tmp_path / "a" / "b" / "results"):
        assert (tmp_path / "a" / "b" / ".results.lock").exists()
    assert list(tmp_path.iterdir()) == []
    with alone(tmp_path / "a" / "results"):
        (tmp_path / "a" / "kept").write_text("")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]


def links(target, name):
    yield name.symlink_to(target)
    yield os.link(target, name)
    yield os.mkfifo(name)
    yield name.mkdir()


def test_nothing_is_written_through_a_link_under_the_temporary_name(tmp_path):
    (tmp_path / "victim").write_text("precious")
    name = tmp_path / ".f.partial.txt"
    for _ in links(tmp_path / "victim", name):
        with pytest.raises(EngineError, match=r"f\.txt"), replacing(tmp_path / "f.txt") as temporary:
            temporary.write_text("lost")
        assert (tmp_path / "victim").read_text() == "precious"
        assert os.path.lexists(name)  # it is not the program's, so it stays
        name.rmdir() if name.is_dir() else name.unlink()
    assert not (tmp_path / "f.txt").exists()


def test_temporary_files_and_locks_are_private_and_outputs_are_not(tmp_path):
    with alone(tmp_path / "f.txt"), replacing(tmp_path / "f.txt") as temporary:
        for path in (temporary, tmp_path / ".f.txt.lock"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        temporary.write_text("whole")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "f.txt").stat().st_mode) == 0o666 & ~umask


def test_a_leftover_of_a_killed_run_is_overwritten(tmp_path):
    (tmp_path / ".f.partial.txt").write_text("half of something longer")
    with replacing(tmp_path / "f.txt") as temporary:
        assert temporary.read_text() == ""
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["f.txt"]
