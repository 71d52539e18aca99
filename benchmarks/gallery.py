"""Draw the gallery of the documentation: simulated tomograms before and after correction without training, and truth.

    python benchmarks/gallery.py [--output docs/images/gallery.png]

Takes about two minutes on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from refinement import engine

from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.wedge import TiltRange, measured
from isonet_scipion.engine.simulation.phantom import Example

BAND = (1 / 500, 1 / 40)  # per A


@dataclass(frozen=True)
class Scene:
    """A simulated tomogram of the gallery."""

    title: str
    example: Example


SCENES = (
    Scene("±60°, 2 µm defocus", Example(seed=3)),
    Scene("-45° to 60°, more noise", Example(tilt=TiltRange(-45.0, 60.0), snr=1.5, seed=4)),
    Scene("±50°, 4 µm", Example(tilt=TiltRange(-50.0, 50.0), ctf_parameters=CtfParameters(defocus=40000.0), seed=5)),
)


def corrected(scene: Scene, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth (protein dark), deconvolved tomogram and correction of it by the builtin model, (z, y, x)."""
    truth, tomogram = scene.example.make()
    write_volume(folder / "tomograms" / "scene.mrc", tomogram, scene.example.voxel_size)
    tilt = scene.example.tilt
    engine(
        folder, "prepare_star", "tomograms", "--defocus", str(scene.example.defocus),
        "--tilt_min", str(tilt.minimum), "--tilt_max", str(tilt.maximum),
    )  # fmt: skip
    engine(folder, "deconv", "tomograms.star")
    engine(folder, "predict", "tomograms.star", "builtin", "--report", "False")
    before, after = (
        open_volume(folder / name).data for name in ("deconv/scene.mrc", "corrected_tomos/scene_corrected.mrc")
    )
    return -truth, np.array(before), np.array(after)


def wedge_correlation(volume: np.ndarray, truth: np.ndarray, scene: Scene) -> float:
    """Of the Fourier components inside the missing wedge, in the band."""
    spectra = [np.fft.rfftn(one - one.mean()) for one in (volume, truth)]
    kz, ky = np.fft.fftfreq(truth.shape[0])[:, None, None], np.fft.fftfreq(truth.shape[1])[:, None]
    kx = np.fft.rfftfreq(truth.shape[2])
    k = np.sqrt(kz**2 + ky**2 + kx**2) / scene.example.voxel_size
    inside = (measured(kz, kx, scene.example.tilt) < 0.5) & (k > BAND[0]) & (k < BAND[1])
    one, two = (spectrum[inside] for spectrum in spectra)
    return float((one * two.conj()).sum().real / np.sqrt((np.abs(one) ** 2).sum() * (np.abs(two) ** 2).sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/images/gallery.png"))
    output = parser.parse_args().output
    figure, panels = plt.subplots(3, len(SCENES), figsize=(4 * len(SCENES), 6.6), squeeze=False)
    for column, scene in zip(panels.T, SCENES):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "tomograms").mkdir()
            truth, before, after = corrected(scene, Path(folder))
        middle = truth.shape[1] // 2
        for axes, volume, name in zip(column, (before, after, truth), ("before", "after", "truth")):
            low, high = np.percentile(volume[:, middle], (0.5, 99.5))
            axes.imshow(volume[:, middle], cmap="gray", vmin=low, vmax=high, origin="lower")
            axes.set_axis_off()
            number = "" if name == "truth" else f", wedge {wedge_correlation(volume, truth, scene):.2f}"
            axes.set_title(
                f"{scene.title}\nxz, {name}{number}" if name == "before" else f"xz, {name}{number}", fontsize=10
            )
    figure.tight_layout()
    figure.savefig(output, dpi=80)


if __name__ == "__main__":
    main()
