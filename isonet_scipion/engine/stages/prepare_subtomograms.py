"""prepare_subtomo_star: a table of the subtomograms in a folder."""

from __future__ import annotations

import logging
from pathlib import Path

from isonet_scipion.engine.arrays import extremes, require_numbers
from isonet_scipion.engine.command import Command, value_of
from isonet_scipion.engine.conventions import TILT_OPTIONS
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.earlier_table import (
    OTHERWISE,
    changes_in_words,
    comments_with,
    left_out_rows,
    require_known,
    warn_of_left_out,
)
from isonet_scipion.engine.io.files import real_file
from isonet_scipion.engine.io.marks import made_by
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.star import (
    SUBTOMOGRAM_LABELS,
    Star,
    require_one_meaning,
    table_to_replace,
    warn_of_lost_columns,
    write_star,
)
from isonet_scipion.engine.io.subtomograms import side_of_cube
from isonet_scipion.engine.io.table_checks import require_one_voxel_size, warn_of_lopsided_tilts
from isonet_scipion.engine.io.volume_files import volume_files, voxel_size_of
from isonet_scipion.engine.network.unet import cube_size_warning
from isonet_scipion.engine.physics.wedge import declared_range
from isonet_scipion.engine.sampling.crops import usual_cube_size
from isonet_scipion.engine.settings.preparation import PrepareSubtomoStarSettings
from isonet_scipion.engine.wording import counted

log = logging.getLogger(__name__)


def prepare_subtomo_star(folder: str, settings: PrepareSubtomoStarSettings) -> None:
    """Write a table of the subtomograms in a folder, sorted by name; errors as `EngineError`."""
    tilt = declared_range(settings.tilt_min, settings.tilt_max, TILT_OPTIONS)
    if settings.cube_size and (warning := cube_size_warning(settings.cube_size)):
        log.warning("cube_size: %s", warning)
    earlier, files = table_to_replace(settings.output_star, SUBTOMOGRAM_LABELS), volume_files(folder, (".mrc",))
    if "rlnTomoName" in earlier.labels:
        raise EngineError(
            settings.output_star,
            "it is there already, with the tomogram and the tilts of each subtomogram, as extract writes it",
            "Give it to refine as it is, or give another --output_star.",
        )
    require_one_meaning(earlier, ["rlnImageName"])
    by_file = {real_file(row["rlnImageName"]): row for row in earlier.rows}
    rows = [by_file.get(real_file(path), {}) for path in files]
    require_known(earlier, rows, "rlnImageName", "subtomograms")
    _warn_of_extracted(folder, files)
    left_out = left_out_rows(earlier, rows)
    star = Star([], comments=comments_with(earlier, left_out))
    sizes: list[float] = []
    first = None
    for index, path in enumerate(files, 1):
        volume = open_volume(path)
        sizes.append(voxel_size_of(volume, settings.pixel_size))
        first = size = side_of_cube(volume, first)
        require_numbers(*extremes(volume.data), volume.path)
        cube_size = settings.cube_size or usual_cube_size(size)
        if not cube_size:
            raise EngineError(str(path), f"{size} voxels are too few for the usual cube size", "Give --cube_size.")
        row: dict[str, str] = {}
        star.rows.append(row)
        star.set(row, "rlnSubtomoIndex", index)
        star.set(row, "rlnImageName", path)
        star.set(row, "rlnCubeSize", cube_size)
        star.set(row, "rlnCropSize", size)
        star.set(row, "rlnPixelSize", float(sizes[-1]))
        star.set(row, "rlnTiltMin", tilt.minimum)
        star.set(row, "rlnTiltMax", tilt.maximum)
    require_one_voxel_size(folder, "subtomograms", sizes)
    write_star(settings.output_star, star)
    if changes := changes_in_words(rows, star, "rlnImageName"):
        log.warning(OTHERWISE, settings.output_star, changes)
    if left_out:
        warn_of_left_out(earlier, left_out, "rlnImageName", folder)
    warn_of_lost_columns(settings.output_star, earlier, star)
    warn_of_lopsided_tilts(settings.output_star, {path.stem: tilt for path in files})
    log.info("%s: %s", settings.output_star, counted(len(star.rows), "subtomograms"))


def _warn_of_extracted(folder: str, files: list[Path]) -> None:
    """Count the subtomograms that extract wrote: nothing tells here which of them its table still names."""
    if count := sum(made_by(path) == "extract" for path in files):
        log.warning(
            "%s: extract wrote %d of the %d subtomograms, perhaps some for a table that was replaced since. Give "
            "extract's own table to refine: it has their tilts, and whether they are deconvolved.",
            folder, count, len(files),
        )  # fmt: skip


COMMANDS = (
    Command(
        prepare_subtomo_star,
        ("FOLDER",),
        PrepareSubtomoStarSettings,
        writes=value_of("output_star"),
        files=("output_star",),
    ),
)
