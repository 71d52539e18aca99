"""Training pairs for the builtin model: what a tilt series shows of a simulated density, and what it should show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft

from isonet_scipion.engine.conventions import SIMULATED_SIZES
from isonet_scipion.engine.physics.ctf import CtfParameters, ctf, wiener_filter
from isonet_scipion.engine.physics.grey_scale import measure
from isonet_scipion.engine.simulation.scenes import Density, random_scene

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from isonet_scipion.engine.arrays import Doubles, Floats, Reals

SCENE = 96  # voxels on a side
USUAL_SIZE, USUALLY = 10.0, 0.4  # A, and the share of the scenes that have it
TILT_ENDS = (40.0, 70.0)  # degrees on the shorter side of the range, whose other side may go to 70
TILT_STEP = (1.0, 4.0)  # degrees
PLANE = 0.45  # cycles per box side: what the box's size leaves of a tilt's plane in Fourier space, a deviation
NOISE = (0.7, 7.0)  # standard deviation of the noise over the signal's, in the tomogram
NOISE_GROWTH = (0.0, 2.0)  # rise of a projection's noise power at 60 degrees by dose, before that by thickness
DAMAGED = 0.5  # share of the views whose tilts weaken by dose
DOSE = (20.0, 150.0)  # electrons per square A that a tilt of 60 degrees comes after, in a dose-symmetric series
DEFOCUS = (10000.0, 50000.0)  # A
SLAB = (0.5, 0.9)  # share of the thickness that holds sample
VIEWS_PER_SCENE = 12
EMPTY = 1e-3  # deviation of a truth that holds nothing
MOST_WEIGHT = 100.0  # of a crop: one of ice has next to no signal
SIGNAL = 0.3  # standard deviation of a signal that gets the weight 1
GREY_JITTER = 0.15  # of offset and scale, since pieces of a tomogram differ in both


def random_view(scene: Floats, voxel_size: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A tomogram of a scene as a tilt series gives it, and without noise and missing wedge.

    Parameters
    ----------
    scene : ndarray
        (n, n, n) float32, protein positive.
    voxel_size : float
        In A.
    rng : numpy.random.Generator
        Draws orientation, tilt range, thickness, CTF, noise and grey scale.

    Returns
    -------
    seen, truth : ndarray
        (n, n, n) float32, normalised as tomograms are, protein bright.
    """
    axes, signs = rng.permutation(3), rng.choice([-1, 1], 3)
    density = scene.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    if rng.uniform() < 0.5:
        density = density * _slab(len(scene), rng)[:, None, None]
    size = density.shape
    kz, ky = scipy.fft.fftfreq(size[0])[:, None, None], scipy.fft.fftfreq(size[1])[:, None]
    kx = scipy.fft.rfftfreq(size[2])
    radius = np.sqrt(kz**2 + ky**2 + kx**2).astype(np.float32)
    transfer, correction = _transfer(radius, voxel_size, rng)
    spectrum = scipy.fft.rfftn(density - density.mean()) * transfer
    shown, deviation = tilt_series(kz[:, 0], kx, _tilts(rng), rng.uniform(*NOISE_GROWTH))
    noise = scipy.fft.rfftn(rng.standard_normal(size, dtype=np.float32)) * deviation[:, None]
    spectrum_seen = spectrum * shown[:, None]
    if rng.uniform() < DAMAGED:
        spectrum_seen = spectrum_seen * _damage(kz, kx, radius / voxel_size, rng)
    strength = float(_volume(spectrum_seen, size).std()) / max(float(_volume(noise, size).std()), 1e-9)
    level = np.exp(rng.uniform(*np.log(NOISE))) * strength
    # what reconstruction programs and filters before it do to both alike
    kept = _filter(radius, rng) * correction
    seen = _volume((spectrum_seen + np.float32(level) * noise) * kept, size)
    truth = _volume(spectrum * kept, size)
    grey = measure(seen)
    scale, offset = np.exp(GREY_JITTER * rng.normal()), GREY_JITTER * rng.normal()
    seen, truth = ((grey.apply(v) * np.float32(scale) + np.float32(offset)) for v in (seen, truth))
    return seen, truth


def _damage(kz: Doubles, kx: Doubles, frequency: Floats, rng: np.random.Generator) -> Floats:
    """What radiation leaves of Fourier components: critical dose of Grant & Grigorieff (2015), eLife 4, e06980."""
    tilt = np.abs(np.arctan2(kz, kx + 1e-9))
    dose = rng.uniform(1, 4) + np.minimum(rng.uniform(*DOSE) * tilt / np.radians(60), 200)
    critical = 0.245 * np.maximum(frequency, 1e-4) ** -1.665 + 2.81
    return np.exp(-0.5 * dose / critical).astype(np.float32)


def _slab(length: int, rng: np.random.Generator) -> Floats:
    """1 within the ice, 0 outside, by slice."""
    half = rng.uniform(*SLAB) * length / 2
    distance = np.abs(np.arange(length) - (length - 1) / 2 - rng.uniform(-4, 4)) - half
    return (1 / (1 + np.exp(np.clip(distance * 2, -30, 30)))).astype(np.float32)


