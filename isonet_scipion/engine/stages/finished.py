"""Which tomograms an interrupted prediction has finished, so that the repeated command goes on with the others."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from isonet_scipion import __version__
from isonet_scipion.engine.io.confidence_file import confidence_path
from isonet_scipion.engine.io.files import file_state
from isonet_scipion.engine.io.number_formats import SCALE
from isonet_scipion.engine.io.report_file import report_path
from isonet_scipion.engine.io.tomogram_table import CORRECTED_BY, CORRECTED_FROM

if TYPE_CHECKING:
    from isonet_scipion.engine.io.tomogram_table import TomogramEntry
    from isonet_scipion.engine.settings.correction import PredictSettings

RESULT = ("rlnCorrectedTomoName", CORRECTED_BY, CORRECTED_FROM, SCALE)  # columns that predict writes
ASIDE = ("tomo_idx", "gpuID", "log_level", "check_axes", "batch_size")  # options that change no result


def recipe(entry: TomogramEntry, model: str, settings: PredictSettings) -> str | None:
    """What a corrected tomogram is made of and how, as 16 digits; None where it can't be told, as of OME-Zarr.

    Parameters
    ----------
    entry : TomogramEntry
        Its row, and its files as they are now.
    model : str
        The model, by its digest.
    settings : PredictSettings
        Of the command.
    """
    mask = entry.text("rlnMaskName")
    files = [entry.path, entry.source_path, *entry.halves(), *([mask] if mask else [])]
    if any(Path(file).is_dir() for file in files):  # whose state does not tell what is in it
        return None
    row = sorted((label, value) for label, value in entry.row.items() if label not in RESULT)
    options = {name: value for name, value in dataclasses.asdict(settings).items() if name not in ASIDE}
    facts = (__version__, model, row, [file_state(file) for file in files], sorted(options.items()))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def is_finished(entry: TomogramEntry, target: Path, wanted: str | None, settings: PredictSettings) -> bool:
    """Whether all of a tomogram's result is there, and was made as `wanted`."""
    made = [target, *([report_path(target)] if settings.report else [])]
    made += [confidence_path(target)] if settings.confidence else []
    is_named = entry.text("rlnCorrectedTomoName") == str(target)
    return wanted is not None and entry.text(CORRECTED_FROM) == wanted and is_named and all(map(Path.exists, made))
