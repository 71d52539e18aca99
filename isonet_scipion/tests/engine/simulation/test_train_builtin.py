"""What the builtin model is trained by."""

import numpy as np
import pytest

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.io.mrc import write_volume  # noqa: E402
from isonet_scipion.engine.simulation.train_builtin import read_densities, sharp_error  # noqa: E402


def test_fine_errors_weigh_more_than_the_same_error_everywhere():
    truth = np.zeros((3, 4, 6, 8, 1), np.float32)
    output = truth.copy()
    output[1] += 2  # everywhere: no neighbours differ
    output[2, :, :, ::2] += 2  # in every other plane along x: all neighbours along x differ by 2
    errors = np.asarray(sharp_error(truth, output))
    np.testing.assert_allclose(errors, [0, 4, 2 + 4], rtol=1e-6)
    for axis in (1, 2):
        turned = np.moveaxis(output, 3, axis)
        np.testing.assert_allclose(np.asarray(sharp_error(np.zeros_like(turned), turned)), errors, rtol=1e-6)


def test_densities_are_the_maps_of_a_folder_by_name(tmp_path):
    assert read_densities(None) == {}
    box = np.zeros((12, 12, 12), np.float32)
    box[3:9, 3:9, 3:9] = 5
    for name in ("ribosome", "actin"):
        write_volume(tmp_path / f"{name}.mrc", box, 4.0)
    (tmp_path / "readme.txt").write_text("no map")
    found = read_densities(tmp_path)
    assert list(found) == ["actin", "ribosome"] and found["actin"].voxel_size == pytest.approx(4)
    assert np.median(found["actin"].values[found["actin"].values > 0.5]) == pytest.approx(1, abs=0.1)
