"""Make a ground-truth density volume: a crowded, ice-embedded cellular scene.

    python phantom.py --seed 7 --shape 112 256 256 --out gt.mrc --mask slab_mask.mrc

The scene holds HIV-VLP-like particles (bilayer, spikes, hexagonal inner lattice), vesicles, flat
and curved membrane patches at many orientations (horizontal ones too: those vanish in a missing
wedge), microtubules, actin-like filaments, and a few hundred protein-like particles of a dozen
species at random orientations.  All of it lies in a slab of 'ice' that fills only part of z.
The same seed, shape and voxel size give the same volume.

Objects are described in Angstrom.  Membranes are drawn from an analytic distance to their
mid-surface, everything else as sums of Gaussians whose width keeps them free of aliasing.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass

import numpy as np
from common import write_mrc
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation

SOLID = 0.25  # density above which a voxel counts as occupied
GAUSS_CUT = 3.3  # Gaussians are drawn out to this many sigmas
LEAFLET_GAP = 38.0  # distance between the two leaflets of a bilayer
LEAFLET_SIGMA = 8.0


# --------------------------------------------------------------------------------------------
# Sums of Gaussians
# --------------------------------------------------------------------------------------------
@dataclass
class Blobs:
    """Gaussians: centres (n, 3) in (z, y, x) Angstrom, sigmas (n,) in Angstrom, peaks (n,)."""

    pos: np.ndarray
    sigma: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, pos, sigma, weight=1.0) -> Blobs:
        pos = np.atleast_2d(np.asarray(pos, float))
        n = len(pos)
        return cls(
            pos,
            np.broadcast_to(np.asarray(sigma, float), n).copy(),
            np.broadcast_to(np.asarray(weight, float), n).copy(),
        )

    def __add__(self, other: Blobs) -> Blobs:
        return Blobs(
            np.vstack([self.pos, other.pos]), np.append(self.sigma, other.sigma), np.append(self.weight, other.weight)
        )

    def moved(self, matrix=None, shift=(0.0, 0.0, 0.0)) -> Blobs:
        pos = self.pos if matrix is None else self.pos @ np.asarray(matrix).T
        return Blobs(pos + np.asarray(shift, float), self.sigma, self.weight)

    def centred(self) -> Blobs:
        return self.moved(shift=-np.average(self.pos, axis=0, weights=self.weight))

    @property
    def radius(self) -> float:
        return float(np.max(np.linalg.norm(self.pos, axis=1) + 2 * self.sigma))


def draw_blobs(blobs: Blobs, apix: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (patch, corner): the sum of Gaussians, and the voxel index of patch[0, 0, 0]."""
    pos, sigma = blobs.pos / apix, np.maximum(blobs.sigma / apix, 0.65)
    reach = GAUSS_CUT * sigma[:, None]
    low = np.floor(pos - reach).astype(int)
    high = np.ceil(pos + reach).astype(int) + 1
    corner = low.min(axis=0)
    patch = np.zeros(high.max(axis=0) - corner, np.float32)
    for p, s, w, lo, hi in zip(pos, sigma, blobs.weight, low, high):
        axes = [np.exp(-0.5 * ((np.arange(a, b) - c) / s) ** 2).astype(np.float32) for a, b, c in zip(lo, hi, p)]
        a, b = lo - corner, hi - corner
        patch[a[0] : b[0], a[1] : b[1], a[2] : b[2]] += w * axes[0][:, None, None] * axes[1][:, None] * axes[2]
    return patch, corner


def normalised(blobs: Blobs, apix: float, level: float = 1.0) -> Blobs:
    """Scale the peaks so that the bright part of the drawn object has the density `level`."""
    patch, _ = draw_blobs(blobs, apix)
    bright = np.percentile(patch[patch > 0.3 * patch.max()], 90)
    return Blobs(blobs.pos, blobs.sigma, blobs.weight * (level / bright))


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


# --------------------------------------------------------------------------------------------
# Protein-like species (each is built once, then placed many times)
# --------------------------------------------------------------------------------------------
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


# --------------------------------------------------------------------------------------------
# Membranes
# --------------------------------------------------------------------------------------------
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


# --------------------------------------------------------------------------------------------
# The scene
# --------------------------------------------------------------------------------------------
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


