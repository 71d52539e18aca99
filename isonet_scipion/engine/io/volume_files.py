"""The volumes in a folder, and their voxel size where the user may give it."""

from __future__ import annotations

import logging
from pathlib import Path

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import require_folder
from isonet_scipion.engine.io.ome_zarr import is_store
from isonet_scipion.engine.io.volume import Volume, warn_of_oddities
from isonet_scipion.engine.io.voxel_size import check_unit, require_voxel_size, told_size
from isonet_scipion.engine.wording import names_in_words

log = logging.getLogger(__name__)
# formats of other programs, and packed files
CONVERTIBLE = (".hdf", ".em", ".map", ".nrrd", ".tif", ".tiff", ".spi", ".vol", ".gz", ".bz2")


def volume_files(folder: str, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of some suffixes in a folder, sorted by name; an EngineError where there are none."""
    require_folder(folder, "the volumes")
    listed = files_of(folder, (*suffixes, *CONVERTIBLE))
    found = [path for path in listed if path.suffix.lower() in suffixes]
    others = [path for path in listed if path.suffix.lower() not in suffixes]
    if not found:
        refuse_store(folder)
        kinds = sorted({path.suffix.lower() for path in others})
        instead = f", but {' and '.join(kinds)}, which are to be converted or unpacked" if others else ""
        why = f"it holds no {' or '.join(suffixes)} files{instead}"
        raise EngineError(folder, why, "Put (links to) the volumes there.")
    if others:
        log.warning("%s: left out, as they are to be converted or unpacked: %s", folder, file_names(others))
    return found


def files_of(folder: str, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of some suffixes in a folder that are not hidden, sorted by name."""
    return sorted(
        path for path in Path(folder).iterdir() if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )


def refuse_store(folder: str) -> None:
    """Raise an EngineError about an OME-Zarr volume that is given for the folder of volumes."""
    if is_store(folder):
        why = "it is an OME-Zarr volume itself, not a folder of volumes"
        raise EngineError(folder, why, "Name the folder that it lies in.")


def file_names(files: list[Path]) -> str:
    """Their names, of many the first."""
    return names_in_words([path.name for path in files])


def voxel_size_of(volume: Volume, given: float | None, by: str = "pixel_size") -> float:
    """The voxel size in A: as given, by an option or a table, else the header's where that is set."""
    warn_of_oddities(volume)
    what = by if given is not None else volume.path
    if given is None:
        given = volume.voxel_size
        if not told_size(given):
            said = "1 A, as programs write that do not know it" if given else "none"
            raise EngineError(volume.path, f"its header's voxel size is {said}", "Give --pixel_size in A, such as 10.")
    require_voxel_size(given, what, f"{given:g} is not a voxel size")
    check_unit(given, volume, by)
    return given
