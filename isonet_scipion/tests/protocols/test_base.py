"""How a protocol calls the engine, here or as a queue's job, and what it makes of the end."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import pyworkflow
from pyworkflow.protocol import Step
from pyworkflow.protocol.constants import STATUS_FINISHED, STATUS_RUNNING
from pyworkflow.protocol.executor import StepExecutor, ThreadStepExecutor
from pyworkflow.protocol.hosts import HostConfig
from pyworkflow.utils import process
from tomo.objects import Tomogram

from isonet_scipion import protocols
from isonet_scipion.convert.acquisition import Optics
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.io.outcome import Outcome, reserve_outcome, write_outcome
from isonet_scipion.engine.process.parent_watch import PARENT
from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.plugin import Plugin
from isonet_scipion.protocols import base, protocol_predict
from isonet_scipion.protocols.base import ending, readStatus
from isonet_scipion.protocols.engine_workers import EngineWorker
from isonet_scipion.protocols.model_checks import tiltWarnings
from isonet_scipion.protocols.refused import EngineFailure, refusal


@pytest.fixture
def predict(tmp_path):
    protocol = protocols.ProtIsoNetPredict(workingDir=str(tmp_path), useGpu=True)
    (tmp_path / "logs").mkdir()
    (tmp_path / "extra").mkdir()
    return protocol


@pytest.fixture
def refine(tmp_path):
    protocol = protocols.ProtIsoNetRefine(workingDir=str(tmp_path), useGpu=True)
    (tmp_path / "extra").mkdir()
    return protocol


@pytest.fixture
def commands(monkeypatch):
    """Command lines that would go to the shell."""
    lines = []
    monkeypatch.setattr(process, "runCommand", lambda command, **kwargs: lines.append(command.strip()))
    for kind in (protocols.ProtIsoNetPredict, protocols.ProtIsoNetRefine):
        monkeypatch.setattr(kind, "getSubmitDict", lambda self: {})
    return lines


@pytest.mark.parametrize(("gpus", "told"), [([], []), ([1], ["--gpuID", "1"]), ([0, 2], ["--gpuID", "0 2"])])
def test_gpus_and_hard_names_reach_the_engine_unharmed(refine, commands, gpus, told):
    refine.setStepsExecutor(StepExecutor(None, gpuList=gpus))
    name = "it's; $HOME 50%d %s `x`.star"
    refine._runEngine("refine", [name], {"output_dir": "a b"})
    # what the shell makes of it, with the engine replaced by something that prints its arguments
    echo = f"{sys.executable} -c 'import sys; print(sys.argv[1:])'"
    line = commands[0].replace(Plugin.engineCommand(), echo)
    words = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
    assert words.stdout.strip().endswith(str(["refine", name, "--output_dir", "a b", *told])[1:])


def test_without_gpu_the_cpu_is_forced(refine, commands):
    refine.setStepsExecutor(StepExecutor(None, gpuList=[0]))
    refine.useGpu.set(False)
    refine._runEngine("refine", [], {})
    assert commands[0].endswith(" --gpuID -1 2>&1")


def in_queue(protocol):
    """Let the protocol's steps be jobs of a queue."""
    protocol._useQueue.set(True)
    protocol.setQueueParams(("default", {"QUEUE_FOR_JOBS": "Y"}))
    protocol.setHostConfig(HostConfig.load(pyworkflow.Config.SCIPION_HOSTS)["localhost"])
    return protocol


@pytest.mark.parametrize(("threads", "gpus", "slots"), [(3, "0,1,2,3", 4), (9, "0,1", 2), (3, "0", 1), (2, "4,5,6", 3)])
def test_each_gpu_has_a_tomogram_of_its_own_whatever_the_threads(predict, threads, gpus, slots):
    predict.gpuList.set(gpus)
    executor = ThreadStepExecutor(None, threads - 1, gpuList=predict.getGpuList())
    predict.setStepsExecutor(executor)
    assert sorted(executor.gpuDict.values()) == [[gpu] for gpu in predict.getGpuList()]
    assert len(executor.gpuDict) == slots and executor.numberOfProcs > slots  # one step waits for tomograms
    assert predict._needsGpu()