def add_vlp(scene: Scene, tries=60) -> bool:
    """HIV-VLP-like: bilayer with spikes outside, a hexagonal (Gag-like) shell and genome inside."""
    rng, apix = scene.rng, scene.apix
    thick = scene.slab_angstrom[1] - scene.slab_angstrom[0]
    spike = 62.0
    radius = min(rng.uniform(255, 315), thick / 2 - spike - 45)
    if radius < 170:
        return False
    inner = radius - 92.0
    freq = max(2, int(round(np.sqrt(4 * np.pi * inner**2 / (0.866 * 74.0**2) / 10))))
    turn = random_rotation(rng)
    lattice = sphere_points_geodesic(freq) @ turn.T
    hole_axis = rng.normal(size=3)
    hole_axis /= np.linalg.norm(hole_axis)
    lattice = lattice[lattice @ hole_axis < rng.uniform(0.72, 0.95)]  # the lattice has a gap
    hexamer = Blobs.of(np.vstack([ring(6, 24, 16), ring(6, 20, -16)]), 9.0, 0.62)
    parts = []
    for direction in lattice:
        spin = Rotation.from_rotvec(direction * rng.uniform(0, 2 * np.pi)).as_matrix()
        parts.append(hexamer.moved(spin @ frame_for(direction), inner * direction))
    spikes = sphere_points_fibonacci(int(4 * np.pi * radius**2 / 105**2)) @ turn.T
    spikes = spikes[rng.random(len(spikes)) < 0.75]
    trimer = Blobs.of(
        np.vstack([ring(3, 15, spike - 10), [[22, 0, 0], [36, 0, 0]]]), [11, 11, 11, 9, 9], [1.0, 1.0, 1.0, 0.9, 0.9]
    )
    for direction in spikes:
        parts.append(trimer.moved(frame_for(direction), (radius + 14) * direction))
    parts.append(compact_chain(rng, 90, np.full(3, inner - 75), step=34, sigma=(11, 15)))  # genome
    blobs = parts[0]
    for part in parts[1:]:
        blobs = blobs + part
    for _ in range(tries):
        centre = scene.random_centre(radius + spike, lateral_overhang=-0.5)
        shell, shell_at = draw_shell(centre, radius, apix)
        lattice_patch, lattice_at = draw_blobs(blobs.moved(shift=centre), apix)
        low = np.minimum(shell_at, lattice_at)
        high = np.maximum(shell_at + shell.shape, lattice_at + lattice_patch.shape)
        patch = np.zeros(high - low, np.float32)
        for part, at in ((shell, shell_at), (lattice_patch, lattice_at)):
            o = at - low
            patch[o[0] : o[0] + part.shape[0], o[1] : o[1] + part.shape[1], o[2] : o[2] + part.shape[2]] += part
        if scene.place(patch, low, allow=0.0):
            scene.note("vlp", centre, radius_A=round(radius, 1))
            return True
    return False


def add_vesicle(scene: Scene, tries=60) -> bool:
    rng = scene.rng
    radius = rng.uniform(110, 230)
    for _ in range(tries):
        centre = scene.random_centre(radius + 30)
        patch, corner = draw_shell(centre, radius, scene.apix, lumps=rng.uniform(0, 0.25), rng=rng)
        if scene.place(patch, corner):
            scene.note("vesicle", centre, radius_A=round(radius, 1))
            return True
    return False


def sheet_height(rng, kind):
    """A height function for draw_sheet: flat, spherical/saddle-shaped, or wavy."""
    if kind == "flat":
        return lambda u, v: (0.0, 0.0, 0.0)
    if kind == "curved":
        c1, c2 = rng.choice([-1, 1], 2) / rng.uniform(350, 1400, 2)
        return lambda u, v: (0.5 * (c1 * u**2 + c2 * v**2), c1 * u, c2 * v)
    amp, wave = rng.uniform(25, 55), rng.uniform(380, 700)
    q = 2 * np.pi / wave
    return lambda u, v: (amp * np.sin(q * u), amp * q * np.cos(q * u), 0.0)


