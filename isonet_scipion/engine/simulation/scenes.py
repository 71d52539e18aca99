"""Simulated densities for the builtin model: proteins, filaments and membranes, everywhere alike.

Their shapes, symmetries and sizes are drawn at random within what cells show; proteins are given densities too, where
there are some.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from isonet_scipion.engine.arrays import Doubles, Floats, Integers

BLOB_SIGMA = (6.0, 12.0)  # A, of the Gaussians that proteins and filaments are sums of
LEAFLETS = (32.0, 44.0)  # A between the two leaflets of a membrane
LEAFLET_SIGMA = 8.0  # A
REACH = 3.0  # standard deviations to which a Gaussian is drawn
SPECIES = 8  # kinds of protein in one scene
CROWDING = (0.35, 1.8)  # times the following numbers of objects
PROTEINS = 4e-7  # per cubic A
FILAMENTS = 2.5e-9
MEMBRANES = 4e-9
COATED = 0.6  # share of the membranes with proteins on them
COAT = (35.0, 90.0)  # A from a membrane's middle to its coat
ATTEMPTS = 8  # places tried for an object before it is left out
OCCUPIED = 0.2  # density that counts as taken
GIVEN = (1.0, 1.0, 0.5, 0.0)  # shares of the species that are given densities, one drawn for each scene
SIZE_JITTER = 0.08  # of the logarithm of a given density's size
SMOOTHING = 0.45  # deviation of the Gaussian that samples a density more coarsely, in the new voxels


@dataclass(frozen=True)
class Density:
    """A protein's: background 0, about 1 inside."""

    values: Floats  # (z, y, x)
    voxel_size: float  # A

    @classmethod
    def of(cls, volume: Floats, voxel_size: float) -> Density:
        """Of a map: its median is the background, and its margins are cut off."""
        values = np.maximum(ndimage.gaussian_filter(volume - np.median(volume), 0.6), 0)
        values = values / np.median(values[values > 0.3 * values.max()])
        inside = np.argwhere(values > 0.1)
        box = tuple(slice(low, high) for low, high in zip(inside.min(axis=0), inside.max(axis=0) + 1))
        return cls(values[box].astype(np.float32), voxel_size)

    def sampled(self, voxel_size: float) -> Density:
        """Smoothed for voxels of a size, and its voxel size in units of theirs."""
        ratio = voxel_size / self.voxel_size
        if ratio <= 1.1:
            return Density(self.values, 1 / ratio)
        return Density(ndimage.gaussian_filter(np.pad(self.values, 2), SMOOTHING * np.sqrt(ratio**2 - 1)), 1 / ratio)


def random_scene(
    shape: tuple[int, ...], voxel_size: float, rng: np.random.Generator, given: Sequence[Density] = ()
) -> Floats:
    """Density of a crowded scene.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x).
    voxel_size : float
        In A.
    rng : numpy.random.Generator
    given : sequence of Density
        Proteins that most scenes have, beside or instead of invented ones.

    Returns
    -------
    ndarray
        float32, 0 to about 1, protein positive.
    """
    scene = np.zeros(shape, np.float32)
    size = np.array(shape) * voxel_size
    volume = np.prod(size)
    crowding = np.exp(rng.uniform(*np.log(CROWDING)))
    for _ in range(rng.poisson(MEMBRANES * volume * crowding)):
        _place_membrane(scene, voxel_size, rng)
    for _ in range(rng.poisson(FILAMENTS * volume * crowding)):
        _place(scene, lambda: filament(size.max() * rng.uniform(0.3, 1), rng), voxel_size, rng)
    species = _species(voxel_size, rng, given)
    for _ in range(rng.poisson(PROTEINS * volume * crowding)):
        chosen = species[rng.integers(SPECIES)]
        if isinstance(chosen, Density):
            _place_given(scene, chosen, rng)
        else:
            _place(scene, lambda blobs=chosen: blobs, voxel_size, rng)
    return scene


def _species(voxel_size: float, rng: np.random.Generator, given: Sequence[Density]) -> list[Density | Doubles]:
    if not given:
        return [protein(rng) for _ in range(SPECIES)]
    share = rng.choice(GIVEN)

    def drawn() -> Density:
        return given[rng.integers(len(given))].sampled(voxel_size * np.exp(SIZE_JITTER * rng.normal()))

    return [drawn() if rng.uniform() < share else protein(rng) for _ in range(SPECIES)]


