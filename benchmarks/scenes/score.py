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
from scipy import fft
from scipy import ndimage as ndi

MIN_VOXELS = 60  # shells with fewer Fourier voxels are left out of a curve
EMPTY = 0.01  # wedge power below this share of the measured power counts as empty
AXES = ("x", "y", "z")
BANDS = (("low", 200.0, 80.0), ("mid", 80.0, 45.0), ("high", 45.0, 30.0))


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


def ratio(top, bottom, valid):
    out = np.full(len(top), np.nan)
    np.divide(top, bottom, out=out, where=valid & (bottom > 0))
    return out


def correlation_sums(regions, region, cross, power_gt, power, empty=EMPTY):
    """Per shell: sums of cross, ground-truth and tomogram power, and the number of voxels.

    The tomogram's power is taken as at least `empty` times its measured power in the same shell.
    What an empty wedge holds (leakage through the soft mask, interpolation noise) is weaker than
    that, and would otherwise be blown up to full strength by the normalisation.
    """
    c, g, p = (regions.sums(v, region) for v in (cross, power_gt, power))
    voxels, measured = regions.voxels(region), regions.voxels(regions.measured)
    floor = empty * regions.sums(power, regions.measured) / np.maximum(measured, 1)
    return c, g, np.maximum(p, floor * voxels), voxels


def correlation_curve(regions, region, cross, power_gt, power, empty=EMPTY):
    """Fourier correlation per shell; NaN where a shell has too few voxels, 0 where it is empty."""
    c, g, p, voxels = correlation_sums(regions, region, cross, power_gt, power, empty)
    enough = voxels >= MIN_VOXELS
    curve = ratio(c, np.sqrt(g * p), enough)
    curve[enough & (g * p <= 0)] = 0.0
    return curve


def mean_over(curve, select):
    values = curve[select & np.isfinite(curve)]
    return float(values.mean()) if len(values) else float("nan")


def median_over(curve, select):
    values = curve[select & np.isfinite(curve)]
    return float(np.median(values)) if len(values) else float("nan")


def resolution_at(freq, curve, threshold, coarsest):
    """Resolution (Angstrom) at which the curve first falls below the threshold.

    Searched from `coarsest` on; returns (value, note).  The note is '>' when already the first
    shell lies below (the value is then a lower limit of the true, coarser figure) and '<' when the
    curve never falls below up to the last shell.
    """
    valid = np.isfinite(curve) & (freq >= 1.0 / coarsest - 1e-9)
    f, c = freq[valid], curve[valid]
    if len(f) == 0:
        return float("nan"), ""
    below = np.flatnonzero(c < threshold)
    if len(below) == 0:
        return float(1 / f[-1]), "<"
    i = below[0]
    if i == 0:
        return float(1 / f[0]), ">"
    t = (c[i - 1] - threshold) / (c[i - 1] - c[i])
    return float(1 / (f[i - 1] + t * (f[i] - f[i - 1]))), ""


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


def orientation_hint(gt, volume, soft, regions, spec_gt, band):
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
            hint, cc = orientation_hint(gt, np.asarray(volume, np.float32), soft, regions, spec_gt, band)
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


# --------------------------------------------------------------------------------------------
# Output
# --------------------------------------------------------------------------------------------
def table(result) -> str:
    names = list(result["tomograms"])
    s = result["settings"]
    lines = [
        f"tilt range {s['tilt_min']:g}..{s['tilt_max']:g}; band {s['coarsest_A']:g}.."
        f"{s['lowpass_A']:g} A; {s['wedge_voxels']} wedge and {s['measured_voxels']} measured "
        "Fourier voxels",
        f"{'':34s}" + "".join(f"{n:>12s}" for n in names) + f"{'(GT)':>12s}",
    ]

    def row(label, pick, gt="", form="{:.3f}"):
        cells = []
        for name in names:
            value = pick(result["tomograms"][name])
            cells.append(value if isinstance(value, str) else form.format(value))
        lines.append(f"{label:34s}" + "".join(f"{c:>12s}" for c in cells) + f"{gt:>12s}")

    row("wedge CC  (headline, 0..1)", lambda r: r["wedge_cc"], "1")
    row("   chance level (1 s.d.)", lambda r: r["wedge_cc_chance"])
    for name, a, b in BANDS:
        row(f"   {a:g}-{b:g} A", lambda r, n=name: r["wedge_cc_bands"][n])
    row("   power-weighted", lambda r: r["wedge_cc_power_weighted"])
    row("   without the 1% floor", lambda r: r["wedge_cc_no_floor"])
    row("wedge R2  (recovered share)", lambda r: r["wedge_r2"], "1")
    for name, a, b in BANDS:
        row(f"   {a:g}-{b:g} A", lambda r, n=name: r["wedge_r2_bands"][n])
    row("wedge signal transfer", lambda r: r["wedge_transfer"], "1")
    row("measured CC (must not drop)", lambda r: r["measured_cc"], "1")
    for name, a, b in BANDS:
        row(f"   {a:g}-{b:g} A", lambda r, n=name: r["measured_cc_bands"][n])
    row("   power-weighted", lambda r: r["measured_cc_power_weighted"])
    row(f"real-space CC at {s['lowpass_A']:g} A", lambda r: r["real_cc"], "1")
    for threshold in (0.5, 0.143):
        for axis in AXES:

            def pick(r, key=f"{axis}_{threshold}"):
                return f"{r['resolution_A'][key + '_note']}{r['resolution_A'][key]:.1f}"

            row(f"resolution along {axis.upper()}, FSC {threshold}, A", pick)
    for threshold in (0.5, 0.143):
        row(
            f"anisotropy Z/X at {threshold}",
            lambda r, t=threshold: r["resolution_A"][f"z_{t}_note"] + f"{r[f'anisotropy_{t}']:.2f}",
            "1",
        )
    row("power ratio wedge/measured", lambda r: r["power_ratio"], f"{result['gt']['power_ratio']:.3f}")
    row("contrast sign against GT", lambda r: f"{r['sign']:+d}")
    lines += [f"WARNING {w}" for w in result["warnings"]]
    return "\n".join(lines)


def jsonable(value):
    """Numbers and arrays as JSON; NaN and infinity (no such value) as null."""
    if isinstance(value, dict):
        return {k: jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [jsonable(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 5) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value


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
