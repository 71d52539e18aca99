"""export_relion: the table of tomograms for RELION 5."""

from __future__ import annotations

import logging

from isonet_scipion.engine.command import Command, value_of
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import require_kept
from isonet_scipion.engine.io.relion import NAME, from_scratch, with_denoised
from isonet_scipion.engine.io.star import read_star, table_to_replace, write_star
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.engine.io.voxel_size import VOXEL_SIZE_TOLERANCE
from isonet_scipion.engine.settings.correction import ExportRelionSettings
from isonet_scipion.engine.wording import counted

IN_NM = 40.0  # times; binned by as much or more: the pixel size is in nm, as 0.25 for 2.5 A of a tomogram of 10 A
log = logging.getLogger(__name__)


def export_relion(star_file: str, settings: ExportRelionSettings) -> None:
    """Write RELION's table of the tomograms; errors as `EngineError`."""
    pixel_size = settings.tilt_series_pixel_size
    if pixel_size is not None and pixel_size <= 0:
        raise EngineError("tilt_series_pixel_size", f"{pixel_size} is not a size", "Give the pixel size in A.")
    if pixel_size is not None and settings.relion_star:
        log.warning("tilt_series_pixel_size has no effect: %s tells it itself.", settings.relion_star)
    require_kept([settings.output_star], [star_file, *filter(None, [settings.relion_star])])
    table_to_replace(settings.output_star, (NAME,))
    entries = TomogramTable(star_file).select(None)
    shapes = [entry.checked_source().shape for entry in entries]
    for entry in entries:
        binning = entry.voxel_size / (pixel_size or entry.voxel_size)
        if not 1 - VOXEL_SIZE_TOLERANCE <= binning < IN_NM:
            why = f"{pixel_size:g} is no pixel size of the tilt series of {entry.path}, of {entry.voxel_size:g} A"
            raise EngineError("tilt_series_pixel_size", why, "Give it in A, not nm, and unbinned.")
    if settings.relion_star:
        table = with_denoised(read_star(settings.relion_star), entries, shapes)
    else:
        table = from_scratch(entries, shapes, pixel_size)
    write_star(settings.output_star, table)
    corrected = sum(entry.text("rlnCorrectedTomoName") is not None for entry in entries)
    log.info("%s: %s, %d of them corrected", settings.output_star, counted(len(table.rows), "tomograms"), corrected)


COMMANDS = (
    Command(
        export_relion,
        ("STAR_FILE",),
        ExportRelionSettings,
        writes=value_of("output_star"),
        files=("output_star",),
    ),
)
