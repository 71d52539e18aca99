"""Directions and points in space: rotations, rings, points on a sphere; (z, y, x) in every array."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation


def random_rotation(rng) -> np.ndarray:
    return Rotation.from_quat(rng.normal(size=4)).as_matrix()


def frame_for(normal) -> np.ndarray:
    """Rotation matrix (columns are images of the z, y, x axes) that takes +z to `normal`."""
    normal = np.asarray(normal, float) / np.linalg.norm(normal)
    helper = np.array([0.0, 0.0, 1.0]) if abs(normal[2]) < 0.9 else np.array([0.0, 1.0, 0.0])
    e1 = np.cross(normal, helper)
    e1 /= np.linalg.norm(e1)
    return np.stack([normal, e1, np.cross(normal, e1)], axis=1)


def ring(count, radius, z=0.0, phase=0.0) -> np.ndarray:
    angle = phase + 2 * np.pi * np.arange(count) / count
    return np.stack([np.full(count, z), radius * np.sin(angle), radius * np.cos(angle)], axis=1)


def sphere_points_fibonacci(count) -> np.ndarray:
    i = np.arange(count) + 0.5
    z = 1 - 2 * i / count
    angle = np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z**2)
    return np.stack([z, r * np.sin(angle), r * np.cos(angle)], axis=1)


def sphere_points_geodesic(freq) -> np.ndarray:
    """Vertices of an icosahedron whose faces are split `freq` times: a near-hexagonal lattice."""
    phi = (1 + 5**0.5) / 2
    corners = np.array(
        [[0, a, b * phi] for a in (-1, 1) for b in (-1, 1)]
        + [[a, b * phi, 0] for a in (-1, 1) for b in (-1, 1)]
        + [[b * phi, 0, a] for a in (-1, 1) for b in (-1, 1)],
        float,
    )
    near = [
        (i, j, k)
        for i in range(12)
        for j in range(i)
        for k in range(j)
        if max(
            np.linalg.norm(corners[i] - corners[j]),
            np.linalg.norm(corners[j] - corners[k]),
            np.linalg.norm(corners[i] - corners[k]),
        )
        < 2.01
    ]
    points = []
    for i, j, k in near:
        for a in range(freq + 1):
            for b in range(freq + 1 - a):
                points.append((a * corners[i] + b * corners[j] + (freq - a - b) * corners[k]) / freq)
    points = np.array(points)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return np.unique(points.round(6), axis=0)
