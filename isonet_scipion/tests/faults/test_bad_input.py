"""Bad input ends with one line that names it, and leaves everything as it was; odd but legal input works."""

import os
import re
import shutil
import time

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.process import device
from isonet_scipion.engine.process.device import choose_devices
from isonet_scipion.tests.faults.conftest import contents, engine, the_error
from isonet_scipion.tests.faults.corpus import all_cases

SECONDS = 10.0  # that an error may take, on a machine that has nothing else to do


def stamps(folder):
    """What changes if a file or folder is written or made."""
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in [folder, *folder.rglob("*")]}


def test_bad_input(scene, run):
    cases = all_cases(scene)
    assert len({case.name for case in cases if case.why}) >= 85
    before, failures = contents(scene), []
    for case in cases:
        if case.why is None:
            continue
        started = time.process_time()
        status, log = run(*case.command)
        seconds = time.process_time() - started
        try:
            message = the_error(log)
            assert status == case.status, f"status {status}"
            assert re.search(case.why, message), message
            assert message.count("\n") == 0 and message.rstrip().endswith((".", "'")), message
            assert seconds < SECONDS, f"{seconds:.1f} s"
        except AssertionError as error:
            failures.append(f"{' '.join(case.command)}: expected {case.why}: {error}")
    assert not failures, "\n".join(failures)
    after = contents(scene)
    assert after == before, sorted(after.keys() ^ before.keys())
    assert not os.path.lexists(scene / "ran")


def test_odd_but_legal_input(scene, run):
    cases = [case for case in all_cases(scene) if case.why is None]
    assert len(cases) >= 20
    written = {"deconv": "deconv", "make_mask": "mask", "extract": "subtomo", "predict": "corrected_tomos"}
    failures = []
    for case in cases:
        # what another table's run left there is not replaced
        shutil.rmtree(scene / written.get(case.command[0], "none"), ignore_errors=True)
        status, log = run(*case.command)
        warnings = [line for line in log.splitlines() if case.warns and case.warns in line]
        if status or (case.warns and len(warnings) != 1):
            failures.append(f"{' '.join(case.command)}: status {status}: {log}")
    assert not failures, "\n".join(failures)
    assert not os.path.lexists(scene / "ran")  # no name of a file or tomogram went to a shell
    assert not (scene.parent / "climbed.mrc").exists() and not (scene.parents[1] / "climbed.mrc").exists()
    outputs = [row["rlnMaskName"] for row in read_star(scene / "one_name.star").rows]
    assert len(set(outputs)) == 3


@pytest.mark.parametrize("suffix", ["mrc", "rec"])
def test_a_bad_volume_among_good_ones_leaves_no_table(scene, run, suffix):
    (scene / f"zzz.{suffix}").write_bytes(b"")
    before = stamps(scene)
    status, log = run("prepare_star", ".", "--output_star=new.star")
    assert status == 1 and f"zzz.{suffix}: the volume is an empty file" in the_error(log)
    assert stamps(scene).keys() == before.keys()


def test_gpus_that_are_not_there_are_refused(monkeypatch):
    """With GPUs asked for, there is never a silent month on the CPU."""
    monkeypatch.setattr(device, "_compute_capability", lambda backend: (6, 1))
    # as in a process of its own for each
    monkeypatch.setattr(device, "_visible_at_first", lambda: os.environ.get("CUDA_VISIBLE_DEVICES"))
    for chosen, found, refused in (
        ("0,99", ("A100",), True),
        ("0", (), True),
        ("0", ("A100",), False),
        ("-1", (), False),
    ):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # put back at the end
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        monkeypatch.setattr(device, "_gpu_names", lambda backend, found=found: found)
        if refused:
            with pytest.raises(EngineError, match=f"'{chosen}' names .*finds {len(found)}.*or give -1 for the CPU"):
                choose_devices(chosen)
        else:
            choose_devices(chosen)


def test_a_working_directory_that_was_deleted_is_told(scene, run, monkeypatch):
    (scene / "gone").mkdir()
    monkeypatch.chdir(scene / "gone")
    (scene / "gone").rmdir()
    status, log = run("deconv", "t.star")
    assert status == 1 and "t.star: the working directory was deleted. Change to another" in the_error(log)


def test_closed_streams_do_no_harm(scene):
    process = engine(scene, "deconv", "t.star", stderr=None, preexec_fn=lambda: os.closerange(0, 3))
    assert process.wait(timeout=180) == 0
    assert len(list((scene / "deconv").glob("*.mrc"))) == 2


def test_names_that_are_no_text_are_refused(scene, run):
    with open(os.fsencode(scene / "cubes") + b"/\xff\xfe.mrc", "wb") as file:
        file.write((scene / "cubes" / "s0.mrc").read_bytes())
    status, log = run("prepare_subtomo_star", "cubes", "--cube_size=8", "--output_star=new.star")
    assert status == 1 and "can't stand in a STAR table" in the_error(log)
    assert not (scene / "new.star").exists()
