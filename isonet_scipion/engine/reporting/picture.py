"""Pictures that look the same whatever the user's own settings of matplotlib are."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import read_own_file, replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

    from isonet_scipion.engine.arrays import Reals

DOTS_PER_INCH = 100
GREY_PERCENTILES = (1, 99)  # of a slice, that are drawn black and white
MOST_PICTURE = 64 << 20  # bytes
LEFT, RIGHT, BOTTOM, TOP = 0.65, 0.15, 0.5, 0.75  # inches beside all panels, for what is written there
BETWEEN = (0.75, 0.85)  # inches between panels that are beside and above each other
TITLE_ROWS = 40  # pixels of TOP that the picture's title takes; the rest and BOTTOM make up what is between panels
SOFTWARE = {"Software": "isonet_scipion"}  # that a picture says it was made by


@contextmanager
def picture(
    path: str | os.PathLike[str], width: float, height: float, below_title: Reals | None = None
) -> Iterator[Figure]:
    """Draw a picture (.png): the file appears, whole, once the figure is drawn.

    A matplotlibrc, which may ask for LaTeX or fonts that are not there, does not count.

    Parameters
    ----------
    path : path
        File to write.
    width, height : float
        In inches, of what is drawn.
    below_title : ndarray, optional
        (rows, columns, 4) uint8, of the same width: drawn already, it comes between the title and the rest.

    Yields
    ------
    Figure
        To draw in.

    Raises
    ------
    EngineError
        If the file can't be written.
    """
    with empty_canvas(width, height) as canvas:
        yield canvas.figure
        pixels = drawn(canvas)
    if below_title is not None:
        pixels = np.concatenate([pixels[:TITLE_ROWS], below_title, pixels[TITLE_ROWS:]])
    write_picture(path, pixels)


@contextmanager
def empty_canvas(width: float, height: float) -> Iterator[Any]:
    """Of a figure (inches) on which nothing of the user's settings counts; call `drawn` before it ends."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default"):
        yield FigureCanvasAgg(Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained"))


def drawn(canvas: Any) -> Reals:
    """The pixels of a canvas, (rows, columns, 4) uint8."""
    canvas.draw()  # once: figure.savefig draws twice
    return np.asarray(canvas.buffer_rgba())


def write_picture(path: str | os.PathLike[str], pixels: Reals) -> None:
    """Write a picture, whole, of (rows, columns, 4) uint8; errors as of `picture`."""
    from matplotlib import image

    with replacing(path) as temporary:
        image.imsave(temporary, pixels, format="png", dpi=DOTS_PER_INCH, metadata=SOFTWARE)


def panels(figure: Figure, rows: int, columns: int) -> Any:
    """An array of axes at fixed places: finding places by what is in them takes longer than drawing it.

    Parameters
    ----------
    figure : Figure
        Of `picture`.
    rows, columns : int
        Shape of the array.
    """
    figure.set_layout_engine("none")
    (width, height), (beside, above) = figure.get_size_inches(), BETWEEN
    right, top = width - RIGHT, height - TOP
    axes = figure.subplots(
        rows,
        columns,
        squeeze=False,
        gridspec_kw={
            "left": LEFT / width,
            "right": right / width,
            "bottom": BOTTOM / height,
            "top": top / height,
            # of the panels' mean size, as matplotlib has it
            "wspace": beside * columns / (right - LEFT - beside * (columns - 1)),
            "hspace": above * rows / (top - BOTTOM - above * (rows - 1)),
        },
    )
    for one in axes.flat:
        one.set_title("", y=1.0)  # where it is put otherwise is found by measuring all ticks
    return axes


def require_own_picture(path: str | os.PathLike[str], beside_own: bool = False) -> None:
    """Raise an EngineError if a picture is there that this program has not made.

    Parameters
    ----------
    path : path
        Of the picture.
    beside_own : bool
        Whether other files there are this program's: version 1.0.0 made pictures that tell of matplotlib alone.
    """
    if not os.path.lexists(path):
        return
    makers = [SOFTWARE["Software"], *(["Matplotlib"] if beside_own else [])]
    data = read_own_file(path, MOST_PICTURE)
    if not any(maker.encode() in data for maker in makers):
        raise EngineError(
            str(path), "it is there already, and no picture of this program", "Move it away, or give another folder."
        )
