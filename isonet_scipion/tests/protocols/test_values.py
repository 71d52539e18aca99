"""What was done is what the form says: links without output, values changed before Continue, disabled items."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pyworkflow.object import Integer, Pointer
from pyworkflow.project import Project
from pyworkflow.protocol import MODE_RESTART, MODE_RESUME
from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import SetOfSubTomograms, SetOfTomograms, SetOfTomoMasks, SubTomogram

from isonet_scipion.constants import CUBE_SIZE_ATTRIBUTE
from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.network.isonet_h5 import save_legacy
from isonet_scipion.engine.network.model_file import STATE_FILE, read_metadata, save_model
from isonet_scipion.engine.network.unet import build_unet
from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.protocols import (
    ProtIsoNetDeconv,
    ProtIsoNetExport,
    ProtIsoNetExtract,
    ProtIsoNetImportModel,
    ProtIsoNetMask,
    ProtIsoNetOnePass,
    ProtIsoNetPredict,
    ProtIsoNetRefine,
)
from isonet_scipion.tests.imod_model import SQUARE, write_model
from isonet_scipion.tests.protocols.live import LiveTest, waitFor
from isonet_scipion.tests.protocols.scene import SHAPES, VOXEL_SIZE, read, scene, write
from isonet_scipion.tests.protocols.test_chain import TRAINING

if TYPE_CHECKING:
    from pwem.objects import EMSet

CUBES = {"cubeSize": 16, "cropSize": 24, "numberSubtomos": 4, "seed": 1}


class TestIsoNetValues(LiveTest):
    """Two tomograms and their masks."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.input = {"inputTomograms": (cls.tomograms, "Tomograms")}
        cls.mask = cls.run_(ProtIsoNetMask, cls.input, patchSize=2, densityPercentage=40)
        cls.masked = {**cls.input, "inputMasks": (cls.mask, "tomoMasks")}

    def assertRefusedOnContinue(self, protocol, words: str) -> None:
        protocol.runMode.set(MODE_RESUME)
        self.assertRegex(" ".join(protocol.validate()), rf"{words}.*\*Restart\*")

    # ---------------------------------------------------------------- links without output

    def test_no_protocol_starts_while_an_optional_input_is_linked_but_absent(self) -> None:
        mask = self.prepare(ProtIsoNetMask, self.input)
        model = self.prepare(ProtIsoNetImportModel, {}, modelFile="x.keras")
        train = self.prepare(ProtIsoNetOnePass, self.input)
        for protocol in (mask, model, train):
            self.proj.saveProtocol(protocol)
        masks, start = {**self.input, "inputMasks": (mask, "tomoMasks")}, {"pretrainedModel": (model, "model")}
        ctfs = {**self.input, "inputCtfs": (mask, "CTFs")}
        aware = {"ctfAware": True, "defocus": 20000}
        for label, protocol in (
            ("Masks", self.prepare(ProtIsoNetExtract, masks, **CUBES)),
            ("Coordinates", self.prepare(ProtIsoNetExtract, {**self.input, "inputCoordinates": (train, "c")}, **CUBES)),
            ("Masks", self.prepare(ProtIsoNetOnePass, masks)),
            ("Model to start from", self.prepare(ProtIsoNetOnePass, {**self.input, **start})),
            ("CTFs", self.prepare(ProtIsoNetOnePass, ctfs, **aware)),
            ("CTFs", self.prepare(ProtIsoNetDeconv, ctfs, defocus=20000)),
            ("Masks", self.prepare(ProtIsoNetExport, masks)),
            ("Corrected tomograms", self.prepare(ProtIsoNetExport, {**self.input, "inputCorrected": (train, "t")})),
            ("Subtomograms", self.prepare(ProtIsoNetExport, {**self.input, "inputSubtomograms": (train, "s")})),
        ):
            with self.subTest(protocol.getClassName(), label=label):
                (error,) = protocol.validate()
                self.assertRegex(error, rf"^\*{label}( \(optional\))?\*: .*, which is linked, is not there yet")
        # what the form's other values hide is not waited for
        self.assertEqual(self.prepare(ProtIsoNetDeconv, self.input, defocus=20000).validate(), [])
        hidden = self.prepare(ProtIsoNetOnePass, {**ctfs, **self.masked})
        self.assertEqual(hidden.validate(), [])
        ended = self.prepare(ProtIsoNetExport, {**self.input, "inputCorrected": (self.mask, "tomograms")})
        self.assertIn("that protocol has ended", " ".join(ended.validate()))

    def test_a_link_to_what_was_deleted_is_not_taken_for_none(self) -> None:
        mask, train = self.prepare(ProtIsoNetMask, self.input), self.prepare(ProtIsoNetOnePass, self.input)
        for protocol in (mask, train):
            self.proj.saveProtocol(protocol)
        extract = self.prepare(ProtIsoNetExtract, {**self.input, "inputMasks": (mask, "tomoMasks")}, **CUBES)
        predict = self.prepare(ProtIsoNetPredict, {**self.input, "model": (train, "model")})
        for protocol in (extract, predict):
            self.proj.saveProtocol(protocol)
        self.proj.deleteProtocol(mask, train)
        stored = Project(self.proj.getDomain(), self.proj.path)
        stored.load(chdir=False)
        for protocol, name in ((extract, "inputMasks"), (predict, "model")):
            again = stored.getProtocol(protocol.getObjId())
            (error,) = again.validate()
            self.assertRegex(error, "'(tomoMasks|model)', which was linked, is no longer in the project")
            getattr(again, name).copy(Pointer(None))  # as *Remove* in the form does
            self.assertEqual(again.validate(), [])

    def test_text_in_an_optional_number_is_refused_also_once_it_is_stored(self) -> None:
        deconv = self.prepare(ProtIsoNetDeconv, self.input, defocus="2,5", snrFalloff=1)
        extract = self.prepare(ProtIsoNetExtract, self.input, numberSubtomos="1,5", cubeSize=16, cropSize=24)
        for protocol, words in ((deconv, r"Defocus.*must be a number"), (extract, "should be an integer")):
            self.assertRegex(" ".join(protocol.validate()), words)
            self.proj.saveProtocol(protocol)
            stored = Project(self.proj.getDomain(), self.proj.path)
            stored.load(chdir=False)
            self.assertRegex(" ".join(stored.getProtocol(protocol.getObjId()).validate()), words)

    def test_a_correction_is_prepared_before_its_ctf_aware_training_has_ended(self) -> None:
        train = self.prepare(ProtIsoNetOnePass, self.input, ctfAware=True, defocus=20000)
        self.proj.saveProtocol(train)
        predict = self.prepare(ProtIsoNetPredict, {**self.input, "model": (train, "model")}, defocus=20000)
        ofCtf = ("inputCtfs", "defocus", "ctfHistory")
        self.assertEqual([predict.evalParamCondition(name) for name in ofCtf], [True] * 3)
        (error,) = predict.validate()
        self.assertIn("'model' of", error)
        # CTFs that are linked are waited for as the model is
        predict.inputCtfs.set(self.mask)
        predict.inputCtfs.setExtended("CTFs")
        self.assertIn("*CTFs*", " ".join(predict.validate()))
        train.ctfAware.set(False)
        self.assertEqual([predict.evalParamCondition(name) for name in ofCtf], [False] * 3)

    def test_a_training_waits_for_masks_that_are_still_being_made(self) -> None:
        output = SetOfTomoMasks.create(self.mask._getPath(), prefix="open")
        output.copyInfo(self.mask.tomoMasks)
        self.append(output, [item.clone() for item in self.mask.tomoMasks])
        self.mask._defineOutputs(open=output)
        refine = self.prepare(ProtIsoNetOnePass, {**self.input, "inputMasks": (self.mask, "open")})
        status = self.mask.getStatus()
        self.addCleanup(self.mask.setStatus, status)
        self.mask.setStatus("running")
        self.assertRegex(" ".join(refine.validate()), r"\*Masks.*\*: more are still to come")
        self.mask.setStatus(status)
        self.assertEqual(refine.validate(), [])

    def test_a_scheduled_extraction_has_its_masks(self) -> None:
        mask = self.prepare(ProtIsoNetMask, self.input, patchSize=2, densityPercentage=30)
        self.proj.saveProtocol(mask)
        extract = self.prepare(ProtIsoNetExtract, {**self.input, "inputMasks": (mask, "tomoMasks")}, **CUBES)
        with self.quickStart():
            self.proj.scheduleProtocol(extract)
        waitFor(lambda: "is not there yet" in self.scheduleLog(extract))
        self.launchProtocol(mask)
        # Scipion takes a run for dead whose process ends between two looks, at its status and at the process
        waitFor(lambda: "--- PROTOCOL F" in self.log(extract))  # FINISHED or FAILED
        self.assertTrue(self.end(extract).isFinished(), extract.getErrorMessage())
        masks = {item.getTsId(): read(item.getFileName()) for item in mask.tomoMasks}
        places = [
            (c.getTomoId(), tuple(round(value) for value in c.getPosition(BOTTOM_LEFT_CORNER))[::-1])
            for c in extract.coordinates.iterCoordinates()
        ]
        self.assertEqual([masks[tsId][place] for tsId, place in places], [1] * 8)
        self.assertIn("Masks: 2 of 2.", " ".join(extract.summary()))
        self.assertIn("at random positions of the sample", " ".join(extract.methods()))

    @staticmethod
    def scheduleLog(protocol) -> str:
        path = Path(protocol.getScheduleLog())
        return path.read_text() if path.exists() else ""

    # ---------------------------------------------------------------- Continue with other values

    def test_continue_with_other_values_is_refused_and_the_texts_stay_true(self) -> None:
        deconv = self.run_(ProtIsoNetDeconv, self.input, defocus=18350)
        before = {item.getTsId(): read(item.getFileName()) for item in deconv.tomograms}
        deconv.snrFalloff.set(0.3)
        deconv.defocus.set(40000)
        self.assertRefusedOnContinue(deconv, r"\*Defocus.* was 18350.0, now it is 40000.0")
        self.proj.launchProtocol(deconv, wait=True)
        self.assertIn("*SNR falloff* was empty, now it is 0.3", deconv.getErrorMessage())
        self.assertIn("Defocus: 18350 Å (2 of 2 from the form).", deconv.summary())
        for text in (deconv.summary(), deconv.methods()):
            self.assertIn("alloff of the SNR 1, strength 1", " ".join(text))
        # as it was it goes on; Restart makes everything anew
        deconv.snrFalloff.set(None)
        deconv.defocus.set(18350)
        deconv.numberOfThreads.set(1)
        self.launchProtocol(deconv)
        deconv.snrFalloff.set(0.3)
        deconv.defocus.set(40000)
        deconv.runMode.set(MODE_RESTART)
        self.assertEqual(deconv.validate(), [])
        self.launchProtocol(deconv)
        for item in deconv.tomograms:
            self.assertGreater(np.abs(read(item.getFileName()) - before[item.getTsId()]).max(), 0.1)
        self.assertIn("Defocus: 40000 Å (2 of 2 from the form).", " ".join(deconv.summary()))
        self.assertIn("falloff of the SNR 0.3", " ".join(deconv.methods()))

    def test_masks_and_subtomograms_are_told_with_the_values_that_they_were_made_with(self) -> None:
        self.mask.densityPercentage.set(10)
        self.addCleanup(self.mask.densityPercentage.set, 40)
        self.assertRefusedOnContinue(self.mask, r"\*Kept by density.* was 40.0, now it is 10.0")
        self.assertIn("keeping 40 % of the volume by density", self.mask.methods()[0])
        extract = self.run_(ProtIsoNetExtract, self.input, **CUBES)
        extract.cubeSize.set(8)
        extract.inputMasks.set(self.mask)
        extract.inputMasks.setExtended("tomoMasks")
        self.assertRefusedOnContinue(extract, r"\*Masks\* was another input.*\*Cube size.* was 16, now it is 8")
        self.assertIn("for cubes of 16 voxels", " ".join(extract.summary()))
        self.assertIn("Masks: 0 of 2.", " ".join(extract.summary()))
        self.assertIn("at random positions for", " ".join(extract.methods()))
        self.check_training(extract)

    def check_training(self, extract: ProtIsoNetExtract) -> None:
        refine = self.run_(ProtIsoNetRefine, {"inputSubtomograms": (extract, "subtomograms")}, **TRAINING)
        refine.epochs.set(9)
        self.assertRefusedOnContinue(refine, "was 1, now it is 9")
        self.assertIn("iterations of 1 epochs", " ".join(refine.summary()))
        self.assertIn("in 1 iterations of 1 epochs on 8 subtomograms", " ".join(refine.methods()))
        refine.epochs.set(1)
        refine.iterations.set(2)
        self.assertEqual(refine.validate(), [])
        self.assertIn("iterations of 1 epochs", " ".join(refine.summary()))
        self.check_start_of_another_shape(extract)

    def check_start_of_another_shape(self, extract: ProtIsoNetExtract) -> None:
        """A training takes the shape of the model that it starts from, whatever the form says of the network."""
        shape = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=3)
        path = self.raw / "shallow.keras"
        save_model(path, build_unet(shape), ModelMetadata(shape, voxel_size=VOXEL_SIZE))
        model = self.run_(ProtIsoNetImportModel, {}, modelFile=str(path))
        inputs = {"inputSubtomograms": (extract, "subtomograms"), "pretrainedModel": (model, "model")}
        # 18 is no multiple of 2^2, the form's network, but of 2^1, the model's
        start = self.run_(ProtIsoNetRefine, inputs, cubeSize=18, **TRAINING)
        self.assertTrue(start.isFinished(), start.getErrorMessage())
        trained = read_metadata(start.model.getFileName()).network
        self.assertEqual((trained.filter_base, trained.unet_depth, trained.convs_per_depth), (2, 1, 3))
        self.assertIn("A U-Net (depth 1, 2 channels", start.methods()[0])

    def test_the_iteration_of_a_correction_belongs_to_its_result(self) -> None:
        network = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)
        for number in (1, 2):
            path = self.raw / f"model_iter0{number}.keras"
            save_model(path, build_unet(network), ModelMetadata(network, voxel_size=VOXEL_SIZE, iteration=number))
        model = self.run_(ProtIsoNetImportModel, {}, modelFile=str(path))
        predict = self.run_(ProtIsoNetPredict, {**self.input, "model": (model, "model")}, iteration=1, useGpu=False)
        predict.iteration.set(2)
        self.assertRefusedOnContinue(predict, r"\*Iteration\* was 1, now it is 2")
        self.assertIn("Network: model_iter01.keras, iteration 1.", predict.summary())
        self.assertIn("(model_iter01.keras, iteration 1)", predict.methods()[0])
        # an import is done again
        model.modelFile.set(str(self.raw / "model_iter01.keras"))
        model.samplingRate.set(13.0)
        self.assertIn("model_iter02.keras", model.methods()[0])
        self.launchProtocol(model)
        self.assertEqual((model.model.getSamplingRate(), model.model.getIteration()), (13.0, 1))
        self.assertIn("model_iter01.keras", model.methods()[0])

    def test_the_iteration_of_a_model_of_isonet_0_2_is_found(self) -> None:
        folder = self.raw / "results of 0.2"
        folder.mkdir()
        for number in (1, 2):
            network = NetworkSettings(filter_base=2 * number, unet_depth=1, convs_per_depth=2)
            save_legacy(folder / f"model_iter0{number}.h5", build_unet(network), 1e-3)
        for isCopied in (True, False):
            model = self.run_(ProtIsoNetImportModel, {}, modelFile=str(folder / "model_iter02.h5"), copyFiles=isCopied)
            inputs = {**self.input, "model": (model, "model")}
            predict = self.prepare(ProtIsoNetPredict, inputs, iteration=1, useGpu=False)
            self.assertEqual(predict.validate(), [])
            self.assertEqual(predict._metadata().network.filter_base, 2)
            missing = self.prepare(ProtIsoNetPredict, inputs, iteration=3, useGpu=False)
            self.assertRegex(" ".join(missing.validate()), r"The model's file is missing: .*model_iter03\.h5")

    def test_tables_are_exported_again_with_what_is_linked_now(self) -> None:
        export = self.run_(ProtIsoNetExport, self.input)
        self.assertIn("Tomograms: 2, masks: 0, corrected: 0, with halves: 0.", export.summary())
        export.inputMasks.set(self.mask)
        export.inputMasks.setExtended("tomoMasks")
        self.launchProtocol(export)
        rows = read_star(export._getExtraPath("tomograms.star")).rows
        self.assertEqual([os.path.basename(row["rlnMaskName"]) for row in rows], ["TS_02_mask.mrc", "TS_01_mask.mrc"])
        self.assertIn("Tomograms: 2, masks: 2, corrected: 0, with halves: 0.", export.summary())

    # ---------------------------------------------------------------- Continue with inputs that were made again

    def test_results_of_former_inputs_are_not_mixed_with_those_of_new_ones(self) -> None:
        deconv = self.run_(ProtIsoNetDeconv, self.input, defocus=20000)
        deconvolved = {"inputTomograms": (deconv, "tomograms")}
        mask = self.run_(ProtIsoNetMask, deconvolved, patchSize=2)
        extract = self.run_(ProtIsoNetExtract, {**deconvolved, "inputMasks": (mask, "tomoMasks")}, **CUBES)
        # a mask only says where random centres are
        places = {"inputMasks": (mask, "tomoMasks"), "inputCoordinates": (extract, "coordinates")}
        picked = self.run_(ProtIsoNetExtract, {**deconvolved, **places}, cubeSize=16, cropSize=24)
        self.assertIn("Masks: 0 of 2. Centres: given coordinates.", picked.summary())
        for protocol in (mask, extract, picked):
            self.assertRunsOn(protocol)
        self.restart(mask, densityPercentage=20)
        self.assertRunsOn(picked)
        self.assertRefusedOnContinue(extract, "What is done of TS_02, TS_01 was made from other data")
        self.restart(mask, densityPercentage=50)  # as it was, so all is well
        extract.runName.set("named otherwise")
        for protocol in (mask, extract):  # also the one that was restarted
            self.assertRunsOn(protocol)
        self.restart(deconv, deconvStrength=2.0)
        for protocol in (mask, extract):
            self.assertRefusedOnContinue(protocol, "What is done of TS_02, TS_01 was made from other data")
        # as *Continue workflow from here* does; it would wait for ever for what no waiting mends
        with self.quickStart():
            self.proj.scheduleProtocol(mask)
        waitFor(lambda: "--- PROTOCOL FAILED" in self.log(mask))
        self.assertIn("What is done of TS_02, TS_01 was made from other data", self.end(mask).getErrorMessage())

    def test_boundaries_and_tilt_ranges_are_data_too(self) -> None:
        folder = self.raw / "models"
        folder.mkdir()
        write_model(folder / "TS_01.mod", [SQUARE], size=SHAPES["TS_01"])
        again = self.importTomograms()
        inputs = {"inputTomograms": (again, "Tomograms")}
        mask = self.run_(ProtIsoNetMask, inputs, patchSize=2, boundaryFolder=str(folder))
        self.assertIn("No boundary model for TS_02: their whole volume is used.", mask.summary())
        self.assertRunsOn(mask)
        write_model(folder / "TS_01.mod", [SQUARE[:3]], size=SHAPES["TS_01"])
        self.assertRefusedOnContinue(mask, "What is done of TS_01 was made from other data")
        self.restart(again, acquisitionAngleMin=-40)
        self.assertRefusedOnContinue(mask, "What is done of TS_02, TS_01 was made from other data")

    def test_a_training_is_gone_on_with_what_it_learned_from(self) -> None:
        output = self.copied(SetOfTomograms, self.tomograms.Tomograms, self.tomograms, "learned")
        train = self.prepare(ProtIsoNetOnePass, {"inputTomograms": (self.tomograms, "learned")}, cubeSize=8)
        began = self.firstArguments(train)
        os.makedirs(train._getExtraPath("results"))
        train.convertInputStep(began)
        train._keepValues()
        Path(train._getExtraPath("results", STATE_FILE)).touch()
        self.assertRunsOn(train)
        first, last = (item.clone() for item in output)
        first.getAcquisition().setAngleMin(-40.0)
        for item, words in (
            (first, r"learned from other data than the inputs hold now \(_rlnTiltMin\)"),
            (last, r"\(2 tomograms, now 1\)"),
        ):
            item.setEnabled(item is first)
            output.update(item)
            output.write()
            self.assertRefusedOnContinue(train, words)

    def test_a_training_that_failed_at_its_start_takes_what_was_changed_since(self) -> None:
        train = self.prepare(ProtIsoNetOnePass, self.masked, cubeSize=8)
        began = self.firstArguments(train)
        self.assertEqual(self.firstArguments(train), began)
        for name, value in {"isInverted": True, "inputMasks": None}.items():
            getattr(train, name).set(value)
            self.assertNotEqual(self.firstArguments(train), began)
            began = self.firstArguments(train)

    @classmethod
    def firstArguments(cls, protocol) -> str:
        """Those of its first step, which is done again if they are others."""
        if not protocol.hasObjId():
            cls.proj.saveProtocol(protocol)  # which gives it a folder of its own
        os.makedirs(protocol._getExtraPath(), exist_ok=True)
        protocol._steps = []
        protocol._insertAllSteps()
        return protocol._steps[0].argsStr.get()

    def assertRunsOn(self, protocol) -> None:
        protocol.runMode.set(MODE_RESUME)
        self.assertEqual(protocol.validate(), [])

    def restart(self, protocol, **values: object) -> None:
        for name, value in values.items():
            getattr(protocol, name).set(value)
        protocol.runMode.set(MODE_RESTART)
        self.launchProtocol(protocol)

    # ---------------------------------------------------------------- disabled items

    @classmethod
    def copied(cls, kind, source, parent, name: str, change=lambda item: None) -> EMSet:
        """A copy of a set, as a further output of `parent`, with each item changed."""
        output = kind.create(parent._getPath(), prefix=name)
        output.copyInfo(source)
        for item in [item.clone() for item in source]:
            change(item)
            output.append(item)
        output.write()
        parent._defineOutputs(**{name: output})
        cls.proj.mapper.commit()
        return output

    def test_disabled_items_are_left_out(self) -> None:
        sets = {}
        for kind, source, parent in (
            (SetOfTomograms, self.tomograms.Tomograms, self.tomograms),
            (SetOfTomoMasks, self.mask.tomoMasks, self.mask),
        ):
            self.copied(kind, source, parent, "partly", lambda item: item.setEnabled(item.getTsId() == "TS_02"))
            sets[kind] = (parent, "partly")
        inputs = {"inputTomograms": sets[SetOfTomograms]}
        deconv = self.run_(ProtIsoNetDeconv, inputs, defocus=20000)
        self.assertEqual([item.getTsId() for item in deconv.tomograms], ["TS_02"])
        self.assertIn("Skipped, as they are disabled in the set: TS_01.", deconv.summary())
        items = self.tomograms.partly  # and what is done already
        item = next(item.clone() for item in items if item.getTsId() == "TS_02")
        item.setEnabled(False)
        items.update(item)
        items.write()
        self.assertIn("Skipped, as they are disabled in the set: TS_01.", deconv.summary())
        item.setEnabled(True)
        items.update(item)
        other = next(item.clone() for item in items if not item.isEnabled())
        other.setTsId(None)
        other.setEnabled(False)  # which a clone is not
        items.update(other)
        items.write()
        self.assertIn("Skipped, as they are disabled in the set: one without tilt series ID (tsId).", deconv.summary())
        masks = self.mask.tomoMasks  # one without a tsId goes with no tomogram
        self.copied(SetOfTomoMasks, masks, self.mask, "ofOne", lambda item: item.getObjId() == 1 or item.setTsId(None))
        export = self.run_(ProtIsoNetExport, {**inputs, "inputMasks": (self.mask, "ofOne")})
        (row,) = read_star(export._getExtraPath("tomograms.star")).rows
        self.assertEqual(row["rlnTomoName"], "TS_02")
        self.assertEqual(os.path.basename(row["rlnMaskName"]), "TS_02_mask.mrc")
        extract = self.prepare(ProtIsoNetExtract, {**self.input, "inputMasks": sets[SetOfTomoMasks]}, **CUBES)
        self.assertEqual(extract._usable(list(SHAPES)), ["TS_02"])
        refine = self.prepare(ProtIsoNetOnePass, inputs, cubeSize=8)
        self.assertEqual([row["rlnTomoName"] for row in _rows(refine)], ["TS_02"])

    def test_the_cube_size_is_that_of_the_first_subtomogram_that_counts(self) -> None:
        path = self.raw / "cube.mrc"
        write(path, scene((24, 24, 24), 1))
        for name, stored, expected in (("told", 8, 8), ("untold", None, 16)):
            output = SetOfSubTomograms.create(self.tomograms._getPath(), prefix=name)
            output.setSamplingRate(VOXEL_SIZE)
            for size in (12, stored):
                item = SubTomogram()
                item.setLocation(str(path))
                item.setSamplingRate(VOXEL_SIZE)
                setattr(item, CUBE_SIZE_ATTRIBUTE, Integer(size))
                item.setEnabled(size != 12)
                output.append(item)
            output.write()
            self.tomograms._defineOutputs(**{name: output})
            refine = self.prepare(
                ProtIsoNetRefine, {"inputSubtomograms": (self.tomograms, name)}, tiltMin=-60, tiltMax=60
            )
            self.assertEqual((refine._cubeSize(), refine.validate()), (expected, []))
            self.proj.saveProtocol(refine)
            rows = refine._rows(isPlaced=False)
            self.assertFalse(os.path.exists(refine._getExtraPath()))
            self.assertEqual(refine._rows(), rows)


def _rows(refine: ProtIsoNetOnePass) -> list[dict[str, str]]:
    from isonet_scipion.protocols.training_tables import tomogramRows

    return tomogramRows(refine)
