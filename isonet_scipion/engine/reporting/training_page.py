"""The page of a training: losses, and what the network made of a tomogram or subtomogram after each iteration."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.conventions import REPORT_PAGE
from isonet_scipion.engine.io.files import replacing
from isonet_scipion.engine.measure.history import AT_CHANCE, is_above_chance, stayed_at_chance
from isonet_scipion.engine.physics.withheld_tilts import WITHHELD
from isonet_scipion.engine.reporting.pages import image, table, write_page
from isonet_scipion.engine.reporting.picture import GREY_PERCENTILES, SOFTWARE, require_own_picture

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats
    from isonet_scipion.engine.measure.history import EpochRecord

LOSSES = "losses.png"
SLICES = re.compile(r"slices_iter(\d+)\.png")
TOLD_FROM = 5  # iterations: the first ones of a new network are at chance in good trainings, too
WIDEST = 320  # voxels of a slice: of larger ones, squares of voxels are averaged
GAP = 2  # voxels between slices

EXPLANATION = f"""
<p>The loss does not tell how well the wedge is filled; where the noise level rises, and where a
denoiser begins to be trained, the losses rise once. What follows
the training is the <b>correlation with the withheld tilts</b>: the outermost {100 * WITHHELD:.0f} % of the tilts are
withheld from all training data, and what the network fills in there is compared with what was measured
(&plusmn; the chance level; below three times this level it is no better than chance). Noise in the measured tilts keeps
it below 1, so it ranks the iterations of a training; it does not compare tomograms.</p>
"""


def slices_name(iteration: int) -> str:
    """Name of the picture of what the network makes after an iteration."""
    return f"slices_iter{iteration:02d}.png"


def require_own_pictures(folder: Path, beside_own: bool) -> None:
    """As `require_own_picture`, for the losses and slices in the folder of a training."""
    for path in folder.glob("*.png"):
        if path.name == LOSSES or SLICES.fullmatch(path.name):
            require_own_picture(path, beside_own)


def save_slices(path: str | os.PathLike[str], volume: Floats) -> None:
    """Write the central xy, xz and yz slices of a volume, (z, y, x), side by side as a PNG.

    Raises
    ------
    EngineError
        If the file can't be written.
    """
    from matplotlib.image import imsave

    z, y, x = (length // 2 for length in volume.shape)
    # y and z upwards, as in the report
    slices = [_smaller(volume[z, ::-1]), _smaller(volume[::-1, y]), _smaller(volume[::-1, :, x])]
    low, high = np.percentile(np.concatenate([one.ravel() for one in slices]), GREY_PERCENTILES)
    canvas = np.full((max(map(len, slices)), sum(one.shape[1] + GAP for one in slices) - GAP), high, np.float32)
    left = 0
    for one in slices:
        canvas[: one.shape[0], left : left + one.shape[1]] = one
        left += one.shape[1] + GAP
    with replacing(path) as temporary:
        imsave(temporary, canvas, cmap="gray", vmin=low, vmax=high, metadata=SOFTWARE)


def _smaller(plane: Floats) -> Floats:
    """A plane with squares of voxels averaged, so that it is no wider than WIDEST."""
    step = -(-max(plane.shape) // WIDEST)
    rows, columns = (max(1, length // step) for length in plane.shape)
    side = [min(step, length) for length in plane.shape]
    return plane[: rows * side[0], : columns * side[1]].reshape(rows, side[0], columns, side[1]).mean(axis=(1, 3))


def write_training_page(
    folder: str | os.PathLike[str],
    history: Sequence[EpochRecord],
    pictured: str,
    start: float | None = None,
    chosen: int | None = None,
    iterations: int = TOLD_FROM,
) -> Path:
    """Write the page of a run's folder from its losses.png, its slices (slices_iterNN.png) and its epochs.

    Parameters
    ----------
    folder : path
        Of the run.
    history : sequence of EpochRecord
        Its epochs so far.
    pictured : str
        What the slices are of, in words.
    start : float, optional
        Correlation with the withheld tilts of the model that it started from.
    chosen : int, optional
        The iteration whose model is to be taken.
    iterations : int
        Of the whole run.

    Raises
    ------
    EngineError
        If the page can't be written.
    """
    folder = Path(folder)
    pictures = {int(match[1]): path for path in folder.iterdir() if (match := SLICES.fullmatch(path.name))}
    ends = {record.iteration: record for record in history}
    numbers = {iteration: record.withheld_correlation for iteration, record in ends.items()}
    first = min(ends) - 1
    numbers[first] = start
    sections = [image(folder / LOSSES, "losses over epochs"), EXPLANATION]
    if chosen is not None and numbers.get(chosen) is not None:
        which, why = f"iteration {chosen}", "the last" if chosen == max(ends) else "clearly better than the last"
        if chosen == first:
            which, why = "the model that the training started from", "no worse than the last"
        sections.append(
            f"<p><b>Of what is done, correct with {which}</b>, {why}, correlation {numbers[chosen]:.3f}.</p>"
        )
    if len(ends) >= min(TOLD_FROM, iterations) and stayed_at_chance(list(ends.values())):
        sections.append(f'<p class="verdict poor">{html.escape(AT_CHANCE)}</p>')
    if pictures:
        before = "the model that it started from" if start is not None else "before the training"
        sections.append(
            f"<h2>After each iteration: {html.escape(pictured)}</h2><p>Central slices xy, xz, yz, without the withheld "
            f"tilts, with the correlation with these; {first}: {before}.</p>"
        )
        sections += [_figure(number, pictures[number], numbers.get(number)) for number in sorted(pictures)]
    titles = ("iteration", "noise level", "loss", "validation loss", "correlation with the withheld tilts")
    rows = (
        (
            str(record.iteration),
            f"{record.noise_level:g}",
            f"{record.loss:.4f}",
            f"{record.val_loss:.4f}",
            _agreement(record),
        )
        for record in ends.values()
    )
    sections.append(f"<h2>Ends of the iterations</h2>{table(titles, rows)}")
    return write_page(folder / REPORT_PAGE, f"Training in {folder.absolute().name}", sections)


def _agreement(record: EpochRecord) -> str:
    better = is_above_chance(record)
    if better is None:
        return "-"
    chance = "" if better else ": chance"
    return f"{record.withheld_correlation:.3f} &plusmn; {record.withheld_chance:.3f}{chance}"


def _figure(number: int, path: Path, correlation: float | None) -> str:
    told = f"{number}" if correlation is None else f"{number}: <b>{correlation:.3f}</b>"
    return (
        '<figure style="display:inline-block; width:48%; margin:.5%">'
        f"{image(path, f'slices after iteration {number}')}<figcaption>{told}</figcaption></figure>"
    )
