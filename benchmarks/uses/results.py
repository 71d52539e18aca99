"""What is shown of the results: a figure and a table."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from uses.averages import AVERAGED, SIDE
from uses.scenes import APIX, BEFORE, PICKED, SCENES, TRUTH

matplotlib.use("Agg")
from matplotlib import pyplot

COLORS = {
    BEFORE: "tab:gray",
    "builtin": "tab:blue",
    "one-pass": "tab:orange",
    "from builtin": "tab:purple",
    "iterative": "tab:red",
    TRUTH: "tab:green",
}


def figure(results: dict, slices: dict[str, np.ndarray], path: Path) -> None:
    """Slices of one scene, precision and recall, IoU by axis, and what averages claim."""
    drawn = pyplot.figure(figsize=(16, 12), layout="constrained")
    above, below = drawn.subfigures(2, 1, height_ratios=[1, 2])
    for panel, (name, image) in zip(above.subplots(1, len(slices)), slices.items()):
        low, high = np.percentile(image, (1, 99.7))
        panel.imshow(-image, cmap="gray", vmin=-high, vmax=-low, origin="lower")
        panel.set(title=f"{next(iter(SCENES))}: xz slice, {name}", xticks=[], yticks=[])
    rows = below.subplots(2, 3)
    scenes = results["scenes"]
    for panel, name in zip(rows[0], PICKED):
        for (scene, found), line in zip(scenes.items(), ("-", "--", ":")):
            for when in (one for one in COLORS if one in found and one != TRUTH):
                one = found[when]["picking"][name]
                label = f"{scene}, {when}: F1 {one['F1']:.2f}"
                panel.plot(one["recall"], one["precision"], line, color=COLORS[when], label=label)
        panel.set(title=f"picking {name}", xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
        panel.legend(fontsize="x-small", loc="lower left")
    for panel, scene in zip(rows[1][:2], list(scenes)[:2]):
        there = [when for when in COLORS if when in scenes[scene]]
        width = 0.8 / len(there)
        for number, when in enumerate(there):
            one = scenes[scene][when]["membranes"]
            values = [one["IoU"], *(one["by_axis"][axis] for axis in "xyz")]
            panel.bar(np.arange(4) + width * number, values, width, color=COLORS[when], label=when)
        panel.set_xticks(np.arange(4) + 0.4 - width / 2, ["all", "normal x", "normal y", "normal z"])
        panel.set(title=f"membranes, {scene}", ylabel="IoU", ylim=(0, 0.8))
        panel.legend()
    panel, (names, found) = rows[1][2], next(iter(results["averages"].items()))
    nyquist = SIDE // 2
    for when in (one for one in COLORS if one in found):
        for key, line in (("claimed", "--"), ("true", "-")):
            panel.plot(range(1, nyquist), found[when][key], line, color=COLORS[when], label=f"{when}, {key}")
    places = np.arange(4, nyquist + 1, 4)
    panel.set_xticks(places, [f"{SIDE * APIX / place:.0f}" for place in places])
    title = f"average of {found[BEFORE]['particles']} {AVERAGED}, {names}"
    panel.set(title=title, xlabel="resolution (Å)", ylim=(0, 1.02), ylabel="correlation with the truth")
    panel.legend()
    drawn.savefig(path, dpi=75)


def table(results: dict) -> str:
    """The numbers in Markdown."""
    made = {when for found in results["scenes"].values() for when in found}
    columns = [when for when in COLORS if when in made and when != TRUTH]
    lines = [f"| scene | what | {' | '.join(columns)} | the truth itself |", "|---" * (len(columns) + 3) + "|"]

    def row(scene: str, what: str, numbers: dict[str, float], form: str = "{:.2f}") -> None:
        cells = [form.format(numbers[when]) if when in numbers else "" for when in (*columns, TRUTH)]
        lines.append(f"| {scene} | {what} | {' | '.join(cells)} |")

    for scene, found in results["scenes"].items():
        picked = {when: one["picking"] for when, one in found.items() if when != TRUTH}
        for name in PICKED:
            count = picked[BEFORE][name]["particles"]
            row(scene, f"picking {name} ({count}), F1", {when: one[name]["F1"] for when, one in picked.items()})
        both = {when: one["membranes"] for when, one in found.items()}
        row(scene, "membranes, IoU", {when: one["IoU"] for when, one in both.items()})
        for axis in "xyz":
            values = {when: one["by_axis"][axis] for when, one in both.items()}
            row(scene, f"membranes with normal near {axis}, IoU", values)
    for names, found in results["averages"].items():
        for key, name in (("claimed", "that half sets claim"), ("true", "in truth")):
            values = {when: found[when][f"{key}_resolution_A"] for when in columns if when in found}
            what = f"average of {found[BEFORE]['particles']} {AVERAGED}, resolution {name}"
            row(names, what, values, "{:.1f} Å")
    return "\n".join(lines)
