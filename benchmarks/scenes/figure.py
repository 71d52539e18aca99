"""Draw ground truth, input and corrected tomogram side by side, with their power spectra.

    python figure.py --gt gt.mrc --input tomo.mrc --corrected corrected.mrc --tlt tilt.tlt --out f.png

One row a volume; columns: central XY, XZ and YZ slice, and the log power spectrum in (kx, kz),
summed over all y, with the borders of the missing wedge as dashed lines.  Protein is drawn dark.
"""

from __future__ import annotations

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from common import read_mrc, read_tlt
from scipy import fft
from scipy import ndimage as ndi


def xz_power(volume):
    """log10 of the power in (kz, kx), mean over y, zero frequency in the middle, square grid."""
    side = max(volume.shape[0], volume.shape[2])
    window = np.hanning(volume.shape[0])[:, None, None] * np.hanning(volume.shape[2])[None, None]
    spectrum = fft.fft2((volume - volume.mean()) * window.astype(np.float32), (side, side), axes=(0, 2), workers=2)
    power = fft.fftshift((np.abs(spectrum) ** 2).mean(axis=1))
    return np.log10(power + 1e-12 * power.max())


def protein_dark(volume, gt):
    """Turn the contrast, where needed, such that protein is dark (the ground truth's is bright)."""
    return -np.sign(np.vdot(volume - volume.mean(), gt - gt.mean())) * volume


def draw(volumes, gt, apix, tilt_range, out, at=None, title="", sigma=0.0):
    """`volumes` is {label: (z, y, x) array}; `at` a voxel (z, y, x), by default the centre.

    `sigma` (voxels) smooths what the slices show; the spectra are always of the volumes as given.
    """
    nz, ny, nx = gt.shape
    z, y, x = at or (nz // 2, ny // 2, nx // 2)
    width = [nx, nx, ny, max(nz, nx) * 0.9]
    height = max(ny, nz)
    fig, axes = plt.subplots(
        len(volumes),
        4,
        squeeze=False,
        layout="constrained",
        figsize=(sum(width) / 62, len(volumes) * height / 62 + 0.6),
        gridspec_kw={"width_ratios": width},
    )
    for row, (label, volume) in zip(axes, volumes.items()):
        dark = ndi.gaussian_filter(protein_dark(volume, gt), sigma)
        low, high = np.percentile(dark[nz // 4 : -(nz // 4)], (0.5, 99.5))
        slices = (
            (f"XY, z={z}", dark[z], "x", "y"),
            (f"XZ, y={y}", dark[:, y], "x", "z"),
            (f"YZ, x={x}", dark[:, :, x], "y", "z"),
        )
        for ax, (name, image, horizontal, vertical) in zip(row, slices):
            ax.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower")
            ax.set(title=f"{label}: {name}", xlabel=horizontal, ylabel=vertical)
        power = xz_power(volume)
        nyquist = 0.5 / apix
        top = np.percentile(power, 99.9)
        row[3].imshow(
            power, cmap="magma", origin="lower", vmin=top - 5, vmax=top, extent=(-nyquist, nyquist, -nyquist, nyquist)
        )
        row[3].set(
            title=f"{label}: log power (5 decades)",
            xlabel="kx, 1/A",
            ylabel="kz, 1/A",
            xlim=(-nyquist, nyquist),
            ylim=(-nyquist, nyquist),
        )
        for tilt in tilt_range or ():
            c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
            row[3].plot([-c, c], [-s, s], "--", color="cyan", lw=0.7)
    if title:
        fig.suptitle(title)
    fig.savefig(out, dpi=80)
    plt.close(fig)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gt", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--corrected")
    parser.add_argument("--tlt", help="tilt angles, to draw the wedge")
    parser.add_argument(
        "--at", type=int, nargs=3, metavar=("Z", "Y", "X"), help="voxel that the slices go through; default: the centre"
    )
    parser.add_argument(
        "--sigma", type=float, default=0.0, help="smooth the slices (not the spectra) by so many voxels"
    )
    parser.add_argument("--title", default="")
    parser.add_argument("--out", required=True)
    args = parser.parse_args(argv)
    gt, apix = read_mrc(args.gt)
    volumes = {"GT": gt, "input": read_mrc(args.input)[0]}
    if args.corrected:
        volumes["corrected"] = read_mrc(args.corrected)[0]
    tilts = read_tlt(args.tlt) if args.tlt else None
    draw(
        volumes,
        gt,
        apix,
        None if tilts is None else (tilts.min(), tilts.max()),
        args.out,
        tuple(args.at) if args.at else None,
        args.title,
        args.sigma,
    )


if __name__ == "__main__":
    main()
