"""An example tomogram whose truth is known: vesicles and particles in ice, seen through a tilt range."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from isonet_scipion.engine.arrays import Doubles, Reals
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.physics.ctf import CtfParameters, ctf
from isonet_scipion.engine.physics.wedge import TiltRange, measured

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Floats, Reals

MEMBRANE = 40.0  # thickness in A of each vesicle's shell
VESICLE_RADII = (150.0, 300.0)  # A
PARTICLE_RADII = (60.0, 110.0)  # A
CROWDING = 6e-8  # particles per cubic A
VESICLES = 4e-9  # per cubic A


def make_truth(shape: tuple[int, ...], voxel_size: float, seed: int) -> Floats:
    """Density of a crowded scene, protein positive on zero.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x).
    voxel_size : float
        In A.
    seed : int
        Of the positions, sizes and orientations.

    Returns
    -------
    ndarray
        float32, 0 to about 1.
    """
    rng = np.random.default_rng(seed)
    density = np.zeros(shape, np.float32)
    volume = np.prod(shape) * voxel_size**3
    for _ in range(max(1, round(VESICLES * volume))):
        radius = rng.uniform(*VESICLE_RADII)
        _add(
            density, rng.uniform(0, shape), radius + MEMBRANE, voxel_size, lambda r, _, radius=radius: _shell(r, radius)
        )
    for _ in range(max(4, round(CROWDING * volume))):
        radius = rng.uniform(*PARTICLE_RADII)
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        # two lobes of unequal size with a cleft between them, as a ribosome has
        _add(density, rng.uniform(0, shape), radius, voxel_size, lambda r, p, a=axis, s=radius: _particle(r, p, a, s))
    return density


def _add(density: Floats, centre: Doubles, reach: float, voxel_size: float, profile: Callable[..., Reals]) -> None:
    """Add a profile(distance, offsets) in A around a centre in voxels, within its reach in A."""
    first = np.maximum(0, np.floor(centre - reach / voxel_size - 1)).astype(int)
    last = np.minimum(density.shape, np.ceil(centre + reach / voxel_size + 2)).astype(int)
    axes = [(np.arange(a, b) - c) * voxel_size for a, b, c in zip(first, last, centre)]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"))
    box = density[tuple(slice(a, b) for a, b in zip(first, last))]
    np.maximum(box, profile(np.sqrt((offsets**2).sum(axis=0)), offsets), out=box)


def _edge(signed_distance: Doubles) -> Reals:
    """1 inside, 0 outside, over about 20 A."""
    return (1 / (1 + np.exp(np.clip(signed_distance / 5.0, -30, 30)))).astype(np.float32)


def _shell(distance: Doubles, radius: float) -> Reals:
    return 0.8 * _edge(np.abs(distance - radius) - MEMBRANE / 2)


def _particle(distance: Doubles, offsets: Doubles, axis: Doubles, radius: float) -> Reals:
    height = np.tensordot(axis, offsets, axes=1)
    cleft = 1 - 0.7 * np.exp(-(((height - 0.25 * radius) / (0.15 * radius)) ** 2))
    return _edge(distance - radius) * cleft.astype(np.float32)


def through_tilts(
    truth: Floats, voxel_size: float, tilt: TiltRange, ctf_parameters: CtfParameters, snr: float, seed: int
) -> Floats:
    """What a tilt series shows of a density: protein dark, through the CTF, with noise, without the missing wedge.

    Parameters
    ----------
    truth : ndarray
        (z, y, x) float32.
    voxel_size : float
        In A.
    tilt : TiltRange
        Of the tilt series.
    ctf_parameters : CtfParameters
        Of the tilt series.
    snr : float
        Variance of the signal over that of the noise, both after the wedge is cut.
    seed : int
        Of the noise.

    Returns
    -------
    ndarray
        float32, same shape.
    """
    signal = _seen(truth, tilt, lambda k: ctf(k / voxel_size, ctf_parameters))
    noise = _seen(np.random.default_rng(seed).standard_normal(truth.shape, dtype=np.float32), tilt, np.ones_like)
    return -(signal + noise * np.float32(signal.std() / noise.std() / np.sqrt(snr)))


def _seen(volume: Floats, tilt: TiltRange, transfer: Callable[[Reals], Reals]) -> Reals:
    """A volume without its missing wedge, times a transfer function of the frequency in cycles per voxel."""
    # room for what smears out, which else would come back in on the other side
    padded = [scipy.fft.next_fast_len(n + n // 2, real=True) for n in volume.shape]
    kz, ky = scipy.fft.fftfreq(padded[0])[:, None, None], scipy.fft.fftfreq(padded[1])[:, None]
    kx = scipy.fft.rfftfreq(padded[2])
    spectrum = scipy.fft.rfftn(volume, padded)
    spectrum *= measured(kz, kx, tilt)
    spectrum *= transfer(np.sqrt(kz**2 + ky**2 + kx**2)).astype(np.float32)
    return scipy.fft.irfftn(spectrum, padded)[tuple(slice(n) for n in volume.shape)].astype(np.float32)


@dataclass(frozen=True)
class Example:
    """The tomogram that the demonstration corrects."""

    shape: tuple[int, ...] = (64, 128, 128)
    voxel_size: float = 10.0  # A
    tilt: TiltRange = TiltRange()
    ctf_parameters: CtfParameters = CtfParameters(defocus=20000.0)
    snr: float = 5.0
    seed: int = 1

    def make(self) -> tuple[Floats, Floats]:
        """Truth (protein positive) and tomogram (protein dark), both (z, y, x) float32."""
        truth = make_truth(self.shape, self.voxel_size, self.seed)
        seen = through_tilts(truth, self.voxel_size, self.tilt, self.ctf_parameters, self.snr, self.seed + 1)
        return truth, seen

    @property
    def defocus(self) -> float:
        """In A."""
        return self.ctf_parameters.defocus


def make_example(path: str | os.PathLike[str]) -> Example:
    """Write the tomogram that the demonstration corrects; its folder is made if missing.

    Parameters
    ----------
    path : path
        MRC file to write.

    Returns
    -------
    Example
        What the tomogram shows.

    Raises
    ------
    EngineError
        If the file can't be written.
    """
    example = Example()
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    write_volume(path, example.make()[1], example.voxel_size)
    return example