def test_tilt_ranges_that_the_model_does_not_know_are_told(predict, monkeypatch):
    known = ModelMetadata(NetworkSettings(), tilt_min=-60, tilt_max=54, narrowest_min=-48, narrowest_max=42)
    optics = {"A": Optics(tiltMin=-54, tiltMax=42), "B": Optics(tiltMin=-60, tiltMax=60), "C": Optics()}
    monkeypatch.setattr(predict, "_optics", optics.get)
    (told,) = tiltWarnings(predict, known, {tsId: tsId for tsId in optics})
    assert "trained for tilts of -60..54 to -48..42 degrees" in told and told.endswith("others: B (-60..60).")


def test_the_next_tomogram_is_read_while_one_is_on_the_gpu(predict, monkeypatch):
    read, begun, waiting = [], Step(), Step()
    begun.setRunning()
    monkeypatch.setattr(protocol_predict, "read_through", read.append)
    predict._steps, predict._processSteps = [begun, waiting, waiting], [(1, "A"), (2, "B"), (3, "C")]
    predict._tomograms = {}
    for tsId in "ABC":
        tomogram = Tomogram(location=f"{tsId}.mrc", tsId=tsId)
        tomogram.setHalfMaps([f"{tsId}_even.mrc", f"{tsId}_odd.mrc"] if tsId == "B" else [])
        predict._tomograms[tsId] = tomogram, None
    expected = ["B.mrc", "B_even.mrc", "B_odd.mrc"], ["C.mrc"], []
    for files in expected:
        predict._readNext()
        assert read == files
        read.clear()


@pytest.mark.parametrize(("threads", "gpus", "use", "told"), [
    (1, "0,1,2", True, True), (2, "0,1,2", True, False), (1, "0", True, False), (1, "0,1,2", False, False),
])  # fmt: skip
def test_gpus_that_one_thread_leaves_idle_are_told(predict, threads, gpus, use, told):
    predict.gpuList.set(gpus)
    predict.numberOfThreads.set(threads)
    predict.useGpu.set(use)
    assert ["*Scipion threads*: with 1 only one of the 3 GPUs is used" in line for line in predict._gpuWarnings()] == [
        True
    ] * told


@pytest.mark.parametrize("use", [True, False])
def test_a_job_of_a_queue_asks_for_what_one_tomogram_takes(predict, commands, monkeypatch, use):
    predict.gpuList.set("0,1,2,3,4,5")
    predict.numberOfThreads.set(7)
    predict.useGpu.set(use)
    monkeypatch.undo()
    asked = in_queue(predict).getSubmitDict()
    assert (asked["GPU_COUNT"], asked["JOB_THREADS"], asked["JOB_CORES"]) == (int(use), 4, 4)
    assert not predict._needsGpu()  # so that Scipion does not count its own GPUs


def test_a_job_of_a_queue_takes_the_gpu_that_it_is_given(predict, commands, monkeypatch):
    predict.gpuList.set("3,5")
    monkeypatch.setattr(predict, "useQueueForSteps", lambda: True)
    predict.setStepsExecutor(StepExecutor(None, gpuList=[3]))
    monkeypatch.setattr(base, "read_outcome", lambda path: Outcome(0))
    predict._runEngine("predict", [], {})
    assert "--gpuID 0 " in commands[0]


