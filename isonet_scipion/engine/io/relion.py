"""Tables of tomograms as RELION 5 has them: one block data_global, one row per tilt series.

Labels are those of RELION 5 (src/metadata_label.h of its sources); paths are absolute, so that the table can be used
from any RELION project.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from isonet_scipion.engine.arrays import size_in_words
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.ome_zarr import is_store
from isonet_scipion.engine.io.star import NOT_SET, Star
from isonet_scipion.engine.io.voxel_size import same_voxel_size
from isonet_scipion.engine.wording import names_in_words

if TYPE_CHECKING:
    from isonet_scipion.engine.io.tomogram_entry import TomogramEntry

log = logging.getLogger(__name__)
BLOCK = "global"
NAME = "rlnTomoName"
WHOLE, DENOISED = "rlnTomoReconstructedTomogram", "rlnTomoReconstructedTomogramDenoised"
SIZES = tuple(f"rlnTomoSize{axis}" for axis in "XYZ")  # in pixels of the tilt series
ROUNDED = 2  # voxels by which a side may differ: programs round to whole, or even, numbers
TILT_SERIES_PIXEL, BINNING = "rlnTomoTiltSeriesPixelSize", "rlnTomoTomogramBinning"


def from_scratch(
    entries: Sequence[TomogramEntry], shapes: Sequence[tuple[int, ...]], tilt_series_pixel_size: float | None
) -> Star:
    """A table of the tomograms themselves.

    Parameters
    ----------
    entries : sequence of TomogramEntry
        The tomograms; those that are corrected get the column of the denoised ones.
    shapes : sequence of tuple
        Of the tomograms, (z, y, x).
    tilt_series_pixel_size : float, optional
        In A; None: that of the tomogram. RELION gives sizes in pixels of the tilt series.

    Returns
    -------
    Star
        For other programs that read RELION 5's labels. It lacks rlnTomoTiltSeriesStarFile and rlnTomoHand, of which
        tomograms know nothing and which RELION itself asks for: for RELION, extend its own table (`with_denoised`).
    """
    table = Star([], name=BLOCK)
    some_corrected = any(entry.text("rlnCorrectedTomoName") for entry in entries)
    for entry, shape in zip(entries, shapes):
        pixel_size = tilt_series_pixel_size or entry.voxel_size
        binning = entry.voxel_size / pixel_size
        optics = entry.optics()
        values = {
            NAME: entry.name,
            "rlnVoltage": float(optics.voltage),
            "rlnSphericalAberration": float(optics.cs),
            "rlnAmplitudeContrast": float(optics.amplitude_contrast),
            "rlnMicrographOriginalPixelSize": float(pixel_size),
            TILT_SERIES_PIXEL: float(pixel_size),
            BINNING: float(binning),
            **{label: round(side * binning) for label, side in zip(SIZES, shape[::-1])},
            WHOLE: _readable(entry.path),
        }
        if some_corrected:
            values[DENOISED] = _corrected(entry) or _readable(entry.path)
        row: dict[str, str] = {}
        table.rows.append(row)
        for label, value in values.items():
            table.set(row, label, value)
    return table


def with_denoised(table: Star, entries: Sequence[TomogramEntry], shapes: Sequence[tuple[int, ...]]) -> Star:
    """RELION's table with the corrected tomograms added as the denoised ones.

    Parameters
    ----------
    table : Star
        RELION's tomograms.star.
    entries : sequence of TomogramEntry
        The corrected ones among them are matched by rlnTomoName.
    shapes : sequence of tuple
        Of the tomograms, (z, y, x).

    Raises
    ------
    EngineError
        If the table has no names, or not that of a corrected tomogram, or that has other voxels or another size there.
    """
    table.require([NAME])
    rows = {row[NAME]: row for row in table.rows}
    corrected = {entry.name: path for entry in entries if (path := _corrected(entry))}
    missing = sorted(set(corrected) - set(rows))
    if missing or not corrected:
        why = f"it has no {NAME} {', '.join(missing)}" if missing else "no tomogram is corrected yet"
        raise EngineError(table.path, why, "Run predict, and name the tomograms (rlnTomoName) as RELION does.")
    for entry, shape in zip(entries, shapes):
        if entry.name in corrected:
            _require_size(table, rows[entry.name], entry, shape)
    _tell_denoised(table, corrected)
    # rows of other tomograms keep what they have, else their reconstruction
    for row in table.rows:
        kept = table.text(row, DENOISED) or row.get(WHOLE, NOT_SET)
        table.set(row, DENOISED, corrected.get(row[NAME], kept))
    table.name = BLOCK
    return table


def _tell_denoised(table: Star, corrected: dict[str, Path]) -> None:
    """Log what RELION's table calls denoised apart from the corrected tomograms, and what it no longer does."""
    told: dict[str, list[str]] = {}
    for row in table.rows:
        name, own = row[NAME], table.text(row, DENOISED)
        if name not in corrected:
            kept = "stays what it was" if own else "is the reconstruction" if table.text(row, WHOLE) else "is None"
            told.setdefault(f"{DENOISED} {kept}, as they are not corrected", []).append(name)
        elif own and own != str(corrected[name]):
            told.setdefault(f"{DENOISED} is replaced", []).append(name)
        if name in corrected and not _tells_voxels(table, row):
            told.setdefault(f"voxels are not compared, as it lacks {TILT_SERIES_PIXEL} or {BINNING}", []).append(name)
    for what, names in told.items():
        log.info("%s: %s: %s", table.path, what, names_in_words(names))


def _tells_voxels(table: Star, row: dict[str, str]) -> bool:
    return None not in (table.text(row, label) for label in (TILT_SERIES_PIXEL, BINNING))


def _require_size(table: Star, row: dict[str, str], entry: TomogramEntry, shape: tuple[int, ...]) -> None:
    """Raise an EngineError if a tomogram has other voxels, or more or fewer, than RELION's table says of it."""
    if not _tells_voxels(table, row):
        return
    expected = table.number(row, TILT_SERIES_PIXEL) * table.number(row, BINNING)
    if not same_voxel_size(entry.voxel_size, expected):
        raise EngineError(
            table.path,
            f"{row[NAME]} has voxels of {expected:.2f} A there, the corrected tomogram of {entry.voxel_size:.2f} A: "
            "RELION would scale coordinates picked in it wrongly",
            f"Bring the tomograms to {expected:.4g} A (resize) and predict anew, or leave out --relion_star.",
        )
    if None in (table.text(row, label) for label in SIZES):
        return
    sides = [table.number(row, label) / table.number(row, BINNING) for label in SIZES]
    if max(abs(side - own) for side, own in zip(sides, shape[::-1])) > ROUNDED:
        raise EngineError(
            table.path,
            f"{row[NAME]} has {' x '.join(f'{side:g}' for side in sides)} voxels there (x, y, z), the corrected "
            f"tomogram {size_in_words(shape)}: RELION would take coordinates picked in it, from its centre, for others",
            "Correct RELION's own tomogram, uncropped, or leave out --relion_star.",
        )


def _corrected(entry: TomogramEntry) -> Path | None:
    path = entry.text("rlnCorrectedTomoName")
    if path is None:
        return None
    readable = _readable(path)
    entry.require_current_corrected(path)
    return readable


def _readable(path: str) -> Path:
    """A tomogram's absolute path, for RELION; an EngineError where it has a format that RELION does not read."""
    if is_store(path):
        raise EngineError(
            path, "it is OME-Zarr, which RELION does not read", "Correct with --output_format mrc, or convert it."
        )
    return Path(path).absolute()
