import numpy as np
import pytest

from isonet_scipion.engine.physics.back_projected_noise import NoiseSource, back_projected_slices, projection_filter
from isonet_scipion.engine.physics.wedge import TiltRange, measured

SIZE = 32


def power(slices):
    """Mean power by frequency (kz, kx), of independent slices."""
    return (np.abs(np.fft.fft2(slices)) ** 2).mean(axis=0)


def frequencies():
    k = np.fft.fftfreq(SIZE) * SIZE
    return k[:, None], k[None, :]


@pytest.mark.parametrize("mode", ["noFilter", "ramp", "hamming"])
@pytest.mark.parametrize("tilt", [TiltRange(), TiltRange(-30, 66)])
def test_power_lies_where_projections_measure(mode, tilt):
    slices = back_projected_slices(200, SIZE, tilt, mode, np.random.default_rng(0))
    assert slices.shape == (200, SIZE, SIZE) and slices.dtype == np.float32
    assert slices.std() == pytest.approx(1, abs=1e-3) and slices.mean() == pytest.approx(0, abs=1e-3)
    kz, kx = frequencies()
    ring = (np.hypot(kz, kx) > 4) & (np.hypot(kz, kx) < 12)
    # stay clear of the wedge's edge, which a small box blurs
    inside = measured(kz, kx, TiltRange(tilt.minimum + 10, tilt.maximum - 10)) & ring
    outside = ~measured(kz, kx, TiltRange(tilt.minimum - 10, tilt.maximum + 10)) & ring
    spectrum = power(slices)
    assert spectrum[outside].mean() < 0.1 * spectrum[inside].mean()


def test_spectrum_falls_as_back_projection_does_without_filter_and_is_flat_with_a_ramp():
    kz, kx = frequencies()
    radius = np.hypot(kz, kx)
    sector = measured(kz, kx, TiltRange(-40, 40))
    rings = [sector & (abs(radius - r) < 1) for r in (4, 10)]
    tilt, rng = TiltRange(), np.random.default_rng(1)
    plain = power(back_projected_slices(300, SIZE, tilt, "noFilter", rng))
    ramp = power(back_projected_slices(300, SIZE, tilt, "ramp", rng))
    # projections are spread over circles: power falls as 1/k; the ramp squared takes it up to k
    assert plain[rings[0]].mean() / plain[rings[1]].mean() == pytest.approx(10 / 4, rel=0.35)
    assert ramp[rings[0]].mean() / ramp[rings[1]].mean() == pytest.approx(4 / 10, rel=0.35)


def test_hamming_window_ends_low_and_starts_as_the_ramp():
    ramp, hamming = projection_filter(64, "ramp"), projection_filter(64, "hamming")
    assert hamming[1] == pytest.approx(ramp[1], rel=0.01)
    assert hamming[-1] == pytest.approx(0.08 * ramp[-1])


def test_draws_differ_have_unit_deviation_and_follow_the_seed():
    source = NoiseSource.simulated(16, TiltRange(), "noFilter", np.random.default_rng(2))
    rng = np.random.default_rng(3)
    first, second = source.draw(16, rng), source.draw(16, rng)
    assert first.shape == (16, 16, 16)
    assert first.std() == pytest.approx(1, abs=1e-3)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.2
    np.testing.assert_array_equal(first, source.draw(16, np.random.default_rng(3)))
    # slices along y are independent of each other
    assert abs(np.corrcoef(first[:, :-1].ravel(), first[:, 1:].ravel())[0, 1]) < 0.1


def test_drawn_cubes_lack_the_wedge_of_a_range_that_is_not_symmetric():
    tilt, rng = TiltRange(-20, 60), np.random.default_rng(0)
    source = NoiseSource.simulated(32, tilt, "ramp", rng)
    k, window = np.fft.fftfreq(32), np.hanning(32)
    radius, seen = np.hypot(k[:, None], k), measured(k[:, None], k[None, :], tilt)
    band = (radius > 0.15) & (radius < 0.4)
    for _ in range(8):
        planes = source.draw(32, rng) * window[:, None, None] * window
        power = (np.abs(np.fft.fft2(planes, axes=(0, 2))) ** 2).mean(axis=1)
        assert power[band & ~seen].mean() < 0.2 * power[band & seen].mean()
