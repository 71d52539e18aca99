"""Fourier space: frequencies, where a tilt range measures, cutting."""

from __future__ import annotations

import numpy as np
from scipy import fft


def frequencies(shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """kz, ky, kx in cycles per voxel."""
    return fft.fftfreq(shape[0])[:, None, None], fft.fftfreq(shape[1])[None, :, None], fft.rfftfreq(shape[2])


def measured(shape: tuple[int, ...], tilts: tuple[float, float]) -> np.ndarray:
    """Where a tilt range measures."""
    kz, _, kx = frequencies(shape)
    angle = np.degrees(np.arctan2(kz, np.maximum(kx, 1e-9)))
    inside = ((angle >= tilts[0]) & (angle <= tilts[1])) | ((kx == 0) & (kz == 0))
    return np.broadcast_to(inside, (shape[0], shape[1], shape[2] // 2 + 1))


def halved(volume: np.ndarray) -> np.ndarray:
    """Half as many voxels along each axis, by cutting the Fourier transform."""
    spectrum = fft.fftshift(fft.fftn(volume))
    quarters = [n // 4 for n in volume.shape]
    inner = spectrum[tuple(slice(q, n - q) for q, n in zip(quarters, volume.shape))]
    return fft.ifftn(fft.ifftshift(inner)).real.astype(np.float32) / 8


def full_measured(side: int, tilts: tuple[float, float]) -> np.ndarray:
    """As `measured`, over the whole Fourier space of a cube."""
    k = fft.fftfreq(side)
    kz, kx = k[:, None, None], k[None, None, :]
    angle = np.degrees(np.arctan2(np.where(kx < 0, -kz, kz), np.maximum(np.abs(kx), 1e-9)))
    return np.broadcast_to((angle >= tilts[0]) & (angle <= tilts[1]), (side,) * 3)
