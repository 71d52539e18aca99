import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from isonet_scipion.engine.physics.halves_check import common, fault_of_halves, scale_between, stranger

COUNT, SIDE = 4, 24


def halves(seed, noise=3.0):
    """Boxes of a sample with structure of some 6 voxels and two halves' noise, as strong in each voxel as given."""
    rng = np.random.default_rng(seed)
    sample, one, other = rng.normal(size=(3, COUNT, SIDE, SIDE, SIDE))
    spectrum = np.fft.rfftn(sample, axes=(1, 2, 3))
    k = [np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE)]
    radius2 = k[0][:, None, None] ** 2 + k[1][:, None] ** 2 + k[2] ** 2
    sample = np.fft.irfftn(spectrum * np.exp(-radius2 / (2 * 0.08**2)), (SIDE,) * 3, axes=(1, 2, 3))
    sample /= sample.std()
    return list(sample + noise * one), list(sample + noise * other)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(0.3, 4.0))
def test_halves_of_one_tomogram_pass_however_noisy(seed, noise):
    even, odd = halves(seed, noise)
    assert fault_of_halves(even, odd) is None
    assert common(even, odd) > 0.1


@pytest.mark.parametrize(("changed", "why"), [
    (lambda even, odd: even, "same volume"),
    (lambda even, odd: [box * (1 + 1e-5) for box in even], "same volume"),
    (lambda even, odd: [-box for box in odd], "dark in the other"),
    (lambda even, odd: [50 * box + 3000 for box in odd], "grey values are"),
    (lambda even, odd: [box + 40 for box in odd], "grey values are"),
])  # fmt: skip
def test_what_can_be_no_half_is_told(changed, why):
    even, odd = halves(1)
    assert why in fault_of_halves(even, changed(even, odd)).why


def test_unrelated_volumes_have_nothing_in_common_and_are_not_called_opposite():
    for seed in range(10):
        first, second = halves(seed)[0], halves(seed + 100)[0]
        assert common(first, second) == 0
        assert fault_of_halves(first, second) is None


def test_blank_boxes_tell_nothing():
    blank = [np.zeros((SIDE,) * 3, np.float32)]
    assert fault_of_halves(blank, blank) is None and common(blank, blank) == 0
    assert common([np.ones((3, 3, 3))], [np.ones((3, 3, 3))]) == 0  # less than a block


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.3, 10.0), st.floats(0.3, 0.7), st.booleans())
def test_halves_of_unequal_dose_are_no_strangers_however_noisy(seed, noise, dose, is_plain_mean):
    rng = np.random.default_rng(seed)
    even, odd = (
        [box + noise * share**-0.5 * rng.normal(size=box.shape) for box in halves(seed, 0.0)[0]]
        for share in (dose, 1 - dose)
    )
    weight = 0.5 if is_plain_mean else dose
    whole = [weight * one + (1 - weight) * other for one, other in zip(even, odd)]
    assert stranger((even, odd), whole) is None


@pytest.mark.parametrize("noise", [0.5, 3.0])
def test_a_half_of_another_volume_is_a_stranger(noise):
    even, odd = halves(1, noise)
    whole = [(one + other) / 2 for one, other in zip(even, odd)]
    for wrong in ([box[::-1] for box in odd], halves(2, noise)[1]):
        assert stranger((even, wrong), whole) == 1 and stranger((wrong, even), whole) == 0


def test_scales_are_told_apart_from_noise_and_filters():
    rng = np.random.default_rng(0)
    grain, noise, more = rng.normal(size=(3, 48, 48, 48)).astype(np.float32)
    sample = 5 * scipy.ndimage.gaussian_filter(grain, 2)
    fine = scipy.ndimage.gaussian_filter(sample + noise, 0.7)
    coarse_removed = sample + noise - scipy.ndimage.gaussian_filter(sample + noise, 6)
    assert all(scale_between([sample + noise], [one]) is None for one in (sample, sample + more, fine, coarse_removed))
    for factor, offset in ((2, 0), (0.5, 0), (1, 1), (1e4, -3e4), (1e-6, 0)):
        for one, other in ((noise, noise), (sample + 0.1 * noise, sample + 0.1 * more)):
            found = scale_between([one], [factor * other + offset])
            brought = found.apply(one)
            wanted = factor * other.mean() + offset, factor * other.std()
            np.testing.assert_allclose((brought.mean(), brought.std()), wanted, rtol=0.01, atol=1e-3 * factor)
    assert scale_between([sample], [np.zeros_like(sample)]) is None
    assert scale_between([sample[:2]], [9 * sample[:2]]) is None  # too thin
