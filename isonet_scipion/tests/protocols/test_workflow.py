"""The workflow template, and the viewer of a model's losses."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import pyworkflow
from PIL import Image
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


def test_losses_are_plotted_by_epoch(tmp_path):
    matplotlib.use("Agg")
    from isonet_scipion.viewers.viewer_model import plotLosses

    records = [
        {"iteration": 1 + epoch // 3, "epoch": 1 + epoch % 3, "loss": 1 / (1 + epoch), "val_loss": 1.1 / (1 + epoch)}
        for epoch in range(9)
    ]
    plotter = plotLosses(records)
    (axes,) = plotter.getFigure().axes
    curves = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(curves["training"], [record["loss"] for record in records])
    np.testing.assert_allclose(curves["validation"], [record["val_loss"] for record in records])
    starts = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 2]
    assert starts == [3.5, 6.5]
    plotter.savefig(str(tmp_path / "losses.png"))
    assert Image.open(tmp_path / "losses.png").size[0] > 300
