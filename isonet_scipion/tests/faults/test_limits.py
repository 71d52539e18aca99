"""A full disk, a read-only one, and little memory."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from isonet_scipion.engine.arrays import scratch_array
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import replacing
from isonet_scipion.engine.io.mrc import writing_volume
from isonet_scipion.engine.process.disk import growth
from isonet_scipion.engine.process.memory import group_limits
from isonet_scipion.tests.faults.conftest import contents, engine, make_project, table, the_error

STAGES = {
    "deconv": ("t.star",),
    "make_mask": ("t.star",),
    "extract": ("t.star", "--cube_size=8", "--crop_size=16", "--seed=1"),
    "resize": ("t.star", "--apix=8"),
    "predict": ("t.star", "m.keras", "--cube_size=20", "--crop_size=40"),
    "refine": (
        "s.star", "--filter_base=2", "--unet_depth=1", "--convs_per_depth=2", "--iterations=1", "--epochs=1",
        "--steps_per_epoch=1",
    ),
}  # fmt: skip


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder, left):
    """Leave about `left` bytes of a file system free."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize
    (folder / "filler").write_bytes(bytes(max(0, free - left)))


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_is_too_small_is_told_before_work_starts(small_disk, run, monkeypatch, stage):
    make_project(small_disk)
    monkeypatch.chdir(small_disk)
    fill(small_disk, 20_000)
    before = contents(small_disk)
    status, log = run(stage, *STAGES[stage])
    assert status == 1 and "of disk space, 0.0 MiB are free" in the_error(log)
    assert contents(small_disk) == before
    (small_disk / "filler").unlink()
    status, log = run(stage, *STAGES[stage])
    assert status == 0, log


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_fills_up_under_way_keeps_what_was_finished(small_disk, run, monkeypatch, stage):
    make_project(small_disk)
    monkeypatch.chdir(small_disk)
    monkeypatch.setattr("isonet_scipion.engine.process.disk.shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 40))
    fill(small_disk, 20_000)
    before = contents(small_disk)
    status, log = run(stage, *STAGES[stage])
    assert status == 1 and "can't be written (No space left on device" in the_error(log)
    after = contents(small_disk)
    assert {name: after.get(name) for name in before} == before
    assert [path.name for path in small_disk.rglob(".*")] == []
    (small_disk / "filler").unlink()
    status, log = run(stage, *STAGES[stage])
    assert status == 0, log


@pytest.mark.parametrize("stage", STAGES)
def test_a_read_only_disk_is_told(small_disk, run, monkeypatch, stage):
    make_project(small_disk)
    monkeypatch.chdir(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    status, log = run(stage, *STAGES[stage])
    assert status == 1 and "can't be written (Read-only file system" in the_error(log)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert run(stage, *STAGES[stage])[0] == 0


def test_a_memory_map_on_a_full_disk_is_an_error_and_no_crash(small_disk):
    with pytest.raises(EngineError, match="No space left"), writing_volume(small_disk / "v.mrc", (99, 99, 99), "f4", 1):
        pytest.fail("it was opened")
    with pytest.raises(EngineError, match="no 3 MiB of scratch space"):
        scratch_array((99, 99, 99), np.float32, small_disk)
    with pytest.raises(EngineError, match="No space left"), replacing(small_disk / "a.txt") as temporary:
        temporary.write_bytes(bytes(4 << 20))
    assert list(small_disk.iterdir()) == []


def test_growth_counts_what_is_replaced(tmp_path):
    (tmp_path / "old").write_bytes(bytes(8192))
    assert growth({tmp_path / "new": 4096, tmp_path / "old": 8192, tmp_path / "third": 4096}) == 4096 + 8192
    assert growth({}) == 0


LIMITED = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, 2 * ({0},)); "
LIMITED += "from isonet_scipion.engine.cli import main; sys.exit(main(sys.argv[1:]))"


def limited(folder, mebibytes, *arguments, as_command=False):
    """Run a command within an address space; returns its status and standard error."""
    code = LIMITED.replace("main(sys.argv[1:])", "main()") if as_command else LIMITED
    command = [sys.executable, "-c", code.format(mebibytes << 20), *arguments]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    return done.returncode, done.stderr


def test_little_memory_names_the_option_that_helps(tmp_path):
    make_project(tmp_path, count=1, shape=(128, 512, 512))
    for command, remedy in (
        (("deconv", "t.star", "--ncpu=1"), "Give chunk_size"),
        (("resize", "t.star", "--apix=5"), "apix"),
    ):
        status, log = limited(tmp_path, 600, *command)
        assert status == 1 and "memory: there is not enough" in the_error(log) and remedy in the_error(log)
    assert [path.name for path in tmp_path.rglob(".*")] == []


def test_tensorflow_is_not_started_where_it_would_end_the_process(tmp_path):
    make_project(tmp_path)
    before = contents(tmp_path)
    status, log = limited(tmp_path, 1200, "predict", "t.star", "m.keras")
    assert status == 1 and "(too little for TensorFlow). Raise the limit (ulimit -v)" in the_error(log)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("mebibytes", [1900, 2300])
def test_memory_that_ends_in_the_midst_of_tensorflow_is_told(tmp_path, mebibytes):
    # whether it fails while it is imported or later, or suffices, differs between versions
    make_project(tmp_path)
    status, log = limited(tmp_path, mebibytes, "predict", "t.star", "m.keras", as_command=True)
    assert status in (0, 1, -6) and "Traceback" not in log
    assert status == 0 or "memory" in the_error(log)


@pytest.fixture
def few_processes():
    """Put processes into a control group that allows for a number of processes and threads."""
    group = Path("/sys/fs/cgroup/pids") / f"isonet_test_{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group of processes can be made here: {error}")

    def start(folder, most, *arguments):
        def join():
            (group / "pids.max").write_text(str(most))
            (group / "cgroup.procs").write_text(str(os.getpid()))

        process = engine(folder, *arguments, preexec_fn=join)
        return process.communicate(timeout=200)[1], process.returncode

    yield start
    until = time.monotonic() + 20
    while group.exists() and time.monotonic() < until:
        with suppress(OSError):  # a process in it has not ended yet
            group.rmdir()
        time.sleep(0.02)


