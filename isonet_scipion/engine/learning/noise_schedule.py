"""Which noise is added to the training pairs of an iteration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.noise_folder import read_noise
from isonet_scipion.engine.physics.back_projected_noise import Noise, NoiseSource

if TYPE_CHECKING:
    import numpy as np

    from isonet_scipion.engine.physics.wedge import TiltRange


def noise_level(iteration: int, levels: Sequence[float], starts: Sequence[int]) -> float:
    """Noise level of an iteration: that of the latest start not after it, 0 before the first.

    Raises
    ------
    EngineError
        If the two lists differ in length, or starts do not increase, or a level is no fraction.
    """
    if len(levels) != len(starts):
        raise EngineError(
            "noise_level",
            f"it has {len(levels)} values, noise_start_iter {len(starts)}",
            "Give both as many values.",
        )
    if list(starts) != sorted(set(starts)):
        raise EngineError("noise_start_iter", f"{listed(starts)} do not increase", "Give each level a later start.")
    if not all(0 <= level <= 1 for level in levels):  # nor is one of them NaN
        why = f"one of {listed(levels)} is no fraction from 0 to 1 of the signal's scale"
        raise EngineError("noise_level", why, "Give fractions such as 0.05,0.1; 5 per cent is 0.05.")
    reached = [level for level, start in zip(levels, starts) if iteration >= start]
    return reached[-1] if reached else 0.0


def late_noise(levels: Sequence[float], starts: Sequence[int], iterations: int) -> list[tuple[float, int]]:
    """Levels that would begin after the last of the iterations, and with which each would.

    Examples
    --------
    >>> late_noise((0.05, 0.1, 0.15), (11, 16, 21), 15)
    [(0.1, 16), (0.15, 21)]
    """
    return [(level, start) for level, start in zip(levels, starts) if level > 0 and start > iterations]


def adds_noise(levels: Sequence[float], starts: Sequence[int], iterations: int) -> bool:
    """Whether any of the iterations gets noise.

    Examples
    --------
    >>> adds_noise((0.05, 0.1), (11, 16), 15), adds_noise((0.05, 0.1), (11, 16), 10)
    (True, False)
    """
    return any(level > 0 and start <= iterations for level, start in zip(levels, starts))


def listed(numbers: Iterable[float]) -> str:
    """As they are typed."""
    return ",".join(f"{number:g}" for number in numbers)


def noise_sources(
    tilts: Sequence[TiltRange], cube_size: int, mode: str, folder: str | None, rng: np.random.Generator
) -> list[Noise]:
    """One source of noise per subtomogram; those of one tilt range share it.

    Parameters
    ----------
    tilts : sequence of TiltRange
        Of each subtomogram.
    cube_size : int
        Side in voxels of the cubes that will be drawn.
    mode : str
        See `projection_filter`.
    folder : str, optional
        Take the noise from the volumes in this folder; None: simulate it.
    rng : numpy.random.Generator

    Raises
    ------
    EngineError
        See `read_noise`.
    """
    if folder:
        return [read_noise(folder, cube_size)] * len(tilts)
    made: dict[TiltRange, Noise] = {
        tilt: NoiseSource.simulated(cube_size, tilt, mode, rng) for tilt in dict.fromkeys(tilts)
    }
    return [made[tilt] for tilt in tilts]