@pytest.fixture
def job(refine, monkeypatch, tmp_path):
    """A job that Scipion takes for ended: what each look into the queue, which comes after it, does and gives."""
    looks, asked = [], []

    def look(hostConfig, number):
        assert number == 1001 and list(refine.getJobIds()) == [1001]  # Stop cancels it
        asked.append(number)
        return looks.pop(0)()

    def submit(*args, **kwargs):
        refine.appendJobId(1001)
        refine.removeJobId(1001)

    monkeypatch.setattr(base, "_checkJobStatus", look)
    monkeypatch.setattr(base, "SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(refine, "runJob", submit)
    monkeypatch.setattr(refine, "_store", lambda *args: None)
    monkeypatch.setattr(refine, "useQueueForSteps", lambda: True)
    monkeypatch.setattr(refine, "_outcomeFile", lambda stage, name: str(tmp_path / "refine_outcome.json"))
    monkeypatch.setattr(refine, "_getLogsPath", lambda *names: str(tmp_path.joinpath("Logs", *names)))
    monkeypatch.setattr(threading.current_thread(), "thId", 3, raising=False)
    refine.setHostConfig(HostConfig())
    refine._stepsExecutor = SimpleNamespace(threadCommands={3: 1})
    (tmp_path / "Logs").mkdir()
    return looks, asked


def told(tmp_path, outcome, result):
    """A look into the queue by which the job has told how it ended."""
    path = tmp_path / "refine_outcome.json"

    def look():
        reserve_outcome(path)
        write_outcome(path, outcome)
        return result

    return look


def test_a_job_that_ends_without_a_word_has_failed(refine, job, tmp_path):
    looks, asked = job
    looks += [lambda: STATUS_FINISHED] * base.LOOKS
    log = tmp_path / "Logs" / f"{refine.strId()}-3-1.out"
    for path in (log, log.with_suffix(".job"), tmp_path / "Logs" / f"{refine.strId()}-3-11.out"):
        path.touch()
    with pytest.raises(EngineFailure) as failure:
        refine._runEngine("refine", [], {})
    text = str(failure.value)
    assert text.startswith("isonet-engine refine told nothing of its end: job 1001 ")
    assert f"Its log: {log}. Continue submits it again" in text
    assert len(asked) == base.LOOKS and list(refine.getJobIds()) == []


@pytest.mark.parametrize("taken", [True, False])
def test_a_job_that_the_queue_does_not_take_is_told_with_what_the_queue_says(refine, job, monkeypatch, taken):
    def submit(*args, **kwargs):
        if taken:  # what fails later is not the submission
            refine.appendJobId(1002)
        raise Exception("Failed to submit to queue. Submit error: ['', 'sbatch: error: invalid partition\\n']")

    monkeypatch.setattr(base.LATEST, "job", 1001, raising=False)  # of an earlier command
    monkeypatch.setattr(refine, "runJob", submit)
    with pytest.raises(Exception, match="sbatch: error: invalid partition") as failure:
        refine._runEngine("refine", [], {})
    assert isinstance(failure.value, EngineFailure) != taken
    told = f"Check the queue that was chosen and {pyworkflow.Config.SCIPION_HOSTS}; Continue submits it again."
    assert (told in str(failure.value)) != taken


def test_what_a_job_of_several_tomograms_left_undone_is_told_of_each_and_no_further_job_runs(refine, job, tmp_path):
    looks, asked = job
    looks += [told(tmp_path, Outcome(0), STATUS_FINISHED), *[lambda: STATUS_FINISHED] * base.LOOKS]
    outcomes = [tmp_path / "refine_outcome.json", tmp_path / "b.json", tmp_path / "c.json"]
    first, *others = refine._submitAll([(["make_mask"], str(path)) for path in outcomes])
    assert first == ""
    assert all(end.startswith("told nothing of its end: job 1001 ") for end in others)
    assert len(asked) == base.LOOKS


def test_a_signal_ends_the_whole_job_and_none_of_its_tomograms_is_told_to_have_caused_it(refine, job, tmp_path):
    """As at a time limit: the first one's command wrote that it was terminated, the others were not begun."""
    looks, asked = job
    outcomes = [tmp_path / "refine_outcome.json", tmp_path / "b.json", tmp_path / "c.json"]
    terminated = told(tmp_path, Outcome(143, "terminated; what was finished is kept"), STATUS_FINISHED)

    def end():
        (tmp_path / "refine_outcome.json.status").write_text("143\n")
        return terminated()

    looks.append(end)
    first, *others = refine._submitAll([(["make_mask"], str(path)) for path in outcomes])
    assert (first, len(asked)) == ("", 1)
    assert others == [ending(143)] * 2


def test_a_command_that_a_signal_ended_says_why_that_may_be(predict, engine):
    engine["TS_01"] = (Outcome(143, "terminated; what was finished is kept"), 143)
    with pytest.raises(EngineFailure, match=r"predict was ended by SIGTERM, perhaps at a .* time limit.* Continue"):
        predict._runEngine("predict", [], {}, name="TS_01")


def test_a_queue_that_fails_to_answer_does_not_end_a_job(refine, job, tmp_path):
    looks, asked = job
    shown, silent = (lambda: STATUS_RUNNING), (lambda: STATUS_FINISHED)
    looks += [silent, silent, shown, silent, silent, told(tmp_path, Outcome(0), STATUS_RUNNING)]
    refine._runEngine("refine", [], {})
    assert len(asked) == 6 and list(refine.getJobIds()) == []


def test_the_error_of_a_job_counts_that_a_shared_disk_shows_late(refine, job, tmp_path):
    looks, _ = job
    looks.append(told(tmp_path, Outcome(1, "a.mrc", "truncated", "Copy it again."), STATUS_FINISHED))
    with pytest.raises(EngineFailure, match="truncated"):
        refine._runEngine("refine", [], {})


@pytest.mark.parametrize(("use", "gpus", "told"), [(True, [2], "2"), (True, [0, 2], "0,2"), (False, [2], "-1")])
def test_an_engine_that_is_kept_is_told_its_gpus_by_each_command(predict, monkeypatch, use, gpus, told):
    asked = []
    monkeypatch.setattr(EngineWorker, "__init__", lambda self, command, environ: asked.append((command, environ)))
    monkeypatch.setattr(EngineWorker, "run", lambda self, words: asked.append(words) or 0)
    monkeypatch.setattr(EngineWorker, "isAlive", lambda self: True)
    predict.useGpu.set(use)
    predict.setStepsExecutor(StepExecutor(None, gpuList=gpus))
    name = "it's; $HOME 50%d %s `x`.star"
    for _ in range(2):
        predict._runEngine("predict", [name], {})
    (command, environ), *words = asked  # one start for both
    assert command[-2:] == ["serve", predict.workingDir.get()]
    assert environ[PARENT] == str(os.getpid())
    assert [one[2:] for one in words] == [["predict", name, "--gpuID", told]] * 2


@pytest.fixture
def engine(predict, monkeypatch):
    """What the engine writes of its end, by what it works on, and its exit status."""
    ends = {}

    def run(words, environ):
        path = words[1]
        name = re.fullmatch("predict_(.*)_outcome.json", os.path.basename(path))[1]
        outcome, status = ends[name]
        if outcome is not None:
            reserve_outcome(path)
            write_outcome(path, outcome)
        return status

    monkeypatch.setattr(predict, "_runHere", run)
    return ends


def test_each_command_tells_its_own_error(predict, engine):
    engine["TS_1"] = Outcome(1, "a.mrc", "truncated", "Copy it again."), 1
    engine["TS_11"] = Outcome(1, "b.mrc", "empty", "Make it again."), 1
    for name in ("TS_11", "TS_1"):
        outcome, _ = engine[name]
        with pytest.raises(EngineFailure) as failure:
            predict._runEngine("predict", [], {}, name=name)
        assert str(failure.value) == outcome.error


def test_an_outcome_of_an_earlier_run_does_not_count(predict, engine):
    engine["TS_1"] = Outcome(1, "a.mrc", "truncated", "Copy it again."), 1
    with pytest.raises(EngineFailure, match="truncated"):
        predict._runEngine("predict", [], {}, name="TS_1")
    engine["TS_1"] = None, -9
    with pytest.raises(EngineFailure, match="isonet-engine predict was ended by SIGKILL"):
        predict._runEngine("predict", [], {}, name="TS_1")


def test_work_that_is_done_counts_however_its_process_ended(predict, engine):
    engine["TS_1"] = Outcome(0, warnings=("t.mrc: its header is odd.",)), -6
    engine["TS_2"] = Outcome(0, warnings=("t.mrc: its header is odd.", "u.mrc: too.")), 0
    for name in engine:
        predict._runEngine("predict", [], {}, name=name)
    assert predict._engineWarnings() == ["*Warning*: t.mrc: its header is odd.", "*Warning*: u.mrc: too."]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (-9, "ended by SIGKILL"),
        (137, "ended by SIGKILL"),
        (143, "ended by SIGTERM, perhaps at a queue's time limit"),
        (3, "status 3"),
        (134, "ulimit -u"),
        (-6, "ulimit -u"),
    ],
)
def test_the_end_of_a_command_is_told(status, words):
    assert words in ending(status)