def add_sheet(scene: Scene, tilt_deg, kind, tries=80) -> bool:
    """A membrane patch whose normal is `tilt_deg` from z, with proteins that stand out of it."""
    rng, apix = scene.rng, scene.apix
    for attempt in range(tries):
        radius = rng.uniform(230, 420) * (1 - 0.5 * attempt / tries)
        azimuth = rng.uniform(0, 2 * np.pi)
        t = np.radians(tilt_deg + rng.uniform(-4, 4))
        normal = np.array([np.cos(t), np.sin(t) * np.sin(azimuth), np.sin(t) * np.cos(azimuth)])
        frame = frame_for(normal)
        height = sheet_height(rng, kind)
        vertical = radius * abs(np.sin(t)) * 0.85 + 60
        centre = scene.random_centre(vertical, lateral_overhang=0.0)
        patch, corner = draw_sheet(centre, frame, radius, height, apix)
        if not scene.place(patch, corner, cut_by_ice=tilt_deg > 60):
            continue
        scene.note(
            "membrane", centre, normal_tilt_deg=round(float(np.degrees(t)), 1), shape=kind, radius_A=round(radius, 1)
        )
        stud = Blobs.of([[-24, 0, 0], [0, 0, 0], [24, 0, 0], [46, 8, 0], [58, -8, 6]], [9, 8, 9, 11, 11], 0.9)
        for _ in range(int(rng.integers(4, 12))):
            u, v = rng.uniform(-0.7, 0.7, 2) * radius
            h = height(u, v)[0]
            spin = Rotation.from_rotvec(normal * rng.uniform(0, 6.28)).as_matrix() @ frame
            at = centre + frame @ np.array([h, u, v])
            scene.place(*draw_blobs(stud.moved(spin, at), apix), allow=0.6)
        return True
    return False


def filament_path(scene: Scene, margin, flat, shrink=1.0):
    """A straight line through the slab: (start, direction, length), in Angstrom."""
    rng = scene.rng
    low, high = scene.slab_angstrom
    length = shrink * rng.uniform(0.45, 0.95) * scene.size_angstrom[2]
    azimuth = rng.uniform(0, 2 * np.pi)
    rise = rng.uniform(-1, 1) * (0.10 if flat else 0.45) * max(high - low - 2 * margin, 0) / length
    direction = np.array([rise, np.sin(azimuth), np.cos(azimuth)])
    direction /= np.linalg.norm(direction)
    dz = abs(direction[0]) * length / 2
    room = max((high - low) / 2 - margin - dz, 0)
    middle = np.array(
        [(low + high) / 2 + rng.uniform(-room, room), *(rng.uniform(0.1, 0.9, 2) * scene.size_angstrom[1:])]
    )
    return middle - direction * length / 2, direction, length


def add_microtubule(scene: Scene, tries=80) -> bool:
    """13 protofilaments of 40-Angstrom monomers on a three-start helix, 105 Angstrom in radius."""
    for attempt in range(tries):
        start, direction, length = filament_path(scene, 170, flat=True, shrink=1 - 0.6 * attempt / tries)
        rise = np.arange(0, length, 40.0)
        pf = np.arange(13)
        z = (rise[:, None] + 120.0 * pf / 13).ravel()
        angle = np.broadcast_to(2 * np.pi * pf / 13, (len(rise), 13)).ravel()
        weight = np.broadcast_to(1.0 - 0.25 * (np.arange(len(rise)) % 2)[:, None], (len(rise), 13)).ravel()
        pos = np.stack([z, 105 * np.sin(angle), 105 * np.cos(angle)], axis=1)
        blobs = Blobs.of(pos, 13.0, weight * 0.85).moved(frame_for(direction), start)
        if scene.place(*draw_blobs(blobs, scene.apix)):
            scene.note("microtubule", start, direction_zyx=direction.round(3).tolist(), length_A=round(length, 1))
            return True
    return False


def add_actin(scene: Scene, tries=60) -> bool:
    """Actin-like helix: 27.5 Angstrom rise and -166.7 degrees of turn for each subunit."""
    for _ in range(tries):
        start, direction, length = filament_path(scene, 70, flat=False)
        z = np.arange(0, length * 0.6, 27.5)
        angle = np.radians(-166.7) * np.arange(len(z))
        inner = np.stack([z, 16 * np.sin(angle), 16 * np.cos(angle)], axis=1)
        outer = np.stack([z + 6, 34 * np.sin(angle + 0.3), 34 * np.cos(angle + 0.3)], axis=1)
        blobs = Blobs.of(np.vstack([inner, outer]), np.repeat([12.0, 10.0], len(z)), 0.75)
        blobs = blobs.moved(frame_for(direction), start)
        if scene.place(*draw_blobs(blobs, scene.apix)):
            scene.note("actin", start, direction_zyx=direction.round(3).tolist(), length_A=round(length * 0.6, 1))
            return True
    return False


