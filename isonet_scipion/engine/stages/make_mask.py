"""make_mask: masks of the sample for the tomograms of a table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.command import Command, value_of
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.imod_model import read_boundary
from isonet_scipion.engine.io.mrc import open_volume, volume_bytes, writing_volume
from isonet_scipion.engine.io.origin import Origin, voxels_digest, with_origin
from isonet_scipion.engine.io.shown import border_of, require_axes
from isonet_scipion.engine.io.table_checks import warn_of_kinds, warn_of_unlike_values
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.engine.io.volume import Volume, naming
from isonet_scipion.engine.physics.borders import find_border
from isonet_scipion.engine.process.disk import growth, require_space
from isonet_scipion.engine.process.progress import Progress
from isonet_scipion.engine.sampling.boundary import boundary_mask
from isonet_scipion.engine.sampling.mask import BINNING, sample_mask
from isonet_scipion.engine.settings.preparation import MakeMaskSettings

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Flags
    from isonet_scipion.engine.io.tomogram_entry import TomogramEntry

log = logging.getLogger(__name__)
PERCENTAGES = {"rlnMaskDensityPercentage": "density_percentage", "rlnMaskStdPercentage": "std_percentage"}  # options
USUAL_PERCENTAGE = 50.0  # of both, where nothing tells
MOST_FRACTION = 1.0  # a percentage up to this seems to be meant as a fraction
THREADS = 2  # more do not help: the planes come from disk


def make_mask(star_file: str, settings: MakeMaskSettings) -> None:
    """Write masks and their names into the table; errors as `EngineError`."""
    _check(settings)
    table = TomogramTable(star_file, settings.use_deconv_tomo)
    entries, sizes = table.select(settings.tomo_idx), {}
    warn_of_kinds(entries)
    # everything is read once before the first file is written
    percentages = [_percentages(entry, settings) for entry in entries]
    for (label, option), values in zip(PERCENTAGES.items(), zip(*percentages)):
        own = {entry.name: value for entry, value in zip(entries, values)}
        warn_of_unlike_values(star_file, label, own, f"give --{option}, which counts for all")
        if min(values) <= MOST_FRACTION:
            log.warning("%s: %g is in per cent, and keeps next to nothing; a half is 50.", option, min(values))
    for entry in entries:
        volume = entry.checked_source()
        _boundary(entry, volume)
        require_axes(volume, find_border(volume.data), settings.check_axes, entry.inverted)
        sizes[_target(entry.name, settings)] = volume_bytes(volume.shape, np.int8)
    owners = {_target(entry.name, settings): entry for entry in entries}
    marks = table.claim(owners, "make_mask", "rlnMaskName", "mask_folder")
    require_space(settings.mask_folder, growth(sizes))
    with Progress("Masks", len(entries), "tomograms") as progress:
        for entry, (density, std) in zip(entries, percentages):
            volume = entry.source()
            boundary = _boundary(entry, volume)
            border = border_of(volume)
            target = _target(entry.name, settings)
            whole = open_volume(entry.path) if entry.source_path != entry.path else volume
            mark = with_origin(marks[target], Origin(voxels_digest(whole)))
            voxel_size = entry.output_voxel_size(volume)
            with naming(volume), writing_volume(target, volume.shape, np.int8, voxel_size, volume, mark) as mask:
                sample_mask(
                    volume.data, settings.patch_size, density, std, settings.z_crop, boundary, THREADS, border,
                    entry.inverted, mask,
                )  # fmt: skip
                held = np.count_nonzero(mask)
                if not held:
                    raise EngineError(
                        volume.path,
                        "its mask would be empty",
                        "Raise density_percentage and std_percentage, lower z_crop, or check the boundary.",
                    )
            table.update(entry, {**dict(zip(PERCENTAGES, (density, std))), "rlnMaskName": target})
            progress.advance()
            log.info(
                "%s: %.1f %% of the volume, by density_percentage %g and std_percentage %g",
                target, 100 * held / mask.size, density, std,
            )  # fmt: skip


def _percentages(entry: TomogramEntry, settings: MakeMaskSettings) -> tuple[float, float]:
    """By density and by local contrast: the settings', else the table's."""
    chosen = {}
    for label, option in PERCENTAGES.items():
        given = getattr(settings, option)
        chosen[option] = entry.number(label, USUAL_PERCENTAGE) if given is None else given
    for name, value in chosen.items():
        if not 0 < value <= 100:
            raise EngineError(
                name, f"{value:g} is not a percentage ({entry.path})", "Give a number above 0 and up to 100."
            )
    return chosen["density_percentage"], chosen["std_percentage"]


def _boundary(entry: TomogramEntry, volume: Volume) -> Flags | None:
    """The table's boundary as a mask of the binned shape."""
    path = entry.text("rlnMaskBoundary")
    if path is None:
        return None
    binned = tuple(-(-length // BINNING) for length in volume.shape)
    return boundary_mask(read_boundary(path, volume.shape), binned, BINNING)


def _target(name: str, settings: MakeMaskSettings) -> Path:
    return Path(settings.mask_folder) / f"{name}_mask.mrc"


def _check(settings: MakeMaskSettings) -> None:
    if settings.patch_size < 1:
        raise EngineError("patch_size", f"{settings.patch_size} is too small", "Give at least 1.")
    if settings.z_crop is not None and not 0 <= settings.z_crop < 0.5:
        raise EngineError(
            "z_crop", f"{settings.z_crop} leaves nothing or is negative", "Give a fraction from 0 to 0.49."
        )


COMMANDS = (
    Command(
        make_mask,
        ("STAR_FILE",),
        MakeMaskSettings,
        writes=value_of("star_file"),
        folders=("mask_folder",),
        less_memory="Make the mask of a rescaled tomogram (resize).",
    ),
)