def _tilts(rng: np.random.Generator) -> Doubles:
    """Tilt angles in degrees: half the time as far to either side."""
    end = rng.uniform(*TILT_ENDS)
    low, high = (-end, end if rng.uniform() < 0.5 else rng.uniform(end, TILT_ENDS[1]))
    return np.sort(np.arange(low, high, rng.uniform(*TILT_STEP)) * rng.choice([-1, 1]))


def tilt_series(kz: Doubles, kx: Doubles, tilts: Doubles, growth: float) -> tuple[Doubles, Doubles]:
    """What weighted back-projection of the projections at some tilts does to Fourier components.

    Parameters
    ----------
    kz, kx : ndarray
        (n, 1) and (n // 2 + 1,), in cycles per voxel.
    tilts : ndarray
        In degrees.
    growth : float
        Rise of the noise power of a projection between 0 and 60 degrees of tilt, apart from that by thickness.

    Returns
    -------
    signal, noise : ndarray
        (n, n // 2 + 1) float32: factors of the density and, but for a constant, of white noise.
    """
    angles = np.radians(tilts)[:, None, None]
    along, off = kx * np.cos(angles) + kz * np.sin(angles), kz * np.cos(angles) - kx * np.sin(angles)
    # each tilt fills a plane, as thick as a box of finite size makes it, with its ramp-filtered projection
    step, thickness = np.radians(np.diff(tilts).mean()), PLANE / len(kz)
    ramp = step * np.maximum(np.abs(along), 1 / (4 * len(kz)))  # its foot is the mean over a component's width
    plane = ramp * np.exp(-((off / thickness) ** 2) / 2) / (np.sqrt(2 * np.pi) * thickness)
    power = (1 + growth * np.abs(angles) / np.radians(60)) / np.cos(angles)
    return plane.sum(0).astype(np.float32), np.sqrt((power * plane**2).sum(0)).astype(np.float32)


def _transfer(radius: Doubles, voxel_size: float, rng: np.random.Generator) -> tuple[Any, Any]:
    """The CTF that leaves protein bright, or none, and the filter that corrects it: none, of phases, deconvolution."""
    nothing, kind = np.float32(1), rng.uniform()
    if kind < 0.4:
        return nothing, nothing
    ctf_parameters = CtfParameters(defocus=rng.uniform(*DEFOCUS))
    values = ctf(radius / voxel_size, ctf_parameters).astype(np.float32)
    if kind < 0.6:
        return values, nothing
    if kind < 0.8:
        return values, np.sign(values)
    strength = rng.uniform(0.5, 1.5, 2)
    return values, wiener_filter(np.minimum(1, 2 * radius), voxel_size, ctf_parameters, *strength).astype(np.float32)


def _filter(radius: Doubles, rng: np.random.Generator) -> Reals:
    """A fall-off towards Nyquist, often with a low-pass as of a Wiener filter."""
    beyond = np.maximum(radius - rng.uniform(0.3, 0.5), 0)
    kept = np.exp(-((beyond / 0.05) ** 2) / 2)
    if rng.uniform() < 0.4:
        kept = kept * np.exp(-((radius / rng.uniform(0.15, 0.5)) ** 2) / 2)
    return kept.astype(np.float32)


def _volume(spectrum: Reals, size: tuple[int, ...]) -> Floats:
    return scipy.fft.irfftn(spectrum, size).astype(np.float32)


def endless_views(seed: Sequence[int], given: Sequence[Density] = (), side: int = SCENE) -> Iterator[Floats]:
    """Views, VIEWS_PER_SCENE of each scene, forever.

    Parameters
    ----------
    seed : sequence of int
        Decides them all.
    given : sequence of Density
        Proteins that most scenes have.
    side : int
        Of the scenes in voxels.

    Yields
    ------
    ndarray
        (2, side, side, side) float16: what was seen, and the truth.
    """
    rng = np.random.default_rng(seed)
    while True:
        usual = rng.uniform() < USUALLY
        voxel_size = USUAL_SIZE if usual else float(np.exp(rng.uniform(*np.log(SIMULATED_SIZES))))
        scene = random_scene((side,) * 3, voxel_size, rng, given)
        for _ in range(VIEWS_PER_SCENE):
            pair = np.stack(random_view(scene, voxel_size, rng))
            if pair[1].std() > EMPTY:
                yield pair.astype(np.float16)


def crops(views: Sequence[Floats], side: int, count: int, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Inputs and targets (count, side, side, side, 1) and weights (count,) float32 out of views, mirrored at random.

    The weight takes off the strength that the signal has in the normalised tomogram: less, the more noise it has.
    """
    pairs = np.empty((2, count, *(side,) * 3, 1), np.float32)
    for place in range(count):
        view = views[rng.integers(len(views))]
        corner = [rng.integers(0, length - side + 1) for length in view.shape[1:]]
        box = view[(slice(None), *(slice(start, start + side) for start in corner))]
        # a mirrored tilt series is one too
        pairs[:, place, ..., 0] = box[(slice(None), *(slice(None, None, rng.choice([-1, 1])) for _ in range(3)))]
    strength = pairs[1].var(axis=(1, 2, 3, 4))
    return pairs[0], pairs[1], np.minimum(SIGNAL**2 / np.maximum(strength, 1e-9), MOST_WEIGHT)
