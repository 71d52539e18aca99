"""The objects of a scene: each function looks for a place for one and says whether it found it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from bilayer import draw_sheet, draw_shell
from blobs import Blobs, draw_blobs, normalised
from geometry import frame_for, random_rotation, ring, sphere_points_fibonacci, sphere_points_geodesic
from scipy.spatial.transform import Rotation
from species import SPECIES, compact_chain

if TYPE_CHECKING:
    from scene import Scene


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
