"""Score a missing-wedge-corrected tomogram against the ground truth.

    python score.py --gt gt.mrc --input tomo.mrc --corrected corrected.mrc \
        --mask slab_mask.mrc --tlt tilt.tlt --json scores.json

Prints a table for the input and the corrected tomogram and writes everything, curves included, as
JSON.  Without --corrected only the input is scored.  `--self-test` runs the tests beside this file.
What each number means is told in README.md; in short, every number but the real-space one compares
Fourier components of ground truth and tomogram inside a soft-edged sample region:

    wedge_cc     correlation where NOTHING was measured (the missing wedge): the headline.
                 0 = nothing true was restored, 1 = perfect.
    wedge_r2     share of the true wedge signal recovered, at the right strength: 0 = wedge left
                 empty, 1 = perfect, below 0 = worse than leaving it empty.
    measured_cc  correlation where the tilt series did measure: must not drop.

All are averages over resolution shells, in which every shell counts the same, so no scaling,
offset or isotropic filter changes them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from common import read_mrc, read_tlt
from correlation_curves import (
    MIN_VOXELS,
    correlation_curve,
    correlation_sums,
    mean_over,
    median_over,
    ratio,
    resolution_at,
)
from fourier_regions import AXES, BANDS, FourierRegions, extents, soft_mask, windowed_spectrum
from scipy import fft
from score_table import jsonable, table


# --------------------------------------------------------------------------------------------
# Real space
# --------------------------------------------------------------------------------------------
def low_pass(volume, apix, resolution):
    """Fourier low-pass with a soft (cosine, 20 % wide) edge centred on 1/resolution."""
    size = volume.shape
    k = (
        np.sqrt(
            fft.fftfreq(size[0], apix)[:, None, None] ** 2
            + fft.fftfreq(size[1], apix)[None, :, None] ** 2
            + fft.rfftfreq(size[2], apix)[None, None, :] ** 2
        ).astype(np.float32)
        * resolution
    )
    transfer = 0.5 * (1 + np.cos(np.pi * np.clip((k - 0.9) / 0.2, 0, 1)))
    return fft.irfftn(fft.rfftn(volume, workers=2) * transfer, size, workers=2)


def pearson(a, b, mask):
    a, b = a[mask].astype(np.float64), b[mask].astype(np.float64)
    a -= a.mean()
    b -= b.mean()
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 0 else 0.0


# --------------------------------------------------------------------------------------------
# The score of one tomogram
# --------------------------------------------------------------------------------------------
def shift_between(spec_gt, spec, regions, shape):
    """Whole-voxel shift (z, y, x) of the tomogram against the ground truth, measured region only."""
    keep = (regions.measured & (regions.freq[regions.shell] <= 1 / 40.0)).reshape(spec.shape)
    peak = fft.irfftn(np.where(keep, spec * np.conj(spec_gt), 0), shape, workers=2)
    at = np.unravel_index(np.argmax(np.abs(peak)), shape)
    return [int((i + n // 2) % n - n // 2) for i, n in zip(at, shape)]


def chance_level(spec_gt, spec, regions, band, power_gt, power, repeats=8, seed=0):
    """Standard deviation of wedge_cc for a tomogram of the same spectrum and unrelated content.

    Unrelated content: the tomogram moved sideways in y and x by random distances.
    """
    rng = np.random.default_rng(seed)
    nz, ny, nx = regions.shape
    values = []
    cross_all = np.conj(spec_gt) * spec
    for _ in range(repeats):
        dy, dx = rng.integers(ny // 6, ny - ny // 6), rng.integers(nx // 6, nx - nx // 6)
        phase = (
            np.exp(-2j * np.pi * fft.fftfreq(ny) * dy)[:, None] * np.exp(-2j * np.pi * fft.rfftfreq(nx) * dx)
        ).astype(np.complex64)
        cross = (cross_all * phase).real.ravel()
        values.append(mean_over(correlation_curve(regions, regions.wedge, cross, power_gt, power), band))
    return float(np.sqrt(np.mean(np.square(values))))


def score_one(gt, volume, soft, roi, apix, regions, sign, lowpass, coarsest, spec_gt, gt_low):
    """All numbers of one tomogram.  `sign` is +1, -1 or 0 (find out from the measured region)."""
    spec = windowed_spectrum(volume, soft)
    cross = (np.conj(spec_gt) * spec).real.ravel()
    power_gt = (np.abs(spec_gt) ** 2).ravel()
    power = (np.abs(spec) ** 2).ravel()
    band = regions.band(coarsest, lowpass)
    if sign == 0:
        sign = -1 if mean_over(correlation_curve(regions, regions.measured, cross, power_gt, power), band) < 0 else 1
    cross = cross * sign
    spec = spec * sign

    def curve(region):
        return correlation_curve(regions, region, cross, power_gt, power)

    def band_means(values):
        return {n: mean_over(values, regions.band(a, b) & band) for n, a, b in BANDS}

    def power_weighted(region):
        c, g, p, _ = (v[band].sum() for v in correlation_sums(regions, region, cross, power_gt, power))
        return float(c / np.sqrt(g * p)) if g * p > 0 else 0.0

    wedge, measured = curve(regions.wedge), curve(regions.measured)
    # amplitude with which the true signal comes through, per shell, wedge against measured region
    enough = (regions.voxels(regions.wedge) >= MIN_VOXELS) & (regions.voxels(regions.measured) >= MIN_VOXELS)
    gain_w = ratio(regions.sums(cross, regions.wedge), regions.sums(power_gt, regions.wedge), enough)
    gain_m = ratio(regions.sums(cross, regions.measured), regions.sums(power_gt, regions.measured), enough)
    # shells of which nothing true was measured (a CTF zero) give no scale
    best_gain = max(np.max(gain_m[band & enough], initial=0.0), 1e-12)
    scale_known = gain_m > 0.05 * best_gain
    transfer = ratio(gain_w, gain_m, enough & scale_known)
    # error left in the wedge at the strength that fits the measured region, as a share of the truth
    noise = ratio(
        regions.sums(power, regions.wedge), gain_m**2 * regions.sums(power_gt, regions.wedge), enough & scale_known
    )
    r2 = np.clip(2 * transfer - noise, -1, 1)

    mean_w = ratio(regions.sums(power, regions.wedge), regions.voxels(regions.wedge), enough)
    mean_m = ratio(regions.sums(power, regions.measured), regions.voxels(regions.measured), enough)
    power_ratio = ratio(mean_w, mean_m, enough)

    cones, resolution = {}, {}
    for axis in AXES:
        cones[axis] = curve(regions.cones[axis])
        for threshold in (0.5, 0.143):
            value, note = resolution_at(regions.freq, cones[axis], threshold, coarsest)
            resolution[f"{axis}_{threshold}"] = value
            resolution[f"{axis}_{threshold}_note"] = note

    chance = chance_level(spec_gt, spec, regions, band, power_gt, power)
    result = {
        "sign": int(sign),
        "shift_zyx_voxels": shift_between(spec_gt, spec, regions, gt.shape),
        "real_cc": pearson(gt_low, sign * low_pass(volume, apix, lowpass), roi),
        "wedge_cc": mean_over(wedge, band),
        "wedge_cc_chance": chance,
        "wedge_cc_bands": band_means(wedge),
        "wedge_cc_power_weighted": power_weighted(regions.wedge),
        "wedge_cc_no_floor": mean_over(
            correlation_curve(regions, regions.wedge, cross, power_gt, power, empty=0.0), band
        ),
        "wedge_r2": mean_over(r2, band),
        "wedge_r2_bands": band_means(r2),
        "wedge_transfer": median_over(transfer, band),
        "measured_cc": mean_over(measured, band),
        "measured_cc_bands": band_means(measured),
        "measured_cc_power_weighted": power_weighted(regions.measured),
        "power_ratio": median_over(power_ratio, band),
        "resolution_A": resolution,
        "anisotropy_0.5": resolution["z_0.5"] / resolution["x_0.5"],
        "anisotropy_0.143": resolution["z_0.143"] / resolution["x_0.143"],
        "curves": {
            "wedge_fcc": wedge,
            "measured_fcc": measured,
            "wedge_r2": r2,
            "wedge_transfer": transfer,
            "power_ratio": power_ratio,
            "fsc_x": cones["x"],
            "fsc_y": cones["y"],
            "fsc_z": cones["z"],
        },
    }
    return result


def gt_power_ratio(spec_gt, regions, band):
    power = (np.abs(spec_gt) ** 2).ravel()
    voxels_w, voxels_m = regions.voxels(regions.wedge), regions.voxels(regions.measured)
    enough = (voxels_w >= MIN_VOXELS) & (voxels_m >= MIN_VOXELS)
    curve = ratio(
        ratio(regions.sums(power, regions.wedge), voxels_w, enough),
        ratio(regions.sums(power, regions.measured), voxels_m, enough),
        enough,
    )
    return median_over(curve, band), curve


def orientation_hint(volume, soft, regions, spec_gt, band):
    """Which axis flip or swap would raise the measured correlation most: (name, cc)."""
    power_gt = (np.abs(spec_gt) ** 2).ravel()
    variants = {
        "z flipped": np.flip(volume, 0),
        "y flipped": np.flip(volume, 1),
        "x flipped": np.flip(volume, 2),
        "y and x flipped": np.flip(volume, (1, 2)),
        "z and y flipped": np.flip(volume, (0, 1)),
        "z and x flipped": np.flip(volume, (0, 2)),
        "all flipped": np.flip(volume),
    }
    for name, order in (("y and x swapped", (0, 2, 1)), ("z and y swapped", (1, 0, 2)), ("z and x swapped", (2, 1, 0))):
        swapped = volume.transpose(order)
        if swapped.shape == volume.shape:
            variants[name] = swapped
    best = ("as it is", -1.0)
    for name, variant in variants.items():
        spec = windowed_spectrum(np.ascontiguousarray(variant), soft)
        cross = (np.conj(spec_gt) * spec).real.ravel()
        cc = abs(
            mean_over(correlation_curve(regions, regions.measured, cross, power_gt, (np.abs(spec) ** 2).ravel()), band)
        )
        best = max(best, (name, cc), key=lambda item: item[1])
    return best


def score(
    gt,
    tomograms,
    mask,
    apix,
    tilt_min,
    tilt_max,
    lowpass=30.0,
    coarsest=200.0,
    edge=None,
    guard=2.0,
    signs=None,
    flip_tilt=False,
):
    """Score volumes against the ground truth.

    tomograms: {name: volume}; the table treats 'input' and 'corrected' specially, if there.
    signs: {name: 1 | -1 | 0}, contrast relative to the ground truth, 0 (default) = find out.
    Returns a JSON-ready dict.
    """
    gt = np.asarray(gt, np.float32)
    for name, volume in tomograms.items():
        if volume.shape != gt.shape:
            raise ValueError(f"{name} has shape {volume.shape}, the ground truth {gt.shape}")
    if mask.shape != gt.shape:
        raise ValueError(f"the mask has shape {mask.shape}, the ground truth {gt.shape}")
    if lowpass < 2 * apix:
        raise ValueError(f"--lowpass {lowpass} A is beyond Nyquist ({2 * apix} A)")
    if flip_tilt:
        tilt_min, tilt_max = -tilt_max, -tilt_min
    soft = soft_mask(mask, apix, edge)
    widths = extents(soft, apix)
    regions = FourierRegions(gt.shape, apix, tilt_min, tilt_max, widths, guard)
    band = regions.band(coarsest, lowpass)
    if not np.any(band & (regions.voxels(regions.wedge) >= MIN_VOXELS)):
        raise ValueError("no resolution shell has enough wedge voxels: box or band too small")
    roi = np.asarray(mask) > 0.5
    spec_gt = windowed_spectrum(gt, soft)
    gt_low = low_pass(gt, apix, lowpass)
    gt_ratio, gt_curve = gt_power_ratio(spec_gt, regions, band)
    out = {
        "settings": {
            "shape_zyx": list(gt.shape),
            "voxel_size_A": apix,
            "tilt_min": tilt_min,
            "tilt_max": tilt_max,
            "lowpass_A": lowpass,
            "coarsest_A": coarsest,
            "guard": guard,
            "mask_widths_zyx_A": widths.round(1).tolist(),
            "wedge_voxels": int(regions.voxels(regions.wedge)[band].sum()),
            "measured_voxels": int(regions.voxels(regions.measured)[band].sum()),
        },
        "shell_resolution_A": np.append(np.inf, 1 / regions.freq[1:]),
        "gt": {"power_ratio": gt_ratio, "curves": {"power_ratio": gt_curve}},
        "tomograms": {},
        "warnings": [],
    }
    for name, volume in tomograms.items():
        result = score_one(
            gt,
            np.asarray(volume, np.float32),
            soft,
            roi,
            apix,
            regions,
            (signs or {}).get(name, 0),
            lowpass,
            coarsest,
            spec_gt,
            gt_low,
        )
        result["power_ratio_vs_gt"] = result["power_ratio"] / gt_ratio
        out["tomograms"][name] = result
        if any(result["shift_zyx_voxels"]) and result["measured_cc"] > 0.2:
            out["warnings"].append(
                f"{name}: looks shifted by {result['shift_zyx_voxels']} voxels (z, y, x) against the ground truth"
            )
        first = next(iter(out["tomograms"].values()))
        if result is first or result["measured_cc"] < 0.9 * first["measured_cc"]:
            hint, cc = orientation_hint(np.asarray(volume, np.float32), soft, regions, spec_gt, band)
            if cc > max(1.2 * abs(result["measured_cc"]), 0.1):
                out["warnings"].append(
                    f"{name}: measured CC is {result['measured_cc']:.3f}, but {cc:.3f} with "
                    f"{hint}: wrong axis order or handedness?"
                )
            elif result["measured_cc"] < 0.15:
                out["warnings"].append(
                    f"{name}: next to no correlation with the ground truth even "
                    f"in the measured region ({result['measured_cc']:.3f})"
                )
    both = out["tomograms"]
    if "input" in both and "corrected" in both:
        if both["input"]["sign"] != both["corrected"]["sign"]:
            out["warnings"].append("input and corrected have opposite contrast")
        drop = both["input"]["measured_cc"] - both["corrected"]["measured_cc"]
        if drop > 0.01:
            out["warnings"].append(f"the measured region got worse by {drop:.3f}")
        out["gain"] = {
            key: both["corrected"][key] - both["input"][key]
            for key in ("wedge_cc", "wedge_r2", "measured_cc", "real_cc")
        }
    return out


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gt")
    parser.add_argument("--input")
    parser.add_argument("--corrected")
    parser.add_argument("--mask", help="sample region; default: the whole box")
    parser.add_argument("--tlt", help="tilt angles; or give --tilt-min and --tilt-max")
    parser.add_argument("--tilt-min", type=float, default=-60)
    parser.add_argument("--tilt-max", type=float, default=60)
    parser.add_argument("--flip-tilt", action="store_true", help="the tilt angles have the opposite sign convention")
    parser.add_argument("--apix", type=float, help="voxel size; default: from the ground truth")
    parser.add_argument("--lowpass", type=float, default=30.0, help="finest resolution scored, A (default 30)")
    parser.add_argument("--coarsest", type=float, default=200.0, help="coarsest resolution scored, A (default 200)")
    parser.add_argument("--edge", type=float, help="soft edge of the mask, A (see README)")
    parser.add_argument(
        "--guard", type=float, default=2.0, help="distance kept from the wedge border, in Fourier points"
    )
    parser.add_argument("--input-sign", choices=("auto", "+1", "-1"), default="auto")
    parser.add_argument(
        "--corrected-sign",
        choices=("auto", "+1", "-1"),
        default="auto",
        help="-1: dark protein (contrast opposite to the ground truth)",
    )
    parser.add_argument("--json", help="write everything here")
    parser.add_argument("--self-test", action="store_true", help="run the tests and exit")
    args = parser.parse_args(argv)
    if args.self_test:
        import pytest

        return pytest.main(["-q", str(Path(__file__).with_name("test_bench.py"))])
    if not args.gt or not args.input:
        parser.error("--gt and --input are needed")

    gt, apix = read_mrc(args.gt)
    apix = args.apix or apix
    tomograms = {"input": read_mrc(args.input)[0]}
    if args.corrected:
        tomograms["corrected"] = read_mrc(args.corrected)[0]
    mask = read_mrc(args.mask)[0] > 0.5 if args.mask else np.ones(gt.shape, bool)
    tilt_min, tilt_max = args.tilt_min, args.tilt_max
    if args.tlt:
        tilts = read_tlt(args.tlt)
        tilt_min, tilt_max = float(tilts.min()), float(tilts.max())
    signs = {
        name: 0 if text == "auto" else int(text)
        for name, text in (("input", args.input_sign), ("corrected", args.corrected_sign))
    }
    result = score(
        gt,
        tomograms,
        mask,
        apix,
        tilt_min,
        tilt_max,
        args.lowpass,
        args.coarsest,
        args.edge,
        args.guard,
        signs,
        args.flip_tilt,
    )
    print(table(result))
    if args.json:
        result["files"] = {"gt": args.gt, "input": args.input, "corrected": args.corrected, "mask": args.mask}
        Path(args.json).write_text(json.dumps(jsonable(result), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
