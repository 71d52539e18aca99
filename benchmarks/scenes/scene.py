"""The volume of a scene: a slab of ice that objects are added to where they do not collide."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

SOLID = 0.25  # density above which a voxel counts as occupied


class Scene:
    """A volume that objects are added to where they do not collide."""

    def __init__(self, shape, apix, slab, rng):
        self.shape, self.apix, self.rng = np.array(shape), apix, rng
        self.slab = slab  # (first, past-last) slice of the ice
        self.volume = np.zeros(shape, np.float32)
        self.taken = np.zeros(shape, bool)
        z = np.arange(shape[0])
        edge = 1.5  # voxels: ice surfaces cut objects softly
        self.window = (0.25 * (1 + np.tanh((z - slab[0] - 1) / edge)) * (1 + np.tanh((slab[1] - 2 - z) / edge))).astype(
            np.float32
        )
        self.window[(z < slab[0]) | (z >= slab[1])] = 0
        self.objects: list[dict] = []

    @property
    def size_angstrom(self):
        return self.shape * self.apix

    @property
    def slab_angstrom(self):
        return self.slab[0] * self.apix, self.slab[1] * self.apix

    def place(self, patch, corner, allow=0.0, cut_by_ice=False) -> bool:
        """Add `patch` at `corner` unless more than the share `allow` of it is already taken."""
        corner = np.asarray(corner)
        if not cut_by_ice:
            rows = np.flatnonzero((patch > SOLID).any(axis=(1, 2))) + corner[0]
            if len(rows) == 0 or rows[0] < self.slab[0] + 2 or rows[-1] > self.slab[1] - 3:
                return False
        low = np.maximum(corner, 0)
        high = np.minimum(corner + patch.shape, self.shape)
        if np.any(high <= low):
            return False
        inner = patch[tuple(slice(a, b) for a, b in zip(low - corner, high - corner))]
        inner = inner * self.window[low[0] : high[0], None, None]
        box = tuple(slice(a, b) for a, b in zip(low, high))
        solid = inner > SOLID
        if np.count_nonzero(self.taken[box] & solid) > allow * max(np.count_nonzero(solid), 1):
            return False
        self.volume[box] += inner
        self.taken[box] |= ndi.binary_dilation(solid)
        return True

    def note(self, kind, centre, **more):
        self.objects.append({"kind": kind, "centre_zyx_A": [round(float(c), 1) for c in centre], **more})

    def random_centre(self, radius, lateral_overhang=0.4):
        """A centre such that a sphere of this radius stays within the ice (if it fits)."""
        low, high = self.slab_angstrom
        room = high - low - 2 * radius - 4 * self.apix
        z = self.rng.uniform(-0.5, 0.5) * max(room, 0) + 0.5 * (low + high)
        out = lateral_overhang * radius
        y, x = (self.rng.uniform(-out + 0.0, n + out) for n in self.size_angstrom[1:])
        return np.array([z, y, x])
