"""Where a tomogram is compared with the truth: the soft-edged sample, and shells, wedge, measured region and cones."""

from __future__ import annotations

import numpy as np
from scipy import fft
from scipy import ndimage as ndi

AXES = ("x", "y", "z")
BANDS = (("low", 200.0, 80.0), ("mid", 80.0, 45.0), ("high", 45.0, 30.0))  # resolutions in Angstrom


# --------------------------------------------------------------------------------------------
# Sample region
# --------------------------------------------------------------------------------------------
def soft_mask(mask: np.ndarray, apix: float, edge: float | None = None) -> np.ndarray:
    """Soft-edged version of a mask that stays inside it and inside the box.

    A sharp (or short) edge would smear measured Fourier components into the wedge and lend a
    tomogram with an empty wedge a wedge correlation it does not deserve.  The mask is therefore
    shrunk and then blurred by a Hann-shaped kernel, `edge` Angstrom from 0 to 1; by default half
    the thickness of the mask in z, so that the region falls off smoothly from its middle.
    """
    mask = np.asarray(mask) > 0.5
    if not mask.any():
        raise ValueError("the mask is empty")
    rows = np.flatnonzero(mask.any(axis=(1, 2)))
    thickness = rows[-1] - rows[0] + 1
    edge_vox = 0.5 * thickness if edge is None else edge / apix
    half = max(1, int(edge_vox // 2))
    size = 2 * half + 1
    kernel = np.hanning(size + 2)[1:-1]
    kernel /= kernel.sum()
    soft = mask.astype(np.float32)
    for axis in range(3):
        soft = ndi.minimum_filter1d(soft, size, axis=axis, mode="constant", cval=0.0)
    if not soft.any():
        raise ValueError(f"the mask is too thin for an edge of {2 * half} voxels: give --edge")
    for axis in range(3):
        soft = ndi.convolve1d(soft, kernel, axis=axis, mode="constant", cval=0.0)
    return soft.astype(np.float32)


def extents(soft: np.ndarray, apix: float) -> np.ndarray:
    """Width (Angstrom) of the soft mask along z, y, x: the sum of its normalised profile."""
    widths = []
    for axis in range(3):
        other = tuple(a for a in range(3) if a != axis)
        profile = soft.sum(axis=other, dtype=np.float64)
        widths.append(profile.sum() / profile.max() * apix)
    return np.array(widths)


def windowed_spectrum(volume: np.ndarray, soft: np.ndarray) -> np.ndarray:
    """rfftn of the volume inside the soft mask, its mean there taken off and scaled to unit power."""
    weight = soft.sum(dtype=np.float64)
    mean = float((volume * soft).sum(dtype=np.float64) / weight)
    inside = (volume - np.float32(mean)) * soft
    spread = float(np.sqrt((inside.astype(np.float64) ** 2).sum()))
    if not np.isfinite(spread):
        raise ValueError("the volume holds NaN or infinite values")
    if spread > 0:
        inside = inside / np.float32(spread)
    return fft.rfftn(inside, workers=2)


# --------------------------------------------------------------------------------------------
# Regions of Fourier space
# --------------------------------------------------------------------------------------------
class FourierRegions:
    """Shells, wedge, measured region and axis cones on the rfftn grid of a volume.

    The wedge and the measured region keep a distance from their common border: `guard` times the
    width of a Fourier point of the sample region, as the window smears each point that far.
    """

    def __init__(self, shape, apix, tilt_min, tilt_max, widths, guard=2.0, cone_deg=20.0):
        if not -90 < tilt_min < tilt_max < 90:
            raise ValueError(f"tilt range {tilt_min}..{tilt_max} is not within -90..90")
        self.shape, self.apix = shape, apix
        kz = fft.fftfreq(shape[0], apix)[:, None, None].astype(np.float32)
        ky = fft.fftfreq(shape[1], apix)[None, :, None].astype(np.float32)
        kx = fft.rfftfreq(shape[2], apix)[None, None, :].astype(np.float32)
        radius = np.sqrt(kz**2 + ky**2 + kx**2)
        nyquist = 0.5 / apix
        self.step = 1.0 / (min(shape) * apix)
        self.count = int(nyquist / self.step)
        shell = np.rint(radius / self.step).astype(np.int32)
        self.freq = self.step * np.arange(self.count + 1)
        usable = (shell >= 1) & (shell <= self.count)
        self.shell = np.where(usable, shell, 0).ravel()
        # each voxel with kx > 0 stands for its conjugate too
        weight = np.full(kx.shape[-1], 2.0)
        weight[0] = 1.0
        if shape[2] % 2 == 0:
            weight[-1] = 1.0
        self.weight = np.broadcast_to(weight, radius.shape).ravel()

        def border(angle):
            """Signed distance from the border plane at this tilt, less the guard on either side."""
            s, c = np.sin(np.radians(angle)), np.cos(np.radians(angle))
            distance = kz * c - kx * s
            reach = guard * np.hypot(s / widths[2], c / widths[0])
            return distance, reach

        upper, upper_reach = border(tilt_max)
        lower, lower_reach = border(tilt_min)
        wedge = ((upper > upper_reach) & (lower > lower_reach)) | ((upper < -upper_reach) & (lower < -lower_reach))
        measured = (upper < -upper_reach) & (lower > lower_reach)
        full = np.broadcast_to
        self.wedge = (full(wedge, radius.shape) & usable).ravel()
        self.measured = (full(measured, radius.shape) & usable).ravel()
        cosine = np.cos(np.radians(cone_deg)) * radius
        self.cones = {
            axis: (full(np.abs(k) >= cosine, radius.shape) & usable).ravel() for axis, k in zip(AXES, (kx, ky, kz))
        }

    def sums(self, values, region):
        """Sum of real values per shell over a region (conjugates counted)."""
        index = np.flatnonzero(region)
        return np.bincount(self.shell[index], self.weight[index] * values[index], minlength=self.count + 1)

    def voxels(self, region):
        return np.bincount(self.shell[region], self.weight[region], minlength=self.count + 1)

    def band(self, coarse, fine):
        """Shells between two resolutions in Angstrom."""
        return (self.freq >= 1.0 / coarse - 1e-9) & (self.freq <= 1.0 / fine + 1e-9)
