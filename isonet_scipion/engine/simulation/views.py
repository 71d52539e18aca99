"""Training pairs for the builtin model: what a tilt series shows of a simulated density, and what it should show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft

from isonet_scipion.engine.physics.ctf import CtfParameters, ctf, wiener_filter
from isonet_scipion.engine.physics.grey_scale import measure
from isonet_scipion.engine.simulation.scenes import random_scene

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Floats, Reals

SCENE = 96  # voxels on a side
VOXEL_SIZES = (8.0, 14.0)  # A
TILT_ENDS = (40.0, 70.0)  # degrees on the shorter side of the range, whose other side may go to 70
TILT_STEP = (1.0, 4.0)  # degrees
PLANE = 0.45  # cycles per box side: what the box's size leaves of a tilt's plane in Fourier space, a deviation
NOISE = (0.4, 8.0)  # standard deviation of the noise over the signal's, in the tomogram
NOISE_GROWTH = (0.0, 2.0)  # rise of a projection's noise power at 60 degrees by dose, before that by thickness
DEFOCUS = (10000.0, 50000.0)  # A
SLAB = (0.5, 0.9)  # share of the thickness that holds sample
VIEWS_PER_SCENE, CROPS_PER_VIEW = 16, 5
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


class Views:
    """An endless supply of pairs of crops: batch after batch, each crop of a batch from another scene."""

    def __init__(self, side: int, batch_size: int, seed: int, scene_side: int = SCENE) -> None:
        """Draw crops of `side`^3 voxels."""
        self.side, self.batch_size, self.seed, self.scene_side = side, batch_size, seed, scene_side
        self.scenes: dict[int, tuple[Any, ...]] = {}  # of each crop of the batch: number, voxel size and scene
        self.views: dict[int, tuple[Any, ...]] = {}  # number and pair of volumes

    def batch(self, number: int) -> tuple[Floats, Floats, Floats]:
        """Inputs and targets (batch_size, side, side, side, 1) and weights (batch_size,) float32 of batch `number`.

        The weight takes off the strength that the signal has in the normalised tomogram: less, the more noise it has.
        """
        crops = np.empty((2, self.batch_size, *(self.side,) * 3, 1), np.float32)
        weights = np.empty(self.batch_size, np.float32)
        for place in range(self.batch_size):
            # the scenes do not all change in the same batch
            turn = number + place * (VIEWS_PER_SCENE * CROPS_PER_VIEW // self.batch_size)
            pair = self._view(place, turn // CROPS_PER_VIEW)
            weights[place] = SIGNAL**2 / max(float(pair[1].var()), 1e-9)
            z, y, x = np.random.default_rng([self.seed, 2, place, turn]).integers(0, self.scene_side - self.side + 1, 3)
            for kind in range(2):
                crops[kind, place, ..., 0] = pair[kind][z : z + self.side, y : y + self.side, x : x + self.side]
        return crops[0], crops[1], weights

    def _view(self, place: int, view: int) -> tuple[Floats, Floats]:
        if self.views.get(place, (None,))[0] != view:
            number = view // VIEWS_PER_SCENE
            if self.scenes.get(place, (None,))[0] != number:
                rng = np.random.default_rng([self.seed, 0, place, number])
                voxel_size = rng.uniform(*VOXEL_SIZES)
                self.scenes[place] = (number, voxel_size, random_scene((self.scene_side,) * 3, voxel_size, rng))
            rng = np.random.default_rng([self.seed, 1, place, view])
            self.views[place] = (view, random_view(self.scenes[place][2], self.scenes[place][1], rng))
        return self.views[place][1]
