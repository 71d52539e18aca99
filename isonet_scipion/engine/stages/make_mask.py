"""make_mask: masks of the sample for the tomograms of a table."""

from __future__ import annotations

import logging
from pathlib import Path

from isonet_scipion.engine.boundary import boundary_mask, read_boundary
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.mask import BINNING, sample_mask
from isonet_scipion.engine.progress import Progress
from isonet_scipion.engine.settings import MakeMaskSettings
from isonet_scipion.engine.tomograms import TomogramTable
from isonet_scipion.engine.volume import write_volume

log = logging.getLogger(__name__)
THREADS = 2  # more do not help: the planes come from disk


def make_mask(star_file: str, settings: MakeMaskSettings) -> None:
    """Write masks and their names into the table; errors as `EngineError`."""
    _check(settings)
    table = TomogramTable(star_file)
    entries = table.select(settings.tomo_idx, settings.use_deconv_tomo)
    with Progress("Masks", len(entries), "tomograms") as progress:
        for entry in entries:
            density = settings.density_percentage
            density = entry.number("rlnMaskDensityPercentage", 50.0) if density is None else density
            std = settings.std_percentage
            std = entry.number("rlnMaskStdPercentage", 50.0) if std is None else std
            volume, _ = entry.source(settings.use_deconv_tomo)
            boundary = None
            if entry.text("rlnMaskBoundary"):
                binned = tuple(-(-length // BINNING) for length in volume.shape)
                boundary = boundary_mask(read_boundary(entry.text("rlnMaskBoundary"), volume.shape), binned, BINNING)
            mask = sample_mask(volume.data, settings.patch_size, density, std, settings.z_crop, boundary, THREADS)
            if not mask.any():
                raise EngineError(
                    volume.path,
                    "its mask would be empty",
                    "Raise density_percentage and std_percentage, lower z_crop, or check the boundary.",
                )
            target = Path(settings.mask_folder) / f"{entry.name}_mask.mrc"
            write_volume(target, mask, entry.output_voxel_size(volume), volume)
            table.update(
                entry, {"rlnMaskDensityPercentage": density, "rlnMaskStdPercentage": std, "rlnMaskName": target}
            )
            progress.advance()
            log.info("%s: %.1f %% of the volume", target, 100 * mask.mean())


def _check(settings: MakeMaskSettings) -> None:
    for name in ("density_percentage", "std_percentage"):
        value = getattr(settings, name)
        if value is not None and not 0 < value <= 100:
            raise EngineError(name, f"{value} is not a percentage", "Give a number above 0 and up to 100.")
    if settings.patch_size < 1:
        raise EngineError("patch_size", f"{settings.patch_size} is too small", "Give at least 1.")
    if settings.z_crop is not None and not 0 <= settings.z_crop < 0.5:
        raise EngineError(
            "z_crop", f"{settings.z_crop} leaves nothing or is negative", "Give a fraction from 0 to 0.49."
        )
