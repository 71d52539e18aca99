"""The chance level of a Fourier correlation is what unrelated volumes scatter by."""

import numpy as np
import pytest

from isonet_scipion.engine.measure.fourier_correlation import (
    CERTAIN,
    Curve,
    FourierCorrelation,
    _falling,
    independent_share,
)
from isonet_scipion.engine.physics.fourier import filtered, frequencies

SIZE = 16
EVERYTHING = np.ones((SIZE, SIZE, SIZE // 2 + 1), bool)


def unrelated(seed, boxes=1):
    rng = np.random.default_rng(seed)
    sums = FourierCorrelation(SIZE, EVERYTHING)
    for _ in range(boxes):
        sums.add(*rng.normal(size=(2, SIZE, SIZE, SIZE)).astype(np.float32))
    return sums.curve()


def test_each_shells_chance_level_is_the_scatter_there():
    curves = [unrelated(seed) for seed in range(300)]
    scatter, told = np.std([curve.values for curve in curves], axis=0), curves[0].chance
    shells = np.flatnonzero(np.isfinite(told))
    assert len(shells) >= 5
    # never more, and not much less; in proportion over a factor of 6 between the shells
    assert 0.65 < np.min(scatter[shells] / told[shells]) < np.max(scatter[shells] / told[shells]) < 1.05
    assert told[shells[0]] > 5 * told[shells[-1]]
    assert np.polyfit(np.log(told[shells]), np.log(scatter[shells]), 1)[0] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("size", [16, 17])
def test_each_component_of_the_whole_transform_counts_once(size):
    first, second = np.random.default_rng(0).normal(size=(2, size, size, size)).astype(np.float32)
    second += first
    sums = FourierCorrelation(size, np.ones((size, size, size // 2 + 1), bool))
    sums.add(first, second)
    place = (np.arange(size) + 0.5) / size
    taper = np.sin(np.pi / 2 * np.minimum(1, 4 * np.minimum(place, 1 - place))) ** 2
    fade = taper[:, None, None] * taper[:, None] * taper
    a, b = (np.fft.fftn((box - box.mean()) * fade) for box in (first, second))
    k = np.fft.fftfreq(size, 1 / size)
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int).ravel()
    products, *powers = (
        np.bincount(shell, values.ravel()) for values in ((a * b.conj()).real, abs(a) ** 2, abs(b) ** 2)
    )
    expected, found = products / np.sqrt(powers[0] * powers[1]), sums.curve().values
    np.testing.assert_allclose(found[3:], expected[3 : size // 2 + 1], atol=1e-5)


def test_a_mean_is_over_shells_from_a_tenth_to_two_thirds_of_nyquist():
    assert Curve(np.arange(31.0), np.ones(31)).mean == np.mean(np.arange(3, 21))


def test_four_times_the_boxes_halve_the_chance_level():
    one, four = unrelated(0).chance, unrelated(0, 4).chance
    both = np.isfinite(one) & np.isfinite(four)
    np.testing.assert_allclose(four[both], one[both] / 2)


def test_a_box_that_fades_on_each_axis_loses_its_share_on_each():
    # (sum w^2)^2 / (n sum w^4) of sin^2 ramps over half of the side, summed by hand
    place = (np.arange(64) + 0.5) / 64
    weight = np.sin(np.pi / 2 * np.minimum(1, 4 * np.minimum(place, 1 - place))) ** 4
    axis = weight.sum() ** 2 / (64 * np.square(weight).sum())
    assert independent_share(64) == pytest.approx(axis**3, rel=1e-5)


def test_resolution_is_interpolated_where_the_curve_falls_below_the_threshold():
    values = np.concatenate([[np.nan], np.linspace(1, 0, 32)])
    curve = Curve(values, np.where(np.isnan(values), np.nan, 0.01))
    at = {threshold: 1 + 31 * (1 - threshold) for threshold in (0.143, 0.5)}  # in cycles per box side of 64 voxels
    for threshold, shell in at.items():
        assert curve.resolution(threshold, 10.0) == pytest.approx(640 / shell, rel=0.01)
    assert curve.resolution(1.01, 10.0) is None
    unsure = Curve(values, np.full(33, 1.01 / CERTAIN))
    assert unsure.resolution(0.143, 10.0) is None


@pytest.mark.parametrize(("coarse_chance", "believed"), [(0.16, 640 / 10), (0.05, None)])
def test_a_coarse_shell_that_cannot_tell_does_not_take_away_the_finer_ones(coarse_chance, believed):
    values, chance = np.full(33, 0.5), np.full(33, 0.02)
    values[0], values[1:3], values[10:] = np.nan, -0.2, 0.0
    chance[0], chance[1:3] = np.nan, coarse_chance
    found = Curve(values, chance).above_chance(10.0)
    assert found is None if believed is None else found == pytest.approx(believed, rel=0.1)
    assert Curve(np.where(np.isfinite(values), 0.0, np.nan), chance).above_chance(10.0) is None


def test_one_fine_shell_does_not_stand_for_all_the_others_that_cannot_tell():
    values, chance = np.full(17, 0.1), np.full(17, 0.1)
    values[0], chance[0] = np.nan, np.nan
    values[-1], chance[-1] = 0.9, 0.07
    curve = Curve(values, chance)
    assert curve.resolution(0.5, 10.0) is None
    assert curve.above_chance(10.0) is None
    assert not curve.tells


def test_a_curve_tells_that_nothing_is_above_chance_if_its_fine_shells_could_and_no_coarse_one_is():
    shells = np.arange(17)
    chance = np.where(shells > 0, 1.11 / CERTAIN / np.maximum(shells, 1), np.nan)  # the 5th shell is below 0.25
    nothing, coarse = np.where(shells > 0, 0.0, np.nan), np.where(shells == 2, 0.9, 0.0)
    assert Curve(nothing, chance).tells
    few = Curve(nothing, 3 * chance)  # no shell of the mean is
    assert not few.tells and few.above_chance(10.0) is None
    believed = Curve(coarse, chance)
    assert believed.above_chance(10.0) is None and not believed.tells


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_factors_bring_the_first_nearest_to_the_second_whatever_its_noise(noise):
    rng, sums = np.random.default_rng(0), FourierCorrelation(SIZE, EVERYTHING)
    for _ in range(40):
        truth, error, other = rng.normal(size=(3, SIZE, SIZE, SIZE)).astype(np.float32)
        sums.add(4 * (truth + error), truth + noise * other)  # half of its power is wrong
    factors = sums.factors()
    assert np.isnan(factors[0])
    np.testing.assert_allclose(factors[3:], 1 / 8, atol=0.02)


def test_noise_hardly_gives_factors_to_the_finest_shells_where_the_first_is_faint_and_unrelated():
    rng, size, each, told = np.random.default_rng(0), 40, [], []
    shell = np.sqrt(sum(k**2 for k in frequencies(size)))
    for _ in range(12):
        sums = FourierCorrelation(size, np.ones(shell.shape, bool))
        truth, error, noise = rng.normal(size=(3, size, size, size)).astype(np.float32)
        coarse = filtered(truth, shell <= 6)
        sums.add(coarse + 0.03 * error, coarse + noise)
        factors = sums.factors()
        assert factors[4] > 0.5 and (np.diff(factors[np.isfinite(factors)]) <= 1e-9).all()
        told.append(np.clip(factors[-6:], 0, 1))
        each.append(np.clip(sums._sums[0, -6:] / sums._sums[1, -6:], 0, 1))
    assert np.mean(each) > 0.2  # each shell by itself would be told that
    assert np.mean(told) < np.mean(each) / 2


def test_the_values_that_never_rise_are_the_nearest_of_all():
    rng = np.random.default_rng(0)
    for _ in range(50):
        values, weight = rng.normal(size=9), rng.exponential(size=9) + 0.01
        found = _falling(values, weight)
        assert (np.diff(found) <= 1e-12).all()
        distance = (weight * (found - values) ** 2).sum()
        for _ in range(200):  # steps from it, made to fall again
            other = np.minimum.accumulate(found + rng.normal(size=9) * rng.choice([0.01, 0.1, 1]))
            assert (weight * (other - values) ** 2).sum() >= distance - 1e-12
    falling = -np.arange(5.0)
    np.testing.assert_allclose(_falling(falling, np.ones(5)), falling)


def test_what_is_empty_has_no_factor():
    sums = FourierCorrelation(SIZE, EVERYTHING)
    volume = np.random.default_rng(0).normal(size=(SIZE,) * 3).astype(np.float32)
    sums.add(0.001 * volume, volume)
    assert np.isnan(sums.factors(1e-4)).all() and np.isfinite(sums.factors()[3:]).all()


def test_nothing_is_told_beyond_the_limit_of_a_filter():
    # of a larger volume, so that a box has steps at its faces, which are left in all shells
    noise = np.random.default_rng(1).normal(size=(64, 64, 64)).astype(np.float32)
    k = np.fft.fftfreq(64)
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + np.fft.rfftfreq(64) ** 2)
    data = filtered(noise, np.exp(-((radius / 0.08) ** 2)))
    size = 32
    sums = FourierCorrelation(size, np.ones((size, size, size // 2 + 1), bool))
    for z, y, x in np.ndindex(2, 2, 2):
        box = data[z * 32 :, y * 32 :, x * 32 :][:size, :size, :size]
        sums.add(2 * box, box)
    curve = sums.curve()
    power = np.exp(-2 * (np.arange(17) / 32 / 0.08) ** 2)  # of the filter in each shell
    known = np.isfinite(curve.values[3:])
    assert known[power[3:] > 1e-3].all() and not known[power[3:] < 1e-7].any()
    assert 20 < curve.above_chance(voxel_size=5.0) < 33  # 10 before, where the voxels end
