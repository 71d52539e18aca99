"""What JAX has compiled serves the next process, whatever happens to the folder."""

import importlib.util
import os
import subprocess
import sys

import pytest

from isonet_scipion.engine.process import kept_compilations
from isonet_scipion.engine.process.kept_compilations import Compilations, user_folder

SAY_WHAT_COMES_OUT = """
import logging
logging.basicConfig(level="INFO", format="%(message)s")
from isonet_scipion.engine.process.device import choose_devices
choose_devices("-1")
choose_devices("-1")
import jax
print(float(jax.jit(lambda x: sum((x @ x + number).sum() for number in range(200)))(jax.numpy.ones((9, 9)))))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return user_folder()


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_a_second_process_compiles_nothing_and_one_without_a_folder_goes_on(tmp_path):
    def started(cache):
        environment = {**os.environ, "KERAS_BACKEND": "jax", "XDG_CACHE_HOME": str(cache), "PYTHONWARNINGS": "error"}
        environment.pop("JAX_ENABLE_COMPILATION_CACHE")
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SAY_WHAT_COMES_OUT],
            env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    def kept():
        return {path: path.stat().st_ino for path in (tmp_path / "isonet_scipion/compiled").iterdir()}

    first = started(tmp_path)
    made = kept()
    assert made and first.stderr.count("kept for the next start, at most 512 MiB") == 1
    for path in made:
        os.utime(path, (0, 0))
    second = started(tmp_path)
    assert second.stdout == first.stdout and made.items() <= kept().items()  # nothing was replaced
    assert all(path.stat().st_mtime > 0 for path in made)  # all were used

    (tmp_path / "file").touch()
    without = started(tmp_path / "file")
    assert without.stdout == first.stdout and without.stderr.count("is not kept for the next start") == 1


def test_what_is_kept_comes_back_and_what_is_broken_does_not(folder):
    kept = Compilations(folder)
    assert kept.get("step") is None
    kept.put("step", b"program")
    (path,) = folder.iterdir()
    assert Compilations(folder).get("step") == b"program"
    for broken in (path.read_bytes()[:-1], b"", path.read_bytes()[:-1] + b"x"):
        path.write_bytes(broken)
        assert kept.get("step") is None and not path.exists()
    kept.put("step", b"program")  # and is made anew
    assert kept.get("step") == b"program"


def test_the_folder_stays_below_its_bound_and_loses_what_is_oldest(folder):
    kept = Compilations(folder, most=400)
    for number, name in enumerate("abcd"):  # of 132 bytes each: three have room
        kept.put(name, bytes(100))
        for path in folder.glob(f"*-{name}"):
            os.utime(path, (number, number))
        if name == "c":
            kept.get("a")  # so that `b` is the oldest
    assert [name for name in "abcd" if kept.get(name)] == ["a", "c", "d"]
    kept.put("too large", bytes(500))
    assert kept.get("too large") is None and kept.get("d")


def test_processes_that_write_and_delete_at_once_leave_whole_files(folder):
    code = f"""
import random
from pathlib import Path
from isonet_scipion.engine.process.kept_compilations import Compilations
kept = Compilations(Path({str(folder)!r}), most=20000)
for turn in range(300):
    name = random.choice("abcdefgh")
    found = kept.get(name)
    assert found in (None, name.encode() * 4000)
    kept.put(name, name.encode() * 4000)
assert not kept._is_full
"""
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 20000 + 3 * 4100


def test_a_full_disk_is_told_once_and_leaves_nothing(folder, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    caplog.set_level("INFO")
    monkeypatch.setattr(kept_compilations.os, "replace", full)
    kept = Compilations(folder)
    kept.put("step", b"program")
    kept.put("step", b"program")
    assert caplog.text.count("No space left") == 1 and not list(folder.iterdir())


def test_a_folder_where_others_may_write_is_not_used(folder, monkeypatch):
    folder.chmod(0o777)
    with pytest.raises(OSError, match="alone"):
        user_folder()
    folder.rmdir()
    folder.symlink_to(folder.parent)
    with pytest.raises(OSError, match="alone"):
        user_folder()


def test_processors_of_other_kinds_share_nothing(folder, monkeypatch):
    Compilations(folder).put("step", b"program")
    monkeypatch.setattr(kept_compilations, "_machine", lambda: "other")
    assert Compilations(folder).get("step") is None
