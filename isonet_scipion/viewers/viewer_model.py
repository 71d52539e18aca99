"""The losses of a training run, as a plot."""

from __future__ import annotations

from pwem.viewers import EmPlotter
from pyworkflow.viewer import DESKTOP_TKINTER, View, Viewer

from isonet_scipion import convert
from isonet_scipion.objects import IsoNetModel
from isonet_scipion.protocols import ProtIsoNetRefine


class IsoNetModelViewer(Viewer):
    """Plots the losses of a model, or of a training that still runs."""

    _label = "training losses"
    _environments = [DESKTOP_TKINTER]
    _targets = [IsoNetModel, ProtIsoNetRefine]

    def _visualize(self, obj: IsoNetModel | ProtIsoNetRefine, **kwargs: object) -> list[View]:
        path = obj.lossesFile() if isinstance(obj, ProtIsoNetRefine) else obj.getHistoryFile()
        records = convert.readLosses(path or "")
        if not records:
            return [self.infoMessage("The losses of this training are not known (yet).", "No losses")]
        return [plotLosses(records)]


def plotLosses(records: list[dict[str, float]]) -> EmPlotter:
    """Plot training and validation loss over all epochs; a grey line marks where an iteration starts.

    Parameters
    ----------
    records : list of dict
        One for each epoch, with iteration, loss and val_loss.
    """
    epochs = range(1, len(records) + 1)
    plotter = EmPlotter(windowTitle="IsoNet's losses")
    axes = plotter.createSubPlot("Losses", "Epoch (of all iterations)", "Mean absolute error")
    for column, label in (("loss", "training"), ("val_loss", "validation")):
        axes.plot(epochs, [record[column] for record in records], marker=".", label=label)
    for epoch, (before, after) in enumerate(zip(records, records[1:]), 1):
        if before["iteration"] != after["iteration"]:
            axes.axvline(epoch + 0.5, color="0.85", zorder=0)
    axes.legend()
    return plotter
