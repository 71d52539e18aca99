import mrcfile
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from isonet_scipion.engine.measure.wedge_power import wedge_power_ratio, xz_power
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.reporting import comparison_figure
from isonet_scipion.engine.reporting.comparison_figure import compare, save_comparison
from isonet_scipion.engine.reporting.picture import TITLE_ROWS
from isonet_scipion.engine.simulation.phantom import Example


def test_white_noise_has_as_much_power_in_the_wedge_as_outside():
    noise = np.random.default_rng(0).standard_normal((48, 80, 64), dtype=np.float32)
    assert wedge_power_ratio(noise, TiltRange()) == pytest.approx(1, abs=0.05)
    scaled = wedge_power_ratio(7 * noise + 3, TiltRange())
    assert scaled == pytest.approx(wedge_power_ratio(noise, TiltRange()), rel=1e-3)


def test_power_of_a_wave_is_where_its_frequency_says():
    z, x = np.arange(32)[:, None, None], np.arange(64)
    wave = np.sin(2 * np.pi * (z * 6 / 32 + x * 4 / 64)) * np.ones((1, 5, 1))
    power = xz_power(wave)
    assert power.shape == (64, 64)
    peak = np.unravel_index(np.argmax(power), power.shape)
    # 6 waves in 32 planes are 12 in 64; both signs of the frequency hold the same power
    assert tuple(sorted(abs(index - 32) for index in peak)) == (4, 12)
    assert (peak[0] - 32) * (peak[1] - 32) > 0


@pytest.mark.parametrize("size", [32, 33])
def test_the_middle_of_a_drawn_spectrum_is_frequency_0(size):
    panel = Figure().subplots()
    comparison_figure._draw_spectrum(panel, np.ones((size, size)), 10.0, TiltRange(), "before")
    left, right, bottom, top = panel.get_images()[0].get_extent()
    assert (left, right) == (bottom, top)
    assert left + (size // 2 + 0.5) * (right - left) / size == pytest.approx(0, abs=1e-12)
    assert left + (size // 2 + 4.5) * (right - left) / size == pytest.approx(4 / size)  # 1/nm, of voxels of 1 nm


def test_picture_is_written_whole(tmp_path):
    truth, tomogram = Example((24, 40, 32)).make()
    compared = save_comparison(tmp_path / "p.png", tomogram, -truth, 10.0, TiltRange(), "phantom $")
    picture = imread(tmp_path / "p.png")
    assert picture.shape == (900, 1600, 4)
    assert picture[..., :3].std() > 0.1
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
    # the report takes all but the title
    pixels = np.rint(255 * picture).astype(np.uint8)
    np.testing.assert_array_equal(compared.pixels, pixels[TITLE_ROWS:])
    assert pixels[:TITLE_ROWS, :, :3].min() == 0
    untitled = compare(tomogram, -truth, 10.0, TiltRange())
    np.testing.assert_array_equal(untitled.pixels, compared.pixels)
    np.testing.assert_array_equal(untitled.spectra[1], xz_power(-truth))


@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 0), (1e3, 0), (1, 50), (0.2, 0)])
def test_slices_show_the_result_whatever_its_grey_scale(scale, offset):
    truth, tomogram = Example((24, 40, 32)).make()
    alike = compare(tomogram, -truth, 10.0, TiltRange()).pixels[..., :3]
    other = compare(tomogram, offset + scale * -truth, 10.0, TiltRange()).pixels[..., :3]
    lower = slice(len(alike) // 2 + 80, len(alike) - 60), slice(100, 1100)  # the slices after
    assert other[lower].std() > 0.5 * alike[lower].std() > 10
    np.testing.assert_array_equal(other[: len(alike) // 2 - 80, :1100], alike[: len(alike) // 2 - 80, :1100])


def test_released_real_tomogram_has_an_empty_wedge(real_data):
    with mrcfile.mmap(real_data / "mpneumoniae_20A_full.mrc") as mrc:
        assert wedge_power_ratio(mrc.data, TiltRange()) < 0.01


@pytest.mark.parametrize("shape", [(9, 5, 12), (12, 5, 9), (7, 4, 7), (8, 4, 8)])
def test_the_power_spectrum_is_that_of_the_full_transform(shape):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    window = np.hanning(shape[0] + 2)[1:-1, None] * np.hanning(shape[2] + 2)[1:-1]
    planes = [(volume[:, y] - volume[:, y].mean()) * window for y in range(shape[1])]
    size = (max(shape[0], shape[2]),) * 2
    expected = np.mean([np.abs(np.fft.fftshift(np.fft.fft2(plane, size))) ** 2 for plane in planes], axis=0)
    np.testing.assert_allclose(xz_power(volume), expected, rtol=1e-3, atol=1e-3)
