"""deconv: CTF deconvolution of the tomograms of a table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.command import Command, value_of
from isonet_scipion.engine.conventions import PHASE_FLIPPED
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.ctf_aware import require_uncorrected, tell_state
from isonet_scipion.engine.io.mrc import volume_bytes, writing_volume
from isonet_scipion.engine.io.origin import with_origin
from isonet_scipion.engine.io.shown import border_of
from isonet_scipion.engine.io.table_checks import FILTER, USUAL_FILTER, warn_of_unlike_values
from isonet_scipion.engine.io.tomogram_entry import CTF_STATE
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.engine.io.volume import naming
from isonet_scipion.engine.physics.radial_filter import Deconvolution, deconvolve
from isonet_scipion.engine.process.disk import growth, require_space
from isonet_scipion.engine.process.progress import Progress
from isonet_scipion.engine.settings.preparation import DeconvSettings

if TYPE_CHECKING:
    from isonet_scipion.engine.io.tomogram_entry import TomogramEntry
    from isonet_scipion.engine.physics.ctf import CtfParameters

log = logging.getLogger(__name__)


def deconv(star_file: str, settings: DeconvSettings) -> None:
    """Write deconvolved tomograms and their names into the table; errors as `EngineError`."""
    table = TomogramTable(star_file)
    entries = table.select(settings.tomo_idx)
    shapes = [entry.checked_source().shape for entry in entries]
    targets = {entry.name: Path(settings.deconv_folder) / f"{entry.name}.mrc" for entry in entries}
    owners = {targets[entry.name]: entry for entry in entries}
    marks = table.claim(owners, "deconv", "rlnDeconvTomoName", "deconv_folder")
    states = [require_uncorrected(entry, settings.ctf_state) for entry in entries]
    for entry in entries:
        tell_state(entry, entry.ctf_state(settings.ctf_state))
    ctfs = [entry.ctf_parameters(settings.voltage, settings.cs) for entry in entries]
    jobs = [_job(*parts, settings) for parts in zip(entries, ctfs, states)]
    for label, option in FILTER.items():
        values = {entry.name: getattr(job, option) for entry, job in zip(entries, jobs)}
        warn_of_unlike_values(star_file, label, values, f"give --{option}, which counts for all")
    needed = growth({targets[entry.name]: volume_bytes(shape) for entry, shape in zip(entries, shapes)})
    if settings.chunk_size:
        needed += 2 * max(map(volume_bytes, shapes))  # the spectrum's file; padding may double it
    require_space(settings.deconv_folder, needed)
    with Progress("Deconvolution", len(entries), "tomograms") as progress:
        for entry, job, state in zip(entries, jobs, states):
            volume = entry.source()
            target = targets[entry.name]
            voxel_size = entry.output_voxel_size(volume)
            border = border_of(volume)
            mark = with_origin(marks[target], entry.origin(volume, settings.ctf_state))
            with naming(volume), writing_volume(target, volume.shape, np.float32, voxel_size, volume, mark) as out:
                deconvolve(volume.data, job, out, settings.chunk_size, target.parent, settings.ncpu, border)
            told = {CTF_STATE: settings.ctf_state} if settings.ctf_state else {}
            used = {label: getattr(job, option) for label, option in FILTER.items()}
            table.update(entry, {**told, **used, "rlnDeconvTomoName": target})
            progress.advance()
            log.info(
                "%s: %s, snrfalloff %g, deconvstrength %g, from a tomogram taken as %s",
                target, job.ctf_parameters, job.snrfalloff, job.deconvstrength, state,
            )  # fmt: skip


def _job(entry: TomogramEntry, ctf_parameters: CtfParameters, state: str, settings: DeconvSettings) -> Deconvolution:
    """What is done with a tomogram; an EngineError where the table's numbers are out of range."""
    falloff = _chosen(settings.snrfalloff, entry.number("rlnSnrFalloff", USUAL_FILTER))
    strength = _chosen(settings.deconvstrength, entry.number("rlnDeconvStrength", USUAL_FILTER))
    try:
        return Deconvolution(
            entry.voxel_size, ctf_parameters, falloff, strength, settings.highpassnyquist, settings.pad_edges,
            state == PHASE_FLIPPED,
        )  # fmt: skip
    except EngineError as error:  # the options are in their ranges
        raise EngineError(f"{entry.star.path}, {error.what} of {entry.path}", error.why, error.remedy) from error


def _chosen(option: float | None, otherwise: float) -> float:
    return otherwise if option is None else option


COMMANDS = (
    Command(
        deconv,
        ("STAR_FILE",),
        DeconvSettings,
        writes=value_of("star_file"),
        folders=("deconv_folder",),
        less_memory="Give chunk_size, such as 64, or lower it, or rescale the tomogram (resize).",
    ),
)
