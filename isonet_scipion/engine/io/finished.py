"""Which tomograms an interrupted prediction has finished, so that the repeated command goes on with the others."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Tuple

from isonet_scipion import __version__
from isonet_scipion.engine.io.confidence_file import confidence_path
from isonet_scipion.engine.io.number_formats import SCALE
from isonet_scipion.engine.io.report_file import report_path
from isonet_scipion.engine.io.tomogram_entry import CORRECTED_BY, CORRECTED_FROM, HALF_LABELS

if TYPE_CHECKING:
    from isonet_scipion.engine.io.tomogram_entry import TomogramEntry
    from isonet_scipion.engine.settings.correction import PredictSettings

INPUTS = ("rlnMicrographName", "rlnDeconvTomoName", "rlnMaskName", *HALF_LABELS)  # columns of files
# columns that make no difference: of the result, and of what other stages do
WITHOUT_EFFECT = (
    "rlnCorrectedTomoName", CORRECTED_BY, CORRECTED_FROM, SCALE, "rlnIndex", "rlnNumberSubtomo", "rlnMaskBoundary",
    "rlnMaskDensityPercentage", "rlnMaskStdPercentage", "rlnSnrFalloff", "rlnDeconvStrength",
)  # fmt: skip
ASIDE = ("output_dir", "tomo_idx", "gpuID", "log_level", "check_axes", "batch_size")  # options that change no result
MOST = 8  # results of one tomogram that a table remembers

Recipe = Tuple[Any, ...]


def recipe(entry: TomogramEntry, model: str, settings: PredictSettings) -> Recipe | None:
    """What a tomogram is corrected from and how; None where it can't be told, as of OME-Zarr.

    Parameters
    ----------
    entry : TomogramEntry
        Its row, and its files as they are now.
    model : str
        The model, by its digest.
    settings : PredictSettings
        Of the command.
    """
    files = [entry.text(label) for label in INPUTS]
    try:
        if any(file is not None and os.path.isdir(file) for file in files):  # whose state does not tell its content's
            return None
        states = tuple(None if file is None else _state(file) for file in files)
    except (OSError, ValueError):  # the stage itself tells what is wrong
        return None
    row = tuple(sorted((label, value) for label, value in entry.row.items() if label not in WITHOUT_EFFECT))
    options = tuple((name, value) for name, value in dataclasses.asdict(settings).items() if name not in ASIDE)
    return __version__, model, row, states, options


def made_from(made: Recipe | None, target: Path, settings: PredictSettings) -> str | None:
    """16 digits of how a result was made, of its file as it is now, and of whether those beside it are there.

    None where the first is not known. Those beside it, `report` may make anew.
    """
    if made is None:
        return None
    files = [target.with_suffix(".png")]
    if settings.report:
        files += [report_path(target), report_path(target).with_suffix(".png")]
    if settings.confidence:
        files += [confidence_path(target)]
    there = [file.is_file() for file in files]
    return hashlib.sha256(repr((made, _state(target), there)).encode()).hexdigest()[:16]


def is_finished(entry: TomogramEntry, target: Path, made: Recipe | None, settings: PredictSettings) -> bool:
    """Whether all of a tomogram's result is there as it was made, and so would be made again.

    It may be one that its table no longer names, since another result went to another folder.
    """
    is_named = entry.text("rlnCorrectedTomoName") == str(target)
    if not is_named and settings.output_type != "float32":  # it may have a scale, which the table has of the last alone
        return False
    return made_from(made, target, settings) in remembered(entry)


def remembered(entry: TomogramEntry, *more: str | None) -> list[str]:
    """Digits of `made_from` that tell the last results of a tomogram, in whatever folders, the latest first."""
    told = [*filter(None, more), *filter(None, (entry.text(CORRECTED_FROM) or "").split(","))]
    return list(dict.fromkeys(told))[:MOST]


def _state(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """What changes when a file, or what a link leads to, is written: the same for a copy that keeps its time."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns
