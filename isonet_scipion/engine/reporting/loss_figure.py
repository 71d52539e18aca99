"""The losses of a training as a plot."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from isonet_scipion.engine.reporting.picture import picture

if TYPE_CHECKING:
    from isonet_scipion.engine.measure.history import EpochRecord


def plot_losses(panel: Any, history: Sequence[EpochRecord]) -> None:
    """Plot losses over epochs, with ends of iterations (grey), noise levels (red) and the measure (green)."""
    from matplotlib.ticker import MaxNLocator

    epochs = range(1, len(history) + 1)
    panel.plot(epochs, [record.loss for record in history], marker=".", label="training")
    panel.plot(epochs, [record.val_loss for record in history], marker=".", label="validation")
    for epoch, record, following in zip(epochs, history, history[1:]):
        if following.noise_level != record.noise_level:
            panel.axvline(epoch + 0.5, color="tab:red", linestyle=":", zorder=0)
            place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "fontsize": 8}
            panel.annotate(f"noise {following.noise_level:g}", (epoch + 0.6, 0.95), **place)
        elif following.iteration != record.iteration:
            panel.axvline(epoch + 0.5, color="0.85", linewidth=0.8, zorder=0)
    panel.set(xlabel="epoch (grey: ends of iterations)", ylabel="loss")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    tested = [(epoch, record) for epoch, record in zip(epochs, history) if record.withheld_correlation is not None]
    if tested:
        places, values = zip(*((epoch, record.withheld_correlation) for epoch, record in tested))
        chances = [record.withheld_chance for _, record in tested]
        other = panel.twinx()
        other.errorbar(places, values, chances, fmt="o-", color="tab:green", capsize=2)
        other.set_ylabel("correlation with the withheld tilts, with its chance level", color="tab:green")
    panel.legend(loc="lower left")


def draw_losses(path: str | os.PathLike[str], history: Sequence[EpochRecord]) -> None:
    """Draw the plot of `plot_losses` as a picture (.png)."""
    with picture(path, 8, 5) as figure:
        plot_losses(figure.subplots(), history)
