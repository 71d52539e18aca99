"""The rotations of the cube that move the missing wedge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats


@dataclass(frozen=True)
class CubeRotation:
    """Output axis j runs along input axis `axes[j]`, backwards where `signs[j]` is -1. Axes are z, y, x."""

    axes: tuple[int, ...] = (0, 1, 2)
    signs: tuple[int, ...] = (1, 1, 1)

    def apply(self, volume: Floats) -> Floats:
        """A rotated view of a volume (z, y, x)."""
        return volume.transpose(self.axes)[tuple(slice(None, None, sign) for sign in self.signs)]

    def turned(self, quarters: int, first: int, second: int) -> CubeRotation:
        """Followed by quarter turns from axis `first` towards axis `second` (as numpy.rot90)."""
        axes, signs = list(self.axes), list(self.signs)
        for _ in range(quarters % 4):
            axes[first], axes[second] = axes[second], axes[first]
            signs[first], signs[second] = -signs[second], signs[first]
        return CubeRotation(tuple(axes), tuple(signs))


def _training_rotations() -> tuple[CubeRotation, ...]:
    z, y, x = 0, 1, 2
    tilted = [
        CubeRotation().turned(turn, z, other).turned(spin, y, x)
        for turn in (1, 3)
        for half in (0, 2)
        for other in (y, x)
        for spin in (half, half + 1)
    ]
    upright = [CubeRotation().turned(turn, z, y).turned(spin, y, x) for spin in (1, 3) for turn in (0, 2)]
    return tuple(tilted + upright)


# 20 of the 24, in IsoNet 0.2's order: the identity and the half turns about x, y and z leave the wedge where it is
TRAINING_ROTATIONS = _training_rotations()
