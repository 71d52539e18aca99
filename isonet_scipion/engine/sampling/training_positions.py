"""How large the pieces of the tomograms are that the one-pass refinement learns from, and what is kept from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isonet_scipion.engine.arrays import Doubles, Flags, Integers

MARGIN = 8  # voxels around the cube in which the wedge is cut, so that its border shows less
# side of the cubes: from 32 the network, which sees their borders everywhere, has learned another task than that
# of the large tiles of a prediction
USUAL_CUBE = 48
UNSEEN_FRACTION = 0.15  # of the places for crops, that may be given up so that boxes stay unseen in training
MOST_UNSEEN = 0.5  # the same for the first box
BOXES = 24  # in all, at the most: trying them takes a few per cent of a usual iteration
CANDIDATES = 200  # places among which the boxes are chosen


def crop_side(cube_size: int, any_angle: bool, divisor: int) -> int:
    """Side of the crops in voxels: the cube and its margin, turned as they may be, stay inside.

    A multiple of `divisor`, for the network, and even or odd as the cube, so that voxels fall on voxels.
    """
    grid = cube_size + 2 * MARGIN
    side = -(-int(np.ceil(grid * np.sqrt(3)) if any_angle else grid) // divisor) * divisor
    return side + divisor * ((side - grid) % 2)


def fitting_cube(shortest: int, any_angle: bool, divisor: int) -> int:
    """Side of the cubes in voxels for tomograms whose shortest side is `shortest`: the usual one, or what fits."""
    sides = range(USUAL_CUBE // divisor * divisor, divisor, -divisor)
    return next((side for side in sides if crop_side(side, any_angle, divisor) <= shortest), divisor)


def set_aside(centres: Integers, side: int, most: int) -> tuple[Integers, Integers]:
    """Choose boxes that training never sees: those that cost it the fewest of its places.

    Parameters
    ----------
    centres : ndarray
        (n, 3) of crops, in voxels, in random order.
    side : int
        Of crops and boxes, in voxels.
    most : int
        Boxes, at the most.

    Returns
    -------
    training, boxes : ndarray
        Centres of the crops that overlap no box, and of the boxes, which do not overlap each other. No boxes where
        already the first would cost more than half of the places.
    """
    left, boxes = choose_unseen(centres, side, most)
    return centres[left], centres[boxes]


def choose_unseen(centres: Integers | Doubles, side: int, most: int) -> tuple[Flags, list[int]]:
    """Which places training may use, (n,) bool, and the numbers of those that are boxes; see `set_aside`."""
    candidates, left = centres[:CANDIDATES], np.ones(len(centres), bool)
    boxes: list[int] = []
    overlaps = np.abs(candidates[:, None] - centres).max(axis=-1) < side
    while len(boxes) < most:
        free = [place for place in range(len(candidates)) if not overlaps[boxes, place].any()]
        if not free:
            break
        cheapest = min(free, key=lambda place: np.count_nonzero(overlaps[place] & left))
        after = left & ~overlaps[cheapest]
        if after.mean() < 1 - (UNSEEN_FRACTION if boxes else MOST_UNSEEN):
            break
        left, boxes = after, [*boxes, cheapest]
    return left, boxes


def unseen_subtomograms(
    tomograms: Sequence[str], places: Doubles, size: int, rng: np.random.Generator
) -> tuple[Flags, list[int], bool]:
    """Choose subtomograms that training never sees.

    Parameters
    ----------
    tomograms : sequence of str
        Which one each is of.
    places : ndarray
        (n, 3), centres in voxels.
    size : int
        Of all of them, in voxels.
    rng : numpy.random.Generator

    Returns
    -------
    training : ndarray of bool
        Those that training may use.
    unseen : list of int
        Numbers of the chosen ones.
    apart : bool
        Whether these share no voxel with those; if that is not to be had, a tenth is chosen.
    """
    order = rng.permutation(len(places))
    # the tomograms one behind the other, too far for any overlap
    _, behind = np.unique(tomograms, return_inverse=True)
    apart_places = places + np.outer(behind * (np.ptp(places[:, 2]) + size), (0, 0, 1))
    left, boxes = choose_unseen(apart_places[order], size, BOXES)
    few = min(BOXES, max(1, len(order) // 10), len(order) - 1)
    chosen, training = order[boxes or range(few)], np.ones(len(order), bool)
    training[order[~left] if boxes else chosen] = False
    return training, [int(number) for number in chosen], bool(boxes)
