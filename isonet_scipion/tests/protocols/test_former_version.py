"""Runs and workflows of version 1.0.0, as a project has them after an update."""

from __future__ import annotations

import json
from pathlib import Path

from pyworkflow.protocol import MODE_RESTART, MODE_RESUME
from tomo.objects import SetOfTomograms

from isonet_scipion.objects import IsoNetModel
from isonet_scipion.protocols import ProtIsoNetPredict, ProtIsoNetRefine
from isonet_scipion.protocols.ctf_history import statesInWords
from isonet_scipion.protocols.defocus import usedDefocus
from isonet_scipion.protocols.form import inFormWords
from isonet_scipion.tests.protocols.scene import IsoNetTest

TABLE = "data_\n\nloop_\n_rlnIndex #1\n_rlnMicrographName #2\n1 a.mrc\n2 b.mrc\n"
LOSSES = """iteration,epoch,loss,val_loss,noise_level,seconds,wedge_correlation,wedge_chance
1,5,0.3,0.3,0,1,0.1,0.05
2,5,0.2,0.25,0,1,0.1,0.05
"""
IS_ONE_PASS = "This is a one-pass training of version 1.0.0"


class TestIsoNetFormerVersion(IsoNetTest):
    """Objects as version 1.0.0 stored them."""

    def onePass(self) -> ProtIsoNetRefine:
        """A one-pass training of *train the network*, which has finished."""
        protocol = self.newProtocol(ProtIsoNetRefine, method=1)
        self.proj.saveProtocol(protocol)
        results = Path(protocol._getExtraPath("results"))
        results.mkdir(parents=True)
        Path(protocol._getExtraPath("tomograms.star")).write_text(TABLE)
        (results / "losses.csv").write_text(LOSSES)
        (results / "model_iter02.keras").touch()
        protocol._defineOutputs(model=IsoNetModel())
        protocol.setFinished()
        return protocol

    def test_a_one_pass_training_is_not_told_as_an_iterative_one(self) -> None:
        protocol = self.onePass()
        self.assertEqual(
            protocol._summary()[:2], ["One-pass, by version 1.0.0, on 2 tomograms.", "2 iterations were begun."]
        )
        (methods,) = protocol._methods()
        self.assertIn("as in DeepDeWedge [Wiedemann2024], on 2 tomograms. The last validation loss was 0.25", methods)
        self.assertEqual(protocol._citations(), ["Wiedemann2024"])
        for mode in (MODE_RESTART, MODE_RESUME):
            protocol.runMode.set(mode)
            (error,) = protocol.validate()
            self.assertTrue(error.startswith(IS_ONE_PASS), error)

    def test_a_one_pass_training_in_a_workflow_or_a_copy_says_what_to_do(self) -> None:
        copied = self.proj.copyProtocol(self.onePass())
        workflow = [
            {"object.className": "ProtIsoNetRefine", "object.id": f"{7 + method}", "method": method}
            for method in (0, 1)
        ]
        path = Path(self.proj.path, "workflow.json")
        path.write_text(json.dumps(workflow))
        iterative, onePass = self.proj.loadProtocols(str(path)).values()
        self.assertEqual(iterative.validate(), ["Select the *Subtomograms*."])
        for protocol in (copied, onePass):
            self.assertIn("Make a new *train (one-pass)*", " ".join(protocol.validate()))

    def test_a_training_has_no_other_folder_to_be_given(self) -> None:
        text = "results: it is of version 1.0.0. Give another result_dir, in which continue_from goes on."
        told = inFormWords(self.newProtocol(ProtIsoNetRefine), text)
        self.assertTrue(told.startswith("results: it is of version 1.0.0. *Restart* trains anew. To go on"), told)
        self.assertNotIn("result_dir", told)

    def test_a_model_whose_losses_are_not_written_yet_is_the_last(self) -> None:
        protocol = self.newProtocol(ProtIsoNetRefine, epochs=1, iterations=3)
        self.proj.saveProtocol(protocol)
        results = Path(protocol._getExtraPath("results"))
        results.mkdir(parents=True)
        (results / "losses.csv").write_text("iteration,epoch,loss,val_loss,noise_level,seconds\n1,1,0.3,0.3,0,1\n")
        for number in (1, 2):
            (results / f"model_iter{number:02d}.keras").touch()
        protocol.setFailed("killed")
        told = "The output is the network of the last iteration: correlation with the withheld tilts not known."
        self.assertIn(told, protocol._summary())

    def test_a_correction_is_not_gone_on_with_in_another_way(self) -> None:
        protocol = self.prepare(ProtIsoNetPredict, {"inputTomograms": (self.tomograms, "Tomograms")})
        self.proj.saveProtocol(protocol)
        protocol.makePathsAndClean()
        done = SetOfTomograms.create(protocol._getPath(), prefix="tomograms")
        done.copyInfo(self.tomograms.Tomograms)
        done.append(self.tomograms.Tomograms.getFirstItem().clone())
        done.write()
        protocol._defineOutputs(tomograms=done)
        protocol.setFailed("killed")
        protocol.runMode.set(MODE_RESUME)
        (error,) = protocol.validate()
        self.assertIn("corrected by version 1.0.0 of this plugin, in another way. *Restart*", error)
        protocol.runMode.set(MODE_RESTART)
        self.assertEqual(protocol.validate(), [])


def test_a_table_that_does_not_say_where_its_defocus_is_from_is_not_told_to_have_none():
    assert usedDefocus(["20000"], [None]) == "Defocus: 20000 Å."
    assert usedDefocus([None], [None]) == "Defocus: unknown (none given)."
    assert statesInWords([]) == "CTF correction before: unknown."
