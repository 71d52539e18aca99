"""A reference correction without any learning: a floor that real software has to beat.

    python baseline.py --input tomo.mrc --mask slab_mask.mrc --tlt tilt.tlt --out baseline.mrc

Gerchberg-Papoulis iterations on the lightly smoothed tomogram: alternately set everything outside
the slab and every 'less than ice' density to zero, and put the measured Fourier components back.
"""

from __future__ import annotations

import argparse

import numpy as np
from common import read_mrc, read_tlt, write_mrc
from scipy import fft
from scipy import ndimage as ndi


def correct(tomogram, mask, tilt_min, tilt_max, iterations=40, sigma=1.0):
    """Return the corrected tomogram; dark protein in, dark protein out."""
    density = tomogram[mask].mean() - tomogram
    density = ndi.gaussian_filter(density, sigma).astype(np.float32)
    kz = fft.fftfreq(density.shape[0])[:, None, None]
    kx = fft.rfftfreq(density.shape[2])[None, None, :]
    angle = np.degrees(np.arctan2(kz, kx))
    known = (angle >= tilt_min) & (angle <= tilt_max)
    data = fft.rfftn(density, workers=2)
    estimate = density
    for _ in range(iterations):
        estimate = np.where(mask, np.maximum(estimate, 0), 0)
        spectrum = np.where(known, data, fft.rfftn(estimate, workers=2))
        estimate = fft.irfftn(spectrum, density.shape, workers=2).astype(np.float32)
    return -estimate


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", required=True)
    parser.add_argument("--mask", required=True)
    parser.add_argument("--tlt", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--sigma", type=float, default=1.0, help="smoothing beforehand, voxels")
    args = parser.parse_args(argv)
    tomogram, apix = read_mrc(args.input)
    tilts = read_tlt(args.tlt)
    out = correct(tomogram, read_mrc(args.mask)[0] > 0.5, tilts.min(), tilts.max(), args.iterations, args.sigma)
    write_mrc(args.out, out, apix)


if __name__ == "__main__":
    main()
