"""What is odd in a table: what only some rows have, tilts without 0 degrees, one file in several rows, voxel sizes."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from isonet_scipion.engine.conventions import TILT_RANGE
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import real_file
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.origin import origin_in, voxels_digest
from isonet_scipion.engine.io.star import read_star, tomogram_names
from isonet_scipion.engine.io.tomogram_entry import MASK, TILTS, row_tilts
from isonet_scipion.engine.wording import counted, names_in_words

if TYPE_CHECKING:
    from isonet_scipion.engine.io.star import Star
    from isonet_scipion.engine.io.tomogram_entry import TomogramEntry
    from isonet_scipion.engine.physics.wedge import TiltRange

log = logging.getLogger(__name__)
EXTRACTED_FROM = "isonetExtractedFrom"  # column of subtomograms: the table of tomograms that extract read
SAME_TILT = 0.01  # degrees
FILTER = {"rlnSnrFalloff": "snrfalloff", "rlnDeconvStrength": "deconvstrength"}  # columns, and options of deconv
USUAL_FILTER = 1.0  # of both, where nothing tells
MOST_UNLIKE = 1.05  # ratio of voxel sizes that are learned together


def tell_assumed_tilts(star: Star, rows: Sequence[dict[str, str]], names: Sequence[str]) -> None:
    """Log a line where a table does not tell the tilt ranges of rows, which have these names: the usual is assumed.

    It is a warning where other rows have theirs: that one was left out by mistake is then likely.
    """
    without = [name for name, row in zip(names, rows) if not any(star.text(row, label) for label in TILTS)]
    if without:
        log.log(
            logging.WARNING if len(without) < len(names) else logging.INFO,
            "%s: no tilt range (%s) of %s: %g..%g degrees are assumed.",
            star.path, " and ".join(TILTS), names_in_words(without), *TILT_RANGE,
        )  # fmt: skip


def warn_of_assumed_tilts(entries: Sequence[TomogramEntry]) -> None:
    """As `tell_assumed_tilts`, of tomograms of one table, at least one."""
    rows, names = zip(*((entry.row, entry.name) for entry in entries))
    tell_assumed_tilts(entries[0].star, rows, names)


def warn_of_lopsided_tilts(source: str, tilts: Mapping[str, TiltRange]) -> None:
    """Warn of tilt ranges without 0 degrees, by the names of their tomograms or subtomograms, in a table."""
    lopsided = {name: tilt for name, tilt in tilts.items() if not tilt.minimum <= 0 <= tilt.maximum}
    if lopsided:
        tilt = next(iter(lopsided.values()))
        log.warning(
            "%s: the tilt range of %s has no 0 degrees (%g..%g): if that is a slip, such as a missing minus sign, the "
            "network is told a wrong wedge.", source, names_in_words(list(lopsided)), tilt.minimum, tilt.maximum,
        )  # fmt: skip


def warn_of_changed_tilts(star: Star) -> None:
    """Warn where the table that subtomograms were extracted from tells other tilt ranges than theirs by now."""
    own = {star.text(row, "rlnTomoName"): row for row in star.rows}
    for path in filter(None, dict.fromkeys(star.text(row, EXTRACTED_FROM) for row in star.rows)):
        try:
            tomograms = read_star(path)
            tomograms.require(["rlnIndex", "rlnMicrographName"])
            named = [pair for pair in zip(tomogram_names(tomograms), tomograms.rows) if pair[0] in own]
            tilts = {name: (row_tilts(star, own[name], name), row_tilts(tomograms, row, name)) for name, row in named}
        except EngineError:  # it is gone, or another file by now
            continue
        if changed := [name for name, (old, new) in tilts.items() if not _is_same(old, new)]:
            old, new = tilts[changed[0]]
            log.warning(
                "%s: the tilt range of %s is %g..%g degrees, but %g..%g in %s by now, which does not count here. Run "
                "extract again, or give tilt_min and tilt_max.",
                star.path, names_in_words(changed), old.minimum, old.maximum, new.minimum, new.maximum, path,
            )  # fmt: skip


def _is_same(one: TiltRange, other: TiltRange) -> bool:
    return max(abs(one.minimum - other.minimum), abs(one.maximum - other.maximum)) < SAME_TILT


def warn_of_repeated(entries: Sequence[TomogramEntry]) -> None:
    """Name files that stand in several rows, as where a row was copied and its name was not changed."""
    rows: dict[str, list[str]] = {}
    for entry in entries:
        rows.setdefault(real_file(entry.source_path), []).append(entry.row["rlnIndex"])
    if repeated := {file: indices for file, indices in rows.items() if len(indices) > 1}:
        file, indices = next(iter(repeated.items()))
        log.warning(
            "%s: %s stands in the rows of rlnIndex %s%s, and is taken as several tomograms. If that is a slip, "
            "another tomogram is missing.", entries[0].star.path, file, " and ".join(indices),
            f" (and {counted(len(repeated) - 1, 'other files')} so)" if len(repeated) > 1 else "",
        )  # fmt: skip


def _lacking(entries: Sequence[TomogramEntry], has: Callable[[TomogramEntry], object]) -> str | None:
    """Those that lack what others have, in words; None where all or none have it."""
    without = [entry.name for entry in entries if not has(entry)]
    return names_in_words(without) if 0 < len(without) < len(entries) else None


def require_one_kind(entries: Sequence[TomogramEntry], to_choose: str) -> None:
    """Raise an EngineError where work would be done on deconvolved and other tomograms; `to_choose`: how to choose."""
    without = _lacking(entries, lambda entry: entry.deconvolved)
    if without:
        raise EngineError(
            entries[0].star.path,
            f"only some of the tomograms are deconvolved, not {without}",
            f"Run deconv on these too, {to_choose}, or give --use_deconv_tomo False.",
        )


def require_all_halves_or_none(entries: Sequence[TomogramEntry]) -> None:
    """Raise an EngineError where only some of the tomograms that work is done on have halves."""
    without = _lacking(entries, lambda entry: entry.fitting_halves())
    if without:
        raise EngineError(
            entries[0].star.path,
            f"only some of the tomograms have halves, not {without}",
            "Name both halves of all, or of none, or take these out of the table.",
        )


def require_one_voxel_size(source: str, kind: str, sizes: Sequence[float]) -> None:
    """Raise an EngineError unless the voxel sizes (A) of a table's volumes, `kind`, can be learned together."""
    if max(sizes) > MOST_UNLIKE * min(sizes):
        raise EngineError(
            source,
            f"its {kind} have voxel sizes from {min(sizes):g} to {max(sizes):g} A; all must be (nearly) equal",
            "Rescale the tomograms with resize, or make tables of one voxel size each.",
        )


