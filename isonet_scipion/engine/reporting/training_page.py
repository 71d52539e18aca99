"""The page of a training: losses, and what the network made of one subtomogram after each iteration."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.conventions import REPORT_PAGE
from isonet_scipion.engine.io.files import replacing
from isonet_scipion.engine.measure.fourier_correlation import CERTAIN
from isonet_scipion.engine.reporting.pages import image, write_page
from isonet_scipion.engine.reporting.picture import GREY_PERCENTILES

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats
    from isonet_scipion.engine.measure.history import EpochRecord

LOSSES = "losses.png"
SLICES = re.compile(r"estimate_iter(\d+)\.png")

EXPLANATION = """
<p>Where the noise level rises, the losses rise once. The loss does not tell how well the wedge is filled: compare the
slices, the restored wedge correlation (one-pass; &plusmn; its chance level: below three of them it is no better than
invention), and the report of tomograms corrected by
different iterations' models.</p>
"""


def save_slices(path: str | os.PathLike[str], estimate: Floats) -> None:
    """Write the central xy, xz and yz slices of an estimate, (n, n, n), side by side as a PNG.

    Raises
    ------
    EngineError
        If the file can't be written.
    """
    from matplotlib.image import imsave

    middle = len(estimate) // 2
    # z upwards; a gap of two voxels between the slices
    slices = [estimate[middle], estimate[::-1, middle], estimate[::-1, :, middle]]
    low, high = np.percentile(estimate, GREY_PERCENTILES)
    gap = np.full((len(estimate), 2), high, estimate.dtype)
    with replacing(path) as temporary:
        imsave(temporary, np.hstack([slices[0], gap, slices[1], gap, slices[2]]), cmap="gray", vmin=low, vmax=high)


def write_training_page(folder: str | os.PathLike[str], history: Sequence[EpochRecord]) -> Path:
    """Write the page of a run's folder from its losses.png, its slices (estimate_iterNN.png) and its epochs.

    Raises
    ------
    EngineError
        If the page can't be written.
    """
    folder = Path(folder)
    pictures = {int(match[1]): path for path in folder.iterdir() if (match := SLICES.fullmatch(path.name))}
    sections = [image(folder / LOSSES, "losses over epochs"), EXPLANATION]
    if pictures:
        sections.append("<h2>One subtomogram after each iteration (xy, xz, yz; 0: before the training)</h2>")
        sections += [_figure(number, pictures[number]) for number in sorted(pictures)]
    ends = {record.iteration: record for record in history}
    rows = "".join(
        f"<tr><td>{record.iteration}</td><td>{record.noise_level:g}</td><td>{record.loss:.4f}</td>"
        f"<td>{record.val_loss:.4f}</td><td>{_wedge(record)}</td></tr>"
        for record in ends.values()
    )
    titles = ("iteration", "noise level", "loss", "validation loss", "restored wedge correlation")
    header = "".join(f"<th>{title}</th>" for title in titles)
    sections.append(f"<h2>Ends of the iterations</h2><table><tr>{header}</tr>{rows}</table>")
    return write_page(folder / REPORT_PAGE, f"Training in {folder.absolute().name}", sections)


def _wedge(record: EpochRecord) -> str:
    if record.wedge_correlation is None or record.wedge_chance is None:
        return "-"
    chance = ": chance" if record.wedge_correlation < CERTAIN * record.wedge_chance else ""
    return f"{record.wedge_correlation:.3f} &plusmn; {record.wedge_chance:.3f}{chance}"


def _figure(number: int, path: Path) -> str:
    return (
        '<figure style="display:inline-block; width:31%; margin:.5%">'
        f"{image(path, f'slices after iteration {number}')}<figcaption>{number}</figcaption></figure>"
    )
