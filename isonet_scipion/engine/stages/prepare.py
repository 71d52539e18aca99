"""prepare_star and prepare_subtomo_star: tables of the volumes in a folder."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from isonet_scipion.engine.command import Command, value_of
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import (
    Volume,
    check_mask,
    check_unit,
    open_volume,
    require_voxel_size,
    warn_of_oddities,
)
from isonet_scipion.engine.io.shown import open_mask
from isonet_scipion.engine.io.star import NOT_SET, Star, write_star
from isonet_scipion.engine.io.tomogram_table import HALF_LABELS
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.sampling.crops import usual_cube_size
from isonet_scipion.engine.settings import PrepareStarSettings, PrepareSubtomoStarSettings

log = logging.getLogger(__name__)


def prepare_star(folder: str, settings: PrepareStarSettings) -> None:
    """Write a table of the tomograms in a folder, sorted by name; errors as `EngineError`."""
    tilt = TiltRange(settings.tilt_min, settings.tilt_max)
    if bool(settings.even_folder) != bool(settings.odd_folder):
        raise EngineError("even_folder", "only one half is given", "Give even_folder and odd_folder.")
    star = Star([])
    for index, path in enumerate(_volume_files(folder, (".mrc", ".rec")), 1):
        volume = open_volume(path)
        _look_at_header(volume, settings.pixel_size)
        row: dict[str, str] = {}
        star.rows.append(row)
        star.set(row, "rlnIndex", index)
        star.set(row, "rlnMicrographName", path)
        star.set(row, "rlnPixelSize", float(settings.pixel_size))
        star.set(row, "rlnDefocus", float(settings.defocus))
        star.set(row, "rlnNumberSubtomo", settings.number_subtomos)
        star.set(row, "rlnMaskBoundary", NOT_SET)
        star.set(row, "rlnTiltMin", tilt.minimum)
        star.set(row, "rlnTiltMax", tilt.maximum)
        if settings.mask_folder_in:
            star.set(row, "rlnMaskName", _own_mask(volume, Path(settings.mask_folder_in)))
        for label, half in zip(HALF_LABELS, (settings.even_folder, settings.odd_folder)):
            if half:
                star.set(row, label, _half(volume, Path(half)))
    write_star(settings.output_star, star)
    log.info("%s: %d tomograms", settings.output_star, len(star.rows))


def prepare_subtomo_star(folder: str, settings: PrepareSubtomoStarSettings) -> None:
    """Write a table of the subtomograms in a folder, sorted by name; errors as `EngineError`."""
    tilt = TiltRange(settings.tilt_min, settings.tilt_max)
    star = Star([])
    for index, path in enumerate(_volume_files(folder, (".mrc",)), 1):
        volume = open_volume(path)
        _look_at_header(volume, settings.pixel_size)
        size = volume.shape[0]
        row: dict[str, str] = {}
        star.rows.append(row)
        star.set(row, "rlnSubtomoIndex", index)
        star.set(row, "rlnImageName", path)
        star.set(row, "rlnCubeSize", settings.cube_size or usual_cube_size(size))
        star.set(row, "rlnCropSize", size)
        star.set(row, "rlnPixelSize", float(settings.pixel_size))
        star.set(row, "rlnTiltMin", tilt.minimum)
        star.set(row, "rlnTiltMax", tilt.maximum)
    write_star(settings.output_star, star)
    log.info("%s: %d subtomograms", settings.output_star, len(star.rows))


def _volume_files(folder: str, suffixes: tuple[str, ...]) -> list[Path]:
    if not os.access(folder, os.R_OK) or not Path(folder).is_dir():
        raise EngineError(folder, "the folder does not exist or can't be read", "Check its name and permissions.")
    found = sorted(path for path in Path(folder).iterdir() if path.suffix in suffixes and not path.name.startswith("."))
    if not found:
        raise EngineError(folder, f"it holds no {' or '.join(suffixes)} files", "Put (links to) the volumes there.")
    return found


def _look_at_header(volume: Volume, voxel_size: float) -> None:
    warn_of_oddities(volume)
    require_voxel_size(voxel_size, "pixel_size", f"{voxel_size:g} is not a voxel size")
    check_unit(voxel_size, volume, "pixel_size")


def _half(tomogram: Volume, folder: Path) -> Path:
    half = folder / Path(tomogram.path).name
    if not half.exists():
        raise EngineError(str(half), f"it is missing; {tomogram.path} needs it as its half", "Name it like that.")
    check_mask(open_volume(half), tomogram)
    return half


def _own_mask(tomogram: Volume, folder: Path) -> Path:
    stem = Path(tomogram.path).stem
    for name in (f"{stem}_mask.mrc", f"{stem}.mrc"):
        path = folder / name
        if path.exists():
            open_mask(str(path), tomogram)
            return path
    raise EngineError(
        str(folder), f"it has no {stem}_mask.mrc or {stem}.mrc", "Add the mask or leave out mask_folder_in."
    )


COMMANDS = (
    Command(
        prepare_star,
        ("FOLDER",),
        PrepareStarSettings,
        writes=value_of("output_star"),
        files=("output_star",),
    ),
    Command(
        prepare_subtomo_star,
        ("FOLDER",),
        PrepareSubtomoStarSettings,
        writes=value_of("output_star"),
        files=("output_star",),
    ),
)
