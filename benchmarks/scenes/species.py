"""Protein-like particles: each is built once, then placed many times."""

from __future__ import annotations

import numpy as np
from blobs import Blobs
from geometry import ring, sphere_points_fibonacci
from scipy.spatial.transform import Rotation


def compact_chain(rng, count, semi_axes, step=17.0, sigma=(8.0, 11.0)) -> Blobs:
    """A random walk folded into an ellipsoid: a globular protein with lumpy interior."""
    semi_axes = np.asarray(semi_axes, float)
    pos = [np.zeros(3)]
    while len(pos) < count:
        for _ in range(50):
            direction = rng.normal(size=3)
            new = pos[-1] + step * direction / np.linalg.norm(direction)
            inside = np.sum((new / semi_axes) ** 2) < 1
            if inside and min(np.linalg.norm(new - p) for p in pos) > 0.7 * step:
                break
        else:
            new = rng.uniform(-1, 1, 3) * semi_axes * 0.6
        pos.append(new)
    return Blobs.of(pos, rng.uniform(*sigma, count), rng.uniform(0.5, 1.2, count))


def proteasome(rng) -> Blobs:
    out = None
    for level, (z, radius) in enumerate([(-57, 36), (-19, 43), (19, 43), (57, 36)]):
        part = Blobs.of(ring(7, radius, z, phase=0.25 * level), 11.5)
        out = part if out is None else out + part
    return out


def capped_proteasome(rng) -> Blobs:
    cap = compact_chain(rng, 16, (48, 50, 36)).centred()
    return proteasome(rng) + cap.moved(shift=(118, 14, 0))


def chaperonin(rng) -> Blobs:
    out = None
    for z, radius, sigma in [(-58, 52, 12), (-24, 40, 12), (24, 40, 12), (58, 52, 12)]:
        part = Blobs.of(ring(7, radius, z), sigma)
        out = part if out is None else out + part
    return out


def ribosome(rng) -> Blobs:
    large = compact_chain(rng, 52, (82, 88, 72), step=24, sigma=(11, 15)).centred()
    small = compact_chain(rng, 30, (88, 42, 50), step=22, sigma=(10, 13)).centred()
    bridge = Blobs.of([[10, 74, 6], [-28, 70, -12]], 9, 0.8)
    return large + small.moved(shift=(0, 122, 0)) + bridge


def torus(rng) -> Blobs:
    radius = rng.uniform(55, 75)
    count = int(2 * np.pi * radius / 17)
    return Blobs.of(ring(count, radius), 11, 0.8 + 0.4 * (np.arange(count) % 2))


def double_ring(rng) -> Blobs:
    return Blobs.of(np.vstack([ring(12, 78, -22), ring(12, 78, 22), ring(6, 34, 0)]), 11)


def rod(rng) -> Blobs:
    length = rng.uniform(190, 290)
    z = np.arange(-length / 2, length / 2, 16.0)
    pos = np.stack([z, 7 * np.cos(z / 22), 7 * np.sin(z / 22)], axis=1)
    knob = compact_chain(rng, 7, (30, 30, 30)).centred().moved(shift=(length / 2, 0, 0))
    return Blobs.of(pos, 10, 0.9) + knob


def antibody(rng) -> Blobs:
    def arm(direction, length=62):
        d = np.asarray(direction, float) / np.linalg.norm(direction)
        return Blobs.of(np.outer(np.linspace(16, length, 4), d), 11.5)

    return arm((1, 0.1, 0)) + arm((-0.6, 0.8, 0.25)) + arm((-0.6, -0.8, -0.25))


def cage(rng) -> Blobs:
    """Ferritin- or encapsulin-like hollow shell."""
    radius, count = (52.0, 24) if rng.random() < 0.5 else (98.0, 72)
    return Blobs.of(radius * sphere_points_fibonacci(count), 10.5)


def tetramer(rng) -> Blobs:
    arm = compact_chain(rng, 9, (30, 26, 36)).centred()
    turn = [Rotation.from_euler("x", 90 * i, degrees=True).as_matrix() for i in range(4)]
    # scipy rotates about its first coordinate, which here is z: a 4-fold axis along z
    out = None
    for matrix in turn:
        part = arm.moved(shift=(0, 0, 44)).moved(matrix)
        out = part if out is None else out + part
    return out


def dumbbell(rng) -> Blobs:
    a = compact_chain(rng, 14, (42, 36, 36)).centred()
    b = compact_chain(rng, 9, (32, 30, 30)).centred()
    linker = Blobs.of([[z, 0, 0] for z in (-22, -6, 10, 26)], 9, 0.8)
    return a.moved(shift=(-68, 0, 0)) + b.moved(shift=(60, 0, 0)) + linker


def globule(rng) -> Blobs:
    size = rng.uniform(36, 66)
    axes = size * rng.uniform(0.7, 1.25, 3)
    return compact_chain(rng, int((size / 9.5) ** 2), axes).centred()


SPECIES = [  # (name, builder, number of variants, share of the particles)
    ("ribosome", ribosome, 1, 0.16),
    ("proteasome", proteasome, 1, 0.10),
    ("capped_proteasome", capped_proteasome, 1, 0.06),
    ("chaperonin", chaperonin, 1, 0.09),
    ("torus", torus, 2, 0.09),
    ("double_ring", double_ring, 1, 0.06),
    ("rod", rod, 2, 0.10),
    ("antibody", antibody, 1, 0.06),
    ("cage", cage, 2, 0.06),
    ("tetramer", tetramer, 1, 0.06),
    ("dumbbell", dumbbell, 1, 0.06),
    ("globule", globule, 3, 0.10),
]
