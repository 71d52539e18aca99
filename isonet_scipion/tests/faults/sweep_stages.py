"""Runs commands of the engine with the n-th file operation failing; run by `test_failing_calls` under LD_PRELOAD.

    python sweep_stages.py COUNT SEED STAGE...

prints one JSON line for each fault: the stage, what failed, how the command ended, and what is wrong with that.
COUNT 0: all. One process for all stages, since TensorFlow takes seconds to import.
"""

import ctypes
import errno
import json
import os
import random
import shutil
import sys
import time
import traceback
from pathlib import Path

from isonet_scipion.engine import cli
from isonet_scipion.tests.faults.conftest import make_project, table, voxels

SMALL = (
    "--filter_base=2", "--unet_depth=1", "--convs_per_depth=2", "--batch_size=2", "--preprocessing_ncpus=1", "--seed=3",
)  # fmt: skip
SHORT = ("--iterations=1", "--epochs=1", "--steps_per_epoch=1")
STAGES = {
    "prepare_star": ("prepare_star", "toms", "--output_star=new.star"),
    "deconv": ("deconv", "t.star", "--ncpu=1"),
    "deconv_chunks": ("deconv", "t.star", "--ncpu=1", "--chunk_size=16"),
    "make_mask": ("make_mask", "t.star", "--patch_size=2"),
    "extract": ("extract", "t.star", "--cube_size=8", "--crop_size=16", "--seed=1"),
    "resize": ("resize", "t.star", "--apix=13"),
    "export_relion": ("export_relion", "t.star"),
    "export_model": ("export_model", "m.keras", "m.h5"),
    "predict": ("predict", "t.star", "m.keras", "--cube_size=20", "--crop_size=40"),
    "refine": ("refine", "s.star", *SHORT, *SMALL),
    "one-pass": ("refine", "b.star", *SHORT, *SMALL, "--cube_size=16", "--stem=1"),
}
ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES)
KILL = 100_000  # of failing_calls.c
SECONDS = 120


def child(folder, command, fault=None):
    """Exit status and words of a command in a process of its own; `fault`: number and error of an operation."""
    words = folder.with_name("words")
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.chdir(folder)
            file = os.open(words, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            if fault:
                shim.fault_arm(str(folder).encode(), *fault)
            status = cli.main(list(command))
        except BaseException:
            traceback.print_exc()
        finally:
            count, place = shim.fault_count(), shim.fault_place().decode(errors="replace")
            shim.fault_arm(b"/nowhere", 0, 0)
            folder.with_name("count").write_text(json.dumps([count, place]))
            os._exit(status)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), words.read_text(errors="replace")
        time.sleep(0.005)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return "endless", words.read_text(errors="replace")


def prepare(folder):
    """The inputs of all stages, made in a process of its own: threads do not survive a fork."""
    if os.fork() == 0:
        from isonet_scipion.engine.io.mrc import write_volume

        make_project(folder)
        (folder / "toms").mkdir()
        for number in (1, 2):
            shutil.copy(folder / f"t{number}.mrc", folder / "toms")
            write_volume(folder / f"b{number}.mrc", voxels((40, 64, 64), number), 10.0)
        table(folder / "b.star", [{"rlnMicrographName": f"b{number}.mrc"} for number in (1, 2)])
        os._exit(0)
    assert os.wait()[1] == 0


def state(folder):
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def faults(folder, inputs, stage, fault, outputs):
    """What is wrong with how a command took a fault."""
    wrong = []
    status, words = child(folder, STAGES[stage], fault)
    errors = [line for line in words.splitlines() if line.startswith("isonet-engine: error: ")]
    if fault[1] == KILL:
        if status not in (0, -9):
            wrong.append(f"status {status} after a kill")
    elif status not in (0, 1) or len(errors) != status:
        wrong.append(f"status {status}: {words[-600:]}")
    if "Traceback" in words:
        wrong.append(words[-900:])
    now = state(folder)
    changed = [name for name, data in inputs.items() if now.get(name) != data and name != "t.star"]
    if changed:
        wrong.append(f"changed {changed}")
    if status == 0 and not outputs <= now.keys():
        wrong.append(f"success, but without {sorted(outputs - now.keys())}")
    again, words = child(folder, STAGES[stage])
    if again != 0:
        wrong.append(f"again: {words[-400:]}")
    elif not outputs <= state(folder).keys():
        wrong.append("again: not all outputs")
    hidden = [str(path.relative_to(folder)) for path in folder.rglob(".*")]
    if hidden and fault[1] == KILL:
        wrong.append(f"left {hidden}")
    return status, wrong


def sweep(stage, most, seed):
    """Yield what failed, the exit status and what is wrong, for a sample of the stage's file operations."""
    work = Path(os.environ["TMPDIR"], stage)
    base, folder = work / "base", work / "run"
    base.mkdir(parents=True)
    prepare(base)
    inputs = state(base)
    shutil.copytree(base, folder)
    status, words = child(folder, STAGES[stage], (-1, 0))
    assert status == 0, words
    outputs, (count, _) = state(folder).keys(), json.loads((work / "count").read_text())
    every = [(number, error) for number in range(1, count + 1) for error in (*ERRORS, KILL)]
    for fault in random.Random(seed).sample(every, min(most or len(every), len(every))):
        shutil.rmtree(folder)
        shutil.copytree(base, folder)
        (work / "count").unlink(missing_ok=True)
        status, wrong = faults(folder, inputs, stage, fault, outputs)
        yield {"stage": stage, "fault": fault, "of": count, "status": status, "wrong": wrong}


shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
shim.fault_place.restype = ctypes.c_char_p
if __name__ == "__main__":
    # before the first fork; nobody looks at the pictures
    import tensorflow as tf
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    tf.config.run_functions_eagerly(True)
    FigureCanvasAgg.draw = FigureCanvasAgg.get_renderer
    for name in cli.MODULES:
        cli.record_of(name)
    for name in sys.argv[3:]:
        for line in sweep(name, *map(int, sys.argv[1:3])):
            print(json.dumps(line), flush=True)
