"""Whether the tilt axis lies along y and the beam along z: a back-projection has no power in its wedge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Reals

STEEP = 70.0  # degrees; most tilt series end before
BAND = (0.1, 0.6)  # fractions of Nyquist: nearer to 0 a box blurs the wedge, beyond there may be nothing
NEAREST = 0.06  # fraction of Nyquist along the beam below which a component's direction is uncertain
SHELLS = 24.0  # up to Nyquist
EMPTY = 0.15  # power in the wedge over that in its shells; it is 0.00 to 0.04 for tilts up to 66 degrees
CLEARLY = 4.0  # as much in the wedge that should be empty as in the one that is
LEAST = 24  # voxels on a side of boxes that tell; in one of 8 chance shows a turned axis once in ten times
OBLIQUE = range(15, 90, 15)  # degrees between the tilt axis and y, to either side, that are told too


@dataclass(frozen=True)
class Axes:
    """How a tomogram lies: axes are x, y and z; `turned` are the degrees from y to a tilt axis between x and y."""

    tilt: str
    beam: str
    turned: int = 0

    @property
    def why(self) -> str:
        """What is wrong, after a file's name."""
        if self.turned:
            return f"its missing wedge shows that the tilt axis is turned by {self.turned} degrees from y towards x"
        swapped = ": y and z are swapped" if (self.tilt, self.beam) == ("z", "y") else ""
        return (
            f"its missing wedge shows the tilt axis along {self.tilt} and the beam along {self.beam}, "
            f"not along y and z{swapped}"
        )

    @property
    def remedy(self) -> str:
        """What to do."""
        override = "If it is right as it is, give --check_axes False."
        if self.turned:
            turn = (
                f"Turn it about z by {abs(self.turned)} degrees (IMOD: rotatevol), or reconstruct it with that angle."
            )
        elif (self.tilt, self.beam) == ("z", "y"):
            turn = "Turn it about x (IMOD: clip rotx; AreTomo: -FlipVol 1)."
        elif (self.tilt, self.beam) == ("x", "z"):
            turn = "Turn it about z by 90 degrees (IMOD: rotatevol -angles 90,0,0)."
        else:
            turn = "Turn it so that they do (IMOD: rotatevol)."
        return f"{turn} {override}"


def shown_axes(volumes: Iterable[Reals]) -> Axes | None:
    """Where the tilt axis lies by the data; None where it is along y with the beam along z, or can't be told.

    The power in the wedge of each arrangement, steeper than 70 degrees, is compared with that of the shells in which
    it lies. One of them must be empty while that of the right arrangement is not.

    Parameters
    ----------
    volumes : iterable of ndarray
        (z, y, x) of any real type, all of one shape: boxes of a tomogram or subtomograms, at least one. Those of less
        than 24 voxels on a side tell nothing.
    """
    relative, k = _relative_power(volumes)
    if min(*relative.shape[:2], 2 * relative.shape[2] - 1) < LEAST:  # along x there is half of a spectrum
        return None
    names = "zyx"
    ratios = {
        Axes(names[tilt], names[beam]): _in_wedge(relative, k[beam], k[3 - tilt - beam])
        for tilt, beam in ((1, 0), (2, 0), (0, 1), (2, 1), (0, 2), (1, 2))
    }
    for degrees in OBLIQUE:
        for sign in (1, -1):
            angle = np.radians(sign * degrees)
            beside = k[2] * np.cos(angle) - k[1] * np.sin(angle)
            ratios[Axes("xy", "z", sign * degrees)] = _in_wedge(relative, k[0], beside)
    right = ratios[Axes("y", "z")]
    found = min(ratios, key=lambda axes: ratios[axes])
    # with the same beam, the wedge of a tilt axis across holds power; otherwise the volume was smoothed along one axis
    across = [ratio for axes, ratio in ratios.items() if axes.beam == found.beam and not axes.turned and axes != found]
    if ratios[found] > EMPTY or min(right, *across) < max(EMPTY, CLEARLY * ratios[found]):
        return None
    return None if abs(found.turned) == OBLIQUE[0] else found  # the least is not told from a wide tilt range


def _relative_power(volumes: Iterable[Reals]) -> tuple[Reals, list[Reals]]:
    """Power of each component over the mean of its shell, and its frequencies as fractions of Nyquist."""
    shape: tuple[int, ...] = (0, 0, 0)
    total = np.zeros(())
    for volume in volumes:
        shape = volume.shape
        voxels = volume.astype(np.float32)
        with np.errstate(invalid="ignore"):  # what is not finite is told by the stage itself
            voxels -= voxels.mean()
        for axis, length in enumerate(shape):
            voxels *= (
                np.hanning(length + 2)[1:-1].astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
            )
        total = total + np.abs(scipy.fft.rfftn(voxels)) ** 2
    along = [2 * scipy.fft.fftfreq(shape[0]), 2 * scipy.fft.fftfreq(shape[1]), 2 * scipy.fft.rfftfreq(shape[2])]
    k = [values.reshape([-1 if a == axis else 1 for a in range(3)]) for axis, values in enumerate(along)]
    radius = np.sqrt(k[0] ** 2 + k[1] ** 2 + k[2] ** 2)
    shell = (radius * SHELLS).astype(int)
    mean = np.bincount(shell.ravel(), total.ravel()) / np.maximum(np.bincount(shell.ravel()), 1)
    relative = total / np.maximum(mean, np.finfo(float).tiny)[shell]
    relative[(radius < BAND[0]) | (radius > BAND[1])] = np.nan
    return relative, k


def _in_wedge(relative: Reals, beam: Reals, across: Reals) -> float:
    region = (np.abs(beam) > NEAREST) & (np.abs(beam) > np.tan(np.radians(STEEP)) * np.abs(across))
    inside = relative[np.broadcast_to(region, relative.shape)]
    inside = inside[np.isfinite(inside)]
    return float(inside.mean()) if len(inside) else 1.0