@pytest.mark.parametrize(("most", "command"), [(1, "deconv"), (2, "make_mask"), (4, "predict"), (12, "predict")])
def test_a_limit_on_processes_is_told_and_named(few_processes, tmp_path, most, command):
    make_project(tmp_path)
    before = contents(tmp_path)
    log, status = few_processes(tmp_path, most, command, "t.star", *(["m.keras"] if command == "predict" else []))
    assert status == 1 and "ulimit -u" in the_error(log)
    assert contents(tmp_path) == before


def test_limits_count_as_free_memory(tmp_path):
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, 2 * (1 << 30,)); "
    code += "from isonet_scipion.engine.process.memory import free_main_memory; print(free_main_memory())"
    free = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert 1 << 28 < free < 1 << 30
    group = tmp_path / "memory" / "job"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text(str(1 << 20))
    assert min(group_limits(tmp_path, ["4:memory:/job", "1:cpu:/"])) == 1 << 20
    (tmp_path / "memory.max").write_text("max")
    assert list(group_limits(tmp_path, ["0::/"])) == []


def test_open_files_do_not_grow_with_the_number_of_tomograms(tmp_path):
    make_project(tmp_path, count=1)
    table(tmp_path / "many.star", [{"rlnMicrographName": "t1.mrc", "rlnTomoName": f"t{i}"} for i in range(100)])
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)); "
    code += "from isonet_scipion.engine.cli import main; sys.exit(main(sys.argv[1:]))"
    for command in (("extract", "many.star", "--cube_size=8", "--crop_size=8"), ("resize", "many.star", "--apix=20")):
        done = subprocess.run([sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
