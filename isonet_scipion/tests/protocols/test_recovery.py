"""Protocols that are killed, locked out or out of disk space: they say so, and Continue ends as if nothing happened."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil
from pyworkflow.protocol import MODE_RESTART, MODE_RESUME, FunctionStep, Protocol
from pyworkflow.protocol.constants import STATUS_FAILED, STATUS_RUNNING

from isonet_scipion.protocols import (
    ProtIsoNetDeconv,
    ProtIsoNetExtract,
    ProtIsoNetMask,
    ProtIsoNetPredict,
    ProtIsoNetRefine,
)
from isonet_scipion.protocols.refused import EngineFailure
from isonet_scipion.tests.protocols.live import LiveTest, commandLine, waitFor
from isonet_scipion.tests.protocols.scene import SHAPES, IsoNetTest, positions, read
from isonet_scipion.tests.protocols.test_chain import TRAINING

EXTRACTION = {"cubeSize": 16, "cropSize": 24, "numberSubtomos": 6, "seed": 1}
LOCKED_SECONDS = 20
SMALL_DISK = 1 << 20  # room for one tomogram, not for two
KILLED = "was ended by SIGKILL, perhaps for lack of memory. Continue goes on with what is missing."
ODD_ENGINE = """#!{python}
import pathlib, subprocess, sys

status = subprocess.run([{python!r}, *sys.argv[1:]]).returncode
for mask in pathlib.Path().glob("{folder}/extra/TS_02_mask.mrc"):
    if any("TS_02" in word for word in sys.argv):
        mask.write_bytes(b"odd")
