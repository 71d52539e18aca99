"""Shared helpers of the benchmark: MRC input/output, tilt lists, random generators.

Conventions used by every script here
-------------------------------------
* Arrays are indexed (z, y, x); the tilt axis is y; the electron beam at zero tilt runs along z.
* Voxel sizes and lengths are in Angstrom, spatial frequencies in 1/Angstrom.
* The projection at tilt angle t has the detector coordinate  u = x*cos(t) + z*sin(t)  (and y),
  so it measures the central plane  (kx, kz) = s*(cos t, sin t)  of the 3-D Fourier transform:
  a positive tilt fills the quadrants in which kx and kz have the same sign.
  This is also how IsoNet lays out its wedge for a range (tilt_min, tilt_max).
* Ground truth: protein is positive on a zero background.
  Tomograms: protein is dark (negative), as in real cryo-ET.
"""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np


def read_mrc(path) -> tuple[np.ndarray, float]:
    """Return (float32 volume in (z, y, x) order, voxel size in Angstrom)."""
    with mrcfile.open(path, mode="r", permissive=True) as mrc:
        data = np.array(mrc.data, dtype=np.float32)
        apix = float(mrc.voxel_size.x)
    if data.ndim != 3:
        raise ValueError(f"{path}: expected a 3-D volume, found shape {data.shape}")
    return data, apix


def write_mrc(path, data: np.ndarray, apix: float) -> None:
    """Write a float32 (or int8 for boolean input) MRC volume with its voxel size."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype = np.int8 if data.dtype == bool else np.float32
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.ascontiguousarray(data, dtype=dtype))
        mrc.voxel_size = apix
        mrc.set_volume()


def tilt_angles(tilt_min: float, tilt_max: float, tilt_step: float) -> np.ndarray:
    """Ascending tilt angles in degrees, both ends included (when the step divides the range)."""
    count = int(np.floor((tilt_max - tilt_min) / tilt_step + 1e-6)) + 1
    return tilt_min + tilt_step * np.arange(count)


def read_tlt(path) -> np.ndarray:
    """Tilt angles (degrees) from an IMOD .tlt file: one number a line."""
    return np.loadtxt(path, ndmin=1, usecols=0)


def write_tlt(path, tilts) -> None:
    np.savetxt(path, tilts, fmt="%8.2f")
