"""Simulate a tilt series of a ground truth and reconstruct tomograms from it.

    python project.py --gt gt.mrc --out-dir easy --tilt-min -60 --tilt-max 60 --tilt-step 3 --snr 0.5

For every tilt the density is rotated about y (cubic B-spline interpolation in the xz-plane) and
summed along the beam onto a detector wide enough for the whole rotated volume.  Then: CTF (if a
defocus is given), radiation damage (if a dose is given), Gaussian noise, and weighted
back-projection (ramp filter with an IMOD-like radial cutoff and Gaussian fall-off).

Written to --out-dir: tomo.mrc (full), even.mrc and odd.mrc (halves), tilt.tlt, project.json,
and with --save-series also tilts.mrc, the noisy projections (tilt, y, x).
Tomograms have the shape and voxel size of the ground truth, and dark protein.
The geometry and its sign convention are described in common.py.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from common import read_mrc, tilt_angles, write_mrc, write_tlt
from scipy import fft, sparse
from scipy import ndimage as ndi


# --------------------------------------------------------------------------------------------
# Geometry: rotation + sum and its counterpart, as sparse matrices over one xz-plane
# --------------------------------------------------------------------------------------------
def cubic_weights(position):
    """Cubic B-spline: first grid index and the four weights at fractional grid positions."""
    first = np.floor(position).astype(np.int64) - 1
    t = position - np.floor(position)
    return first, np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6


def projection_matrix(nz, nx, width, tilt):
    """Sparse (width, nz*nx): rotate a plane of spline coefficients by `tilt` and sum along v.

    A detector pixel u and a depth v along the beam correspond to the sample point
    x = u*cos - v*sin, z = u*sin + v*cos (all measured from the centres).
    """
    cos, sin = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    depth = int(np.ceil(nz * abs(cos) + nx * abs(sin))) + 8
    u = np.arange(width) - (width - 1) / 2
    v = np.arange(depth) - (depth - 1) / 2
    u, v = np.meshgrid(u, v, indexing="ij")
    x, z = u * cos - v * sin + (nx - 1) / 2, u * sin + v * cos + (nz - 1) / 2
    near = (x > -3) & (x < nx + 2) & (z > -3) & (z < nz + 2)
    row = np.broadcast_to(np.arange(width)[:, None], x.shape)[near]
    x0, wx = cubic_weights(x[near])
    z0, wz = cubic_weights(z[near])
    rows, cols, values = [], [], []
    for i in range(4):
        for j in range(4):
            zi, xj = z0 + i, x0 + j
            inside = (zi >= 0) & (zi < nz) & (xj >= 0) & (xj < nx)
            rows.append(row[inside])
            cols.append((zi * nx + xj)[inside])
            values.append((wz[i] * wx[j])[inside])
    return sparse.coo_array(
        (np.concatenate(values).astype(np.float32), (np.concatenate(rows), np.concatenate(cols))),
        shape=(width, nz * nx),
    ).tocsr()


def backprojection_matrix(nz, nx, width, tilt):
    """Sparse (nz*nx, width): value of a spline over the detector at u = x*cos + z*sin."""
    cos, sin = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    z, x = np.meshgrid(np.arange(nz) - (nz - 1) / 2, np.arange(nx) - (nx - 1) / 2, indexing="ij")
    first, weight = cubic_weights((x * cos + z * sin + (width - 1) / 2).ravel())
    rows = np.tile(np.arange(nz * nx), 4)
    cols = np.concatenate([first + i for i in range(4)])
    inside = (cols >= 0) & (cols < width)
    return sparse.coo_array(
        (weight.ravel().astype(np.float32)[inside], (rows[inside], cols[inside])), shape=(nz * nx, width)
    ).tocsr()


def detector_width(nz, nx):
    """Wide enough for the rotated volume at any tilt; same parity as nx, so centres agree."""
    width = int(np.ceil(np.hypot(nz, nx))) + 8
    return width + (width - nx) % 2


def project(volume, tilts):
    """Projections (tilt, y, u) of a (z, y, x) volume; float32."""
    width = detector_width(volume.shape[0], volume.shape[2])
    rim = 4  # room for the spline to fall to zero outside
    volume = np.pad(volume, ((rim, rim), (0, 0), (rim, rim)))
    nz, ny, nx = volume.shape
    coefs = ndi.spline_filter1d(volume, 3, axis=0, output=np.float32, mode="mirror")
    coefs = ndi.spline_filter1d(coefs, 3, axis=2, output=np.float32, mode="mirror")
    flat = np.ascontiguousarray(coefs.transpose(0, 2, 1)).reshape(nz * nx, ny)
    out = np.empty((len(tilts), ny, width), np.float32)
    for i, tilt in enumerate(tilts):
        out[i] = (projection_matrix(nz, nx, width, tilt) @ flat).T
    return out


def ramp_filter(projections, cutoff, falloff):
    """Ramp along u, flat-topped off by a Gaussian of sigma `falloff` beyond `cutoff` (cyc/pixel)."""
    width = projections.shape[-1]
    size = fft.next_fast_len(2 * width, real=True)
    freq = fft.rfftfreq(size)
    weight = freq.copy()
    weight[0] = freq[1] / 4  # mean of |k| over the zero-frequency bin
    if cutoff:
        beyond = np.maximum(freq - cutoff, 0)
        weight *= np.exp(-0.5 * (beyond / max(falloff, 1e-6)) ** 2)
    spectrum = fft.rfft(projections, size, axis=-1) * weight.astype(np.float32)
    return fft.irfft(spectrum, size, axis=-1)[..., :width].astype(np.float32)


def reconstruct(projections, tilts, shape, cutoff=0.4, falloff=0.05, weights=None):
    """Weighted back-projection to a (z, y, x) volume on the density scale of the projections."""
    nz, ny, nx = shape
    width = projections.shape[-1]
    tilts = np.asarray(tilts, float)
    if weights is None:  # angle that each tilt stands for, in radians
        weights = np.radians(np.gradient(tilts)) if len(tilts) > 1 else np.ones(1)
    filtered = ramp_filter(projections, cutoff, falloff)
    filtered = ndi.spline_filter1d(filtered, 3, axis=2, output=np.float32, mode="mirror")
    total = np.zeros((nz * nx, ny), np.float32)
    for image, tilt, weight in zip(filtered, tilts, weights):
        columns = np.ascontiguousarray(image.T) * np.float32(weight)
        total += backprojection_matrix(nz, nx, width, tilt) @ columns
    return np.ascontiguousarray(total.reshape(nz, nx, ny).transpose(0, 2, 1))


# --------------------------------------------------------------------------------------------
# Image formation
# --------------------------------------------------------------------------------------------
def ctf(freq, defocus_um, kv=300.0, cs_mm=2.7, amplitude=0.07):
    """Contrast transfer (positive for protein-as-positive at low frequency, underfocus > 0)."""
    volt = kv * 1e3
    wavelength = 12.2643 / np.sqrt(volt + 0.97845e-6 * volt**2)
    chi = np.pi * wavelength * defocus_um * 1e4 * freq**2 - 0.5 * np.pi * cs_mm * 1e7 * wavelength**3 * freq**4
    return np.sqrt(1 - amplitude**2) * np.sin(chi) + amplitude * np.cos(chi)


def dose_damping(freq, dose):
    """Signal left after `dose` e/A^2 (critical exposure of Grant & Grigorieff 2015)."""
    critical = 0.245 * np.maximum(freq, 1e-4) ** -1.665 + 2.81
    return np.exp(-0.5 * dose / critical)


def filter_images(images, transfer):
    """Multiply the 2-D spectra of zero-padded images by transfer(|k| in cycles/pixel, index)."""
    ny, nu = images.shape[1:]
    size = [fft.next_fast_len(n + 64, real=True) for n in (ny, nu)]
    radius = np.hypot(fft.fftfreq(size[0])[:, None], fft.rfftfreq(size[1])[None])
    out = np.empty_like(images)
    for i, image in enumerate(images):
        spectrum = fft.rfft2(image, size) * transfer(radius, i).astype(np.float32)
        out[i] = fft.irfft2(spectrum, size)[:ny, :nu]
    return out


def dose_symmetric_order(tilts):
    """Rank (0 = first recorded) of each tilt when recorded outwards from zero."""
    order = np.lexsort((np.asarray(tilts) < 0, np.round(np.abs(tilts), 3)))
    rank = np.empty(len(tilts), int)
    rank[order] = np.arange(len(tilts))
    return rank


def noise_sigmas(tilts, sigma, growth):
    """Per-tilt noise: thicker ice at high tilt, and up to (1+growth) the variance late in the dose."""
    rank = dose_symmetric_order(tilts)
    late = 1 + growth * rank / max(len(tilts) - 1, 1)
    return sigma * np.sqrt(late / np.cos(np.radians(tilts)))


def simulate(
    gt,
    apix,
    tilts,
    snr=0.5,
    defocus_um=0.0,
    dose_per_tilt=0.0,
    noise_growth=1.0,
    halves="noise",
    cutoff=0.4,
    falloff=0.05,
    seed=0,
    outside="empty",
):
    """Return (full, even, odd, noisy projections), protein still positive.

    halves='noise': both halves hold all tilts, each with noise of its own (like frame halves);
    halves='tilts': even- and odd-numbered tilts.
    outside='mirror': the sample goes on beyond the box in x as its mirror image, as a real sample
    goes on beyond the field of view; 'empty': nothing there.
    snr: variance of the noise-free 0-degree image over that of its noise; <= 0 means no noise.
    """
    rng = np.random.default_rng(seed)
    tilts = np.asarray(tilts, float)
    nz, ny, nx = gt.shape
    width = detector_width(nz, nx)
    sample = gt
    if outside == "mirror":  # as far as a beam through the box reaches at 60+
        far = min(int(np.ceil(0.75 * nx)), nx - 1)
        sample = np.pad(gt, ((0, 0), (0, 0), (far, far)), mode="reflect")
    clean = project(sample, tilts)
    cut = (clean.shape[-1] - width) // 2
    clean = clean[..., cut : cut + width]
    if defocus_um or dose_per_tilt:
        rank = dose_symmetric_order(tilts)

        def transfer(radius, i):
            freq = radius / apix
            out = ctf(freq, defocus_um) if defocus_um else np.ones_like(freq)
            return out * dose_damping(freq, dose_per_tilt * (rank[i] + 0.5))

        clean = filter_images(clean, transfer)

    flat = clean[np.argmin(np.abs(tilts))][:, (width - nx) // 2 : (width + nx) // 2]
    sigma = np.sqrt(flat.var() / snr) if snr > 0 else 0.0
    sigmas = noise_sigmas(tilts, sigma, noise_growth).astype(np.float32)[:, None, None]

    def noise():
        return rng.standard_normal(clean.shape, dtype=np.float32)

    def rebuild(images, subset=slice(None)):
        return reconstruct(images[subset], tilts[subset], gt.shape, cutoff, falloff)

    if halves == "noise":
        first = clean + np.sqrt(2, dtype=np.float32) * sigmas * noise()
        second = clean + np.sqrt(2, dtype=np.float32) * sigmas * noise()
        series = 0.5 * (first + second)
        even, odd = rebuild(first), rebuild(second)
        full = 0.5 * (even + odd)
    else:
        series = clean + sigmas * noise()
        even, odd = rebuild(series, slice(0, None, 2)), rebuild(series, slice(1, None, 2))
        full = rebuild(series)
    return full, even, odd, series


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gt", required=True)
    parser.add_argument("--out-dir", required=True)
    parser.add_argument("--tilt-min", type=float, default=-60)
    parser.add_argument("--tilt-max", type=float, default=60)
    parser.add_argument("--tilt-step", type=float, default=3)
    parser.add_argument(
        "--snr", type=float, default=0.5, help="signal/noise variance of the 0-degree image; 0 = no noise"
    )
    parser.add_argument("--defocus", type=float, default=0.0, help="um; 0 = no CTF")
    parser.add_argument(
        "--dose-per-tilt", type=float, default=0.0, help="e/A^2; damps high resolution, dose-symmetric order; 0 = off"
    )
    parser.add_argument(
        "--noise-growth",
        type=float,
        default=1.0,
        help="the last tilt has (1 + this) times the noise variance of the first",
    )
    parser.add_argument("--halves", choices=("noise", "tilts"), default="noise")
    parser.add_argument("--outside", choices=("empty", "mirror"), default="empty", help="what lies beyond the box in x")
    parser.add_argument(
        "--radial",
        type=float,
        nargs=2,
        default=(0.4, 0.05),
        metavar=("CUTOFF", "FALLOFF"),
        help="cycles/pixel, as IMOD's RADIAL",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--save-series", action="store_true")
    args = parser.parse_args(argv)

    began = time.time()
    gt, apix = read_mrc(args.gt)
    tilts = tilt_angles(args.tilt_min, args.tilt_max, args.tilt_step)
    full, even, odd, series = simulate(
        gt,
        apix,
        tilts,
        args.snr,
        args.defocus,
        args.dose_per_tilt,
        args.noise_growth,
        args.halves,
        *args.radial,
        seed=args.seed,
        outside=args.outside,
    )
    out = Path(args.out_dir)
    for name, volume in (("tomo", full), ("even", even), ("odd", odd)):
        write_mrc(out / f"{name}.mrc", -volume, apix)
    if args.save_series:
        write_mrc(out / "tilts.mrc", -series, apix)
    write_tlt(out / "tilt.tlt", tilts)
    (out / "project.json").write_text(json.dumps(vars(args), indent=1))
    print(f"{out}: {len(tilts)} tilts {tilts[0]:g}..{tilts[-1]:g}, tomograms {full.shape}, {time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
