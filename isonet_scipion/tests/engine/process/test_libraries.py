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
