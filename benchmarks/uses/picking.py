"""Use (a): particles are picked by normalised correlation with their maps."""

from __future__ import annotations

import numpy as np
from scipy import fft
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation

from uses.fourier import halved, measured
from uses.scenes import Truth, rotated

ORIENTATIONS = 500  # some 30 degrees apart
TOLERANCE = 0.5  # of a particle's radius, between a peak and the truth


def orientations(count: int) -> np.ndarray:
    """Rotation matrices, evenly spread (the super-Fibonacci spiral of Alexa 2022)."""
    place = np.arange(count) + 0.5
    radius = np.sqrt(place / count)
    turns = 2 * np.pi * place[:, None] / np.array([np.sqrt(2), 1.533751168755204288118041])
    first, second = np.sqrt(1 - radius**2), radius
    quaternions = np.stack(
        [
            second * np.sin(turns[:, 0]),
            second * np.cos(turns[:, 0]),
            first * np.sin(turns[:, 1]),
            first * np.cos(turns[:, 1]),
        ],
        axis=1,
    )
    return Rotation.from_quat(quaternions).as_matrix()


def correlation_map(volume: np.ndarray, template: np.ndarray, tilts: tuple[float, float] | None) -> np.ndarray:
    """The highest normalised correlation with a template over all orientations, for each voxel.

    With a tilt range the template gets the tomogram's missing wedge, as programs for picking do.
    """
    side = len(template)
    grid = np.indices((side,) * 3) - (side - 1) / 2
    mask = (np.sqrt((grid**2).sum(axis=0)) <= (side - 1) / 2).astype(np.float32)
    inside = mask.sum()
    shape = volume.shape
    spectrum = fft.rfftn(volume)
    ball = fft.rfftn(mask, shape).conj()
    mean = fft.irfftn(spectrum * ball, shape) / inside
    square = fft.irfftn(fft.rfftn(volume**2) * ball, shape) / inside
    deviation = np.sqrt(np.maximum(square - mean**2, 1e-3 * volume.var()))
    passed = None if tilts is None else measured(template.shape, tilts)
    best = np.full(shape, -1, np.float32)
    for rotation in orientations(ORIENTATIONS):
        turned = rotated(template, rotation)
        if passed is not None:
            turned = fft.irfftn(fft.rfftn(turned) * passed, turned.shape)
        turned = (turned - (turned * mask).sum() / inside) * mask
        turned /= np.sqrt((turned**2).sum() / inside)
        product = fft.irfftn(spectrum * fft.rfftn(turned, shape).conj(), shape) / inside
        np.maximum(best, product / deviation, out=best)
    # from the corner of the template to its centre
    return np.roll(best, [side // 2] * 3, axis=(0, 1, 2))


def peaks(scores: np.ndarray, radius: float, slab: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (n, 3) and scores of the highest maxima, at least a radius apart, best first."""
    reach = int(radius)
    top = (scores == ndi.maximum_filter(scores, size=2 * reach + 1)) & slab
    places = np.argwhere(top)
    order = np.argsort(-scores[top])[:most]
    return places[order], scores[top][order]


def precision_recall(found: np.ndarray, true: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of the first n found places, for all n; each true place counts once."""
    left, hits = np.ones(len(true), bool), []
    for place in found:
        distance = np.where(left, np.linalg.norm(true - place, axis=1), np.inf)
        nearest = distance.argmin()
        hits.append(distance[nearest] <= tolerance)
        left[nearest] &= not hits[-1]
    right = np.cumsum(hits)
    return right / np.arange(1, len(found) + 1), right / len(true)


def picking(truth: Truth, volume: np.ndarray, tilts: tuple[float, float] | None) -> dict:
    """F1 at the best threshold and average precision, of each species; tilts: of a tomogram with a missing wedge."""
    small = halved(volume)
    slab = truth.slab[::2, ::2, ::2]
    result: dict = {}
    for name, data in truth.maps.items():
        template = halved(np.pad(data, [(0, -len(data) % 4)] * 3))
        solid = np.argwhere(data > 0.3) - (np.array(data.shape) - 1) / 2
        radius = np.percentile(np.linalg.norm(solid, axis=1), 95) / 2  # in voxels of the smaller volume
        true = np.array([centre for centre, _ in truth.particles[name]]) / 2
        found, _ = peaks(correlation_map(small, template, tilts), radius, slab, 4 * len(true))
        precision, recall = precision_recall(found, true, max(2.0, TOLERANCE * radius))
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        step = np.diff(recall, prepend=0)
        result[name] = {
            "particles": len(true),
            "F1": float(f1.max()),
            "average_precision": float((precision * step).sum()),
            "precision": precision.tolist(),
            "recall": recall.tolist(),
        }
    return result
