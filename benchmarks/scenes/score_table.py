"""What a score looks like: a table for the eye, numbers for JSON."""

from __future__ import annotations

import numpy as np
from fourier_regions import AXES, BANDS


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
