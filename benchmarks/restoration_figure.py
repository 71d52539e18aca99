"""Draw truth, input and corrections of one scene below each other, with their spectra.

    python benchmarks/restoration_figure.py FIGURE.png --scene FOLDER/scene LABEL=FOLDER...

SCENE holds gt.mrc and tomo.mrc; each FOLDER corrected_tomos/tomo_corrected.mrc, as restoration.py and refinement.py
leave them. Columns: central XY and XZ slices, and the power in (kx, kz), the mean over y; beside the label stands the
largest peak of a grid (`engine/measure/grid.py`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from isonet_scipion.engine.arrays import upright_plane
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.measure.grid import grid_peak
from isonet_scipion.engine.measure.wedge_power import xz_power

GREYS = (1, 99)  # percentiles of a slice that are drawn black and white
DECADES = 6  # of a spectrum that are shown


def draw(figure_path: Path, volumes: dict[str, np.ndarray]) -> None:
    """One row for each volume, (z, y, x), protein dark."""
    figure = Figure(figsize=(11, 2.8 * len(volumes)), layout="constrained")
    FigureCanvasAgg(figure)
    for row, (label, volume) in zip(figure.subplots(len(volumes), 3, squeeze=False), volumes.items()):
        planes = volume[volume.shape[0] // 2], upright_plane(volume, 1, volume.shape[1] // 2)
        for panel, plane, name in zip(row, planes, ("XY", "XZ")):
            low, high = np.percentile(plane, GREYS)
            panel.imshow(plane, cmap="gray", vmin=low, vmax=high, origin="lower")
            panel.set_title(f"{label}: {name}")
            panel.set_axis_off()
        power = np.log10(xz_power(volume) + np.finfo(float).tiny)
        row[2].imshow(power, vmin=power.max() - DECADES, vmax=power.max(), origin="lower")
        row[2].set_title(f"power in (kx, kz); grid {grid_peak(volume):.1f}")
        row[2].set_axis_off()
    figure.savefig(figure_path, dpi=55)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", type=Path)
    parser.add_argument("--scene", type=Path, required=True)
    parser.add_argument("results", nargs="+")
    given = parser.parse_args()
    truth, before = (np.array(open_volume(given.scene / f"{name}.mrc").data) for name in ("gt", "tomo"))
    volumes = {"truth": -truth, "input": before}
    for result in given.results:
        label, folder = result.split("=", 1)
        volumes[label] = np.array(open_volume(Path(folder) / "corrected_tomos" / "tomo_corrected.mrc").data)
    draw(given.figure, volumes)


if __name__ == "__main__":
    main()