def protein(rng: np.random.Generator) -> Doubles:
    """Gaussians of a globular, ring-shaped, barrel-shaped or rod-shaped assembly.

    Returns
    -------
    ndarray
        (n, 5): z, y, x and standard deviation in A, height.
    """
    lobes = []
    for _ in range(rng.integers(1, 4)):
        axes = rng.uniform(20, 65) * rng.uniform(0.6, 1.4, 3)
        count = int(np.clip(np.prod(axes) / 14.0**3, 6, 100))
        direction = rng.normal(size=(count, 3))
        radius = rng.uniform(size=(count, 1)) ** (1 / 3)
        inside = direction / np.linalg.norm(direction, axis=1, keepdims=True) * radius * axes
        lobes.append(inside + rng.normal(size=3) * 35)
    centres = np.concatenate(lobes)
    blobs = np.column_stack([centres, rng.uniform(*BLOB_SIGMA, len(centres)), rng.uniform(0.4, 1, len(centres))])
    fold = int(rng.choice([1, 1, 2, 3, 4, 6, 7, 8]))
    if fold > 1:
        # copies around z: rings and barrels, hollow where the unit lies off the axis
        unit = blobs[rng.permutation(len(blobs))[: max(4, 60 // fold)]]
        unit[:, :3] *= 0.6
        unit[:, 1] += rng.uniform(20, 75)
        blobs = np.concatenate([_turned(unit, _about_z(2 * np.pi * copy / fold)) for copy in range(fold)])
    return blobs


def filament(length: float, rng: np.random.Generator) -> Doubles:
    """Gaussians of a helix of subunits along z, from thin strands to tubes; see `protein`."""
    strands = int(rng.choice([1, 2, 2, 8, 13]))
    radius = strands * rng.uniform(7, 9) if strands > 2 else rng.uniform(8, 30)
    rise, twist = rng.uniform(25, 45), rng.uniform(0, np.pi) if strands <= 2 else rng.uniform(0, 0.05)
    heights = np.arange(-length / 2, length / 2, rise)
    angles = 2 * np.pi * np.arange(strands) / strands
    z = heights[:, None] + rise * rng.uniform(0, 1) * np.arange(strands)
    angle = angles + twist * np.arange(len(heights))[:, None]
    sizes = np.broadcast_to(rng.uniform(10, 14), z.shape)
    weights = np.broadcast_to(rng.uniform(0.6, 1), z.shape)
    return np.stack([z, radius * np.sin(angle), radius * np.cos(angle), sizes, weights], axis=-1).reshape(-1, 5)


def _place(scene: Floats, make: Callable[..., Doubles], voxel_size: float, rng: np.random.Generator) -> None:
    """Add an object, turned at random, at a place that is still free."""
    brightness = rng.uniform(0.7, 1.1)
    for _ in range(ATTEMPTS):
        blobs = _turned(make(), _random_rotation(rng))
        blobs[:, :3] += rng.uniform(-0.1, 1.1, 3) * scene.shape * voxel_size
        patch, where = _drawn(blobs, voxel_size, scene.shape)
        if patch.size and patch.max() > OCCUPIED:
            patch *= brightness / np.percentile(patch[patch > 0.3 * patch.max()], 90)
            if _add_free(scene, patch, where):
                return


def _place_given(scene: Floats, density: Density, rng: np.random.Generator) -> None:
    """Add a density, turned at random, at a place that is still free."""
    brightness = np.float32(rng.uniform(0.7, 1.15))
    middle = (np.array(density.values.shape) - 1) / 2
    for _ in range(ATTEMPTS):
        turn = _random_rotation(rng)
        half = np.abs(turn.T) @ np.array(density.values.shape) / 2 * density.voxel_size + 1
        centre = rng.uniform(-0.1, 1.1, 3) * scene.shape
        low = np.maximum(np.floor(centre - half).astype(int), 0)
        high = np.minimum(np.ceil(centre + half).astype(int) + 1, scene.shape)
        if (high > low).all():
            matrix = turn / density.voxel_size
            start = middle - matrix @ (centre - low)
            patch = ndimage.affine_transform(density.values, matrix, start, tuple(high - low), order=1)
            where = tuple(slice(a, b) for a, b in zip(low, high))
            if patch.max() > OCCUPIED and _add_free(scene, brightness * patch, where):
                return


def _place_membrane(scene: Floats, voxel_size: float, rng: np.random.Generator) -> None:
    """Add a vesicle or a piece of a bent sheet, with proteins that stand on it."""
    centre = rng.uniform(0, 1, 3) * scene.shape * voxel_size
    z, y, x = ((np.arange(n) * voxel_size - c).astype(np.float32) for n, c in zip(scene.shape, centre))
    turn = _random_rotation(rng).astype(np.float32)
    w, u, v = (t[0] * z[:, None, None] + t[1] * y[:, None] + t[2] * x for t in turn)
    if rng.uniform() < 0.5:
        radius, squash = rng.uniform(100, 450), rng.uniform(0.8, 1.25, 2)
        distance = np.sqrt(w**2 + (u * squash[0]) ** 2 + (v * squash[1]) ** 2) - np.float32(radius)
        fade = np.float32(1)
    else:
        bend = rng.choice([-1, 1], 2) / rng.uniform(300, 3000, 2)
        wave, length = rng.choice([0, 1]) * rng.uniform(10, 50), rng.uniform(300, 700)
        height = (bend[0] * u**2 + bend[1] * v**2) / 2 + wave * np.sin(2 * np.pi * u / length)
        slope = bend[0] * u + wave * 2 * np.pi / length * np.cos(2 * np.pi * u / length)
        distance = (w - height) / np.sqrt(1 + slope**2 + (bend[1] * v) ** 2)
        rim = np.sqrt(u**2 + v**2 + w**2) - rng.uniform(200, 500)
        fade = 1 / (1 + np.exp(np.clip(rim / 10, -30, 30)))
    half = rng.uniform(*LEAFLETS) / 2
    leaflets = sum(np.exp(-((distance + side) ** 2) / (2 * LEAFLET_SIGMA**2)) for side in (-half, half))
    strength = rng.uniform(0.6, 1.1)
    drawn = _add_free(scene, (strength * leaflets * fade).astype(np.float32), (slice(None),) * 3)
    if drawn and rng.uniform() < COATED:
        height = rng.choice([-1, 1]) * rng.uniform(*COAT)
        _add_coat(scene, (np.abs(distance - height) < voxel_size) & (fade > 0.5), strength, voxel_size, rng)


def _add_coat(scene: Floats, places: Integers, strength: float, voxel_size: float, rng: np.random.Generator) -> None:
    """Add lumps of one size, sparse or dense, in a layer along a membrane."""
    layer = np.argwhere(places & (scene < OCCUPIED))
    spacing, sigma = rng.uniform(40, 130), rng.uniform(*BLOB_SIGMA) + 3
    count = int(len(layer) * voxel_size**2 / (2 * spacing**2))  # the layer is two voxels thick
    if count:
        chosen = layer[rng.choice(len(layer), count, replace=False)] + rng.uniform(-0.5, 0.5, (count, 3))
        lumps = np.column_stack([chosen * voxel_size, np.full((count, 2), (sigma, strength))])
        patch, where = _drawn(lumps, voxel_size, scene.shape)
        scene[where] += patch


def _add_free(scene: Floats, patch: Floats, where: tuple[slice, ...]) -> bool:
    solid = patch > OCCUPIED
    if np.count_nonzero(scene[where][solid] > OCCUPIED) > 0.05 * max(1, np.count_nonzero(solid)):
        return False
    scene[where] += patch
    return True


def _drawn(blobs: Doubles, voxel_size: float, shape: tuple[int, ...]) -> tuple[Floats, tuple[slice, ...]]:
    """The sum of Gaussians within a scene, and where it lies there."""
    centres, sigmas = blobs[:, :3] / voxel_size, np.maximum(blobs[:, 3] / voxel_size, 0.65)
    reach = REACH * sigmas[:, None]
    low = np.maximum(np.floor(centres - reach).astype(int), 0)
    high = np.minimum(np.ceil(centres + reach).astype(int) + 1, shape)
    seen = (high > low).all(axis=1)
    if not seen.any():
        return np.zeros((0, 0, 0), np.float32), (slice(0),) * 3
    corner = low[seen].min(axis=0)
    patch = np.zeros(high[seen].max(axis=0) - corner, np.float32)
    for first, last, centre, sigma, weight in zip(low[seen], high[seen], centres[seen], sigmas[seen], blobs[seen, 4]):
        z, y, x = (np.exp(-((np.arange(a, b) - c) ** 2) / (2 * sigma**2)) for a, b, c in zip(first, last, centre))
        box = tuple(slice(a, b) for a, b in zip(first - corner, last - corner))
        patch[box] += (weight * z)[:, None, None] * (y[:, None] * x)
    return patch, tuple(slice(a, a + n) for a, n in zip(corner, patch.shape))


def _turned(blobs: Doubles, rotation: Doubles) -> Doubles:
    return np.column_stack([blobs[:, :3] @ rotation.T, blobs[:, 3:]])


def _about_z(angle: float) -> Doubles:
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def _random_rotation(rng: np.random.Generator) -> Doubles:
    return Rotation.random(random_state=np.random.RandomState(rng.integers(2**31))).as_matrix()
