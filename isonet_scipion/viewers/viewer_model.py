"""The trained model: its facts and the losses of its training."""

from __future__ import annotations

from matplotlib.ticker import MaxNLocator
from pwem.viewers import EmPlotter
from pyworkflow.viewer import DESKTOP_TKINTER, View, Viewer

from isonet_scipion import convert
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.model_file import read_metadata
from isonet_scipion.objects import IsoNetModel
from isonet_scipion.protocols import ProtIsoNetImportModel

# What a model file says, in the order to read it
FACTS = {
    "voxel_size": "Voxel size of the tomograms: {:.2f} Å",
    "tilt_min": "Smallest tilt angle: {:g} degrees",
    "tilt_max": "Largest tilt angle: {:g} degrees",
    "deconvolved": "CTF deconvolved: {}",
    "ctf_aware": "CTF-aware, so that it undoes the CTF: {}",
    "normalize_percentile": "Normalised by percentiles: {}",
    "iteration": "Iteration: {}",
    "cube_size": "Cube size: {} voxels",
    "unet_depth": "Depth of the network: {}",
    "filter_base": "Channels at the first level: {}",
    "convs_per_depth": "Convolutions per level: {}",
    "kernel": "Kernel: {}",
    "pool": "Pooling: {}",
    "drop_out": "Dropout: {}",
    "batch_normalization": "Batch normalisation: {}",
}


class IsoNetModelViewer(Viewer):
    """The losses of a model's training as a plot, and its facts as text."""

    _name = "IsoNet model"
    _environments = [DESKTOP_TKINTER]
    _targets = [IsoNetModel, ProtIsoNetImportModel]

    def _visualize(self, obj: IsoNetModel | ProtIsoNetImportModel, **kwargs: object) -> list[View]:
        model = obj if isinstance(obj, IsoNetModel) else getattr(obj, "model", None)
        if model is None:
            return [self.infoMessage("There is no model yet.", "No model")]
        records = convert.readLosses(model.getHistoryFile() or "")
        plots: list[View] = [plotLosses(records)] if records else []
        return [*plots, self.infoMessage("\n".join(modelFacts(model)), "Model")]


def modelFacts(model: IsoNetModel) -> list[str]:
    """Lines of what a model's file says of its training and its network, or why it can't be read."""
    try:
        known = read_metadata(model.getFileName())
    except EngineError as error:
        return [str(error)]
    # the voxel size of an imported model may be the user's
    known.setdefault("voxel_size", model.getSamplingRate())
    return [text.format(known[name]) for name, text in FACTS.items() if known.get(name) is not None]


def plotLosses(records: list[dict[str, float]]) -> EmPlotter:
    """Plot training and validation loss over all epochs, with starts of iterations (grey) and of noise levels (red).

    Parameters
    ----------
    records : list of dict
        One for each epoch, with iteration, loss, val_loss and noise_level.
    """
    epochs = range(1, len(records) + 1)
    plotter = EmPlotter(windowTitle="Losses of the training")
    axes = plotter.createSubPlot("Losses", "Epoch (of all iterations)", "Mean absolute error")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for column, label in (("loss", "training"), ("val_loss", "validation")):
        axes.plot(epochs, [record[column] for record in records], marker=".", label=label)
    for epoch, (before, after) in enumerate(zip(records, records[1:]), 1):
        if before["noise_level"] != after["noise_level"]:
            axes.axvline(epoch + 0.5, color="tab:red", linestyle=":", zorder=0)
            place = {"xycoords": ("data", "axes fraction"), "fontsize": 8}
            axes.annotate(f"noise {after['noise_level']:g}", (epoch + 0.6, 0.95), **place)
        elif before["iteration"] != after["iteration"]:
            axes.axvline(epoch + 0.5, color="0.85", zorder=0)
    axes.legend(loc="lower left")
    return plotter
