"""The trained model: its facts and the losses of its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pwem.viewers import EmPlotter
from pyworkflow.protocol import Protocol
from pyworkflow.viewer import DESKTOP_TKINTER, View, Viewer

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.losses import read_losses
from isonet_scipion.engine.network.model_file import read_metadata
from isonet_scipion.engine.reporting.loss_figure import plot_losses
from isonet_scipion.objects import IsoNetModel
from isonet_scipion.protocols import ProtIsoNetImportModel
from isonet_scipion.protocols.linked_inputs import hasEnded
from isonet_scipion.protocols.set_checks import sameSampling

if TYPE_CHECKING:
    from isonet_scipion.engine.measure.history import EpochRecord

# What a model file says, in the order to read it
FACTS = {
    "voxel_size": "Voxel size of the tomograms: {:.2f} Å",
    "tilts": "Tilt ranges: {} degrees",
    "deconvolved": "CTF deconvolved: {}",
    "ctf_aware": "CTF-aware, so that it undoes the CTF: {}",
    "voltage": "Voltage told: {:g} kV",
    "cs": "Spherical aberration told: {:g} mm",
    "bfactor": "B-factor: {:g} Å²",
    "ctf_state": "Tomograms told to be: {}",
    "halves": "Trained on halves: {}",
    "corrects_mean": "Corrects the mean of halves: {}",
    "normalize_percentile": "Normalised by percentiles: {}",
    "iteration": "Iteration: {}",
    "cube_size": "Cube size: {} voxels",
    "unet_depth": "Depth of the network: {}",
    "filter_base": "Channels at the first level: {}",
    "convs_per_depth": "Convolutions per level: {}",
    "stem": "Side of the blocks of voxels at the first level: {}",
    "fine": "Channels at full resolution: {}",
    "denoiser": "Channels of the denoiser: {}",
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
            ended = isinstance(obj, Protocol) and hasEnded(obj)
            why = "The run has ended without a model: its log says why." if ended else "There is no model yet."
            return [self.infoMessage(why, "No model")]
        facts = modelFacts(model)
        try:
            history = read_losses(model.getHistoryFile() or "")
        except EngineError as error:
            history, facts = [], [*facts, "", f"The losses of its training can't be shown. {error}"]
        plots: list[View] = [plotLosses(history)] if history else []
        return [*plots, self.infoMessage("\n".join(facts), "Model")]


def modelFacts(model: IsoNetModel) -> list[str]:
    """Lines of what a model's file says of its training and its network, or why it can't be read."""
    try:
        metadata = read_metadata(model.getFileName())
    except EngineError as error:
        return [str(error)]
    known = {**metadata.as_dict(), "tilts": metadata.tilts_in_words or None}
    if metadata.untrained:
        known["iteration"] = f"0, before the training: {metadata.untrained}"
    # the voxel size of an imported model may be the user's
    given = model.getSamplingRate()
    said = known.setdefault("voxel_size", given)
    lines = [text.format(known[name]) for name, text in FACTS.items() if known.get(name) is not None]
    if given and said and not sameSampling(given, said):
        lines[:1] = [
            f"Voxel size of the tomograms, as given at the import, which counts: {given:.2f} Å",
            f"Voxel size of the tomograms, as its file says: {said:.2f} Å",
        ]
    return lines


def plotLosses(history: list[EpochRecord]) -> EmPlotter:
    """Plot the losses of all epochs, and the correlation with the withheld tilts where it was measured."""
    plotter = EmPlotter(windowTitle="Losses of the training")
    plot_losses(plotter.createSubPlot("Losses", "", ""), history)
    return plotter
