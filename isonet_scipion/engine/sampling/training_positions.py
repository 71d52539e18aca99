"""How large the pieces of the tomograms are that the one-pass refinement learns from."""

from __future__ import annotations

import numpy as np

MARGIN = 8  # voxels around the cube in which the wedge is cut, so that its border shows less
# side of the cubes: from 32 the network, which sees their borders everywhere, has learned another task than that
# of the large tiles of a prediction
USUAL_CUBE = 48


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
