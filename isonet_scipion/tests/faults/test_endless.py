"""Nothing is waited for for ever, no name harms a terminal, and who reads the words does not decide about the work."""

import os
import resource
import subprocess
import sys

import mrcfile
import pytest

from isonet_scipion.engine.errors import EngineError, one_line
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.tests.faults.conftest import VOXEL_SIZE, contents, engine, python, table, the_error, voxels
from isonet_scipion.tests.faults.mrc_corpus import mrc

SECONDS = 180


def fails(folder, *command):
    """The one error of a command, which must end."""
    process = engine(folder, *command)
    log = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 1, log
    return the_error(log)


@pytest.mark.parametrize("label", ["rlnMicrographName", "rlnMaskName", "rlnMaskBoundary", "rlnDeconvTomoName"])
def test_a_pipe_in_the_place_of_a_file_is_told(scene, label):
    os.mkfifo(scene / "pipe.mrc")
    table(scene / "p.star", [{label: "pipe.mrc"}])
    command = ("extract", "--cube_size=8", "--crop_size=10") if label == "rlnMaskName" else ("make_mask",)
    assert "pipe.mrc" in fails(scene, command[0], "p.star", *command[1:])


def test_a_pipe_in_the_place_of_a_table_or_model_is_told(scene):
    os.mkfifo(scene / "pipe")
    assert "pipe" in fails(scene, "deconv", "pipe")
    assert "pipe" in fails(scene, "predict", "t.star", "pipe")


@pytest.mark.parametrize("output", ["/proc/x.star", "/proc/self/x.star"])
def test_an_output_where_nothing_can_be_made_is_told(scene, output):
    assert output in fails(scene, "prepare_star", ".", f"--output_star={output}")


def test_the_root_is_no_table(scene):
    assert fails(scene, "deconv", "/").startswith("/: ")


@pytest.mark.parametrize(("group", "sections"), [(401, 0), (401, -1), (401, 1), (401, 5)])
def test_stacks_of_volumes_of_odd_numbers_are_told(tmp_path, group, sections):
    (tmp_path / "t.mrc").write_bytes(mrc(voxels(), ispg=group, mz=sections))
    with pytest.raises(EngineError, match=r"t\.mrc: "):
        open_volume(tmp_path / "t.mrc")


@pytest.mark.parametrize("name", ["n" * 5000, "n" * 250, "é" * 120, ".", ".."])
def test_a_name_that_no_file_can_have_is_told_before_any_work(scene, run, name):
    table(scene / "n.star", [{"rlnTomoName": "a"}, {"rlnTomoName": name}])
    before = contents(scene)
    status, log = run("deconv", "n.star")
    assert status == 1 and "can't be that of a file" in the_error(log)
    assert contents(scene) == before


def test_names_of_the_longest_allowed_length_work(scene, run):
    table(scene / "n.star", [{"rlnTomoName": "n" * 200}])
    for command in (("deconv",), ("make_mask",), ("extract", "--cube_size=8", "--crop_size=10")):
        status, log = run(command[0], "n.star", *command[1:])
        assert status == 0, log


@pytest.mark.parametrize("index", ["1_2", "\u0661"])
def test_a_number_is_written_as_one(scene, index):
    (scene / "i.star").write_text((scene / "t.star").read_text().replace("\n1 ", f"\n{index} "))
    star = read_star(scene / "i.star")
    with pytest.raises(EngineError, match="not a number"):
        star.integer(star.rows[0], "rlnIndex")


def test_a_terminals_codes_in_names_do_not_reach_it(scene, run):
    table(scene / "e.star", [{"rlnMicrographName": "\x1b]0;evil\x07\x1b[2J.mrc"}])
    error = the_error(run("deconv", "e.star")[1])
    assert "\x1b" not in error and "\\x1b[2J.mrc" in error
    table(scene / "e.star", [{"rlnTomoName": "\x1b[31mred\u202e"}])
    status, log = run("deconv", "e.star")
    assert status == 0 and "red" in log
    assert "\x1b" not in log and "\u202e" not in log


def test_an_error_is_no_longer_than_a_screen(scene, run):
    status, log = run("deconv", "x" * 200, "--tomo_idx", "1," * 100_000)
    assert status == 1 and len(log) < 3000
    assert len(one_line("n" * 10**6)) < 700
    (scene / "l.star").write_text("data_\nloop_\n_rlnIndex #1\n" + "1 " * 10**6)
    status, log = run("deconv", "l.star")
    assert status == 1 and len(the_error(log)) < 3000


@pytest.mark.parametrize("closing", ["2>&1 | head -c 0", "2>&1 | head -1", "> /dev/full 2>&1"])
def test_the_status_is_that_of_the_work_whoever_reads_its_words(scene, closing):
    program = f"'{sys.executable}' -m isonet_scipion.engine"
    commands = (("deconv t.star --ncpu=1", 0), ("deconv nowhere.star", 1), ("--help", 0), ("deconv --no", 2))
    for command, status in commands:
        line = f"{program} {command} {closing}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], cwd=scene, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == status, (command, done.stdout, done.stderr)
    assert "rlnDeconvTomoName" in read_star(scene / "t.star").labels


NO_THREADS = """
import sys, threading
start, begun = threading.Thread.start, []
def start_few(self):
    begun.append(self)
    if len(begun) > 6:
        raise RuntimeError("can't start new thread")
    start(self)
threading.Thread.start = start_few
from isonet_scipion.engine.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_without_threads_the_network_is_not_begun(scene):
    process = python(scene, NO_THREADS, "predict", "t.star", "m.keras")
    log = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 1 and "threads: the system lets this process start" in the_error(log)


def test_a_limit_on_processes_is_told(scene):
    if os.geteuid() == 0:
        pytest.skip("the limit does not hold for root")

    def limit():
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))

    process = engine(scene, "predict", "t.star", "m.keras", preexec_fn=limit)
    log = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 1 and "ulimit -u" in the_error(log)


def test_an_odd_header_beside_others_does_not_matter(scene, run):
    write_volume(scene / "t1.mrc", voxels(), VOXEL_SIZE)
    with mrcfile.open(scene / "t1.mrc", "r+") as file:
        file.header.label[0] = b"\x1b[2J"
        file.header.nlabl = 2**31 - 1
    status, log = run("deconv", "t.star")
    assert status == 0 and "\x1b" not in log
