"""Protocols through Scipion's queue system, with a queue made of shell scripts."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil
import pyworkflow

from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.radial_filter import Deconvolution, deconvolve
from isonet_scipion.protocols import ProtIsoNetDeconv, ProtIsoNetMask, ProtIsoNetOnePass, ProtIsoNetPredict
from isonet_scipion.tests.protocols.live import LiveTest, commandLine, waitFor
from isonet_scipion.tests.protocols.scene import OPTICS, SHAPES, VOXEL_SIZE, IsoNetTest, read, scene, warmEngine, write

TRAINING = dict(
    iterations=5,
    epochs=1,
    stepsPerEpoch=6,
    batchSize=2,
    cubeSize=16,
    unetDepth=1,
    filterBase=4,
    startFromBuiltin=False,
    useGpu=False,
    seed=1,
)

# the job runs in the background; while it does, a file bears its number
SUBMIT = """#!/bin/sh
number=$$
touch "{queue}/running.$number"
(sh "$1" > "$1.out" 2> "$1.err"; mv "{queue}/running.$number" "{queue}/ended.$number") > /dev/null 2>&1 &
echo "job $number"
"""
CHECK = """#!/bin/sh
rm "{queue}/deaf" 2> /dev/null && exit 1  # fails to answer, once
[ -e "{queue}/running.$1" ] && echo "job $1 is running"
exit 0
"""
HOSTS = """[localhost]
PARALLEL_COMMAND = mpirun -np %_(JOB_NODES)d %_(COMMAND)s
NAME = SHELL
MANDATORY = False
SUBMIT_COMMAND = sh {queue}/submit.sh %_(JOB_SCRIPT)s
SUBMIT_TEMPLATE = #!/bin/sh
    ### %_(JOB_NAME)s in %_(JOB_QUEUE)s for %_(JOB_HOURS)d hours, %_(JOB_THREADS)d threads, %_(GPU_COUNT)d GPUs
    %_(JOB_COMMAND)s
CANCEL_COMMAND = true %_(JOB_ID)s
CHECK_COMMAND = sh {queue}/check.sh %_(JOB_ID)s
QUEUES = {{ "default": [["QUEUE_FOR_JOBS", "N", "Submit steps to the queue (Y or N)"]] }}
"""

# stands in for the engine: waits until six of it run, and ends with an error that says so
MEETING = """#!{python}
import json, os, sys, time
if "predict" not in sys.argv:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
open({queue!r} + "/met.%d" % os.getpid(), "w")
met = 0
for _ in range(1000):
    met = len([name for name in os.listdir({queue!r}) if name.startswith("met.")])
    if met == 6:
        break
    time.sleep(0.1)
outcome = dict(status=1, what="%d met" % met, why="they do no more", remedy="", warnings=[])
with open(sys.argv[sys.argv.index("--outcome") + 1], "w") as file:
    json.dump(outcome, file)
time.sleep(1)  # the others look once more
sys.exit(1)
"""

# the engine, but a command on the tomogram E_5 kills it
DEADLY = """#!{python}
import os, signal, sys
if "serve" not in sys.argv:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
from isonet_scipion.engine import cli
obey, sys.argv = cli._obey, sys.argv[2:]
def deadly(arguments):
    if any("E_5.star" in word for word in arguments):
        os.kill(os.getpid(), signal.SIGKILL)
    return obey(arguments)
