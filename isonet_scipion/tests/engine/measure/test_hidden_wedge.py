"""A hidden wedge is as large as the missing one, in another place."""

import numpy as np
import pytest

from isonet_scipion.engine.measure.hidden_wedge import UNSEEN_TURN, HiddenWedgeTest, hidden_region, turned
from isonet_scipion.engine.measure.signal_kept import SignalKept
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.transfer import Transfer
from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge, measured_half_space


@pytest.mark.parametrize("limit", [40, 60])
def test_as_much_is_hidden_as_is_missing(limit):
    shown, hidden = hidden_region(32, TiltRange(-limit, limit), 0.0)
    # a wedge of 90 - limit degrees to each side, less what the box lacks itself
    inside = (shown | hidden).mean()
    assert 0.8 < hidden.mean() / inside / (1 - limit / 90) < 1.2


def test_more_is_hidden_of_a_turned_box_where_more_is_missing():
    regions = [hidden_region(32, TiltRange(-limit, limit), UNSEEN_TURN) for limit in (40, 50, 60, 70)]
    shares = [hidden.sum() / (shown | hidden).sum() for shown, hidden in regions]
    assert shares[0] < 0.7 and shares[-1] > 0.3 and (np.diff(shares) < -0.04).all()


def test_what_comes_back_of_the_hidden_is_measured():
    tilt, rng = TiltRange(), np.random.default_rng(0)
    test = HiddenWedgeTest(24, tilt, UNSEEN_TURN)
    for _ in range(4):
        box = apply_wedge(rng.normal(size=(24, 24, 24)).astype(np.float32), tilt)
        other = rng.normal(size=box.shape).astype(np.float32)

        def half_right(shown, box=box, other=other):
            return (turned(box, UNSEEN_TURN) + other)[None]

        test.add(box[None], half_right)
    assert test.curve().mean == pytest.approx(np.sqrt(0.5), abs=0.05)


def strength(network, kept=None, transfer=None):
    """By a test on boxes of noise; the network gets a box as it was, and noise of its own."""
    tilt, rng = TiltRange(), np.random.default_rng(1)
    test = HiddenWedgeTest(24, tilt, UNSEEN_TURN)
    for _ in range(12):
        box, other = rng.normal(size=(2, 24, 24, 24)).astype(np.float32)
        test.add(box[None], lambda shown, box=box, other=other: network(turned(box, UNSEEN_TURN), other)[None])
    return test.strength(kept, transfer)


def test_what_is_invented_does_not_count_and_what_is_right_does():
    assert np.max(strength(lambda box, other: other).factors) < 0.2
    np.testing.assert_allclose(strength(lambda box, other: box).factors, 1, rtol=1e-5)
    np.testing.assert_array_equal(strength(lambda box, other: box / 3).factors, 1)  # it is not strengthened
    halved = strength(lambda box, other: 2 * box)
    np.testing.assert_allclose(halved.factors, 0.5, rtol=1e-5)
    assert 0 < halved.frequencies[0] < halved.frequencies[-1] == 1


def test_of_nothing_filled_in_nothing_is_told():
    assert strength(lambda box, other: np.zeros_like(box)) is None


def halves_kept(share):
    """Of halves that have all in common, of which a network keeps a share."""
    kept, rng = SignalKept(24, TiltRange()), np.random.default_rng(2)
    for _ in range(4):
        half = rng.normal(size=(24, 24, 24)).astype(np.float32)
        kept.add(np.stack([half, half]), lambda halves: share * halves)
    return kept


def test_what_is_filled_in_is_as_strong_as_what_was_measured_is_left():
    np.testing.assert_allclose(strength(lambda box, other: 2 * box, halves_kept(0.6)).factors, 0.3, rtol=1e-5)
    # what would have to be stronger than it is has the strength 1 first
    np.testing.assert_allclose(strength(lambda box, other: box / 3, halves_kept(0.6)).factors, 0.6, rtol=1e-5)
    np.testing.assert_allclose(strength(lambda box, other: box, halves_kept(3)).factors, 1, rtol=1e-5)
    np.testing.assert_allclose(strength(lambda box, other: box, halves_kept(0)).factors, 0.1, rtol=1e-5)


def test_a_network_that_undoes_the_ctf_is_compared_by_what_the_ctf_shows():
    transfer = Transfer(10.0, CtfParameters(300.0, 2.7, 0.1, 30000.0))
    plain, aware = (strength(lambda box, other: 4 * box, transfer=given) for given in (None, transfer))
    shown = transfer.at(np.array(plain.frequencies) / 20)
    np.testing.assert_allclose(aware.factors, np.clip(0.25 / np.maximum(shown, 1e-4), 0, 1), rtol=1e-5)
    assert np.ptp(aware.factors) > 0.3


@pytest.mark.parametrize("tilt", [TiltRange(-60, 60), TiltRange(-20, 70)])
@pytest.mark.parametrize("turn", [0.0, 30.0, 45.0, -45.0])
@pytest.mark.parametrize("number", [0, 1])
def test_what_is_hidden_was_measured(tilt, turn, number):
    noise = np.random.default_rng(3).normal(size=(96,) * 3).astype(np.float32)
    box = apply_wedge(noise, tilt)[16:80, 16:80, 16:80].copy()
    test = HiddenWedgeTest(64, tilt, turn)
    test.add(box[None], lambda shown: shown, number)
    assert test.curve().mean == 0  # what is shown has nothing in the hidden wedge
    power = spectrum(turned(box, turn, number))
    band = (RADIUS > 0.1) & (RADIUS < 0.35)
    shown, hidden = hidden_region(64, tilt, turn)
    lacked = measured_half_space(64, tilt) & ~shown
    assert power[lacked & band].mean() < 0.1 * power[hidden & band].mean()


def test_every_second_box_is_turned_the_other_way():
    box = np.random.default_rng(3).normal(size=(64,) * 3).astype(np.float32)
    z, y, x = np.meshgrid(*[np.fft.fftfreq(64)] * 3, indexing="ij")
    diagonal = np.fft.ifftn(np.fft.fftn(box) * ((x * y > 0) & (abs(z) < 0.1))).real.astype(np.float32)
    _, hidden = hidden_region(64, TiltRange(), UNSEEN_TURN)
    powers = [spectrum(turned(diagonal, UNSEEN_TURN, number))[hidden & (RADIUS > 0.1)].sum() for number in (0, 1)]
    assert powers[1] > 4 * powers[0]


def spectrum(box):
    fade = np.hanning(64)
    return np.abs(np.fft.rfftn(box * fade[:, None, None] * fade[:, None] * fade)) ** 2


RADIUS = np.sqrt(sum(np.square(k) for k in np.meshgrid(*[np.fft.fftfreq(64)] * 2, np.fft.rfftfreq(64), indexing="ij")))