sys.exit(status)
"""


class TestIsoNetRecovery(LiveTest):
    """The chain without interruption, and every protocol of it with some."""

    isQuick = False  # processes are the subject

    @classmethod
    def setUpClass(cls) -> None:
        with cls.quick():
            super().setUpClass()
        cls.before = cls.rawFiles()
        imported = {"inputTomograms": (cls.tomograms, "Tomograms")}
        cls.stages = {
            "tomograms": (ProtIsoNetDeconv, imported, {"defocus": 20000}),
            "tomoMasks": (ProtIsoNetMask, imported, {"patchSize": 2}),
            "subtomograms": (ProtIsoNetExtract, imported, EXTRACTION),
        }
        with cls.quick():
            cls.whole = {
                name: cls.run_(kind, inputs, **options) for name, (kind, inputs, options) in cls.stages.items()
            }
        cls.training = (
            ProtIsoNetRefine,
            {"inputSubtomograms": (cls.whole["subtomograms"], "subtomograms")},
            {**TRAINING, "iterations": 2, "epochs": 10, "stepsPerEpoch": 10},  # outlasts its kill on a fast machine
        )
        kind, inputs, options = cls.training
        cls.refine = cls.run_(kind, inputs, **options)
        correction = {"cubeSize": 20, "cropSize": 40, "useGpu": False}
        inputs = {**imported, "model": (cls.refine, "model")}
        cls.stages["corrected"] = (ProtIsoNetPredict, inputs, correction)
        cls.whole["corrected"] = cls.run_(ProtIsoNetPredict, inputs, **correction)

    @classmethod
    def quick(cls) -> AbstractContextManager:
        """Within, nobody is interrupted, and no network is used: processes are not the subject."""
        return patch.object(cls, "isQuick", IsoNetTest.isQuick)

    @classmethod
    def rawFiles(cls) -> dict[str, tuple]:
        """What would change if somebody touched the imported files."""
        return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in cls.raw.glob("*.mrc")}

    def prepared(self, name: str) -> Protocol:
        """One stage over tomograms, not yet run."""
        kind, inputs, options = self.stages[name]
        return self.prepare(kind, inputs, **options)

    @staticmethod
    def output(name: str) -> str:
        return "tomograms" if name == "corrected" else name

    def inTheMiddle(self, protocol: Protocol, output: str) -> AbstractContextManager:
        """Within, the first tomogram is done, and the engine stands still at its work on the second."""
        return self.paused(protocol, lambda: self.size(protocol, output))

    def files(self, protocol: Protocol, output: str) -> list[str]:
        """Those of all items, in their order."""
        return [item.getFileName() for item in getattr(protocol, output)]

    def assertAsIfNothingHappened(self, protocol: Protocol, name: str) -> None:
        """The same voxels as without interruption, and nothing left lying about."""
        self.assertTrue(protocol.isFinished(), protocol.getErrorMessage())
        files = [self.files(run, self.output(name)) for run in (protocol, self.whole[name])]
        self.assertEqual(*[[os.path.basename(path) for path in paths] for paths in files])
        for ours, theirs in zip(*files):
            np.testing.assert_array_equal(read(ours), read(theirs))
        self.assertFalse(getattr(protocol, self.output(name)).isStreamOpen())
        self.assertEqual(list(Path(protocol.getPath()).rglob("*partial*")), [])
        self.assertFalse(os.path.exists(protocol._getTmpPath()))
        self.assertEqual(self.rawFiles(), self.before)

    # ---------------------------------------------------------------- a training in the window

    def test_a_training_that_is_stopped_has_the_model_of_its_iterations_so_far(self) -> None:
        kind, inputs, options = self.training
        refine = self.start(self.prepare(kind, inputs, **{**options, "iterations": 900, "epochs": 1}))
        waitFor(lambda: hasattr(self.refresh(refine), "model"))
        self.assertTrue(refine.isActive())
        first = refine.model.getIteration()
        # summary and log: either may come after the model's file
        left = re.compile(r"Iteration \d+ of 900\*, epoch 1 of 1; \d+:\d\d:\d\d left")
        waitFor(lambda: left.search(" ".join(refine.summary())))
        waitFor(lambda: re.search(r"Iteration \d+ epoch 1/1: loss", Path(refine.getStdoutLog()).read_text()))
        imported = {"inputTomograms": (self.tomograms, "Tomograms"), "model": (refine, "model")}
        last, chosen = (self.prepare(ProtIsoNetPredict, imported, iteration=number) for number in (None, first))
        self.assertIn("is still training", " ".join(last.validate()))
        self.assertEqual(chosen.validate(), [])
        waitFor(lambda: len(list(Path(refine._getExtraPath("results")).glob("refine_iter*.json"))) > first)
        self.proj.stopProtocol(refine)
        self.assertRegex(self.refresh(refine).model.getFileName(), r"model_iter\d+\.keras$")
        self.assertTrue(os.path.exists(refine.model.getFileName()))
        self.assertEqual(last.validate(), [])
        self.assertRegex(" ".join(refine.summary()), r"\d+ of 900 iterations of 1 epochs.*output is the network of ")

    # ---------------------------------------------------------------- kills

    def test_a_killed_stage_goes_on_where_it_was(self) -> None:
        terminate = partial(self.kill, how=signal.SIGTERM)
        ends = {"tomograms": self.kill, "tomoMasks": terminate, "subtomograms": self.proj.stopProtocol}
        for name, end in {**ends, "corrected": self.kill}.items():
            with self.subTest(name):
                self.endInTheMiddle(name, end)

    def endInTheMiddle(self, name: str, end: Callable[[Protocol], None]) -> None:
        protocol = self.start(self.prepared(name))
        with self.inTheMiddle(protocol, self.output(name)):
            done = self.files(protocol, self.output(name))
            times = [os.path.getmtime(path) for path in done]
            end(protocol)
        # nobody is left that could write where Continue works
        waitFor(lambda: self.engine(protocol) is None)
        self.assertTrue(self.refresh(protocol).isFailed() or protocol.isAborted())
        with contextlib.nullcontext() if name == "corrected" else self.quick():
            self.continue_(protocol)
        self.assertEqual([os.path.getmtime(path) for path in done], times)
        self.assertAsIfNothingHappened(protocol, name)

    def test_killed_training_ends_in_the_same_network(self) -> None:
        kind, inputs, options = self.training
        refine = self.start(self.prepare(kind, inputs, **options))
        with self.paused(refine, lambda: len(self.epochs(refine)) >= 2):
            self.kill(refine)
        waitFor(lambda: self.engine(refine) is None)
        self.assertTrue(self.refresh(refine).isFailed())

        done = len(self.epochs(refine))
        self.assertLess(done, len(self.epochs(self.refine)) - 1)
        refine.runMode.set(MODE_RESUME)
        self.start(refine)
        with self.paused(refine, lambda: len(self.epochs(refine)) > done) as engine:
            engine.kill()
        self.assertTrue(self.end(refine).isFailed())
        self.assertIn(f"isonet-engine refine {KILLED}", refine.getErrorMessage())

        self.continue_(refine)
        self.assertIn("Going on with iteration", self.log(refine))
        self.assertRegex(self.log(refine), r"--preprocessing_ncpus 1\b")
        self.assertEqual(self.epochs(refine), self.epochs(self.refine))
        for ours, theirs in zip(self.weights(refine), self.weights(self.refine)):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
        self.assertEqual(list(Path(refine.getPath()).rglob("*partial*")), [])
        for link in Path(refine._getExtraPath("subtomograms")).iterdir():
            self.assertTrue(link.is_symlink())

    @staticmethod
    def epochs(refine: ProtIsoNetRefine) -> list[str]:
        """Iteration and epoch of those finished so far."""
        path = Path(refine.lossesFile())
        return [line.split(",")[:2] for line in path.read_text().splitlines()[1:]] if path.exists() else []

    @staticmethod
    def weights(refine: ProtIsoNetRefine) -> list[np.ndarray]:
        from isonet_scipion.engine.network.model_file import load_model

        return load_model(refine.model.getFileName())[0].get_weights()

    def test_a_killed_engine_costs_one_tomogram(self) -> None:
        mask = self.start(self.prepared("tomoMasks"))
        with self.paused(mask) as engine:
            killed, other = sorted(SHAPES, key=lambda tsId: tsId not in commandLine(engine))
            engine.kill()
        self.assertTrue(self.end(mask).isFinished(), mask.getErrorMessage())
        (failed,) = [item.clone() for item in mask.failedTomograms]
        self.assertEqual((failed.getTsId(), failed.getObjComment()), (killed, f"isonet-engine make_mask {KILLED}"))
        self.assertEqual([item.getTsId() for item in mask.tomoMasks], [other])
        with self.quick():
            self.continue_(mask)
        self.assertEqual({item.getTsId() for item in mask.tomoMasks}, set(SHAPES))
        self.assertEqual(self.size(mask, "failedTomograms"), 0)

    def test_an_error_that_nobody_foresaw_costs_one_tomogram_and_is_told_with_its_place(self) -> None:
        engine = Path(self.proj.path, "odd_engine.py")  # its mask of TS_02 has no header
        mask = self.prepared("tomoMasks")
        self.proj.saveProtocol(mask)
        engine.write_text(ODD_ENGINE.format(python=sys.executable, folder=mask.getPath()))
        engine.chmod(0o755)
        with patch.dict(os.environ, ISONET_ENGINE_PYTHON=str(engine)):
            self.launchProtocol(mask)
        self.assertEqual([item.getTsId() for item in mask.tomoMasks], ["TS_01"])
        (failed,) = [item.clone() for item in mask.failedTomograms]
        reason = failed.getObjComment()
        self.assertEqual(failed.getTsId(), "TS_02")
        self.assertRegex(reason, r"^\w+: .*\(\w+\.py, line \d+\)\. This was not expected: please report it")
        self.assertIn(f"*TS_02 failed*: {reason}", mask.summary())
        log = self.log(mask)
        self.assertIn(f"TS_02: {reason}", log)
        self.assertIn("Traceback", log)
        self.assertIn("in _process\n", log)
        os.remove(mask._getExtraPath("TS_02_mask.mrc"))
        with self.quick():
            self.continue_(mask)
        self.assertEqual({item.getTsId() for item in mask.tomoMasks}, set(SHAPES))
        # if none is left, it is the protocol's error
        mask = self.prepared("tomoMasks")
        self.proj.saveProtocol(mask)
        mask._tomograms, mask._failed = {"TS_01": (mask.inputTomograms.get().getFirstItem().clone(), None)}, {}
        with patch.object(mask, "_process", side_effect=KeyError("odd")):
            mask._processOne("TS_01")
        self.assertRaisesRegex(EngineFailure, r"KeyError: 'odd' \(mock\.py, line \d+\)", mask.closeStep)

    def test_centres_are_those_of_the_subtomograms_if_it_was_killed_between_the_two(self) -> None:
        kind, inputs, options = self.stages["subtomograms"]
        with self.quick():
            extract = self.run_(kind, inputs, **{**options, "seed": None})
        centres = extract.coordinates
        kept = [item.clone() for item in centres.iterCoordinates() if item.getTomoId() == "TS_02"]
        centres.clear()
        for item in kept:
            centres.append(item)
        centres.write()
        extract._store(centres)
        self.assertEqual(self.size(extract, "coordinates"), 6)
        with self.quick():
            self.continue_(extract)
        self.assertEqual((self.size(extract, "coordinates"), self.size(extract, "subtomograms")), (12, 12))

        self.assertEqual(positions(extract.coordinates), positions(extract.subtomograms))

    def test_a_killed_scheduler_is_noticed(self) -> None:
        mask = self.prepared("tomoMasks")
        self.proj.scheduleProtocol(mask, initialSleepTime=1000)
        words = ("pw_schedule_run", self.proj.path, mask.strId())

        def scheduler() -> psutil.Process | None:
            found = (process for process in psutil.process_iter() if all(w in commandLine(process) for w in words))
            return next((process for process in found if process.pid == self.refresh(mask).getPid()), None)

        waitFor(scheduler).kill()
        waitFor(lambda: self.refresh(mask).isFailed())
        with self.quick():
            self.continue_(mask)
        self.assertAsIfNothingHappened(mask, "tomoMasks")

    def test_restart_begins_anew(self) -> None:
        deconv = self.start(self.prepared("tomograms"))
        with self.inTheMiddle(deconv, "tomograms"):
            self.kill(deconv)
        waitFor(lambda: self.engine(deconv) is None)
        self.refresh(deconv)
        (first,) = self.files(deconv, "tomograms")
        Path(first).write_bytes(b"spoilt")
        left = Path(deconv._getExtraPath("left.txt"))
        left.touch()
        deconv.runMode.set(MODE_RESTART)
        with self.quick():
            self.launchProtocol(deconv)
        self.assertFalse(left.exists())
        self.assertAsIfNothingHappened(deconv, "tomograms")

    # ---------------------------------------------------------------- databases and disk

    def test_locked_databases_are_waited_for(self) -> None:
        deconv = self.start(self.prepared("tomograms"))
        with contextlib.ExitStack() as stack:
            with self.inTheMiddle(deconv, "tomograms"):
                for path in (deconv.tomograms.getFileName(), deconv.getDbPath(), deconv.getStepsFile()):
                    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
                    stack.enter_context(contextlib.closing(connection)).execute("BEGIN EXCLUSIVE")
                process = psutil.Process(deconv.getPid())
            time.sleep(LOCKED_SECONDS)
            self.assertTrue(process.is_running())
        # Scipion takes a run for dead whose process ends between two looks, at its status and at the process
        waitFor(lambda: "--- PROTOCOL F" in self.log(deconv))
        self.end(deconv)
        self.assertAsIfNothingHappened(deconv, "tomograms")

    def test_a_full_disk_is_the_reason_that_is_told(self) -> None:
        deconv = self.prepared("tomograms")
        self.proj.saveProtocol(deconv)
        folder = os.path.abspath(deconv._getExtraPath())
        os.makedirs(folder)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", folder]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            self.skipTest("a small disk can be mounted by root only")
        self.addCleanup(subprocess.run, ["umount", folder], check=True)
        with self.quick():
            message = self.errorOf(deconv)
        self.assertIn(deconv._getExtraPath(), message)
        self.assertRegex(message, "No space left on device|disk space")
        self.assertEqual([item.getTsId() for item in deconv.tomograms], ["TS_02"])
        subprocess.run(["mount", "-o", f"remount,size={8 * SMALL_DISK}", folder], check=True)
        with self.quick():
            self.continue_(deconv)
        self.assertAsIfNothingHappened(deconv, "tomograms")

    def test_a_set_that_the_disk_had_no_room_for_is_made_again(self) -> None:
        for name, sets in {"tomoMasks": ["tomoMasks"], "subtomograms": ["subtomograms", "coordinates"]}.items():
            with self.subTest(name), self.quick():
                protocol = self.prepared(name)
                self.launchProtocol(protocol)
                for output in (getattr(protocol, each) for each in sets):
                    output.close()
                    os.remove(output.getFileName())
                    with contextlib.closing(sqlite3.connect(output.getFileName())) as connection:
                        # as far as Scipion came before the disk was full
                        connection.execute("CREATE TABLE Properties (key TEXT UNIQUE, value TEXT DEFAULT NULL)")
                self.assertEqual(protocol.summary(), ["No output yet."])
                self.continue_(protocol)
                self.assertAsIfNothingHappened(protocol, name)
                # as where it came as far as the tables, but to no row
                output = getattr(protocol, sets[-1])
                output.close()
                with contextlib.closing(sqlite3.connect(output.getFileName(), isolation_level=None)) as connection:
                    connection.executescript("DELETE FROM Objects; DELETE FROM Properties")
                self.continue_(protocol)
                self.assertEqual(
                    [self.size(protocol, each) for each in sets], [self.size(self.whole[name], each) for each in sets]
                )
                self.assertAsIfNothingHappened(protocol, name)

    def test_steps_that_a_kill_left_without_their_table_are_none(self) -> None:
        mask = self.whole["tomoMasks"]
        self.assertEqual(len(mask.loadSteps()), len(SHAPES) + 2)
        steps = Path(self.proj.path, "steps.sqlite")  # which Scipion empties each time before it writes it
        with contextlib.closing(sqlite3.connect(steps)) as connection:
            connection.execute("CREATE TABLE Properties (key TEXT UNIQUE, value TEXT DEFAULT NULL)")
        with patch.object(mask, "getStepsFile", return_value=str(steps)):
            self.assertEqual(mask.loadSteps(), [])

    def test_a_protocol_that_has_failed_begins_with_no_further_tomogram(self) -> None:
        mask, done = self.prepared("tomoMasks"), []
        mask._steps = [FunctionStep(None, "processStep", tsId) for tsId in SHAPES]
        mask._processSteps, mask._takenSteps = list(enumerate(SHAPES, 1)), []
        mask._steps[0].setRunning()
        mask._steps.append(FunctionStep(None, "processStep", "TS_03"))
        mask._steps[-1].setFailed("No space left on device")  # in another thread
        with patch.object(mask, "_processOne", side_effect=done.append):
            mask.processStep("TS_02")
        self.assertEqual((done, mask._steps[1].isNew()), (["TS_02"], True))

    def test_what_comes_after_a_failure_leaves_the_output_closed(self) -> None:
        mask = self.prepared("tomoMasks")
        with self.quick():
            self.launchProtocol(mask)
        items = [item.clone() for item in mask.tomoMasks]
        for status, isOpen in ((STATUS_RUNNING, True), (STATUS_FAILED, False)):
            mask.setStatus(status)
            items[0].cleanObjId()
            mask._append(items[0])
            self.assertEqual(mask.tomoMasks.isStreamOpen(), isOpen)

    def test_what_ends_the_others_too_ends_the_run_and_is_told_with_its_place(self) -> None:
        mask = self.prepared("tomoMasks")
        self.proj.saveProtocol(mask)
        mask._tomograms, mask._failed = {"TS_01": (None, None)}, {}
        remedies = {
            "database or disk is full": "Free disk space",
            "disk I/O error": "Free disk space",  # a quota
            "attempt to write a readonly database": "Check the disk, and the permissions of the folder",
        }
        for error, remedy in remedies.items():
            told = f"{mask.getPath()}: a database there can't be used .{error}.. {remedy}"
            with patch.object(mask, "_process", side_effect=sqlite3.OperationalError(error)):
                self.assertRaisesRegex(EngineFailure, told, mask._processOne, "TS_01")
        with patch.object(mask, "_process", side_effect=sqlite3.OperationalError("no such table: Objects")):
            self.assertRaisesRegex(sqlite3.OperationalError, "no such table", mask._processOne, "TS_01")
        quota = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "a.mrc")
        with patch.object(mask, "_process", side_effect=quota):
            self.assertRaisesRegex(EngineFailure, r"a\.mrc: .*Free disk space", mask._processOne, "TS_01")
        self.assertEqual(mask._failed, {})

    def test_what_the_system_refuses_for_one_tomogram_is_nothing_to_report(self) -> None:
        mask = self.prepared("tomoMasks")
        self.proj.saveProtocol(mask)
        mask._tomograms, mask._failed = {"TS_01": (None, None)}, {}
        for error in (MemoryError(), OSError(errno.EROFS, os.strerror(errno.EROFS), "a.mrc")):
            with patch.object(mask, "_process", side_effect=error):
                mask._processOne("TS_01")
            self.assertRegex(mask._failed["TS_01"], "(Raise the limits|Check the permissions).*Continue goes on")
            self.assertNotIn("report", mask._failed["TS_01"])
