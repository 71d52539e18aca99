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
        If a run has several that may be meant.
    """
    folder = source / RUNS if (source / RUNS).is_dir() else source
    found: list[tuple[str, Path]] = []
    without = []
    for run in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        patterns = [wanted.strip("/")] if wanted else [f"{place}/*{SUFFIX}" for place in PLACES]
        stores = sorted(path for pattern in patterns for path in run.glob(pattern) if is_store(path))
        if len(stores) > 1:
            names = [str(path.relative_to(run)) for path in stores]
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            raise EngineError(
                str(run),
                f"it has several tomograms: {', '.join(names[:MOST_NAMED])}{more}",
                f"Select one per run, in place of FOLDER, such as prepare_star {names[0]} --from {source}.",
            )
        found += [(run.name, store) for store in stores]
        if not stores:
            without.append(run.name)
    if found and without:
        log.warning("%s: left out, since they have no %s: %s", folder, wanted or "tomogram", names_in_words(without))
    return found
