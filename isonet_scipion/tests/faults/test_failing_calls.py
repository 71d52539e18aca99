"""Each file operation of a stage fails, or a kill comes there: one line, no lost input, a repeat that works.

A sample of them, so that it takes a minute: ISONET_FAULTS tells how many for each stage (0: all of them),
ISONET_FAULTS_SEED which. The operations fail in a library that is put before the system's, made with gcc.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
STAGES = ("prepare_star", "deconv", "deconv_chunks", "make_mask", "extract", "resize", "export_relion", "export_model",
          "predict", "refine", "one-pass")  # fmt: skip
MOST = int(os.environ.get("ISONET_FAULTS", "2"))
SEED = int(os.environ.get("ISONET_FAULTS_SEED", "1"))
SECONDS = 600 * len(STAGES) if MOST else None
pytestmark = pytest.mark.timeout(0)  # the sweep has its own
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"
)


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The library that makes operations fail."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc to make the library with")
    path = tmp_path_factory.mktemp("library") / "failing_calls.so"
    made = subprocess.run(
        ["gcc", "-O1", "-shared", "-fPIC", "-o", path, FOLDER / "failing_calls.c", "-ldl"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"gcc does not make the library: {made.stderr[-200:]}")
    return path


@pytest.fixture(scope="module")
def swept(request, library, tmp_path_factory):
    """What came of the faults in the stages that are tested, and what went wrong with the sweep itself."""
    stages = [test.callspec.params["stage"] for test in request.session.items if test.path == request.path]
    environment = {**os.environ, **ONE_THREAD, "LD_PRELOAD": str(library)}
    environment |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-m", "isonet_scipion.tests.faults.sweep_stages", str(MOST), str(SEED), *stages],
        capture_output=True, text=True, check=False, timeout=SECONDS,
        env={**environment, "TMPDIR": str(tmp_path_factory.mktemp("swept"))},
    )  # fmt: skip
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return results, done.stderr[-2000:] if done.returncode else ""


@pytest.mark.parametrize("stage", STAGES)
def test_a_failing_file_operation_is_one_line_and_loses_nothing(swept, stage):
    results, error = swept
    assert not error
    own = [result for result in results if result["stage"] == stage]
    assert len(own) >= min(MOST, 1)
    assert [result for result in own if result["wrong"]] == []