cli._obey = deadly
sys.exit(cli.main())
"""


class TestIsoNetQueue(LiveTest):
    """One project whose host has a queue."""

    isQuick = False  # warm processes of Scipion have read the usual hosts

    @classmethod
    def quickStart(cls) -> AbstractContextManager:
        """Under pytest the engine is quick all the same."""
        isQuick = IsoNetTest.isQuick and "ISONET_ENGINE_PYTHON" not in os.environ
        return patch.dict(os.environ, ISONET_ENGINE_PYTHON=warmEngine()) if isQuick else contextlib.nullcontext()

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.queue = Path(cls.proj.path, "queue")
        cls.queue.mkdir(exist_ok=True)
        for name, text in (("submit.sh", SUBMIT), ("check.sh", CHECK), ("hosts.conf", HOSTS)):
            (cls.queue / name).write_text(text.format(queue=cls.queue))
        cls.usualHosts = pyworkflow.Config.SCIPION_HOSTS
        cls.useHosts(str(cls.queue / "hosts.conf"))

    @classmethod
    def tearDownClass(cls) -> None:
        cls.useHosts(cls.usualHosts)
        super().tearDownClass()

    @classmethod
    def useHosts(cls, path: str) -> None:
        """Read the hosts from this file, here and in the protocols' own processes."""
        os.environ["SCIPION_HOSTS"] = pyworkflow.Config.SCIPION_HOSTS = path
        cls.proj._loadHosts(None)

    def jobs(self) -> set[Path]:
        """Those that the queue has run to their end."""
        return set(self.queue.glob("ended.*"))

    def submit(self, protocol, forSteps: bool):
        """Run a protocol, or its steps only, through the queue."""
        protocol._useQueue.set(True)
        protocol.setQueueParams(("default", {"QUEUE_FOR_JOBS": "Y" if forSteps else "N"}))
        return self.end(self.start(protocol))

    def test_a_protocol_runs_as_one_job(self) -> None:
        before = self.jobs()
        deconv = self.prepare(ProtIsoNetDeconv, {"inputTomograms": (self.tomograms, "Tomograms")}, defocus=20000)
        self.assertTrue(self.submit(deconv, forSteps=False).isFinished(), deconv.getErrorMessage())
        self.assertIsLikeInput(deconv.tomograms, ctfCorrected=True)
        ctf_parameters = CtfParameters(
            OPTICS["voltage"], OPTICS["sphericalAberration"], OPTICS["amplitudeContrast"], 20000.0
        )
        for number, tomogram in enumerate(deconv.tomograms):
            expected = deconvolve(scene(SHAPES[tomogram.getTsId()], number), Deconvolution(VOXEL_SIZE, ctf_parameters))
            np.testing.assert_allclose(read(tomogram.getFileName()), expected, atol=1e-3)
        waitFor(lambda: len(self.jobs() - before) == 1)
        self.assertIn("in default for 72 hours, 1 threads", self.script(deconv))

    def test_each_tomogram_is_a_job_and_its_error_comes_back(self) -> None:
        folder = self.raw / "half of it"
        folder.mkdir()
        for tsId in SHAPES:
            voxels = read(str(self.raw / f"{tsId}.mrc"))
            # the engine refuses a volume without contrast
            write(folder / f"{tsId}.mrc", voxels if tsId == "TS_01" else np.ones_like(voxels))
        bad = self.importTomograms(filesPath=str(folder))
        before = self.jobs()
        mask = self.prepare(
            ProtIsoNetMask, {"inputTomograms": (bad, "Tomograms")}, patchSize=2, densityPercentage=40, numberOfThreads=3
        )
        self.assertTrue(self.submit(mask, forSteps=True).isFinished(), mask.getErrorMessage())
        self.assertEqual(len(self.jobs() - before), len(SHAPES))
        (done,) = [item.clone() for item in mask.tomoMasks]
        self.assertEqual(done.getTsId(), "TS_01")
        self.assertTrue(0.05 < read(done.getFileName()).mean() <= 0.41)
        (failed,) = [item.clone() for item in mask.failedTomograms]
        self.assertEqual(failed.getTsId(), "TS_02")
        self.assertIn("TS_02.mrc: all its voxels are equal", failed.getObjComment())
        self.assertEqual(list(Path(mask._getExtraPath()).glob("*.status")), [])

    def test_six_tomograms_are_six_jobs_at_once_that_ask_for_a_gpu_each(self) -> None:
        folder = self.raw / "six"
        folder.mkdir()
        for number in range(6):
            write(folder / f"Q_{number}.mrc", scene((24, 32, 32), number))
        six = self.importTomograms(filesPath=str(folder))
        engine = self.queue / "engine"
        engine.write_text(MEETING.format(queue=str(self.queue), python=sys.executable))
        engine.chmod(0o755)
        inputs = {"inputTomograms": (six, "Tomograms")}
        os.environ["ISONET_ENGINE_PYTHON"] = str(engine)
        try:
            predict = self.prepare(
                ProtIsoNetPredict,
                inputs,
                numberOfThreads=3,
                useGpu=True,
                gpuList="0,1,2,3,4,5",
                cubeSize=20,
                cropSize=40,
            )
            self.assertTrue(self.submit(predict, forSteps=True).isFailed())
        finally:
            del os.environ["ISONET_ENGINE_PYTHON"]
        self.assertIn("6 met: they do no more. (5 more failed", predict.getErrorMessage())
        asked = re.findall(r"(\d+) threads, (\d+) GPUs\n.* predict .*--gpuID (\S+)", self.script(predict))
        self.assertEqual(asked, [("4", "1", "0")] * 6)

    def test_small_tomograms_share_a_job_and_fail_alone_also_where_one_ends_the_engine(self) -> None:
        folder = self.raw / "eight"
        folder.mkdir()
        for number in range(8):
            write(folder / f"E_{number}.mrc", scene((24, 32, 32), number))
        whole = (folder / "E_2.mrc").read_bytes()
        write(folder / "E_2.mrc", np.ones((24, 32, 32), np.float32))  # which the engine refuses
        engine = self.queue / "deadly"
        engine.write_text(DEADLY.format(python=warmEngine() if IsoNetTest.isQuick else sys.executable))
        engine.chmod(0o755)
        eight = self.importTomograms(filesPath=str(folder))
        before = self.jobs()
        mask = self.prepare(
            ProtIsoNetMask, {"inputTomograms": (eight, "Tomograms")}, patchSize=2, densityPercentage=40,
            numberOfThreads=2,
        )  # fmt: skip
        os.environ["ISONET_ENGINE_PYTHON"] = str(engine)
        try:
            self.assertTrue(self.submit(mask, forSteps=True).isFinished(), mask.getErrorMessage())
        finally:
            del os.environ["ISONET_ENGINE_PYTHON"]
        # all in the first; what comes after the one that ends it in the second
        self.assertEqual(len(self.jobs() - before), 2)
        failed = {item.getTsId(): item.getObjComment() for item in mask.failedTomograms}
        self.assertEqual(set(failed), {"E_2", "E_5"})
        self.assertIn("E_2.mrc: all its voxels are equal", failed["E_2"])
        self.assertIn("was ended by SIGKILL", failed["E_5"])
        self.assertEqual(
            sorted(item.getTsId() for item in mask.tomoMasks), [f"E_{number}" for number in (0, 1, 3, 4, 6, 7)]
        )
        for item in mask.tomoMasks:
            self.assertTrue(0.05 < read(item.getFileName()).mean() <= 0.41)
        self.assertEqual(list(Path(mask._getExtraPath()).glob("*.status*")), [])
        (folder / "E_2.mrc").write_bytes(whole)
        self.continue_(mask)
        self.assertEqual(mask.tomoMasks.getSize(), 8)
        self.assertEqual(len(self.jobs() - before), 3)

    def train(self, **values):
        """A training by a job, which has made its first models and goes on."""
        values = {**TRAINING, **values}
        training = self.prepare(ProtIsoNetOnePass, {"inputTomograms": (self.tomograms, "Tomograms")}, **values)
        training._useQueue.set(True)
        training.setQueueParams(("default", {"QUEUE_FOR_JOBS": "Y"}))
        self.start(training)
        self.addCleanup(self.killJob, training)  # where a test fails, it would go on
        waitFor(lambda: hasattr(self.refresh(training), "model"))
        return training

    def killJob(self, protocol) -> None:
        """End all processes of a protocol's job at once, as a queue does at the time limit, or a node that fails."""
        lines = {process: commandLine(process) for process in psutil.process_iter()}
        processes = [process for process, line in lines.items() if ".job" in line and protocol.getPath() in line]
        for process in [*processes, *(child for one in processes for child in one.children(recursive=True))]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        for path in self.queue.glob("running.*"):
            path.replace(self.queue / f"ended{path.suffix}")

    def test_a_training_whose_job_is_killed_has_failed_and_continue_submits_it_again(self) -> None:
        before = self.jobs()
        training = self.train(iterations=900)  # it must not end before it is killed
        logs = Path(training._getLogsPath())

        def isTold() -> bool:
            """Whether the log names the epoch, as it does a moment after the model is there."""
            files = (*logs.glob("*.out"), *logs.glob("*.err"))
            return any("Iteration 1 epoch 1/1" in file.read_text() for file in files)

        waitFor(isTold)
        self.killJob(training)
        self.assertTrue(self.end(training).isFailed())
        (job,) = self.jobs() - before
        message = training.getErrorMessage()
        self.assertIn("isonet-engine refine told nothing of its end: job ", message)
        self.assertIn(job.suffix[1:], message)
        (log,) = re.findall(r"Its log: (\S+) and ", message)
        self.assertIn("Iteration 1 epoch 1/1", Path(log).read_text() + Path(log[:-3] + "out").read_text())
        made = len(list(Path(training._getExtraPath("results")).glob("model_iter*.keras")))
        training.iterations.set(made + 1)
        self.assertEqual(training.validate(), [])
        self.continue_(training)
        self.assertEqual(len(self.jobs() - before), 2)
        self.assertIn(f"{made + 1} of {made + 1} iterations", " ".join(training.summary()))

    def test_a_queue_that_fails_to_answer_once_does_not_end_a_training(self) -> None:
        before = self.jobs()
        (self.queue / "deaf").touch()
        training = self.train(iterations=2)
        self.assertTrue(self.end(training).isFinished(), training.getErrorMessage())
        self.assertFalse((self.queue / "deaf").exists())
        self.assertIn("2 of 2 iterations", " ".join(training.summary()))
        waitFor(lambda: len(self.jobs() - before) == 1)  # its engine told its end before the job ended

    @staticmethod
    def script(protocol) -> str:
        """What was handed to the queue."""
        return "".join(path.read_text() for path in Path(protocol._getLogsPath()).glob("*.job"))
