"""The workflow template."""

from __future__ import annotations

import pytest
import pyworkflow
from pyworkflow.project import Manager

from isonet_scipion import demo

CHAIN = [
    "ProtImportTomograms",
    "ProtIsoNetDeconv",
    "ProtIsoNetMask",
    "ProtIsoNetExtract",
    "ProtIsoNetRefine",
    "ProtIsoNetPredict",
]


@pytest.fixture
def project(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    project = Manager().createProject(f"workflow_{tmp_path.name}")
    monkeypatch.chdir(project.path)
    return project


def test_scipion_lists_the_template():
    plugin = pyworkflow.Config.getDomain().getPluginModule("isonet_scipion")._pluginInstance
    (template,) = plugin.getTemplates()
    assert template.templatePath == str(demo.TEMPLATE)


def test_template_loads_the_chain_with_its_fields_and_links(project, tmp_path):
    values = {"folder": tmp_path, "voxel": 13.5, "defocus": 31000, "cube": 48, "iterations": 7}
    protocols = demo.loadWorkflow(project, values)
    assert [protocol.getClassName() for protocol in protocols] == CHAIN
    imported, deconv, mask, extract, refine, predict = protocols
    assert imported.filesPath.get() == str(tmp_path) and imported.samplingRate.get() == 13.5
    assert (deconv.defocus.get(), extract.cubeSize.get(), refine.iterations.get()) == (31000, 48, 7)
    links = [
        (deconv.inputTomograms, imported, "Tomograms"),
        (mask.inputTomograms, deconv, "tomograms"),
        (extract.inputTomograms, deconv, "tomograms"),
        (extract.inputMasks, mask, "tomoMasks"),
        (refine.inputSubtomograms, extract, "subtomograms"),
        (predict.inputTomograms, deconv, "tomograms"),
        (predict.model, refine, "model"),
    ]
    for pointer, parent, output in links:
        assert pointer.getObjValue().getObjId() == parent.getObjId()
        assert pointer.getExtended() == output
