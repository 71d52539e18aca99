"""Analyze Results of the training: losses, estimates, settings, report."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pwem.viewers import EmPlotter
from pyworkflow.protocol.params import LabelParam
from pyworkflow.viewer import DESKTOP_TKINTER, ProtocolViewer, View

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.losses import read_losses
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.protocols import ProtIsoNetOnePass, ProtIsoNetRefine
from isonet_scipion.viewers.pictures import showMontage
from isonet_scipion.viewers.viewer_model import modelFacts, plotLosses
from isonet_scipion.viewers.viewer_protocols import notWritten, reportPage

if TYPE_CHECKING:
    from pyworkflow.protocol import Form

LATER = "Look again later."
ITERATIONS = 6  # shown side by side
SUBTOMOGRAMS = 3  # one below the other
ESTIMATE = re.compile(r"(.+)_iter(\d+)\.mrc")


class IsoNetOnePassViewer(ProtocolViewer):
    """How the training went, also while it runs."""

    _label = "results of the training"
    _environments = [DESKTOP_TKINTER]
    _targets = [ProtIsoNetOnePass]

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Results")
        form.addParam(
            "losses",
            LabelParam,
            important=True,
            label="Losses",
            help="Both should fall, quickly at first. Where noise is added they rise once. If training falls but "
            "validation rises, the network overfits: give it more subtomograms or tomograms.",
        )
        form.addParam("settings", LabelParam, label="Settings of the model")
        form.addParam(
            "page",
            LabelParam,
            label="Report of the run",
            help="A page in your browser: losses, and slices of a tomogram after each iteration with the correlation "
            "with the withheld tilts.",
        )

    def _getVisualizeDict(self) -> dict:
        return dict.fromkeys(("losses", "settings", "page"), self._show)

    def _show(self, param: str) -> list[View]:
        try:
            return [getattr(self, f"_{param}")()]
        except EngineError as error:
            return [self.infoMessage(str(error), "Nothing to show")]

    def _folder(self) -> str:
        return os.path.dirname(self.protocol.lossesFile())

    def _losses(self) -> View:
        history = read_losses(self.protocol.lossesFile())
        if not history:
            raise notWritten(self.protocol, "losses", "no epoch is finished", LATER)
        return plotLosses(history)

    def _settings(self) -> View:
        model = getattr(self.protocol, "model", None)
        if model is None:
            raise notWritten(self.protocol, "model", "the training is not finished", LATER)
        return self.infoMessage("\n".join(modelFacts(model)), "Model")

    def _page(self) -> View:
        return reportPage(self.protocol, self._folder())


class IsoNetRefineViewer(IsoNetOnePassViewer):
    """The same of the iterative training, which also estimates what is missing in whole subtomograms."""

    _targets = [ProtIsoNetRefine]

    def _defineParams(self, form: Form) -> None:
        super()._defineParams(form)
        form.addParam(
            "estimates",
            LabelParam,
            label="Estimates by iteration",
            help="The same subtomograms, corrected by the network of each iteration. To keep them, set *Delete the "
            "estimates of the iterations?* to No in the training's form.",
        )

    def _getVisualizeDict(self) -> dict:
        return {**super()._getVisualizeDict(), "estimates": self._show}

    def _estimates(self) -> View:
        return plotEstimates(self._folder())


def estimateFiles(folder: str) -> dict[str, dict[int, Path]]:
    """Files of the estimates in a results folder: name of the subtomogram -> iteration -> file."""
    files: dict[str, dict[int, Path]] = {}
    for path in sorted(Path(folder).glob("*_iter*.mrc")):
        match = ESTIMATE.fullmatch(path.name)
        if match:
            files.setdefault(match[1], {})[int(match[2])] = path
    return files


def plotEstimates(folder: str) -> EmPlotter:
    """Central xz slices of three subtomograms' estimates, one column for each of at most six iterations.

    Raises
    ------
    EngineError
        If there are none, or one can't be read.
    """
    files = dict(list(estimateFiles(folder).items())[:SUBTOMOGRAMS])
    iterations = sorted(set.intersection(*map(set, files.values()))) if files else []
    if not iterations:
        raise EngineError(folder, "there are no estimates", "The training's form says whether they are deleted.")
    places = np.unique(np.linspace(0, len(iterations) - 1, ITERATIONS).round().astype(int))
    shown = [iterations[place] for place in places]
    images, titles = [], []
    for number, byIteration in enumerate(files.values(), 1):
        for iteration in shown:
            cube = open_volume(byIteration[iteration]).data
            images.append(cube[:, cube.shape[1] // 2])
            titles.append(f"subtomogram {number}, " + (f"iteration {iteration}" if iteration else "at the start"))
    plotter = EmPlotter(windowTitle="Estimates by iteration", figsize=(2 * len(shown) + 1, 2 * len(files) + 1))
    showMontage(plotter.getFigure(), images, titles, len(shown))
    return plotter
