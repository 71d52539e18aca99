"""Tomograms in folders of runs: a copick project on disk, or a data set of the CryoET Data Portal."""

from __future__ import annotations

import logging
from pathlib import Path

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.ome_zarr import SUFFIX, is_store
from isonet_scipion.engine.wording import names_in_words

log = logging.getLogger(__name__)
RUNS = "ExperimentRuns"  # of a copick project
# where a run has its tomograms: copick; the portal, now and before 2025
PLACES = ("VoxelSpacing*", "Reconstructions/VoxelSpacing*/Tomograms/*", "Tomograms/VoxelSpacing*/*")
MOST_NAMED = 6


def stores_of_runs(source: Path, wanted: str | None) -> list[tuple[str, Path]]:
    """The tomogram of each run below a folder.

    Parameters
    ----------
    source : path
        A copick project, its ExperimentRuns, or a folder of the portal's runs.
    wanted : str, optional
        Which tomogram of each run, where there are several: its path from the run's folder, such as
        VoxelSpacing10.000/wbp.zarr; may hold *.

    Returns
    -------
    list
        Names of the runs and their OME-Zarr folders; empty where there are no such runs.

    Raises
    ------
    EngineError
        If a run has several that may be meant, or none of the runs with tomograms the wanted one.
    """
    folder = source / RUNS if (source / RUNS).is_dir() else source
    found: list[tuple[str, Path]] = []
    without = []
    runs = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    for run in runs:
        stores = _stores(run, wanted)
        if len(stores) > 1:
            names = [str(path.relative_to(run)) for path in stores]
            raise EngineError(
                str(run),
                f"it has several tomograms: {names_in_words(names, MOST_NAMED)}",
                f"Select one per run, in place of FOLDER, such as prepare_star {names[0]} --from {source}.",
            )
        found += [(run.name, store) for store in stores]
        if not stores:
            without.append(run.name)
    if wanted and not found and any(_stores(run, None) for run in runs):
        raise EngineError(
            str(folder), f"none of its runs has {wanted}", "Give FOLDER as a path from a run's folder, or leave it out."
        )
    if found and without:
        log.warning("%s: left out, since they have no %s: %s", folder, wanted or "tomogram", names_in_words(without))
    return found


def _stores(run: Path, wanted: str | None) -> list[Path]:
    """The tomograms of a run that may be meant."""
    patterns = [wanted.strip("/")] if wanted else [f"{place}/*{SUFFIX}" for place in PLACES]
    try:
        return sorted(path for pattern in patterns for path in run.glob(pattern) if is_store(path))
    except (ValueError, IndexError) as error:  # what is no pattern, such as a lone dot
        why = f"'{wanted}' is no path from a run's folder"
        raise EngineError("FOLDER", why, "Give one such as VoxelSpacing10.000/wbp.zarr, or leave it out.") from error
