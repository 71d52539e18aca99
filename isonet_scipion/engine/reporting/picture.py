"""Pictures that look the same whatever the user's own settings of matplotlib are."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import read_own_file, replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

DOTS_PER_INCH = 100
GREY_PERCENTILES = (1, 99)  # of a slice, that are drawn black and white
MOST_PICTURE = 64 << 20  # bytes
SOFTWARE = {"Software": "isonet_scipion"}  # that a picture says it was made by


@contextmanager
def picture(path: str | os.PathLike[str], width: float, height: float) -> Iterator[Figure]:
    """Draw a picture (.png): the file appears, whole, once the figure is drawn.

    A matplotlibrc, which may ask for LaTeX or fonts that are not there, does not count.

    Parameters
    ----------
    path : path
        File to write.
    width, height : float
        In inches.

    Yields
    ------
    Figure
        To draw in.

    Raises
    ------
    EngineError
        If the file can't be written.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default"):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=DOTS_PER_INCH, metadata=SOFTWARE)


def require_own_picture(path: str | os.PathLike[str]) -> None:
    """Raise an EngineError if a picture is there that this program, in versions after 1.0.0, has not made."""
    if os.path.lexists(path) and SOFTWARE["Software"].encode() not in read_own_file(path, MOST_PICTURE):
        raise EngineError(
            str(path), "it is there already, and no picture of this program", "Move it away, or give another folder."
        )
