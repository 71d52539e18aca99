import mrcfile
import numpy as np
import pytest
import scipy.ndimage

from isonet_scipion.engine.physics.axes_check import Axes, shown_axes
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.simulation.phantom import Example


def boxes(volume, count=12, side=48):
    rng = np.random.default_rng(0)
    sides = [min(side, length) for length in volume.shape]
    for _ in range(count):
        corner = [rng.integers(0, length - size + 1) for length, size in zip(volume.shape, sides)]
        yield volume[tuple(slice(start, start + size) for start, size in zip(corner, sides))]


ARRANGEMENTS = {
    Axes("z", "y"): lambda v: np.swapaxes(v, 0, 1),
    Axes("x", "z"): lambda v: np.swapaxes(v, 1, 2),
    Axes("y", "x"): lambda v: np.swapaxes(v, 0, 2),
    Axes("z", "x"): lambda v: v.transpose(1, 2, 0),
    Axes("x", "y"): lambda v: v.transpose(2, 0, 1),
}
TILTS = [TiltRange(), TiltRange(-50, 50), TiltRange(-30, 66), TiltRange(-66, 66), TiltRange(-40, 40)]


def require_told(volume):
    assert shown_axes(boxes(volume)) is None
    for expected, arrange in ARRANGEMENTS.items():
        assert shown_axes(boxes(arrange(volume))) == expected
        assert shown_axes(boxes(arrange(volume)[::-1, :, ::-1])) == expected


@pytest.mark.parametrize("tilt", TILTS)
def test_each_arrangement_of_a_simulated_tomogram_is_told(tilt):
    require_told(Example((48, 72, 72), tilt=tilt).make()[1])


@pytest.mark.parametrize("name", ["mpneumoniae_20A_full.mrc", "mpneumoniae_20A_even.mrc", "microtubule_thin_10.5A.mrc"])
def test_each_arrangement_of_a_real_tomogram_is_told(real_data, name):
    with mrcfile.open(real_data / name, permissive=True) as mrc:
        require_told(mrc.data)


def test_a_turned_tilt_axis_is_told():
    tomogram = Example((48, 110, 110)).make()[1]
    for degrees in (45, -45):
        turned = scipy.ndimage.rotate(tomogram, degrees, (1, 2), order=3)[:, 42:-42, 42:-42]
        found = shown_axes(boxes(turned))
        assert abs(found.turned) == 45
        back = scipy.ndimage.rotate(tomogram, degrees + 3, (1, 2), order=3)[:, 42:-42, 42:-42]
        assert shown_axes(boxes(back)).turned == found.turned
    assert "turned by 45 degrees" in Axes("xy", "z", 45).why
    slightly = scipy.ndimage.rotate(tomogram, 5, (1, 2), reshape=False)[:, 20:-20, 20:-20]
    assert shown_axes(boxes(slightly)) is None


def test_nothing_is_claimed_without_an_empty_wedge():
    truth, tomogram = Example((48, 72, 72)).make()
    noise = np.random.default_rng(0).normal(size=truth.shape)
    for volume in (truth, noise, truth + noise, scipy.ndimage.gaussian_filter(noise, (3, 1, 1)), noise.cumsum(axis=1)):
        assert shown_axes(boxes(volume)) is None
    layers = noise.copy()
    layers += 5 * np.sin(np.arange(48) / 2)[:, None, None]  # flat membranes
    assert shown_axes(boxes(layers)) is None
    assert shown_axes(boxes(np.swapaxes(tomogram + tomogram.std() * noise, 0, 1))) is None  # the wedge is filled


@pytest.mark.parametrize("side", [8, 16, 23])
def test_chance_in_tiny_boxes_shows_nothing(side):
    rng = np.random.default_rng(1)
    tomogram = Example((48, 72, 72)).make()[1]
    for _ in range(100):
        corner = [rng.integers(0, length - side + 1) for length in tomogram.shape]
        assert shown_axes([tomogram[tuple(slice(start, start + side) for start in corner)]]) is None


def test_what_to_do_is_said():
    assert "y and z are swapped" in Axes("z", "y").why and "clip rotx" in Axes("z", "y").remedy
    assert "tilt axis along x" in Axes("x", "z").why and "about z by 90" in Axes("x", "z").remedy
    assert all("--check_axes False" in axes.remedy for axes in (*ARRANGEMENTS, Axes("xy", "z", 30)))


@pytest.mark.parametrize("degrees", [30, -30, 60, -60])
def test_a_turned_axis_is_told_with_its_sign(degrees):
    k = np.fft.fftfreq(48)
    along_x, along_y = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))  # where the tilt axis points
    across = along_y * k - along_x * k[:, None]
    measured = np.abs(k[:, None, None]) < np.tan(np.radians(60)) * np.abs(across)
    noise = np.random.default_rng(0).normal(size=(48, 48, 48))
    volume = np.fft.ifftn(np.fft.fftn(noise) * measured).real.astype(np.float32)
    assert shown_axes([volume]).turned == degrees
