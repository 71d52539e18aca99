import numpy as np
import pytest

from isonet_scipion.engine.phantom import Example
from isonet_scipion.engine.report import save_comparison, wedge_power_ratio
from isonet_scipion.engine.wedge import TiltRange


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


def test_picture_is_written_whole(tmp_path):
    from matplotlib.image import imread

    truth, tomogram = Example((24, 40, 32)).make()
    save_comparison(tmp_path / "p.png", tomogram, -truth, 10.0, TiltRange(), "phantom")
    picture = imread(tmp_path / "p.png")
    assert picture.shape == (900, 1600, 4)
    assert picture[..., :3].std() > 0.1
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]


def test_released_real_tomogram_has_an_empty_wedge(real_data):
    import mrcfile

    with mrcfile.mmap(real_data / "mpneumoniae_20A_full.mrc") as mrc:
        assert wedge_power_ratio(mrc.data, TiltRange()) < 0.01
