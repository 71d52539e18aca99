"""Training pairs for the builtin model: what a tilt series shows of a simulated density, and what it should show."""

from __future__ import annotations

import numpy as np
import scipy.fft

from isonet_scipion.engine.builtin.scenes import random_scene
from isonet_scipion.engine.ctf import Microscope, ctf
from isonet_scipion.engine.normalisation import measure
from isonet_scipion.engine.wedge import TiltRange, measured

SCENE = 96  # voxels on a side
VOXEL_SIZES = (8.0, 14.0)  # A
TILT_ENDS = (45.0, 70.0)  # degrees
NOISE = (0.3, 4.0)  # standard deviation of the noise over the signal's, in the tomogram
DEFOCUS = (10000.0, 50000.0)  # A
SLAB = (0.5, 0.9)  # share of the thickness that holds sample
VIEWS_PER_SCENE, CROPS_PER_VIEW = 12, 5
GREY_JITTER = 0.15  # of offset and scale, since pieces of a tomogram differ in both


def random_view(scene: np.ndarray, voxel_size: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
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
    spectrum = scipy.fft.rfftn(density) * _transfer(radius, voxel_size, rng)
    upper = rng.uniform(*TILT_ENDS)
    tilt = TiltRange(-upper, upper) if rng.uniform() < 0.5 else TiltRange(-rng.uniform(*TILT_ENDS), upper)
    mask = measured(kz, kx, tilt)
    noise = scipy.fft.rfftn(rng.standard_normal(size, dtype=np.float32))
    # weighted back-projection: the ramp filter leaves noise power that grows with the distance from the tilt axis
    noise *= mask * np.sqrt(np.hypot(kz, kx)).astype(np.float32)
    signal = _volume(spectrum * mask, size)
    level = np.exp(rng.uniform(*np.log(NOISE))) * signal.std() / max(float(_volume(noise, size).std()), 1e-9)
    # what reconstruction programs and filters before it do to both alike
    kept = _filter(radius, rng)
    seen = _volume((spectrum * mask + np.float32(level) * noise) * kept, size)
    truth = _volume(spectrum * kept, size)
    grey = measure(seen)
    scale, offset = np.exp(GREY_JITTER * rng.normal()), GREY_JITTER * rng.normal()
    seen, truth = ((grey.apply(v) * np.float32(scale) + np.float32(offset)) for v in (seen, truth))
    return seen, truth


def _slab(length: int, rng: np.random.Generator) -> np.ndarray:
    """1 within the ice, 0 outside, by slice."""
    half = rng.uniform(*SLAB) * length / 2
    distance = np.abs(np.arange(length) - (length - 1) / 2 - rng.uniform(-4, 4)) - half
    return (1 / (1 + np.exp(np.clip(distance * 2, -30, 30)))).astype(np.float32)


def _transfer(radius: np.ndarray, voxel_size: float, rng: np.random.Generator) -> np.ndarray:
    """No CTF, or one that leaves protein bright, half the time with its phases flipped."""
    if rng.uniform() < 0.4:
        return np.float32(1)
    values = ctf(radius / voxel_size, Microscope(defocus=rng.uniform(*DEFOCUS)))
    return (np.abs(values) if rng.uniform() < 0.5 else values).astype(np.float32)


def _filter(radius: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A fall-off towards Nyquist, often with a low-pass as of a Wiener filter."""
    beyond = np.maximum(radius - rng.uniform(0.3, 0.5), 0)
    kept = np.exp(-((beyond / 0.05) ** 2) / 2)
    if rng.uniform() < 0.4:
        kept = kept * np.exp(-((radius / rng.uniform(0.15, 0.5)) ** 2) / 2)
    return kept.astype(np.float32)


def _volume(spectrum: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    return scipy.fft.irfftn(spectrum, size).astype(np.float32)


class Views:
    """An endless supply of pairs of crops: batch after batch, each crop of a batch from another scene."""

    def __init__(self, side: int, batch_size: int, seed: int, scene_side: int = SCENE) -> None:
        """Draw crops of `side`^3 voxels."""
        self.side, self.batch_size, self.seed, self.scene_side = side, batch_size, seed, scene_side
        self.scenes: dict[int, tuple] = {}  # of each crop of the batch: number, voxel size and scene
        self.views: dict[int, tuple] = {}  # number and pair of volumes

    def batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets (batch_size, side, side, side, 1) float32 of batch `number`."""
        crops = np.empty((2, self.batch_size, *(self.side,) * 3, 1), np.float32)
        for place in range(self.batch_size):
            # the scenes do not all change in the same batch
            turn = number + place * (VIEWS_PER_SCENE * CROPS_PER_VIEW // self.batch_size)
            pair = self._view(place, turn // CROPS_PER_VIEW)
            z, y, x = np.random.default_rng([self.seed, 2, place, turn]).integers(0, self.scene_side - self.side + 1, 3)
            for kind in range(2):
                crops[kind, place, ..., 0] = pair[kind][z : z + self.side, y : y + self.side, x : x + self.side]
        return crops[0], crops[1]

    def _view(self, place: int, view: int) -> tuple[np.ndarray, np.ndarray]:
        if self.views.get(place, (None,))[0] != view:
            number = view // VIEWS_PER_SCENE
            if self.scenes.get(place, (None,))[0] != number:
                rng = np.random.default_rng([self.seed, 0, place, number])
                voxel_size = rng.uniform(*VOXEL_SIZES)
                self.scenes[place] = (number, voxel_size, random_scene((self.scene_side,) * 3, voxel_size, rng))
            rng = np.random.default_rng([self.seed, 1, place, view])
            self.views[place] = (view, random_view(self.scenes[place][2], self.scenes[place][1], rng))
        return self.views[place][1]
