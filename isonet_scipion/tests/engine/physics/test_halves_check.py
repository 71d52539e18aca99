import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from isonet_scipion.engine.physics import halves_check
from isonet_scipion.engine.physics.halves_check import (
    common,
    exchanged,
    fault_of_halves,
    scale_between,
    stranger,
    uneven,
)

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


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 4.0), st.floats(0.3, 0.7))
def test_halves_on_one_scale_are_not_uneven_whatever_their_noise_and_dose(seed, noise, dose):
    rng = np.random.default_rng(seed)
    even, odd = (
        [box + noise * share**-0.5 * rng.normal(size=box.shape) for box in halves(seed, 0.0)[0]]
        for share in (dose, 1 - dose)
    )
    assert uneven(even, odd) is None


def test_gradients_of_ice_are_no_grey_scales():
    rng, along = np.random.default_rng(4), np.linspace(-1, 1, 96)
    sample = 0.3 * scipy.ndimage.gaussian_filter(rng.normal(size=(96, 96, 96)), 3) / 0.04
    for steep in (0.8, 1.5):
        even, odd = ([sample + rng.normal(size=sample.shape) + slope * along] for slope in (0.5, steep))
        assert uneven(even, odd) is None
    assert uneven(even, [1.8 * box for box in odd]) > 1.4


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_halves_on_different_scales_are_uneven_though_possible(noise):
    even, odd = halves(2, noise)
    for factor in (0.55, 1.8):
        scaled = [factor * box for box in odd]
        assert fault_of_halves(even, scaled) is None
        assert 1.4 < uneven(even, scaled) < 1.9
    assert uneven([np.zeros((48,) * 3)], [np.zeros((48,) * 3)]) is None


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


@pytest.mark.parametrize("noise", [0.1, 3.0])
@pytest.mark.parametrize("weight", [0.3, 0.5, 1.0])
def test_a_tomogram_in_the_place_of_its_half_is_found_in_means_and_sums(noise, weight):
    even, odd = halves(1, noise)
    whole = [weight * one + (1 - weight if weight < 1 else 1) * other for one, other in zip(even, odd)]
    smooth = [scipy.ndimage.gaussian_filter(box, 1) for box in whole]
    assert exchanged((even, odd), whole) is None and exchanged((even, odd), smooth) is None
    assert exchanged((whole, odd), even) == 0 and exchanged((even, whole), odd) == 1
    assert exchanged((even, odd), halves(2, noise)[0]) is None and exchanged((even, odd), even) is None
    assert exchanged((even, odd), [-box for box in whole]) is None


def boxes_of(volume):
    return [volume[z : z + 48, y : y + 48, x : x + 48] for z in (0, 48) for y in (0, 48) for x in (0, 48)]


@pytest.mark.parametrize(("strength", "grain"), [(5, 2), (1, 2), (3, 1), (20, 4)])
def test_scales_are_told_apart_from_noise_and_filters(strength, grain):
    rng = np.random.default_rng(0)
    white, noise, more = rng.normal(size=(3, 96, 96, 96)).astype(np.float32)

    def smooth(volume, deviation):
        return scipy.ndimage.gaussian_filter(volume, deviation)

    sample = strength * smooth(white, grain)
    half = sample + noise
    passed = [smooth(half, deviation) for deviation in (0.7, 1, 1.5, 2, 3)]
    bands = [half - smooth(half, 6), *(smooth(half, low) - smooth(half, high) for low, high in ((1, 6), (2, 8)))]
    for one in (sample, sample + more, *passed, *bands):
        assert scale_between(boxes_of(half), boxes_of(one)) is None
        assert scale_between(boxes_of(one), boxes_of(half)) is None
    for factor, offset in ((2, 0), (0.5, 0), (1, 20), (1e4, -3e4), (1e-6, 0)):
        found = scale_between(boxes_of(half), boxes_of(factor * (half + 0.3 * more) + offset))
        brought = found.apply(half)
        assert brought.mean() == pytest.approx(factor * half.mean() + offset, abs=0.03 * factor * half.std())
        assert brought.std() == pytest.approx(factor * half.std(), rel=0.15)
    assert scale_between([sample], [np.zeros_like(sample)]) is None
    assert scale_between([sample[:2]], [9 * sample[:2]]) is None  # too thin


def test_the_slope_of_few_blocks_that_are_alike_is_1():
    few = np.random.default_rng(0).normal(size=halves_check.FEWEST)
    assert halves_check._steepest_slope(few, few) == pytest.approx(1, abs=1e-9)