def warn_of_unlike_values(source: str, label: str, values: Mapping[str, float], remedy: str) -> None:
    """Warn where tomograms, by their names, have different values of a column of a table.

    A trial on a few leaves its own there, which the next run on all takes.
    """
    counts = Counter(values.values())
    usual = max(counts, key=counts.__getitem__, default=0.0)
    if others := [f"{name} ({value:g})" for name, value in values.items() if value != usual]:
        log.warning(
            "%s: %s is %g, but for %s. If that is not meant: %s.",
            source, label, usual, names_in_words(others), remedy,
        )  # fmt: skip


def warn_of_unlike_filters(entries: Sequence[TomogramEntry]) -> None:
    """Warn where the table tells that its deconvolved tomograms, of those that work is done on, are filtered unlike."""
    filtered = [entry for entry in entries if entry.source_path == entry.text("rlnDeconvTomoName")]
    for label, option in FILTER.items():
        values = {entry.name: entry.number(label, USUAL_FILTER) for entry in filtered}
        warn_of_unlike_values(entries[0].star.path, label, values, f"run deconv on all with --{option}")


def warn_of_kinds(entries: Sequence[TomogramEntry]) -> None:
    """Warn where work is done on deconvolved and other tomograms."""
    without = _lacking(entries, lambda entry: entry.deconvolved)
    if without:
        log.warning(
            "%s: only some of the tomograms are deconvolved, not %s, which are taken as they are. Run deconv on these "
            "too, or give --use_deconv_tomo False.", entries[0].star.path, without,
        )  # fmt: skip


def _with_outdated_masks(entries: Sequence[TomogramEntry]) -> list[str]:
    """Names of tomograms whose mask is outdated, or made by make_mask of another one's voxels, for whatever table."""
    masks = {entry.name: entry.text(MASK) for entry in entries}
    made = {name: told.voxels for name, mask in masks.items() if mask and (told := origin_in(mask, "make_mask"))}
    masked = [entry for entry in entries if entry.name in made]
    own = {entry.name: voxels_digest(open_volume(entry.path)) for entry in masked if os.path.exists(entry.path)}

    def is_of_another(name: str) -> bool:
        return name in own and made[name] != own[name] and made[name] in own.values()

    return [entry.name for entry in masked if is_of_another(entry.name) or entry.mask_is_outdated(own.get(entry.name))]


def warn_of_masks(entries: Sequence[TomogramEntry], what: str) -> None:
    """Warn where masks are missing or outdated.

    Where only some tomograms have masks, `what` is done anywhere in the others.
    """
    outdated = _with_outdated_masks(entries)
    if outdated:
        log.warning(
            "%s: the masks of %s were made of other voxels than the tomograms have now. Make them again, or put each "
            "into its tomogram's row.",
            entries[0].star.path, names_in_words(outdated),
        )  # fmt: skip
    without = _lacking(entries, lambda entry: entry.text(MASK))
    if without:
        log.warning(
            "%s: only some of the tomograms have masks, not %s: %s anywhere in these. Make masks of these too.",
            entries[0].star.path, without, what,
        )  # fmt: skip