def test_the_status_that_a_job_left_is_read_once(tmp_path):
    path = tmp_path / "TS_01.status"
    path.write_text("137\n")
    assert [readStatus(str(path)) for _ in range(2)] == [137, None]
    path.write_text("")  # a full disk
    assert readStatus(str(path)) is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), r"^memory: there is not enough for Scipion's process \(MemoryError\)\. Raise the limits"),
        (RuntimeError("can't start new thread"), r"^memory: .* \(can't start new thread\)\. Raise the limits"),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), r"^memory: .* unavailable\)\. Raise the limits"),
        (OSError(errno.EROFS, "Read-only file system", "a.mrc"), r"^a\.mrc: .* \(Read-only .*\)\. Check the perm"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a.mrc"), r"^a\.mrc: .* \(Disk quota .*\)\. Free disk space"),
        (sqlite3.OperationalError("attempt to write a readonly database"), r"^Runs/1: a database .*Check the disk"),
        (sqlite3.OperationalError("database or disk is full"), r"^Runs/1: a database there .*Free disk space"),
    ],
    ids=lambda value: str(value) if isinstance(value, Exception) else "",
)
def test_what_the_system_refuses_scipions_process_is_told_with_what_to_do(error, told):
    assert re.search(told + r".* Continue goes on with what is missing\.$", str(refusal(error, "Runs/1")))


