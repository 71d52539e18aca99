"""What a network keeps of the signal is told by what two halves still have in common, whatever their noise becomes."""

import numpy as np
import pytest

from isonet_scipion.engine.measure.signal_kept import SignalKept
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.fourier import filtered
from isonet_scipion.engine.physics.transfer import Transfer
from isonet_scipion.engine.physics.wedge import TiltRange, measured_half_space

SIZE, TILT = 32, TiltRange()


def kept(network, noise=1.0, boxes=12):
    """By a network that is told the signal and the noise of each half."""
    told, rng = SignalKept(SIZE, TILT), np.random.default_rng(0)
    for _ in range(boxes):
        signal = rng.normal(size=(SIZE,) * 3).astype(np.float32)
        noises = noise * rng.normal(size=(2, *signal.shape)).astype(np.float32)
        told.add(signal + noises, lambda _, signal=signal, noises=noises: network(signal, noises))
    return told


@pytest.mark.parametrize("left", [0.0, 0.3, 1.0])
def test_noise_that_is_left_does_not_count(left):
    amplitudes = kept(lambda signal, noises: 0.5 * signal + left * noises).amplitudes()
    np.testing.assert_allclose(amplitudes[3:], 0.5, atol=0.1)


def test_it_is_told_by_resolution():
    radius = np.sqrt(sum(np.square(k) for k in np.meshgrid(*[np.fft.fftfreq(SIZE)] * 2, np.fft.rfftfreq(SIZE))))
    network = lambda signal, noises: filtered(signal, radius < 0.25)[None] + 0 * noises  # noqa: E731
    amplitudes = kept(network, noise=0.1).amplitudes()
    np.testing.assert_allclose(amplitudes[2:6], 1, atol=0.1)
    np.testing.assert_allclose(amplitudes[11:], 0, atol=0.1)


def test_what_is_put_into_the_missing_wedge_does_not_count():
    wedge = ~measured_half_space(SIZE, TILT)
    network = lambda signal, noises: 0.5 * signal + 9 * filtered(signal, wedge) + 0 * noises  # noqa: E731
    np.testing.assert_allclose(kept(network, noise=0.1).amplitudes()[3:], 0.5, atol=0.05)


def test_halves_without_anything_in_common_tell_nothing():
    told, rng = SignalKept(SIZE, TILT), np.random.default_rng(0)
    for _ in range(4):
        told.add(rng.normal(size=(2, *(SIZE,) * 3)).astype(np.float32), lambda halves: 0.1 * halves)
    assert told.amplitudes().min() > 0.9


def test_a_density_is_compared_with_what_the_ctf_shows_of_it():
    transfer = Transfer(10.0, CtfParameters(300.0, 2.7, 0.1, 30000.0))
    plain, aware = (kept(lambda signal, noises: 0.8 * signal + 0 * noises, 0.1).amplitudes(t) for t in (None, transfer))
    np.testing.assert_allclose(aware, plain * transfer.at(np.arange(len(plain)) / SIZE / 10), atol=1e-6)
    assert np.ptp(aware) > 0.3