def add_proteins(scene: Scene, target: int, tries=40) -> int:
    """Fill the remaining room with particles; returns how many found a place."""
    rng, apix = scene.rng, scene.apix
    library = [
        (name, normalised(build(rng).centred(), apix), share / variants)
        for name, build, variants, share in SPECIES
        for _ in range(variants)
    ]
    shares = np.array([share for *_, share in library])
    # the large ones first: they would find no room later
    wanted = rng.multinomial(target, shares / shares.sum())
    order = sorted(range(len(library)), key=lambda i: -library[i][1].radius)
    placed = 0
    for index in order:
        name, blobs, _ = library[index]
        for _ in range(wanted[index]):
            turned = blobs.moved(random_rotation(rng), rng.uniform(0, apix, 3))
            patch, corner = draw_blobs(turned, apix)
            for _ in range(tries):
                centre = scene.random_centre(blobs.radius * 0.8)
                at = np.round(centre / apix).astype(int)
                if scene.place(patch, corner + at):
                    scene.note(name, at * apix)
                    placed += 1
                    break
    return placed


# Tilt of a membrane's normal from z in degrees (0: horizontal), and its form.  None is quite
# vertical: such a sheet is its own mirror image in z and hides a wrong handedness.
SHEETS = [
    (0, "flat"),
    (80, "curved"),
    (45, "flat"),
    (0, "curved"),
    (70, "wavy"),
    (25, "flat"),
    (0, "wavy"),
    (80, "flat"),
    (60, "curved"),
    (12, "curved"),
    (0, "flat"),
    (35, "wavy"),
]


def make_phantom(shape=(112, 256, 256), apix=10.0, seed=7, slab_fraction=0.78, proteins=1.0):
    """Return (density, slab mask, description of every object); with the share `proteins` of the usual number."""
    rng = np.random.default_rng(seed)
    thick = int(round(slab_fraction * shape[0]))
    first = (shape[0] - thick) // 2
    slab = (first, first + thick)
    scene = Scene(shape, apix, slab, rng)
    share = float(np.prod(scene.size_angstrom[1:]) / 2560.0**2)  # against the usual area

    def count(usual):
        return max(1, int(round(usual * share)))

    for _ in range(count(3)):
        add_vlp(scene)
    for _ in range(count(2)):
        add_microtubule(scene)
    for tilt, kind in SHEETS[: max(3, count(len(SHEETS)))]:
        add_sheet(scene, tilt, kind)
    for _ in range(count(4)):
        add_vesicle(scene)
    for _ in range(count(5)):
        add_actin(scene)
    add_proteins(scene, int(proteins * int(700 * share * thick * apix / 880.0)))
    mask = np.zeros(shape, bool)
    mask[slab[0] : slab[1]] = True
    return scene.volume, mask, scene.objects


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--shape", type=int, nargs=3, default=(112, 256, 256), metavar=("Z", "Y", "X"))
    parser.add_argument("--apix", type=float, default=10.0, help="voxel size in Angstrom")
    parser.add_argument("--slab-fraction", type=float, default=0.78, help="share of z that holds ice and sample")
    parser.add_argument("--out", default="gt.mrc", help="density volume")
    parser.add_argument("--mask", help="also write the slab (sample region) mask here")
    parser.add_argument("--objects", help="also write a JSON list of the placed objects here")
    args = parser.parse_args(argv)

    began = time.time()
    volume, mask, objects = make_phantom(tuple(args.shape), args.apix, args.seed, args.slab_fraction)
    write_mrc(args.out, volume, args.apix)
    if args.mask:
        write_mrc(args.mask, mask, args.apix)
    if args.objects:
        with open(args.objects, "w") as handle:
            json.dump(objects, handle, indent=1)
    kinds = {}
    for item in objects:
        kinds[item["kind"]] = kinds.get(item["kind"], 0) + 1
    print(
        f"{args.out}: shape {volume.shape}, {args.apix} A/voxel, range "
        f"{volume.min():.2f}..{volume.max():.2f}, "
        f"{(volume[mask] > SOLID).mean():.1%} of the slab is filled, {time.time() - began:.0f} s"
    )
    print("objects: " + ", ".join(f"{n} {k}" for k, n in sorted(kinds.items())))


if __name__ == "__main__":
    main()
