import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.measure.wedge_power import wedge_power_ratio
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.simulation.phantom import Example, make_example


def test_same_seed_same_scene_and_another_scene_otherwise():
    small = {"shape": (24, 40, 32), "voxel_size": 12.0}
    truth, tomogram = Example(**small, seed=3).make()
    again = Example(**small, seed=3).make()
    other = Example(**small, seed=4).make()[0]
    np.testing.assert_array_equal(truth, again[0])
    np.testing.assert_array_equal(tomogram, again[1])
    assert np.corrcoef(truth.ravel(), other.ravel())[0, 1] < 0.5
    assert truth.shape == tomogram.shape == (24, 40, 32) and tomogram.dtype == np.float32
    assert truth.min() == 0 and 0.9 < truth.max() <= 1.001
    assert np.corrcoef(truth.ravel(), tomogram.ravel())[0, 1] < -0.3  # protein is dark


@pytest.mark.parametrize("tilt", [TiltRange(), TiltRange(-30, 66), TiltRange(-66, 30)])
def test_wedge_is_empty_where_the_tilt_range_says_and_only_there(tilt):
    truth, tomogram = Example((48, 48, 64), tilt=tilt).make()
    assert wedge_power_ratio(tomogram, tilt) < 0.01
    assert wedge_power_ratio(truth, tilt) > 0.4
    if not tilt.symmetric:
        assert wedge_power_ratio(tomogram, TiltRange(-tilt.maximum, -tilt.minimum)) > 0.1


def test_noise_has_the_asked_for_strength():
    signal = Example((48, 64, 64), snr=1e9).make()[1]
    noise = Example((48, 64, 64), snr=2.0).make()[1] - signal
    assert signal.var() / noise.var() == pytest.approx(2.0, rel=0.05)


def test_example_on_disk_is_the_one_described(tmp_path):
    example = make_example(tmp_path / "new folder" / "phantom.mrc")
    volume = open_volume(tmp_path / "new folder" / "phantom.mrc")
    assert volume.voxel_size == pytest.approx(example.voxel_size)
    np.testing.assert_array_equal(volume.data, example.make()[1])
    assert wedge_power_ratio(volume.data, example.tilt) < 0.01
