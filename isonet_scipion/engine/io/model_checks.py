"""What of some data is otherwise than that which a model was trained on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from isonet_scipion.engine.conventions import SIMULATED_SIZES
from isonet_scipion.engine.io.table_checks import MOST_UNLIKE

if TYPE_CHECKING:
    from isonet_scipion.engine.io.model_metadata import ModelMetadata
    from isonet_scipion.engine.io.tomogram_entry import TomogramEntry

log = logging.getLogger(__name__)


def warn_of_other_data(entry: TomogramEntry, metadata: ModelMetadata) -> None:
    """Log a line about each way in which a tomogram is otherwise than those that a model was trained on."""
    trained = metadata.voxel_size
    if _are_unlike(entry.voxel_size, trained):
        log.warning("%s: %.2f A per voxel, but the model was trained at %.2f A.", entry.path, entry.voxel_size, trained)
    if not metadata.knows_voxel_size(entry.voxel_size):
        log.warning(
            "%s: %.2f A per voxel, but the builtin model learned from simulated tomograms of %g to %g A; neither it "
            "nor its report may hold here. Resize the tomogram, or train on it.",
            entry.path,
            entry.voxel_size,
            *SIMULATED_SIZES,
        )
    own = entry.tilt.minimum, entry.tilt.maximum
    if not metadata.knows_tilts(*own):
        log.warning(
            "%s: tilts %g..%g, but the model was trained for %s degrees.", entry.path, *own, metadata.tilts_in_words
        )
    if metadata.by_halves and not entry.halves():
        log.warning("%s: the model was trained on halves, but the table names none.", entry.path)
    if metadata.deconvolved not in (None, entry.deconvolved):
        kinds = {True: "deconvolved", False: "not deconvolved"}
        log.warning(
            "%s: %s, but the model was trained on %s tomograms.",
            entry.path,
            kinds[entry.deconvolved],
            kinds[not entry.deconvolved],
        )


def warn_of_other_training(model: str, its: ModelMetadata, ours: ModelMetadata) -> None:
    """Log one line where a model to start from is of other data than a training, or takes them otherwise."""
    unlike = []
    size, own_size = its.voxel_size, ours.voxel_size
    if _are_unlike(size, own_size):
        unlike.append(f"{size:.4g} A per voxel (here {own_size:.4g})")
    if own_size and not its.knows_voxel_size(own_size):
        least, most = SIMULATED_SIZES
        unlike.append(f"simulated tomograms of {least:g} to {most:g} A per voxel (here {own_size:.4g})")
    if not all(its.knows_tilts(*ends) for ends in ours.tilt_ranges):
        unlike.append(f"tilts {its.tilts_in_words} (here {ours.tilts_in_words})")
    if its.normalize_percentile not in (None, ours.normalize_percentile):
        unlike.append(f"normalize_percentile {its.normalize_percentile} (here {ours.normalize_percentile})")
    if None not in (its.deconvolved, ours.deconvolved) and its.deconvolved != ours.deconvolved:
        unlike.append("deconvolved tomograms" if its.deconvolved else "tomograms that were not deconvolved")
    if its.halves and not ours.halves:
        unlike.append("half tomograms, without their noise (here whole ones)")
    if its.ctf_aware != ours.ctf_aware and not its.simulated:
        unlike.append(f"ctf_aware {its.ctf_aware} (here {ours.ctf_aware})")
    if unlike:
        log.warning("%s: it was trained on or with %s, which this training has to unlearn.", model, ", ".join(unlike))


def _are_unlike(size: float | None, other: float | None) -> bool:
    """Whether voxel sizes, where both are known, are not learned together."""
    if not size or not other:
        return False
    return max(size, other) > MOST_UNLIKE * min(size, other)
