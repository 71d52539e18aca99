"""Tomograms are processed as they come in, several at once, each GPU step with a GPU of its own."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from pyworkflow.object import Set
from pyworkflow.protocol.constants import MODE_RESTART, MODE_RESUME, STATUS_ABORTED, STATUS_FAILED, STATUS_RUNNING
from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import (
    Coordinate3D,
    CTFTomo,
    CTFTomoSeries,
    SetOfCoordinates3D,
    SetOfCTFTomoSeries,
    SetOfTiltSeries,
    SetOfTomograms,
    SetOfTomoMasks,
    TiltImage,
    TiltSeries,
    TomoAcquisition,
)

from isonet_scipion.convert.acquisition import Optics
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.radial_filter import Deconvolution, deconvolve
from isonet_scipion.protocols import (
    ProtIsoNetDeconv,
    ProtIsoNetExtract,
    ProtIsoNetImportModel,
    ProtIsoNetMask,
    ProtIsoNetOnePass,
    ProtIsoNetPredict,
)
from isonet_scipion.tests.protocols.live import LiveTest, waitFor
from isonet_scipion.tests.protocols.scene import OPTICS, SHAPES, VOXEL_SIZE, read, scene, warmEngine, write

STREAMING = {"numberOfThreads": 3, "streamingSleepOnWait": 1}
# an engine that tells when it starts, when it works, and on which GPUs; on one of two it begins when the other does
SPY = """#!{python}
import json, os, subprocess, sys, time

def note(*words):
    with open({log!r}, "a") as log:
        print(*words, file=log)

if "serve" not in sys.argv:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
def have_begun(*gpus):
    with open({log!r}) as log:
        told = log.read()
    return all("begin %s " % gpu in told for gpu in gpus)

