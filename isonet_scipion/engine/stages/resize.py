"""resize: rescale the tomograms of a table to another voxel size."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from isonet_scipion.engine.command import Command, value_of
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import naming, volume_bytes, writing_volume
from isonet_scipion.engine.io.star import Star, table_to_replace, write_star
from isonet_scipion.engine.io.tomogram_table import HALF_LABELS, TomogramEntry, TomogramTable
from isonet_scipion.engine.physics.rescaling import rescale, rescaled_shape
from isonet_scipion.engine.process.disk import growth, require_space
from isonet_scipion.engine.process.progress import Progress
from isonet_scipion.engine.settings import ResizeSettings

log = logging.getLogger(__name__)
THREADS = 2  # more do not help: the planes come from disk
# names of files that have another size than the rescaled tomogram
OF_OLD_SIZE = ("rlnDeconvTomoName", "rlnMaskName", "rlnMaskBoundary", "rlnCorrectedTomoName", *HALF_LABELS)


def resize(star_file: str, settings: ResizeSettings) -> None:
    """Write rescaled tomograms and the table NAME_resized.star; errors as `EngineError`."""
    if settings.apix <= 0:
        raise EngineError("apix", f"{settings.apix} is not a voxel size", "Give it in A.")
    table = TomogramTable(star_file)
    entries = table.select(None)
    labels = [label for label in table.star.labels if label not in OF_OLD_SIZE]
    resized = Star(labels)
    sizes = {
        _target(entry, settings): volume_bytes(
            rescaled_shape(entry.checked_source().shape, settings.apix / entry.voxel_size)
        )
        for entry in entries
    }
    path = Path(star_file).with_name(f"{Path(star_file).stem}_resized.star")
    owners = {_target(entry, settings): entry for entry in entries}
    earlier = table_to_replace(path, ("rlnIndex", "rlnMicrographName"))
    marks = table.claim(owners, "resize", "rlnMicrographName", "out_folder", earlier)
    require_space(settings.out_folder, growth(sizes))
    with Progress("Resizing", len(entries), "tomograms") as progress:
        for entry in entries:
            volume = entry.source()
            target = _target(entry, settings)
            shape = rescaled_shape(volume.shape, settings.apix / entry.voxel_size)
            writing = writing_volume(target, shape, np.float32, settings.apix, volume, marks[target])
            with naming(volume), writing as voxels:
                rescale(volume.data, entry.voxel_size, settings.apix, voxels, THREADS)
            row = {label: entry.row[label] for label in labels}
            resized.rows.append(row)
            resized.set(row, "rlnMicrographName", target)
            resized.set(row, "rlnPixelSize", float(settings.apix))
            progress.advance()
    write_star(path, resized)
    log.info("%s: %d tomograms of %g A", path, len(resized.rows), settings.apix)


def _target(entry: TomogramEntry, settings: ResizeSettings) -> Path:
    return Path(settings.out_folder) / f"{entry.name}.mrc"


COMMANDS = (
    Command(
        resize,
        ("STAR_FILE",),
        ResizeSettings,
        writes=value_of("star_file"),
        folders=("out_folder",),
        less_memory="Raise apix.",
    ),
)
