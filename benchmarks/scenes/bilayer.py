"""Membranes, drawn from an analytic distance to their mid-surface."""

from __future__ import annotations

import numpy as np

LEAFLET_GAP = 38.0  # distance between the two leaflets of a bilayer
LEAFLET_SIGMA = 8.0


def bilayer_profile(distance: np.ndarray) -> np.ndarray:
    """Density against the signed distance (Angstrom) from the middle of a bilayer."""
    half = LEAFLET_GAP / 2
    return (
        np.exp(-0.5 * ((distance - half) / LEAFLET_SIGMA) ** 2)
        + np.exp(-0.5 * ((distance + half) / LEAFLET_SIGMA) ** 2)
        - 0.12 * np.exp(-0.5 * (distance / 9.0) ** 2)
    ).astype(np.float32)


def box_grid(centre, half_size, apix):
    """Open coordinate grid (Angstrom, relative to centre) of the voxels around `centre`."""
    half = np.broadcast_to(half_size, 3)
    low = np.floor((centre - half) / apix).astype(int)
    high = np.ceil((centre + half) / apix).astype(int) + 1
    axes = [np.arange(a, b) * apix - c for a, b, c in zip(low, high, centre)]
    return np.meshgrid(*axes, indexing="ij", sparse=True), low


def draw_shell(centre, radius, apix, lumps=0.0, rng=None):
    """A spherical bilayer, optionally slightly squashed along a random axis."""
    centre = np.asarray(centre, float)
    (z, y, x), corner = box_grid(centre, radius * 1.08 + 40, apix)
    squash = 1.0
    if lumps:
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        r2 = z**2 + y**2 + x**2 + 1e-6
        squash = 1 + lumps * ((z * axis[0] + y * axis[1] + x * axis[2]) ** 2 / r2 - 0.5)
    distance = np.sqrt(z**2 + y**2 + x**2) * squash - radius
    return bilayer_profile(distance), corner


def draw_sheet(centre, frame, radius, height, apix):
    """A bilayer disc.  `height(u, v)` -> (h, dh/du, dh/dv) bends it along the frame's normal."""
    (z, y, x), corner = box_grid(centre, radius + 90, apix)
    local = [frame[0, i] * z + frame[1, i] * y + frame[2, i] * x for i in range(3)]
    w, u, v = local
    h, hu, hv = height(u, v)
    distance = (w - h) / np.sqrt(1 + hu**2 + hv**2)
    rim = np.sqrt(u**2 + v**2 + (w - h) ** 2)
    fade = 0.5 * (1 - np.tanh((rim - radius) / 15.0))
    return bilayer_profile(distance) * fade.astype(np.float32), corner