@pytest.mark.parametrize(
    "error",
    [
        KeyError("odd"),
        OSError("odd"),
        sqlite3.OperationalError("no such table: Objects"),
        EngineFailure("memory: there is not enough (can't start new thread). Lower cube_size."),  # the engine's own
    ],
)
def test_other_errors_are_not_the_systems(error):
    assert refusal(error, "Runs/1") is None


@pytest.mark.parametrize("kind", ["ProtIsoNetRefine", "ProtIsoNetImportModel", "ProtIsoNetImportProject"])
def test_each_step_tells_what_the_system_refuses(kind, tmp_path, monkeypatch):
    def convertInputStep(rows):
        raise {"full": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "table.star"), "odd": KeyError("odd")}[rows]

    protocol = getattr(protocols, kind)(workingDir=str(tmp_path))
    monkeypatch.setattr(protocol, "error", lambda text: None)
    for rows, told in (("full", r"^table\.star: .*Free disk space.*Continue goes on"), ("odd", "^'odd'$")):
        protocol._insertFunctionStep(convertInputStep, rows, needsGPU=False)
        step = protocol._steps[-1]
        assert step.funcName.get() == "convertInputStep"
        step.run()
        assert step.isFailed() and re.search(told, step.getErrorMessage())


def test_a_disk_too_full_for_the_engines_words_is_told(refine, commands):
    folder = refine._getExtraPath()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        told = r"refine_outcome\.json: can't be written \(No space left on device\)\. Free disk space"
        with pytest.raises(EngineError, match=told):
            refine._runEngine("refine", [], {})
    finally:
        subprocess.run(["umount", folder], check=True)
    assert not commands
