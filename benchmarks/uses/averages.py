"""Use (c): subtomograms are averaged, and what two half sets claim is compared with the truth."""

from __future__ import annotations

import numpy as np
from scipy import fft
from scipy import ndimage as ndi

from uses.fourier import full_measured
from uses.scenes import APIX, BEFORE, Truth

AVERAGED, SIDE = "4v4r", 40  # species, and side in voxels of its subtomograms


def boxes(volume: np.ndarray, truth: Truth, tilts: tuple[float, float] | None) -> tuple[np.ndarray, np.ndarray]:
    """Spectra (n, ...) of the subtomograms, turned to the map's orientation, and what each of them measured."""
    spectra, weights = [], []
    half = SIDE // 2
    middle = (SIDE - 1) / 2
    passed = None if tilts is None else fft.fftshift(np.where(full_measured(SIDE, tilts), 1.0, 0.0))
    for centre, rotation in truth.particles[AVERAGED]:
        back = rotation.T  # a voxel u of the map is at centre + back @ (u - middle)
        turned = ndi.affine_transform(volume, back, centre - back @ np.full(3, middle), (SIDE,) * 3, order=3)
        spectra.append(fft.fftshift(fft.fftn(turned - turned.mean())))
        if passed is None:
            weights.append(np.ones((SIDE,) * 3))
        else:
            weights.append(ndi.affine_transform(passed, back, half - back @ np.full(3, half), order=0))
    return np.array(spectra), np.array(weights)


def shell_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Fourier shell correlation of two centred spectra, within a soft ball; shell i is at i / (SIDE * APIX)."""
    k = np.indices((SIDE,) * 3) - SIDE // 2
    shell = np.rint(np.sqrt((k**2).sum(axis=0))).astype(int).ravel()
    radius = np.sqrt(((np.indices((SIDE,) * 3) - (SIDE - 1) / 2) ** 2).sum(axis=0)) / (SIDE / 2)
    ball = np.clip((1 - radius) / 0.25, 0, 1)
    a, b = (fft.fftshift(fft.fftn(fft.ifftn(fft.ifftshift(one)).real * ball)).ravel() for one in (first, second))
    sums = [np.bincount(shell, values)[: SIDE // 2] for values in ((a * b.conj()).real, abs(a) ** 2, abs(b) ** 2)]
    return sums[0] / np.sqrt(sums[1] * sums[2] + 1e-12)


def averages(samples: list[tuple[Truth, dict[str, np.ndarray], tuple[float, float]]]) -> dict:
    """Of each kind of tomogram: the correlation with the truth that the half sets claim, and the true one, by shell."""
    truth = samples[0][0]
    data = truth.maps[AVERAGED]
    inner = [slice((n - SIDE) // 2, (n - SIDE) // 2 + SIDE) for n in data.shape]
    cut = data[tuple(inner)] if len(data) >= SIDE else np.pad(data, (SIDE - len(data)) // 2)
    real = fft.fftshift(fft.fftn(cut - cut.mean()))
    result: dict = {"shell_resolution_A": [SIDE * APIX / i for i in range(1, SIDE // 2)]}
    for when in samples[0][1]:
        parts = [boxes(volumes[when], one, tilts if when == BEFORE else None) for one, volumes, tilts in samples]
        spectra, weights = (np.concatenate(each) for each in zip(*parts))
        mean = [
            (spectra[half] * weights[half]).sum(axis=0) / np.maximum(weights[half].sum(axis=0), 1)
            for half in (slice(0, None, 2), slice(1, None, 2), slice(None))
        ]
        fsc = np.clip(shell_correlation(mean[0], mean[1]), 0, 1)
        claimed, right = np.sqrt(2 * fsc / (1 + fsc)), shell_correlation(mean[2], real)
        result[when] = {
            "particles": len(spectra),
            "claimed": claimed[1:].tolist(),
            "true": right[1:].tolist(),
            "claimed_resolution_A": falls(claimed),
            "true_resolution_A": falls(right),
        }
    return result


def falls(curve: np.ndarray, threshold: float = 0.5) -> float:
    """Resolution in A where a correlation with the truth first falls below a threshold; Nyquist if nowhere."""
    below = [shell for shell in range(2, len(curve)) if curve[shell] < threshold]
    return SIDE * APIX / (below[0] if below else len(curve))