note("start", os.getpid())
engine = subprocess.Popen([{python!r}, *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
for line in sys.stdin:
    words = json.loads(line)
    gpu = words[words.index("--gpuID") + 1]
    note("begin", gpu, *words)
    ends = time.monotonic() + 60
    while gpu != "-1" and not have_begun(0, 1) and time.monotonic() < ends:
        time.sleep(0.05)
    engine.stdin.write(json.dumps([*words, "--gpuID", "-1"]) + "\\n")  # these GPUs need not be there
    engine.stdin.flush()
    answer = engine.stdout.readline()
    note("end", gpu, *words)
    print(answer, end="", flush=True)
"""


class TestIsoNetStreaming(LiveTest):
    """Inputs that grow while protocols run."""

    def test_a_chain_works_while_its_input_grows(self) -> None:
        first, last = [tomogram.clone() for tomogram in self.tomograms.Tomograms]
        growing = self.openSet("growing", [first])
        deconv = self.start(
            self.prepare(ProtIsoNetDeconv, {"inputTomograms": (self.tomograms, "growing")}, defocus=20000, **STREAMING)
        )
        waitFor(lambda: self.size(deconv, "tomograms") == 1)
        self.assertTrue(deconv.isRunning() and deconv.tomograms.isStreamOpen())
        deconvolved = {"inputTomograms": (deconv, "tomograms")}
        mask = self.start(self.prepare(ProtIsoNetMask, deconvolved, patchSize=2, **STREAMING))
        waitFor(lambda: self.size(mask, "tomoMasks") == 1)
        masked = {**deconvolved, "inputMasks": (mask, "tomoMasks")}
        cubes = {"cubeSize": 16, "cropSize": 24, "seed": 1}
        # each tomogram's share of the subtomograms is known when all are there
        sharing = self.start(self.prepare(ProtIsoNetExtract, masked, **cubes, **STREAMING))
        extract = self.start(self.prepare(ProtIsoNetExtract, masked, numberSubtomos=4, **cubes, **STREAMING))
        waitFor(lambda: self.size(extract, "subtomograms") == 4)
        self.assertEqual((self.size(deconv, "tomograms"), self.size(sharing, "subtomograms")), (1, 0))

        self.append(growing, [last], Set.STREAM_CLOSED)
        for protocol in (deconv, mask, extract, sharing):
            self.assertTrue(self.end(protocol).isFinished(), protocol.getErrorMessage())
            for _, output in protocol.iterOutputAttributes():
                self.assertFalse(output.isStreamOpen())
        self.assertIsLikeInput(deconv.tomograms, ctfCorrected=True)
        ctf_parameters = CtfParameters(
            OPTICS["voltage"], OPTICS["sphericalAberration"], OPTICS["amplitudeContrast"], 20000.0
        )
        for number, tomogram in enumerate(deconv.tomograms):
            expected = deconvolve(scene(SHAPES[tomogram.getTsId()], number), Deconvolution(VOXEL_SIZE, ctf_parameters))
            np.testing.assert_allclose(read(tomogram.getFileName()), expected, atol=1e-3)
        self.assertEqual([item.getTsId() for item in mask.tomoMasks], list(SHAPES))
        self.assertEqual([item.getVolName() for item in extract.subtomograms], [ts for ts in SHAPES for _ in range(4)])
        self.assertSetSize(extract.coordinates, 8)
        shares = [read_star(sharing._getExtraPath(f"{tsId}.star")).rows[0]["rlnNumberSubtomo"] for tsId in SHAPES]
        sharing.runMode.set(MODE_RESUME)
        self.assertEqual(sharing.warnings(), [])
        os.remove(sharing._getExtraPath("TS_01.star"))
        (late,) = self.withoutResultsOf(sharing, "TS_01")
        self.assertRegex(late, r"TS_01 came after the subtomograms had been shared out.*\*Restart\* shares anew")
        whole = self.run_(ProtIsoNetExtract, masked, **cubes)
        for tsId, share in zip(SHAPES, shares):
            self.assertEqual(read_star(whole._getExtraPath(f"{tsId}.star")).rows[0]["rlnNumberSubtomo"], share)

    @staticmethod
    def withoutResultsOf(extract: ProtIsoNetExtract, tsId: str) -> list[str]:
        """The warnings that there would be if it had not been worked on."""
        with patch.object(extract, "_doneIds", return_value=set(SHAPES) - {tsId}):
            return extract.warnings()

    def test_what_came_while_it_was_dead_is_done_after_continue(self) -> None:
        first, last = [tomogram.clone() for tomogram in self.tomograms.Tomograms]
        growing = self.openSet("interrupted", [first])
        mask = self.start(
            self.prepare(ProtIsoNetMask, {"inputTomograms": (self.tomograms, "interrupted")}, patchSize=2, **STREAMING)
        )
        waitFor(lambda: self.size(mask, "tomoMasks") == 1)
        time = os.path.getmtime(mask.tomoMasks.getFirstItem().getFileName())
        self.kill(mask)
        self.assertTrue(self.refresh(mask).isFailed())
        masks = {"inputTomograms": (self.tomograms, "Tomograms"), "inputMasks": (mask, "tomoMasks")}
        for protocol in (ProtIsoNetExtract, ProtIsoNetOnePass):
            told = " ".join(self.prepare(protocol, masks).warnings())
            self.assertRegex(told, r"\*Masks\*: \*.*sample mask\* failed, so not all may be there.*is taken")
        self.append(growing, [last], Set.STREAM_CLOSED)
        self.continue_(mask)
        self.assertEqual([item.getTsId() for item in mask.tomoMasks], list(SHAPES))
        self.assertEqual(os.path.getmtime(mask.tomoMasks.getFirstItem().getFileName()), time)
        self.assertFalse(mask.tomoMasks.isStreamOpen())

    def test_a_failure_is_told_while_the_input_stays_open(self) -> None:
        first, last = [tomogram.clone() for tomogram in self.tomograms.Tomograms]
        flat = self.raw / "flat.mrc"
        write(flat, np.ones(SHAPES[first.getTsId()], np.float32))
        first.setFileName(str(flat))
        growing = self.openSet("partly_bad", [first])
        mask = self.start(
            self.prepare(ProtIsoNetMask, {"inputTomograms": (self.tomograms, "partly_bad")}, patchSize=2, **STREAMING)
        )
        told = rf"\*{first.getTsId()} failed\*: .*all its voxels are equal"
        waitFor(lambda: re.search(told, "\n".join(self.refresh(mask).summary())))
        self.assertTrue(mask.isActive())
        self.append(growing, [last], Set.STREAM_CLOSED)
        self.assertTrue(self.end(mask).isFinished(), mask.getErrorMessage())
        self.assertEqual([item.getTsId() for item in mask.tomoMasks], [last.getTsId()])
        self.assertEqual(len(re.findall(told, "\n".join(mask.summary()))), 1)
        write(flat, scene(SHAPES[first.getTsId()], 0))
        self.continue_(mask)
        self.assertNotIn("failed*", "\n".join(mask.summary()))

    def test_tomograms_wait_for_their_ctfs(self) -> None:
        ctfs = self.addCtf("TS_01", 30000.0)
        inputs = {"inputTomograms": (self.tomograms, "Tomograms"), "inputCtfs": (self.tomograms, "CTFs")}
        options = {"skipWithoutCtf": False, "defocus": 15000, "binThreads": 2}
        few = self.prepare(ProtIsoNetDeconv, inputs, **options)
        self.assertIn("*CTFs*: more are still to come", " ".join(few.warnings()))
        deconv = self.start(self.prepare(ProtIsoNetDeconv, inputs, **options, **STREAMING))
        self.assertEqual((deconv.validate(), deconv.warnings()), ([], []))
        waitFor(lambda: self.size(deconv, "tomograms") == 1)
        ctfs.load()
        self.append(ctfs, [], Set.STREAM_CLOSED)
        self.assertTrue(self.end(deconv).isFinished(), deconv.getErrorMessage())
        self.assertEqual([tomogram.getTsId() for tomogram in deconv.tomograms], list(SHAPES))
        tables = {tsId: read_star(deconv._getExtraPath(f"{tsId}.star")) for tsId in SHAPES}
        defoci = {tsId: float(table.rows[0]["rlnDefocus"]) for tsId, table in tables.items()}
        self.assertEqual(defoci, {"TS_01": 30000.0, "TS_02": 15000.0})
        log = self.log(deconv)
        self.assertRegex(log, r"--ncpu 2\b")
        self.assertIn("TS_02.mrc: defocus 15000 A, 200 kV", log)  # the engine says it

    def test_tomograms_wait_for_all_of_their_coordinates(self) -> None:
        tomogram = next(item.clone() for item in self.tomograms.Tomograms if item.getTsId() == "TS_01")
        places = [(24 + 2 * number, 30, 20) for number in range(4)]
        picked = []
        for place in places:
            coordinate = Coordinate3D()
            coordinate.setVolume(tomogram)
            coordinate.setPosition(*place, BOTTOM_LEFT_CORNER)
            picked.append(coordinate)
        output = SetOfCoordinates3D.create(self.tomograms._getPath(), prefix="picked")
        output.setPrecedents(self.tomograms.Tomograms)
        output.setSamplingRate(VOXEL_SIZE)
        output.setBoxSize(24)
        output.setStreamState(Set.STREAM_OPEN)
        output.append(picked[0])
        output.write()
        self.tomograms._defineOutputs(picked=output)
        self.proj.mapper.commit()
        output.close()
        inputs = {"inputTomograms": (self.tomograms, "Tomograms"), "inputCoordinates": (self.tomograms, "picked")}
        extract = self.start(self.prepare(ProtIsoNetExtract, inputs, cubeSize=16, cropSize=24, **STREAMING))
        waitFor(lambda: "Running step 1" in self.log(extract))
        output.load()
        self.append(output, picked[1:], Set.STREAM_CLOSED)
        self.assertTrue(self.end(extract).isFinished(), extract.getErrorMessage())
        # which the form could not tell, as the set was open
        self.assertIn("Left out, because they have no mask or coordinates: TS_02.", self.log(extract))
        found = {tuple(map(round, c.getPosition(BOTTOM_LEFT_CORNER))) for c in extract.coordinates.iterCoordinates()}
        self.assertEqual(found, set(places))

    def test_tilt_series_ids_that_come_twice_or_not_at_all_are_told(self) -> None:
        first, last = [tomogram.clone() for tomogram in self.tomograms.Tomograms]
        growing = self.openSet("twice", [first])
        mask = self.start(
            self.prepare(ProtIsoNetMask, {"inputTomograms": (self.tomograms, "twice")}, patchSize=2, **STREAMING)
        )
        waitFor(lambda: self.size(mask, "tomoMasks") == 1)
        items = [last.clone() for _ in range(3)]
        for number, (item, tsId) in enumerate(zip(items, (last.getTsId(), first.getTsId(), None)), 10):
            item.setTsId(tsId)
            item.setObjId(number)
        self.append(growing, items, Set.STREAM_CLOSED)
        self.assertTrue(self.end(mask).isFailed())
        self.assertIn("there is TS_02 (2 times), none (1 times).", mask.getErrorMessage())
        self.assertEqual([item.getTsId() for item in mask.tomoMasks], list(SHAPES))  # what is clear is done

    def test_masks_that_come_twice_are_told(self) -> None:
        tomograms = {"inputTomograms": (self.tomograms, "Tomograms")}
        mask = self.run_(ProtIsoNetMask, tomograms, patchSize=2)
        byId = {item.getTsId(): item.clone() for item in mask.tomoMasks}
        growing = SetOfTomoMasks.create(self.tomograms._getPath(), prefix="twice")
        growing.copyInfo(mask.tomoMasks)
        self.append(growing, [byId["TS_01"]])
        self.tomograms._defineOutputs(twiceMasked=growing)
        self.proj.mapper.commit()
        inputs = {**tomograms, "inputMasks": (self.tomograms, "twiceMasked")}
        cubes = {"cubeSize": 16, "cropSize": 24, "numberSubtomos": 4}
        extract = self.start(self.prepare(ProtIsoNetExtract, inputs, **cubes, **STREAMING))
        waitFor(lambda: self.size(extract, "subtomograms") == 4)
        byId["TS_02"].setObjId(None)
        growing.load()
        self.append(growing, [byId["TS_02"], byId["TS_02"]], Set.STREAM_CLOSED)
        self.assertTrue(self.end(extract).isFailed())
        told = r"\*Masks\*: each needs a tilt series ID.* there is TS_02 \(2 times\)"
        self.assertRegex(extract.getErrorMessage(), told)

    def test_what_comes_without_what_the_form_asks_for_fails_alone(self) -> None:
        whole, bare = [tomogram.clone() for tomogram in self.tomograms.Tomograms]
        whole.setHalfMaps([whole.getFileName()] * 2)
        acquisition = bare.getAcquisition().clone()
        acquisition.setVoltage(None)
        bare.setAcquisition(acquisition)
        growing = SetOfTomograms.create(self.tomograms._getPath(), prefix="bare")
        growing.setSamplingRate(VOXEL_SIZE)
        growing.setAcquisition(TomoAcquisition(angleMin=-60, angleMax=60))
        self.append(growing, [whole])
        self.tomograms._defineOutputs(bare=growing)
        self.proj.mapper.commit()
        inputs = {"inputTomograms": (self.tomograms, "bare")}
        options = {"defocus": 20000, "processHalves": False, **STREAMING}
        deconv = self.start(self.prepare(ProtIsoNetDeconv, inputs, **options))
        waitFor(lambda: self.size(deconv, "tomograms") == 1)
        self.append(growing, [bare], Set.STREAM_CLOSED)
        self.assertTrue(self.end(deconv).isFinished(), deconv.getErrorMessage())
        (failed,) = [(item.getTsId(), item.getObjComment()) for item in deconv.failedTomograms]
        self.assertEqual(failed[0], bare.getTsId())
        self.assertRegex(failed[1], r"\*Voltage\*: .* acquisition does not have it")
        predict = self.prepare(ProtIsoNetPredict, inputs, processHalves=True)
        self.assertIn("no even and odd half of TS_01.", " ".join(predict.validate()))
        self.assertEqual(predict._tomogramErrors({"TS_02": whole}), [])
        self.assertIn("no even and odd half of TS_01.", " ".join(predict._tomogramErrors({"TS_01": bare})))

    def test_a_voxel_size_that_comes_with_the_first_tomogram_is_compared_with_the_models(self) -> None:
        for name, setClass in (("sizeless", SetOfTomograms), ("sizelessMasks", SetOfTomoMasks)):
            unborn = setClass.create(self.tomograms._getPath(), prefix=name)
            unborn.setStreamState(Set.STREAM_OPEN)
            unborn.write()
            self.tomograms._defineOutputs(**{name: unborn})
        self.proj.mapper.commit()
        masks = {"inputMasks": (self.tomograms, "sizelessMasks")}
        for tomograms in ("Tomograms", "sizeless"):
            extract = self.prepare(ProtIsoNetExtract, {"inputTomograms": (self.tomograms, tomograms), **masks})
            extract.cubeSize.set(8)
            self.assertEqual(extract.validate(), [])
        model = self.run_(ProtIsoNetImportModel, {}, modelFile=self.modelFile())
        inputs = {"inputTomograms": (self.tomograms, "sizeless"), "model": (model, "model")}
        predict = self.prepare(ProtIsoNetPredict, inputs, useGpu=False)
        self.assertEqual(predict.validate(), [])
        coarse = self.tomograms.Tomograms.getFirstItem().clone()
        coarse.setSamplingRate(2 * VOXEL_SIZE)
        unknown = coarse.clone()
        unknown.setSamplingRate(None)
        with patch.object(predict, "_optics", return_value=Optics(tiltMin=-60, tiltMax=60)):
            (told,) = predict._tomogramErrors({coarse.getTsId(): coarse, "unknown": unknown})
        self.assertIn("was trained at 10.00 Å/px, but the tomograms have 20.00", told)

    def test_a_set_that_is_still_empty_is_waited_for(self) -> None:
        growing = self.openSet("unborn", [])
        self.setMaker(STATUS_RUNNING)
        mask = self.prepare(ProtIsoNetMask, {"inputTomograms": (self.tomograms, "unborn")}, patchSize=2, **STREAMING)
        self.assertTrue(mask._isGrowing("inputTomograms"))
        self.start(mask)
        waitFor(lambda: "Running step 1" in self.log(mask))
        self.append(growing, [item.clone() for item in self.tomograms.Tomograms], Set.STREAM_CLOSED)
        self.assertTrue(self.end(mask).isFinished(), mask.getErrorMessage())
        self.assertEqual({item.getTsId() for item in mask.tomoMasks}, set(SHAPES))

    def test_a_set_that_stayed_empty_is_not_waited_for_once_its_protocol_has_ended(self) -> None:
        self.openSet("stillborn", [])
        self.setMaker(STATUS_RUNNING)
        mask = self.prepare(ProtIsoNetMask, {"inputTomograms": (self.tomograms, "stillborn")}, patchSize=2, **STREAMING)
        self.start(mask)
        waitFor(lambda: "Running step 1" in self.log(mask))
        self.setMaker(STATUS_FAILED)
        self.assertIn("*Tomograms* is empty.", self.end(mask).getErrorMessage())
        # what goes with the tomograms, too: here they take the form's defocus
        ctfs = self.emptyCtfs()
        inputs = {"inputTomograms": (self.tomograms, "Tomograms"), "inputCtfs": (self.tomograms, ctfs)}
        deconv = self.run_(ProtIsoNetDeconv, inputs, skipWithoutCtf=False, defocus=20000)
        self.assertEqual({item.getTsId() for item in deconv.tomograms}, set(SHAPES))
        for tsId in SHAPES:
            self.assertEqual(read_star(deconv._getExtraPath(f"{tsId}.star")).rows[0]["rlnDefocus"], "20000.0")

    def test_an_input_whose_protocol_was_stopped_meanwhile_is_told_in_log_and_summary(self) -> None:
        first, _ = [tomogram.clone() for tomogram in self.tomograms.Tomograms]
        growing = self.openSet("stopped", [first])
        self.setMaker(STATUS_RUNNING)
        mask = self.prepare(ProtIsoNetMask, {"inputTomograms": (self.tomograms, "stopped")}, patchSize=2, **STREAMING)
        self.start(mask)
        waitFor(lambda: self.size(mask, "tomoMasks") == 1)
        told = r"\*Tomograms\*: \*.*import tomograms\* was stopped, so not all may be there.*\*Continue\* that protocol"
        self.assertNotRegex(self.log(mask), told)
        self.setMaker(STATUS_ABORTED)
        self.append(growing, [], Set.STREAM_CLOSED)  # as Stop does
        self.assertTrue(self.end(mask).isFinished(), mask.getErrorMessage())
        self.assertRegex(self.log(mask), told)
        self.assertRegex("\n".join(mask.summary()), told)

    def setMaker(self, status: str) -> None:
        """Store that the import, whose outputs grow here, is in this state."""
        before = self.tomograms.getStatus()
        self.addCleanup(lambda: self.storeMaker(before))
        self.storeMaker(status)

    def storeMaker(self, status: str) -> None:
        self.tomograms.setStatus(status)
        mapper = self.proj.createMapper(self.tomograms.getDbPath())  # that of its own process
        mapper.store(self.tomograms)
        mapper.commit()
        mapper.close()
        self.proj._storeProtocol(self.tomograms)

    def emptyCtfs(self) -> str:
        """The name of an output of the import: an open set of CTFs without any."""
        ctfs = SetOfCTFTomoSeries.create(self.tomograms._getPath(), prefix="none")
        ctfs.setStreamState(Set.STREAM_OPEN)
        ctfs.write()
        self.tomograms._defineOutputs(noCtfs=ctfs)
        self.proj.mapper.commit()
        return "noCtfs"

    def test_ctfs_that_are_not_used_are_not_waited_for(self) -> None:
        self.addCtf("TS_01", 30000.0)
        inputs = {"inputTomograms": (self.tomograms, "Tomograms"), "inputCtfs": (self.tomograms, "CTFs")}
        predict = self.prepare(ProtIsoNetPredict, inputs, useGpu=False)
        self.assertNotIn("more are still to come", " ".join(predict.warnings()))
        self.launchProtocol(predict)
        self.assertEqual({item.getTsId() for item in predict.tomograms}, set(SHAPES))

    def test_training_on_the_first_tomograms_does_not_wait_for_the_others(self) -> None:
        first, last = [tomogram.clone() for tomogram in self.tomograms.Tomograms]
        growing = self.openSet("collected", [])
        inputs = {"inputTomograms": (self.tomograms, "collected")}
        network = {"startFromBuiltin": False, "unetDepth": 1, "filterBase": 4}
        quick = {"iterations": 1, "epochs": 1, "stepsPerEpoch": 1, "cubeSize": 16, "useGpu": False, **network}
        train = self.prepare(ProtIsoNetOnePass, inputs, firstTomograms=1, **quick)
        self.assertIn("0 of the first 1 are there", " ".join(train.validate()))
        self.append(growing, [first])
        self.assertEqual(train.validate(), [])
        self.launchProtocol(train)  # while the set is open
        (row,) = train._readTable().rows
        self.assertEqual(Path(row["rlnMicrographName"]).stem, first.getTsId())
        self.assertTrue(train.model.getFileName())
        more = self.prepare(ProtIsoNetOnePass, inputs, firstTomograms=2, **quick)
        self.assertIn("1 of the first 2 are there", " ".join(more.validate()))
        self.append(growing, [last], Set.STREAM_CLOSED)
        self.assertEqual(more.validate(), [])

    def test_training_on_the_first_tomograms_waits_for_their_masks(self) -> None:
        first, last = [tomogram.clone() for tomogram in self.tomograms.Tomograms]
        growing = self.openSet("masked", [first])
        mask = self.start(
            self.prepare(ProtIsoNetMask, {"inputTomograms": (self.tomograms, "masked")}, patchSize=2, **STREAMING)
        )
        waitFor(lambda: self.size(mask, "tomoMasks") == 1)
        inputs = {"inputTomograms": (self.tomograms, "Tomograms"), "inputMasks": (mask, "tomoMasks")}
        one, both = (self.prepare(ProtIsoNetOnePass, inputs, firstTomograms=number) for number in (1, 2))
        waiting = " ".join(both.validate())
        self.append(growing, [last])
        waitFor(lambda: self.size(mask, "tomoMasks") == 2)
        self.append(growing, [], Set.STREAM_CLOSED)
        self.assertTrue(self.end(mask).isFinished(), mask.getErrorMessage())
        self.assertEqual(one.validate(), [])
        self.assertIn(f"*Masks*: those of {last.getTsId()} are not there yet", waiting)
        self.assertEqual(both.validate(), [])

    def addCtf(self, tsId: str, defocus: float) -> SetOfCTFTomoSeries:
        """Give the import a growing set of CTFs with that of one tilt series of one image."""
        allTilts = SetOfTiltSeries.create(self.tomograms._getPath())
        allTilts.setSamplingRate(2.5)
        tilts = TiltSeries(tsId=tsId)
        allTilts.append(tilts)
        image = TiltImage(tsId=tsId, tiltAngle=0.0, acquisitionOrder=1)
        image.setLocation(1, f"{tsId}.mrc")
        tilts.append(image)
        allTilts.update(tilts)
        allTilts.write()
        self.tomograms._defineOutputs(TiltSeries=allTilts)
        ctfs = SetOfCTFTomoSeries.create(self.tomograms._getPath())
        ctfs.setSetOfTiltSeries(self.tomograms.TiltSeries)
        ctfs.setStreamState(Set.STREAM_OPEN)
        series = CTFTomoSeries(tsId=tsId)
        series.setTiltSeries(tilts)
        ctfs.append(series)
        ctf = CTFTomo(index=1, acqOrder=1)
        ctf.setStandardDefocus(defocus, defocus, 0)
        series.append(ctf)
        ctfs.update(series)
        ctfs.write()
        self.tomograms._defineOutputs(CTFs=ctfs)
        self.proj.mapper.commit()
        ctfs.close()
        return ctfs

    def test_several_at_once_have_their_own_gpus(self) -> None:
        first, second = [tomogram.clone() for tomogram in self.tomograms.Tomograms]
        third = second.clone()
        third.setTsId("TS_03")
        third.cleanObjId()
        growing = self.openSet("three", [first, second])
        model = self.run_(ProtIsoNetImportModel, {}, modelFile=self.modelFile())
        inputs = {"inputTomograms": (self.tomograms, "three"), "model": (model, "model")}
        tiles = {"cubeSize": 40, "cropSize": 64}
        with self.spy() as log:
            predict = self.start(
                self.prepare(
                    ProtIsoNetPredict,
                    inputs,
                    **tiles,
                    **{**STREAMING, "numberOfThreads": 2},
                    useGpu=True,
                    gpuList="0,1",
                )
            )
        waitFor(lambda: self.size(predict, "tomograms") == 2)
        self.append(growing, [third], Set.STREAM_CLOSED)
        self.assertTrue(self.end(predict).isFinished(), predict.getErrorMessage())
        events = re.findall(r"(begin|end) (\S*) .*/(TS_0\d).star", log.read_text())
        self.assertEqual([event for event, *_ in events], ["begin", "begin", "end", "end", "begin", "end"])
        self.assertEqual({gpu for _, gpu, _ in events[:2]}, {"0", "1"})
        self.assertIn(events[4][1:], [("0", "TS_03"), ("1", "TS_03")])
        self.assertEqual(log.read_text().count("start"), 2)  # each GPU's engine went on with what came later

        serial = self.run_(ProtIsoNetPredict, inputs, **tiles, useGpu=False)
        expected = {tomogram.getTsId(): read(tomogram.getFileName()) for tomogram in serial.tomograms}
        self.assertEqual({tomogram.getTsId() for tomogram in predict.tomograms}, {*SHAPES, "TS_03"})
        for tomogram in predict.tomograms:
            np.testing.assert_allclose(read(tomogram.getFileName()), expected[tomogram.getTsId()], atol=1e-4)
            self.checkHeaderSRate(tomogram, VOXEL_SIZE)

    def test_one_engine_corrects_many_tomograms_and_one_that_fails_costs_no_other(self) -> None:
        many = self.raw / "many"
        many.mkdir()
        for number in range(3):
            write(many / f"M_{number}.mrc", scene((24, 32, 32), number))
        imported = self.importTomograms(filesPath=str(many))
        bad = Path(imported.Tomograms.getFirstItem().getFileName())
        bad = bad.resolve()
        whole = bad.read_bytes()
        write(bad, np.ones((24, 32, 32), np.float32))  # only the engine looks at its voxels
        model = self.run_(ProtIsoNetImportModel, {}, modelFile=self.modelFile())
        inputs = {"inputTomograms": (imported, "Tomograms"), "model": (model, "model")}
        with self.spy() as log:
            predict = self.run_(ProtIsoNetPredict, inputs, cubeSize=20, cropSize=40, useGpu=False, numberOfThreads=2)
            self.assertEqual((predict.tomograms.getSize(), predict.failedTomograms.getSize()), (2, 1))
            self.assertIn("all its voxels are equal", predict.failedTomograms.getFirstItem().getObjComment())
            events = [line.split()[0] for line in log.read_text().splitlines()]
            self.assertEqual(events, ["start", *["begin", "end"] * 3])
            steps = [step for step in predict.loadSteps() if step.funcName.get() == "processStep"]
            self.assertEqual([step.getStatus() for step in steps], ["finished"] * 3)
            bad.write_bytes(whole)
            file = Path(predict.model.get().getFileName()).resolve()
            network = file.read_bytes()
            file.write_bytes(network + b"\n")  # as one that was trained anew
            (error,) = predict.validate()
            self.assertRegex(
                error, r"\*Model instead of builtin\*: its file has changed since M_\d, M_\d were corrected with it"
            )
            predict.runMode.set(MODE_RESTART)
            self.assertEqual(predict.validate(), [])
            file.write_bytes(network)
            self.continue_(predict)
            self.assertEqual(predict.tomograms.getSize(), 3)
            events = [line.split()[0] for line in log.read_text().splitlines()]
            self.assertEqual(events[7:], ["start", "begin", "end"])
        waitFor(lambda: not self.engine(predict))  # the spy may end before its engine does, on a busy machine

    def modelFile(self) -> str:
        """A small network that was never trained."""
        from isonet_scipion.engine.io.model_metadata import ModelMetadata
        from isonet_scipion.engine.network.model_file import save_model
        from isonet_scipion.engine.network.unet import build_unet
        from isonet_scipion.engine.settings.network import NetworkSettings

        path, settings = self.raw / "model.keras", NetworkSettings(filter_base=4, unet_depth=2, convs_per_depth=2)
        save_model(path, build_unet(settings), ModelMetadata(settings, voxel_size=VOXEL_SIZE))
        return str(path)

    @contextmanager
    def spy(self) -> Iterator[Path]:
        """Protocols started within use an engine that keeps a log, whose file this is."""
        log, script = Path(self.proj.path, "engine.log"), Path(self.proj.path, "spy.py")
        script.write_text(SPY.format(log=str(log), python=warmEngine() if self.isQuick else sys.executable))
        script.chmod(0o755)
        log.unlink(missing_ok=True)
        os.environ["ISONET_ENGINE_PYTHON"] = str(script)
        try:
            yield log
        finally:
            del os.environ["ISONET_ENGINE_PYTHON"]
