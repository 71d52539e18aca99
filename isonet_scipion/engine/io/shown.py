"""Volumes as stages take them: with what is no data left out, and masks with what is inside decided."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.arrays import Mean, extremes, release, require_contrast
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.volume import Volume, naming
from isonet_scipion.engine.io.voxel_size import require_same_grid, told_size
from isonet_scipion.engine.physics.axes_check import Axes, shown_axes
from isonet_scipion.engine.physics.borders import LEAST_SHARE, Border, Box, find_border
from isonet_scipion.engine.physics.contrast_check import contrast_warning
from isonet_scipion.engine.physics.grey_scale import GreyScale, Shown, measure, measure_mean, sample
from isonet_scipion.engine.physics.halves_check import (
    OPPOSITE,
    RESEMBLING,
    common,
    exchanged,
    fault_of_halves,
    is_copy,
    scale_between,
    stranger,
    uneven,
)
from isonet_scipion.engine.physics.radial_filter import PhaseFlip, deconvolve
from isonet_scipion.engine.physics.tilt_check import LEAST, filled_warning, power_by_angle, shown_range, tilt_warning
from isonet_scipion.engine.sampling.even_boxes import sample_corners
from isonet_scipion.engine.sampling.mask_values import Mask
from isonet_scipion.engine.sampling.spikes import far_from, spike_cells, spike_limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isonet_scipion.engine.arrays import Doubles, Integers, Reals
    from isonet_scipion.engine.conventions import Normalisation
    from isonet_scipion.engine.physics.transfer import Transfer
    from isonet_scipion.engine.physics.wedge import TiltRange

log = logging.getLogger(__name__)
WHOLE = (slice(None),) * 3
SHIFTED = 1.0  # voxels between the places that two headers tell
AXES_SIDE, AXES_BOXES = 48, 16  # boxes in which a tomogram's axes are looked for: voxels on a side, and how many
LEAST_CALM = 0.25  # of the places of crops: with fewer away from spikes, none is left out
MOST_STEP, FEWEST_PLANES = 4, 32  # where what is blank in one half alone is looked for


def border_of(volume: Volume) -> Border | None:
    """What of a volume is no data, which is logged; None where all is."""
    border = find_border(volume.data)
    if border is not None:
        log.warning("%s: %s.", volume.path, border.describe())
    return border


def data_shape(volume: Volume) -> tuple[tuple[int, ...], bool]:
    """Of the smallest box of a volume that holds all that is data, and whether some of that box is none."""
    border = find_border(volume.data)
    return (volume.shape, False) if border is None else (border.inner_shape, border.empty is not None)


def require_axes(
    volume: Volume, border: Border | None, check: bool, inverted: bool, tilt: TiltRange | None = None
) -> None:
    """Raise an EngineError if a tomogram's missing wedge shows its tilt axis or beam along another axis than y and z.

    Logs a line where its contrast, or its tilt range, seems to be another than declared.

    Parameters
    ----------
    volume : Volume
        The tomogram.
    border : Border, optional
        What of it is no data.
    check : bool
        False: only a warning is logged.
    inverted : bool
        Whether protein is said to be bright.
    tilt : TiltRange, optional
        What its tilt range is said to be.
    """
    places, box = _places_of_data(volume, border)
    cubes = _boxes(volume, places, box)
    if not cubes:
        return
    refuse_axes(volume.path, shown_axes(cubes), check)
    warn_of_contrast(volume.path, cubes, inverted, "prepare_star --invert")
    side, telling = min(cubes[0].shape), [cube for cube in cubes if _has_contrast(cube)]
    if tilt is not None:
        warn_of_tilts(volume.path, tilt, [cube[:side, :side, :side] for cube in telling])


def spikes_in(voxels: Reals | Mean) -> Doubles:
    """Where what of a tomogram is data, (z, y, x), lies far beyond all else, as gold beads do; see `spike_cells`."""
    return spike_cells(voxels, spike_limits(sample(voxels)))


def away_from_spikes(path: str, spikes: Doubles, centres: Integers, side: int) -> Integers:
    """Those of some places of crops near which no voxels are far beyond all others; all, where these are too few.

    Either is logged.

    Parameters
    ----------
    path : str
        Of the tomogram.
    spikes : ndarray of float
        What `spikes_in` found in it.
    centres : ndarray of int
        (places, 3), z, y, x.
    side : int
        Of the crops in voxels.

    Returns
    -------
    ndarray of int
        (places, 3), fewer or as many.
    """
    calm = far_from(spikes, centres, side)
    if calm.all():
        return centres
    count = f"{len(calm) - np.count_nonzero(calm)} of {len(calm)} crop positions"
    if calm.mean() >= LEAST_CALM:
        log.info("%s: %s are left out: voxels far beyond all others, such as gold beads, are near.", path, count)
        return centres[calm]
    log.warning(
        "%s: voxels far beyond all others, such as gold beads, are near %s, too many to leave out. A training learns "
        "their streaks too: it will restore less. Erase gold before the reconstruction.", path, count,
    )  # fmt: skip
    return centres


def warn_of_contrast(what: str, volumes: Sequence[Reals], inverted: bool, remedy: str) -> None:
    """Log a line about `what`, with a remedy, where volumes seem to have another contrast than declared."""
    wrong = contrast_warning(volumes, inverted)
    if wrong:
        log.warning("%s: %s (%s).", what, wrong, remedy)


def warn_of_tilts(what: str, tilt: TiltRange, volumes: Sequence[Reals]) -> None:
    """Log a line about `what` where volumes, cubes of one size, show another tilt range than declared, or none."""
    if not volumes or len(volumes[0]) < LEAST:
        return
    angles, power = power_by_angle(volumes)
    if wrong := tilt_warning(tilt, shown_range(angles, power)):
        log.warning("%s: %s. Check tilt_min and tilt_max.", what, wrong)
    elif filled := filled_warning(tilt, angles, power):
        log.warning("%s: %s. Give it as reconstructed, from one axis.", what, filled)


def require_halves(halves: Sequence[Volume], whole: Volume | None = None) -> None:
    """Raise an EngineError if two volumes of one shape are not the halves of one tomogram, as far as voxels tell.

    Logs a line where they have nothing in common, one has far less with the tomogram than the other, their grey scales
    differ, headers tell different places, or one is blank where the other is not.

    Parameters
    ----------
    halves : sequence of Volume
        The two, or none.
    whole : Volume, optional
        The tomogram, of the same shape.
    """
    if not halves:
        return
    _warn_of_places([*([whole] if whole else []), *halves])
    _warn_of_one_blank(halves)
    telling = _telling_boxes([*halves, *([whole] if whole else [])], _sampled_places(halves[0].shape))
    if not telling:
        return
    even, odd, *tomogram = zip(*telling)
    names = f"{halves[0].path} and {halves[1].path}"
    fault = fault_of_halves(even, odd)
    if fault is not None:
        raise EngineError(names, f"as halves of one tomogram they are impossible: {fault.why}", fault.remedy)
    for half, boxes_of_half in zip(halves, (even, odd)):
        if whole is not None and all(is_copy(*pair) for pair in zip(boxes_of_half, tomogram[0])):
            raise EngineError(half.path, f"it is {whole.path}, not a half of it", "Name the two half tomograms.")
    if whole is not None and (place := exchanged((even, odd), tomogram[0])) is not None:
        raise EngineError(
            f"{names}, beside {whole.path}",
            f"by their voxels {halves[place].path} is the tomogram, and {whole.path} one of its halves",
            "Name the tomogram and its two halves each in its own place.",
        )
    if (factor := uneven(even, odd)) is not None:
        log.warning(
            "The grey values of one of %s are %.2g times as strong as those of the other or more, so that it counts "
            "more in their mean. Reconstruct both in the same way, or bring them to one scale.", names, factor,
        )  # fmt: skip
    odd_one = None if whole is None else stranger((even, odd), tomogram[0])
    if whole is not None and odd_one is not None:
        log.warning(
            "%s has far less in common with %s than the other half, %s, has: is it a half of it, neither mirrored nor "
            "shifted against it?", halves[odd_one].path, whole.path, halves[1 - odd_one].path,
        )  # fmt: skip
    elif common(even, odd) == 0:
        log.warning("%s have nothing in common beyond chance: are they the halves of one tomogram?", names)
    elif whole is not None:
        alike = common([np.add(*pair, dtype=np.float32) for pair in zip(even, odd)], tomogram[0])
        if alike < 0:
            raise EngineError(f"{names}, and {whole.path}", f"beside each other {OPPOSITE.why}", OPPOSITE.remedy)
        if alike == 0:
            log.warning("%s have nothing in common with %s: are they its halves?", names, whole.path)
        elif alike < RESEMBLING:
            log.warning(
                "The mean of %s hardly resembles %s (correlation %.2f): are they mirrored or shifted against it?",
                names,
                whole.path,
                alike,
            )


def _warn_of_places(volumes: Sequence[Volume]) -> None:
    """Log a line where headers of volumes of one shape have different origins; one of 0 tells nothing."""
    # a voxel size that is not set puts no origin anywhere
    sized = [volume for volume in volumes if told_size(volume.voxel_size)]
    told = [(volume.path, volume.place) for volume in sized if volume.place is not None]
    for path, place in told[1:]:
        shift = place - told[0][1]
        if np.abs(shift).max() > SHIFTED:
            log.warning(
                "%s: by the origins in the headers it is shifted against %s by %s voxels (x, y, z). They are taken "
                "voxel by voxel: if it is, cut both to the same place.", path, told[0][0],
                ", ".join(f"{value:.4g}" for value in shift),
            )  # fmt: skip
            return


def _warn_of_one_blank(halves: Sequence[Volume]) -> None:
    """Log a line where one half has data and the other a border or blank places."""
    step = max(1, min(MOST_STEP, halves[0].shape[0] // FEWEST_PLANES))  # all planes of large ones take seconds
    borders = [find_border(half.data[::step]) for half in halves]
    first, second = (np.True_ if border is None else border.data() for border in borders)
    share = float(np.mean(first != second))
    if share > LEAST_SHARE:
        log.warning(
            "%s and %s: at %.1f %% of the voxels one of these halves is a border or blank and the other is not, so "
            "that their mean there is of one alone. Cut both to the same part.",
            halves[0].path, halves[1].path, 100 * share,
        )  # fmt: skip


def _has_contrast(box: Reals) -> bool:
    low, high = float(box.min()), float(box.max())
    return math.isfinite(high - low) and low < high


def _sampled_places(shape: tuple[int, ...]) -> list[Box]:
    """Of boxes all over a volume."""
    sides = [min(AXES_SIDE, length) for length in shape]
    corners = sample_corners(shape, AXES_SIDE, AXES_BOXES)
    return [tuple(slice(a, a + side) for a, side in zip(corner, sides)) for corner in corners]


def _places_of_data(volume: Volume, border: Border | None) -> tuple[list[Box], Box]:
    """As `_sampled_places`, away from empty voxels, in the box of a volume that holds data, which comes along."""
    if border is None:
        return _sampled_places(volume.shape), WHOLE
    places, empty = _sampled_places(border.inner_shape), border.empty
    return [place for place in places if empty is None or not empty[place].any()], border.box


def _telling_boxes(volumes: Sequence[Volume], places: Sequence[Box], within: Box = WHOLE) -> list[tuple[Reals, ...]]:
    """At each place the boxes of some volumes, where none is blank.

    Blank ones tell nothing, and what is wrong with others is told where they are read whole.
    """
    boxes = zip(*(_boxes(volume, places, within) for volume in volumes))
    return [place for place in boxes if all(map(_has_contrast, place))]


def _boxes(volume: Volume, places: Sequence[Box], within: Box = WHOLE) -> list[Reals]:
    """Copies of boxes of a volume, or of a part of it."""
    boxes = []
    for place in places:
        boxes.append(np.array(volume.data[within][place]))
        release(volume.data)  # far more of it comes with a box
    return boxes


def refuse_axes(path: str, found: Axes | None, check: bool) -> None:
    """Raise an EngineError about a file whose axes are found elsewhere, or log it unless `check`."""
    if found is not None and check:
        raise EngineError(path, found.why, found.remedy)
    if found is not None:
        log.warning("%s: %s.", path, found.why)


def open_mask(path: str, tomogram: Volume, voxel_size: float) -> Mask:
    """The mask of a tomogram of that voxel size in A; what was assumed to tell what is inside is logged.

    Raises
    ------
    EngineError
        If the file can't be read, does not fit to the tomogram, or does not tell what is inside.
    """
    volume = open_volume(path)
    require_same_grid(volume, tomogram, voxel_size)
    with naming(tomogram, path):
        mask = Mask(volume.data)
    if mask.rule.assumed:
        log.warning("%s: %s.", path, mask.rule.assumed)
    return mask


def show(
    volume: Volume, normalisation: Normalisation, transfer: Transfer | None = None, border: Border | None = None,
    inverted: bool = False,
) -> Shown:  # fmt: skip
    """Read a volume for a network.

    Parameters
    ----------
    volume : Volume
        The tomogram, or a half of it.
    normalisation : Normalisation
        Of its grey values.
    transfer : Transfer, optional
        Of a CTF-aware network: the tomogram is phase-flipped, unless it is already.
    border : Border, optional
        What of it is no data: only the box around the rest is shown.
    inverted : bool
        Whether protein is bright in the file.

    Raises
    ------
    EngineError
        If a voxel is not finite, or all are equal.
    """
    voxels = readable(volume, transfer, border)
    return Shown(voxels, measure(voxels, normalisation, negated=not inverted), inverted)


@dataclass(frozen=True)
class Seen:
    """A tomogram, or the mean of its halves, as a network sees it, and its halves where there are any."""

    whole: Shown
    halves: tuple[Shown, ...] = ()  # of a mean on its grey scale, else each on its own
    transfer: Transfer | None = None  # known where the network sees it phase-flipped

    @property
    def is_mean(self) -> bool:
        """Whether the whole is the mean of the halves."""
        return isinstance(self.whole.voxels, Mean)


def see(
    volume: Volume, halves: Sequence[Volume], as_mean: bool, normalisation: Normalisation,
    transfer: Transfer | None = None, border: Border | None = None, inverted: bool = False,
) -> Seen:  # fmt: skip
    """As `show`, of a tomogram and its halves; with `as_mean` the network sees the mean of these as the whole."""
    if not as_mean:
        whole, *each = (show(one, normalisation, transfer, border, inverted) for one in (volume, *halves))
        return Seen(whole, tuple(each), transfer)
    parts = [readable(half, transfer, border) for half in halves]
    scale = measure_mean(parts, normalisation, negated=not inverted)
    shown = tuple(Shown(part, scale, inverted) for part in parts)
    return Seen(Shown(Mean(parts), scale, inverted), shown, transfer)


def scale_of_halves(halves: Sequence[Volume], whole: Volume, border: Border | None = None) -> GreyScale | None:
    """The map from the grey scale of a tomogram's halves to its own, which is logged; None where they have the same.

    Parameters
    ----------
    halves : sequence of Volume
        The two.
    whole : Volume
        The tomogram, of the same shape.
    border : Border, optional
        What of it is no data.
    """
    places, box = _places_of_data(whole, border)
    telling = _telling_boxes([*halves, whole], places, box)
    if not telling:
        return None
    found = scale_between([Mean(place[:-1])[:] for place in telling], [place[-1] for place in telling])
    if found is not None:
        factor, more = 1 / found.scale, -found.offset / found.scale
        log.info(
            "%s: its halves have another grey scale: their value v counts as %.4g v %+.4g.", whole.path, factor, more
        )
    return found


def readable(volume: Volume, transfer: Transfer | None, border: Border | None) -> Reals:
    """What of a volume a network is shown, before its grey scale; parameters and errors as of `show`."""
    voxels = volume.data if border is None else border.inner(volume.data)
    with naming(volume):
        if transfer is not None and not transfer.comes_flipped:
            voxels = deconvolve(voxels, PhaseFlip(transfer.voxel_size, transfer.ctf_parameters))
        require_contrast(*extremes(voxels))
    return voxels
