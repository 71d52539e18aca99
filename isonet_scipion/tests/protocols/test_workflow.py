"""The workflow templates."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import pyworkflow
from pyworkflow.project import Manager
from pyworkflow.protocol.protocol import LegacyProtocol

from isonet_scipion import demo
from isonet_scipion.protocols import ProtIsoNetOnePass, ProtIsoNetPredict
from isonet_scipion.protocols.linked_inputs import absentErrors

IMPORT, DECONV, MASK = "ProtImportTomograms", "ProtIsoNetDeconv", "ProtIsoNetMask"
ONE_PASS, PREDICT = "ProtIsoNetOnePass", "ProtIsoNetPredict"
CHAINS = {
    "isonet": [IMPORT, DECONV, MASK, ONE_PASS, PREDICT],
    "isonet_no_training": [IMPORT, DECONV, PREDICT],
    "isonet_from_project": [DECONV, MASK, ONE_PASS, PREDICT],
    "isonet_streaming": [DECONV, PREDICT],
    "isonet_first_tomograms": [DECONV, MASK, ONE_PASS, PREDICT],
    "isonet_iterative": [IMPORT, DECONV, MASK, "ProtIsoNetExtract", "ProtIsoNetRefine", PREDICT],
}
# what each takes, by the class that gives it
TAKES = {
    DECONV: [("inputTomograms", IMPORT, "Tomograms")],
    MASK: [("inputTomograms", DECONV, "tomograms")],
    "ProtIsoNetExtract": [("inputTomograms", DECONV, "tomograms"), ("inputMasks", MASK, "tomoMasks")],
    ONE_PASS: [("inputTomograms", DECONV, "tomograms"), ("inputMasks", MASK, "tomoMasks")],
    "ProtIsoNetRefine": [("inputSubtomograms", "ProtIsoNetExtract", "subtomograms")],
    PREDICT: [
        ("inputTomograms", DECONV, "tomograms"),
        ("model", ONE_PASS, "model"),
        ("model", "ProtIsoNetRefine", "model"),
    ],
}


@pytest.fixture
def project(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    project = Manager().createProject(f"workflow_{tmp_path.name}")
    monkeypatch.chdir(project.path)
    return project


def load(project, name: str, values: dict[str, object]) -> dict[str, object]:
    """The protocols of a template by their classes."""
    path = demo.TEMPLATES / f"{name}.json.template"
    return {protocol.getClassName(): protocol for protocol in demo.loadWorkflow(project, values, path, {})}


def labelsOf(name: str) -> list[str]:
    """What the file of a template calls its protocols."""
    text = (demo.TEMPLATES / f"{name}.json.template").read_text(encoding="utf-8")
    return re.findall(r'"object.label": "(.*)"', text)


def test_scipion_lists_the_templates():
    plugin = pyworkflow.Config.getDomain().getPluginModule("isonet_scipion")._pluginInstance
    found = {template.name: template for template in plugin.getTemplates()}
    assert set(found) == set(CHAINS)
    assert all(template.description.startswith("IsoNet") for template in found.values())


@pytest.mark.parametrize("name", CHAINS)
def test_template_loads_its_chain_with_links_that_lead_to_a_correction(project, name):
    found = load(project, name, {})
    assert list(found) == CHAINS[name]
    for taker, inputs in TAKES.items():
        for param, giver, output in inputs:
            if taker in found and giver in found:
                pointer = getattr(found[taker], param)
                assert pointer.getObjValue().getObjId() == found[giver].getObjId()
                assert pointer.getExtended() == output
                assert output in found[giver]._possibleOutputs or giver == IMPORT
    # by which a user knows what to do; those of other plugins are Scipion's
    labels = [label for label in labelsOf(name) if label.startswith("isonet")]
    assert [each.getObjLabel() for each in found.values() if each.getClassName() != IMPORT] == labels
    # what is left to choose is chosen in the first form
    assert IMPORT in found or not found[DECONV].inputTomograms.hasValue()


@pytest.mark.parametrize("name", ["isonet", "isonet_first_tomograms", "isonet_iterative"])
def test_accepting_a_template_starts_no_training(project, name):
    """Scipion's `template` command schedules a new project; it stops at what is not to be scheduled by itself."""
    found = load(project, name, {})
    scheduler = Path(pyworkflow.__file__).parent / "project" / "scripts" / "schedule.py"
    # what it would schedule is told instead
    code = (
        "import runpy, sys; from pyworkflow.project import Project; "
        "Project.scheduleProtocol = lambda self, protocol, **_: print('scheduled', protocol.getClassName()); "
        f"sys.argv = ['schedule.py', {project.getShortName()!r}]; "
        f"runpy.run_path({str(scheduler)!r}, run_name='__main__')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert run.returncode == 0, run.stderr
    scheduled = {line.split()[1] for line in run.stdout.splitlines() if line.startswith("scheduled")}
    assert not scheduled & {ONE_PASS, "ProtIsoNetRefine"}
    if IMPORT not in found:  # the first inputs are still to be chosen
        assert not scheduled
    else:  # the correction may wait for the model
        training = next(place for place, each in enumerate(found) if each in (ONE_PASS, "ProtIsoNetRefine"))
        assert set(list(found)[:training]) <= scheduled


def test_a_link_that_leads_out_of_an_imported_workflow_is_not_waited_for(project):
    predict = project.newProtocol(ProtIsoNetPredict)
    predict.model.set(LegacyProtocol(project=project))  # as Scipion loads what it does not find
    predict.model.setExtended("model")
    (told,) = absentErrors(predict)
    assert "this project does not have that protocol" in told and "Wait" not in told


def test_a_link_that_leads_out_of_an_exported_workflow_is_missed_where_it_is_imported(project):
    first, training, predict = map(project.newProtocol, (ProtIsoNetPredict, ProtIsoNetOnePass, ProtIsoNetPredict))
    predict.model.set(training)
    predict.model.setExtended("model")
    for protocol in (first, training, predict):  # two, so that the training's number is not that of the imported one
        project.saveProtocol(protocol)
    project.getRunsGraph(refresh=True)
    project.exportProtocols([predict], os.path.abspath("workflow.json"))
    other = Manager().createProject(f"{project.getShortName()}_other")
    (found,) = other.loadProtocols(os.path.join(project.path, "workflow.json")).values()
    imported = other.mapper.selectById(found.getObjId())
    (told,) = absentErrors(imported)  # not the builtin model, without a word
    assert re.search(r"\*Model .*'\d+\.model' here. It is not in this project, .*\*Duplicate\*", told)
    assert absentErrors(other.copyProtocol(imported)) == []
    imported.model.set(other.newProtocol(ProtIsoNetOnePass))
    imported.model.setExtended("model")
    assert "imported from has" not in " ".join(absentErrors(imported))


def test_fields_of_a_template_reach_the_forms(project, tmp_path):
    values = {"folder": tmp_path, "voxel": 13.5, "defocus": 31000, "builtin": False, "gpus": "1,2"}
    found = load(project, "isonet", values)
    assert found[IMPORT].filesPath.get() == str(tmp_path) and found[IMPORT].samplingRate.get() == 13.5
    assert found[DECONV].defocus.get() == 31000
    training = found[ONE_PASS]
    assert (training.startFromBuiltin.get(), training.gpuList.get()) == (False, "1,2")
    assert training._iterations() == 20  # those from nothing
    assert load(project, "isonet", {})[ONE_PASS]._iterations() == 3
    assert load(project, "isonet_first_tomograms", {"first": 7})[ONE_PASS].firstTomograms.get() == 7
