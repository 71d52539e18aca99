"""resize on files."""

import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.physics.wedge import TiltRange, measured

SHAPE = (32, 48, 52)


def make_tomogram(path, shape=SHAPE, seed=0, voxel_size=12.0):
    rng = np.random.default_rng(seed)
    data = rng.normal(100, 3, shape).astype(np.float32)
    for _ in range(20):
        corner = [int(rng.integers(0, n - 6)) for n in shape]
        data[tuple(slice(c, c + 6) for c in corner)] -= 20
    spectrum = np.fft.fftn(data)
    kz, kx = np.fft.fftfreq(shape[0])[:, None, None], np.fft.fftfreq(shape[2])
    data = np.fft.ifftn(spectrum * measured(kz, kx, TiltRange())).real.astype(np.float32)
    write_volume(path, data, voxel_size)
    with mrcfile.open(path, "r+") as mrc:
        mrc.header.origin = (-10.0, 20.0, 30.0)
    return data


@pytest.fixture
def project(run, tmp_path):
    """A folder with one tomogram and its table."""
    make_tomogram(tmp_path / "tomoset" / "TS.1_bin4.mrc")
    assert run("prepare_star", "tomoset", "--pixel_size", 12, "--defocus=20000", "--number_subtomos", 6)[0] == 0
    return tmp_path


def test_resize_keeps_the_field_of_view(project, run):
    assert run("resize", "tomograms.star", "--apix", 24)[0] == 0
    row = read_star("tomograms_resized.star").rows[0]
    assert float(row["rlnPixelSize"]) == 24
    volume = open_volume(row["rlnMicrographName"])
    assert volume.shape == (16, 24, 26) and volume.voxel_size == pytest.approx(24)
    original = open_volume("tomoset/TS.1_bin4.mrc").data
    averaged = original.reshape(16, 2, 24, 2, 26, 2).mean((1, 3, 5))
    assert np.corrcoef(averaged.ravel(), volume.data.ravel())[0, 1] > 0.97
