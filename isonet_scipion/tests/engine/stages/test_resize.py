"""resize on files."""

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.ome_zarr import write_store
from isonet_scipion.engine.io.star import read_star


def test_resize_keeps_the_field_of_view(project, run):
    assert run("resize", "tomograms.star", "--apix", 24)[0] == 0
    row = read_star("tomograms_resized.star").rows[0]
    assert float(row["rlnPixelSize"]) == 24
    volume = open_volume(row["rlnMicrographName"])
    assert volume.shape == (16, 24, 26) and volume.voxel_size == pytest.approx(24)
    original = open_volume("tomoset/TS.1_bin4.mrc").data
    averaged = original.reshape(16, 2, 24, 2, 26, 2).mean((1, 3, 5))
    assert np.corrcoef(averaged.ravel(), volume.data.ravel())[0, 1] > 0.97


def test_the_same_voxel_size_converts_to_mrc_and_keeps_the_values(tmp_path, monkeypatch, run):
    pytest.importorskip("zarr", minversion="3", reason="zarr 3 is optional, and needs Python 3.11")
    monkeypatch.chdir(tmp_path)
    voxels = np.random.default_rng(3).normal(size=(20, 33, 26)).astype(np.float32)
    write_store("stores/TS_1.zarr", voxels, 10.0, (0.0, 0.0, 0.0), b"mark")
    assert run("prepare_star", "stores")[0] == 0
    assert run("resize", "tomograms.star", "--apix", 10, "--out_folder", "mrc")[0] == 0
    np.testing.assert_array_equal(open_volume("mrc/TS_1.mrc").data, voxels)
