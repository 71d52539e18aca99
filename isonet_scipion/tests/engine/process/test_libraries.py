"""A cluster's libraries do not come before the environment's."""

import os
import subprocess
import sys

import pytest

from isonet_scipion.engine.process.libraries import library_path, own_libraries


@pytest.mark.parametrize(
    ("current", "own", "expected"),
    [
        ("/opt/cuda", ["/a", "/b"], "/a:/b:/opt/cuda"),
        ("/a:/opt/cuda", ["/a", "/b"], "/a:/b:/opt/cuda"),
        ("/a:/b:/opt/cuda", ["/a", "/b"], None),
        ("/opt/cuda", [], None),
        ("", ["/a"], None),
        (None, ["/a"], None),
    ],
)
def test_own_folders_come_first(current, own, expected):
    assert library_path(current, own) == expected


def test_the_process_starts_anew_once_with_its_own_libraries_first(tmp_path):
    own = tmp_path / "nvidia" / "cudnn" / "lib"
    own.mkdir(parents=True)
    assert own_libraries(tmp_path) == [str(own)]
    script = tmp_path / "start.py"
    script.write_text(
        "import os, sys\n"
        "from isonet_scipion.engine.process import libraries\n"
        f"libraries.get_paths = lambda: {{'purelib': {str(tmp_path)!r}}}\n"
        "print('started', flush=True)\n"
        "libraries.prefer_own_libraries()\n"
        "print(os.environ['LD_LIBRARY_PATH'], *sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, script, "a b"],
        env={**os.environ, "LD_LIBRARY_PATH": "/opt/cuda"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["started", "started", f"{own}:/opt/cuda a b"]


@pytest.mark.parametrize("package", ["numpy", "click", "mrcfile"])
def test_a_package_of_pythonpath_does_not_take_the_place_of_our_own(tmp_path, package):
    (tmp_path / f"{package}.py").write_text("raise SystemExit('a foreign package')")
    script = tmp_path / "isonet-engine"  # as pip writes it
    script.write_text("import sys\nfrom isonet_scipion.engine.__main__ import start\nsys.exit(start())\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    foreign = subprocess.run([sys.executable, "-c", f"import {package}"], env=environment, capture_output=True)
    assert foreign.returncode == 1
    done = subprocess.run(
        [sys.executable, script, "prepare_star", tmp_path / "none"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and "a foreign package" not in done.stderr and "none" in done.stderr
