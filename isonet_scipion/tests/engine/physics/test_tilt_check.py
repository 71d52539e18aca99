import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.measure.wedge_power import wedge_power_ratio
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.radial_filter import Deconvolution, deconvolve
from isonet_scipion.engine.physics.tilt_check import filled_warning, power_by_angle, shown_range, tilt_warning
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.simulation.phantom import Example


def shown(tilt, seed=1):
    tomogram = Example((48, 96, 96), tilt=tilt, seed=seed).make()[1]
    return shown_range(*power_by_angle(tomogram[:, y : y + 48, x : x + 48] for y in (0, 48) for x in (0, 48)))


@pytest.mark.parametrize("tilt", [TiltRange(), TiltRange(-30, 66), TiltRange(-66, 30), TiltRange(-50, 50)])
def test_the_data_show_their_own_range(tilt):
    found = shown(tilt)
    assert found.minimum == pytest.approx(tilt.minimum, abs=7)
    assert found.maximum == pytest.approx(tilt.maximum, abs=7)
    assert tilt_warning(tilt, found) is None


@pytest.mark.parametrize("tilt", [TiltRange(), TiltRange(-57, 51)])
def test_small_boxes_of_deconvolved_tomograms_show_it_too(tilt):
    filtered = deconvolve(Example((24, 48, 48), tilt=tilt).make()[1], Deconvolution(10.0, CtfParameters(defocus=20000)))
    cubes = [filtered[:, y : y + 24, x : x + 24] for y in (0, 24) for x in (0, 24)]
    assert tilt_warning(tilt, shown_range(*power_by_angle(cubes))) is None
    assert "does not fit" in tilt_warning(TiltRange(-30, 30), shown_range(*power_by_angle(cubes)))


def test_mirrored_and_wrong_ranges_are_told():
    found = shown(TiltRange(-30, 66))
    assert "mirrored: the data show about" in tilt_warning(TiltRange(-66, 30), found)
    assert "does not fit" in tilt_warning(TiltRange(), found)


@pytest.mark.parametrize(("left", "limit"), [(0.2, 60), (0.3, 90)])
def test_a_direction_with_a_quarter_of_the_power_is_measured(left, limit):
    angles = np.arange(-88.5, 90, 3)
    power = np.where(np.abs(angles) < 60, 1.0, left)
    found = shown_range(angles, power)
    assert found == (TiltRange(-limit, limit) if limit < 90 else None)


def test_ranges_that_differ_by_10_degrees_are_the_same():
    assert tilt_warning(TiltRange(-60, 60), TiltRange(-51, 69)) is None
    assert "does not fit" in tilt_warning(TiltRange(-60, 60), TiltRange(-49, 60))


def test_without_an_empty_wedge_nothing_is_claimed():
    truth = Example((48, 48, 48)).make()[0]
    assert shown_range(*power_by_angle([truth + np.random.default_rng(0).normal(size=truth.shape)])) is None
    assert tilt_warning(TiltRange(), None) is None


@pytest.mark.parametrize(("second", "is_told"), [(False, False), (True, True)])
def test_a_wedge_that_a_second_tilt_axis_has_filled_is_told(second, is_told):
    """As programs combine two reconstructions: each component from those that have measured it."""
    z, y, x = np.meshgrid(*[np.fft.fftfreq(48)] * 3, indexing="ij")
    limit = np.tan(np.radians(60))
    seen = (np.abs(z) <= limit * np.abs(x)) | (second & (np.abs(z) <= limit * np.abs(y)))
    tomogram = np.fft.ifftn(np.fft.fftn(np.random.default_rng(0).normal(size=(48, 48, 48))) * seen).real
    told = filled_warning(TiltRange(), *power_by_angle([tomogram.astype(np.float32)]))
    assert told is not None if is_told else told is None
    assert not told or "-60..60) is not empty, as after a reconstruction from two tilt axes" in told


@pytest.mark.parametrize(("limit", "is_told"), [(60, True), (78, False)])
def test_a_wedge_too_narrow_to_look_empty_in_a_small_box_is_not_called_filled(limit, is_told):
    angles = np.arange(-88.5, 90, 3)
    assert (filled_warning(TiltRange(-limit, limit), angles, np.ones(60)) is not None) == is_told
    some = np.where(angles > 85, 0.2, 1.0)
    assert filled_warning(TiltRange(-limit, limit), angles, some) is None


def test_real_tomogram_shows_its_range(real_data):
    with mrcfile.mmap(real_data / "mpneumoniae_20A_full.mrc") as mrc:
        cubes = [mrc.data[16:64, y : y + 48, x : x + 48] for y in (0, 48, 96) for x in (0, 48, 96)]
        assert tilt_warning(TiltRange(), shown_range(*power_by_angle(cubes))) is None
        assert filled_warning(TiltRange(), *power_by_angle(cubes)) is None
        assert "-30..66 does not fit" in tilt_warning(TiltRange(-30, 66), shown_range(*power_by_angle(cubes)))


def test_sign_of_the_tilts_is_that_of_the_simulated_benchmark(tmp_path):
    """A tilt series of -30..66 degrees, projected and back-projected in real space by another program."""
    bench = Path(__file__).parents[4] / "benchmarks" / "scenes"
    if not bench.is_dir():
        pytest.skip("no checkout: it has no benchmarks")
    scene = ("phantom.py", "--seed", "42", "--shape", "48", "64", "64", "--apix", "10", "--out", "gt.mrc")
    tilts = ("--tilt-min", "-30", "--tilt-max", "66", "--tilt-step", "3", "--snr", "3")
    for script, *arguments in (scene, ("project.py", "--gt", "gt.mrc", "--out-dir", ".", *tilts)):
        subprocess.run([sys.executable, bench / script, *arguments], cwd=tmp_path, check=True, capture_output=True)
    with mrcfile.open(tmp_path / "tomo.mrc") as mrc:
        tomogram = mrc.data
    found = shown_range(*power_by_angle(tomogram[:, y : y + 48, x : x + 48] for y in (0, 16) for x in (0, 16)))
    assert tilt_warning(TiltRange(-30, 66), found) is None
    assert "mirrored" in tilt_warning(TiltRange(-66, 30), found)
    assert wedge_power_ratio(tomogram, TiltRange(-30, 66)) < 0.01
    assert wedge_power_ratio(tomogram, TiltRange(-66, 30)) > 0.5
