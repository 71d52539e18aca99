"""Deconvolution of the CTF, or of its signs alone: a radial filter on a whole tomogram, plane by plane, in place."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import scipy.fft

from isonet_scipion.engine.arrays import Doubles, Floats, Integers, Reals, release, require_contrast, scratch_array
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.physics.ctf import CtfParameters, ctf, wiener_filter

if TYPE_CHECKING:
    from isonet_scipion.engine.physics.borders import Border

FILTER_SAMPLES = 1 << 16  # steps of the tabulated radial filter
SLAB_VOXELS = 1 << 21  # transformed along z at a time; fits the caches' neighbourhood
EDGE = 32  # voxels of mirrored padding; the filter's kernel has faded there


@dataclass(frozen=True)
class Deconvolution:
    """What the result depends on; see `ctf.wiener_filter`."""

    furthest: ClassVar[float] = 1.0  # Nyquist fraction that frequencies beyond it count as
    voxel_size: float  # A
    ctf_parameters: CtfParameters = CtfParameters()
    snrfalloff: float = 1.0
    deconvstrength: float = 1.0
    highpassnyquist: float = 0.02
    pad_edges: bool = False
    phase_flipped: bool = False  # already, when it comes

    def __post_init__(self) -> None:
        # also those of a table
        for name, most, remedy in (
            ("snrfalloff", 99, "Give a number near 1."),
            ("deconvstrength", 99, "Give a number near 1."),
            ("highpassnyquist", 1, "Give a small fraction, such as 0.02."),
        ):
            if not 0 <= getattr(self, name) <= most:
                raise EngineError(name, f"{getattr(self, name):g} is not from 0 to {most}", remedy)

    def weights(self, nyquist_fraction: Doubles) -> Reals:
        """The filter by the frequency as a fraction of Nyquist."""
        return wiener_filter(
            nyquist_fraction,
            self.voxel_size,
            self.ctf_parameters,
            self.snrfalloff,
            self.deconvstrength,
            self.highpassnyquist,
            self.phase_flipped,
        )


@dataclass(frozen=True)
class PhaseFlip:
    """Turns the lobes of the CTF that are negative, and leaves all strengths as they are."""

    furthest: ClassVar[float] = math.sqrt(3)  # the corner: a third of what is measured lies beyond Nyquist
    voxel_size: float  # A
    ctf_parameters: CtfParameters
    pad_edges: bool = True

    def weights(self, nyquist_fraction: Doubles) -> Reals:
        """The filter by the frequency as a fraction of Nyquist."""
        return np.where(ctf(nyquist_fraction / (2 * self.voxel_size), self.ctf_parameters) < 0, -1.0, 1.0)


def deconvolve(
    tomogram: Reals,
    deconvolution: Deconvolution | PhaseFlip,
    out: Reals | None = None,
    chunk_size: int | None = None,
    scratch_folder: str | os.PathLike[str] | None = None,
    threads: int = 1,
    border: Border | None = None,
) -> Floats:
    """Filter a tomogram with W(r), r = min(furthest, |frequency / Nyquist|), and scale it to its mean and deviation.

    Parameters
    ----------
    tomogram : ndarray
        (z, y, x) of any real type; a memory map is read plane by plane.
    deconvolution : Deconvolution or PhaseFlip
        Voxel size, CTF parameters and strength of the filter; pad_edges mirrors the faces, so that
        opposite ones do not bleed into each other (IsoNet 0.2 does not).
    out : ndarray, optional
        float32 array of the same shape that takes the result; may be a memory map.
    chunk_size : int, optional
        Keep the spectrum in a file, and at most chunk_size^3 voxels of it per thread in memory. The result
        is the same: the pieces are parts of one transform.
    scratch_folder : path, optional
        Folder of that file, which has no name and vanishes with the process.
    threads : int
        Number of CPU threads.
    border : Border, optional
        What of the tomogram is no data: it is not filtered, and stays as it is.

    Returns
    -------
    ndarray
        `out`, or a new array.

    Raises
    ------
    EngineError
        If a voxel is not finite, all are equal, or there is no room for the file.

    Examples
    --------
    >>> tomogram = np.random.default_rng(0).normal(size=(16, 24, 24)).astype(np.float32)
    >>> filtered = deconvolve(tomogram, Deconvolution(10.0, CtfParameters(defocus=20000)))
    >>> bool(abs(filtered.mean() - tomogram.mean()) < 1e-4)
    True
    """
    if border is not None:
        whole = np.empty(tomogram.shape, np.float32) if out is None else out
        inner = whole[border.box]
        deconvolve(border.inner(tomogram), deconvolution, inner, chunk_size, scratch_folder, threads)
        border.put_back(tomogram, inner, whole)
        return whole
    shape = tomogram.shape
    sources = [_padded_axis(n, deconvolution.pad_edges) for n in shape]
    start = [(len(source) - n) // 2 for source, n in zip(sources, shape)]
    padded = tuple(len(source) for source in sources)
    half = (*padded[:2], padded[2] // 2 + 1)
    result = np.empty(shape, np.float32) if out is None else out
    offset = tomogram[shape[0] // 2].mean(dtype=np.float64).astype(np.float32)  # keeps large grey values precise
    before, after, ends = (np.empty((shape[0], 2)) for _ in range(3))
    release_every = max(1, SLAB_VOXELS // (shape[1] * shape[2]))

    def forward(z: int) -> None:
        with np.errstate(invalid="ignore", over="ignore"):  # infinite voxels are told by require_contrast
            plane = tomogram[sources[0][z]].astype(np.float32)
            ends[sources[0][z]] = plane.min(), plane.max()
            plane -= offset
            before[sources[0][z]] = _sums(plane)
        if deconvolution.pad_edges:
            plane = plane[sources[1]][:, sources[2]]
        spectrum[z] = scipy.fft.rfft2(plane, overwrite_x=True)
        if z % release_every == 0:
            release(tomogram)
            release(spectrum)

    def backward(z: int) -> None:
        # the real plane takes the place of its spectrum, which is one or two columns wider
        plane = scipy.fft.irfft2(spectrum[start[0] + z], padded[1:], overwrite_x=True)
        plane = plane[start[1] : start[1] + shape[1], start[2] : start[2] + shape[2]]
        after[z] = _sums(plane)
        spectrum[start[0] + z].view(np.float32)[: shape[1], : shape[2]] = plane
        if z % release_every == 0:
            release(spectrum)

    def scaled(z: int) -> None:
        plane = spectrum[start[0] + z].view(np.float32)[: shape[1], : shape[2]]
        np.multiply(plane - np.float32(mean_after), np.float32(gain), out=result[z])
        result[z] += np.float32(mean_before + offset)
        if z % release_every == 0:
            release(spectrum)
            release(result)

    with ThreadPoolExecutor(threads) as pool, _spectrum_store(half, bool(chunk_size), scratch_folder) as spectrum:
        list(pool.map(forward, range(padded[0])))
        require_contrast(float(ends[:, 0].min()), float(ends[:, 1].max()))
        mean_before, deviation_before = _moments(before, shape)
        slab_voxels = min(SLAB_VOXELS, chunk_size**3) if chunk_size else SLAB_VOXELS
        _filter_along_z(spectrum, padded, deconvolution, slab_voxels, pool)
        list(pool.map(backward, range(shape[0])))
        mean_after, deviation_after = _moments(after, shape)
        gain = deviation_before / deviation_after if deviation_after > 0 else 0.0
        list(pool.map(scaled, range(shape[0])))
    return result


def _padded_axis(length: int, pad: bool) -> Integers:
    """Index of the source voxel for each voxel of a padded axis."""
    if not pad:
        return np.arange(length)
    total = scipy.fft.next_fast_len(length + 2 * EDGE, real=True)
    first = (total - length) // 2
    return np.pad(np.arange(length), (first, total - length - first), mode="reflect")


@contextmanager
def _spectrum_store(shape: tuple[int, ...], on_disk: bool, folder: str | os.PathLike[str] | None) -> Iterator[Reals]:
    """An uninitialised complex64 array, in memory or in a file without a name."""
    if not on_disk:
        yield np.empty(shape, np.complex64)
        return
    yield scratch_array(shape, np.complex64, folder or ".")


def _sums(plane: Reals) -> tuple[float, float]:
    return float(plane.sum(dtype=np.float64)), float(np.square(plane).sum(dtype=np.float64))


def _moments(sums: Doubles, shape: tuple[int, ...]) -> tuple[float, float]:
    mean, square = sums.sum(axis=0) / np.prod(shape)
    return mean, np.sqrt(max(square - mean**2, 0.0))


def _filter_along_z(
    spectrum: Reals,
    shape: tuple[int, ...],
    deconvolution: Deconvolution | PhaseFlip,
    slab_voxels: int,
    pool: ThreadPoolExecutor,
) -> None:
    """Transform along z, multiply by W and transform back, slab by slab of y."""
    furthest = deconvolution.furthest
    table = deconvolution.weights(np.linspace(0, furthest, FILTER_SAMPLES + 1)).astype(np.float32)
    z2, y2 = (np.square(2 * scipy.fft.fftfreq(n)).astype(np.float32) for n in shape[:2])
    x2 = np.square(2 * scipy.fft.rfftfreq(shape[2])).astype(np.float32)
    rows = max(1, slab_voxels // (shape[0] * spectrum.shape[2]))

    def filter_slab(y: int) -> None:
        slab = np.ascontiguousarray(spectrum[:, y : y + rows])
        slab = scipy.fft.fft(slab, axis=0, overwrite_x=True)
        yx2 = y2[y : y + rows, None] + x2
        for z in range(shape[0] // 2 + 1):
            radius = np.sqrt(yx2 + z2[z])
            np.minimum(radius, furthest, out=radius)
            weights = table[(radius * np.float32(FILTER_SAMPLES / furthest) + np.float32(0.5)).astype(np.int32)]
            for mirrored in {z, -z % shape[0]}:
                slab[mirrored] *= weights
        spectrum[:, y : y + rows] = scipy.fft.ifft(slab, axis=0, overwrite_x=True)
        release(spectrum)

    list(pool.map(filter_slab, range(0, shape[1], rows)))
