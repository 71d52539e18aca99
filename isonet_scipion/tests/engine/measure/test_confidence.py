"""The confidence volume: what it is made from, and that it says where."""

from dataclasses import replace

import numpy as np
import pytest

from isonet_scipion.engine.io.confidence_file import read_calibration
from isonet_scipion.engine.measure import confidence as module
from isonet_scipion.engine.measure.confidence import (
    BANDS,
    CELL,
    Calibration,
    Confidence,
    LocalPowers,
    Term,
    confidence,
    features,
    levels,
    local_powers,
    shifted,
)
from isonet_scipion.engine.measure.fourier_correlation import Curve
from isonet_scipion.engine.measure.quality import Evidence, Quality
from isonet_scipion.engine.physics.grey_scale import Shown, measure
from isonet_scipion.engine.physics.wedge import TiltRange, measured

TILT = TiltRange(-60, 50)


def region(shape, seen=True, tilt=TILT):
    z, x = np.fft.fftfreq(shape[0])[:, None, None], np.fft.rfftfreq(shape[2])[None, None]
    found = measured(z, x, tilt)
    return found if seen else ~found


def filtered(volume, mask):
    return np.fft.irfftn(np.fft.rfftn(volume) * mask, volume.shape).astype(np.float32)


def low_passed(volume, limit=0.3):
    k = [np.fft.fftfreq(n) for n in volume.shape[:2]]
    radius = np.sqrt(k[0][:, None, None] ** 2 + k[1][:, None] ** 2 + np.fft.rfftfreq(volume.shape[2]) ** 2)
    return np.fft.irfftn(np.fft.rfftn(volume) * (radius < limit), volume.shape).astype(np.float32)


def evidence(before, after, tilt=TILT):
    return Evidence(Shown(before, measure(-before)), after, tilt, 10.0)


def scene(shape=(48, 64, 96), noise=1.0, seed=0):
    """A sample that fills the half of low x, as measured with noise, and as a network would leave it."""
    rng = np.random.default_rng(seed)
    sample = low_passed(rng.normal(size=shape).astype(np.float32)) * 2
    sample[:, :, shape[2] // 2 :] = 0
    before = filtered(sample + noise * rng.normal(size=shape), region(shape))
    after = filtered(sample, region(shape)) + 0.5 * filtered(sample, region(shape, False))
    return -before, -after


def test_powers_are_those_of_the_filtered_volumes():
    tilt = TiltRange(-60, 60)  # symmetric: what is mirrored beyond the faces is in the same region
    before, after = scene((64, 56, 64))
    powers = local_powers(evidence(before, after, tilt))
    z, y = (2 * np.fft.fftfreq(n) for n in before.shape[:2])
    radius = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + (2 * np.fft.rfftfreq(64)) ** 2)
    scale = measure(-before).scale
    for number in (1, len(BANDS) - 2):
        band = (radius >= BANDS[number]) & (radius < BANDS[number + 1])
        one, two = (filtered(v / scale, band & region(before.shape, tilt=tilt)) for v in (before, after))
        wedge = filtered(after / scale, band & region(before.shape, False, tilt))
        found = [getattr(powers, name)[number].mean() for name in ("before", "after", "both", "filled")]
        wanted = [(a * b).mean() for a, b in ((one, one), (two, two), (one, two), (wedge, wedge))]
        assert found[:3] == pytest.approx(wanted[:3], rel=0.2)
        # what is mirrored at the faces leaks into the wedge, where little is
        assert found[3] == pytest.approx(wanted[3], rel=0.6)


def test_blocks_do_not_show(monkeypatch):
    given = evidence(*scene((48, 48, 256), noise=0.1))
    blocks = local_powers(given)
    monkeypatch.setattr(module, "CORE", 1000)
    whole = local_powers(given)
    seam = (slice(None), slice(1, -1), slice(1, -1), slice(14, 18))  # cells beside the border of two blocks of 16
    for name in ("before", "after"):
        one, two = (getattr(powers, name)[seam] for powers in (blocks, whole))
        assert np.abs(one - two).mean() < 0.13 * two.mean()  # 0.05 elsewhere, 0.36 without a rim


def test_sides_need_no_common_factor_and_memory_maps_do(tmp_path):
    before, after = (volume[:, :61, :77] for volume in scene())
    np.save(tmp_path / "after.npy", after)
    found = confidence(evidence(before, np.load(tmp_path / "after.npy", mmap_mode="r")), read_calibration())
    planes = np.stack(list(found.planes()))
    assert planes.shape == before.shape and planes.dtype == np.float32
    assert planes.min() >= 0 and planes.max() <= 1


def test_empty_places_are_believed_less_than_the_sample():
    before, after = scene()
    planes = np.stack(list(confidence(evidence(before, after), read_calibration()).planes()))
    assert planes[:, :, :40].mean() > planes[:, :, 56:].mean() + 0.2


def test_more_noise_and_a_weaker_filling_are_believed_less():
    def mean(noise, strength):
        before, after = scene(noise=noise)
        after = after + (strength - 1) * filtered(after, region(after.shape, False))
        return confidence(evidence(before, after), read_calibration()).mean()

    usual = mean(1.0, 1.0)
    assert mean(1.0, 0.2) < usual - 0.03
    assert mean(4.0, 1.0) < usual - 0.03


def test_no_grey_scale_counts():
    before, after = scene((48, 48, 64))
    usual = confidence(evidence(before, after), read_calibration()).cells
    other = confidence(evidence(7 * before - 300, 0.01 * after + 5), read_calibration()).cells
    np.testing.assert_allclose(usual, other, atol=0.01)


def test_too_small_a_tomogram_has_none():
    before, after = (volume[:40] for volume in scene())
    assert confidence(evidence(before, after), read_calibration()) is None


def test_constant_volumes_do_not_divide_by_zero():
    flat = np.zeros((48, 48, 48), np.float32)
    with np.errstate(all="raise"):
        cells = confidence(Evidence(Shown(flat, measure(flat)), flat, TILT, 10.0), read_calibration()).cells
    assert np.isfinite(cells).all()


def hidden_wedge(value, side=48, corners=((0, 0, 0),)):
    curve = Curve(np.full(side // 2 + 1, value), np.full(side // 2 + 1, 0.01))
    return Quality(10.0, TILT, 0.0, 0.5, side=side, corners=corners, restored=curve)


def test_of_other_models_the_hidden_wedge_test_tells_the_level_and_the_calibration_the_places():
    before, after = scene((48, 48, 96), noise=0.2)
    usual, low, high = (
        confidence(evidence(before, after), read_calibration(), quality).cells
        for quality in (None, hidden_wedge(0.1), hidden_wedge(0.4))
    )
    inside = (slice(None), slice(None), slice(0, 6))  # of the one box
    powers = local_powers(evidence(before, after))
    agreement = [
        powers.both[band][inside].sum() / np.sqrt(powers.before[band][inside].sum() * powers.after[band][inside].sum())
        for band in range(len(BANDS) - 1)
    ]
    for found, value in ((low, 0.1), (high, 0.4)):
        wanted = np.mean(np.clip(value / np.maximum(agreement, 0.03), 0.02, 0.98))
        assert found[inside].mean() == pytest.approx(wanted, abs=1e-3)
        assert found[:, :, :5].mean() > found[:, :, 7:].mean() + 0.03  # beyond the sample, and the box
    assert (high > low).all() and not np.allclose(usual, low, atol=0.05)


def test_boxes_along_the_axes_and_turned_ones_count_alike():
    given = evidence(*scene((48, 48, 96), noise=0.2))
    turned, along = hidden_wedge(0.1), hidden_wedge(0.3)
    both = replace(turned, restored_along=along.restored)
    found = [confidence(given, read_calibration(), quality).cells[:, :, :6].mean() for quality in (turned, both, along)]
    assert found[1] == pytest.approx((found[0] + found[2]) / 2, abs=1e-3) and found[2] > 1.5 * found[0]


def test_of_other_models_it_does_not_count_how_strongly_the_wedge_is_filled(monkeypatch):
    given = evidence(*scene((48, 48, 96)))
    powers = local_powers(given)
    found, usual = [], []
    for strength in (np.ones(len(BANDS) - 1), np.linspace(0.1, 1, len(BANDS) - 1)):
        weakened = replace(powers, filled=strength[:, None, None, None] ** 2 * powers.filled)
        monkeypatch.setattr(module, "local_powers", lambda _, weakened=weakened: weakened)
        found.append(confidence(given, read_calibration(), hidden_wedge(0.3)).cells)
        usual.append(confidence(given, read_calibration()).cells)
    np.testing.assert_allclose(*found, atol=1e-4)
    assert np.abs(usual[1] - usual[0]).mean() > 0.05


def test_a_level_is_the_correlation_over_the_agreement_and_bands_without_a_test_stay():
    cells = np.ones((len(BANDS) - 1, 2, 1, 1))
    cells[:, 1] = 100  # not in a tested box
    powers = LocalPowers(4 * cells, cells, cells, cells)  # agreement 0.5
    inside = np.array([True, False])[:, None, None]
    values = np.where(np.arange(33) < 12, 0.3, 0.1)
    values[[0, 20]] = np.nan
    found = levels(Curve(values, np.full(33, 0.01)), powers, inside)
    assert found[0] == pytest.approx(0.6) and found[-1] == pytest.approx(0.2)
    assert np.isnan(levels(Curve(np.full(33, np.nan), np.full(33, np.nan)), powers, inside)).all()
    odds = np.linspace(-3, 2, cells.size).reshape(cells.shape)
    wanted = np.r_[np.nan, found[1:]]
    moved = shifted(odds, inside, wanted)
    np.testing.assert_array_equal(moved[0], odds[0])
    assert 1 / (1 + np.exp(-moved[1:, 0, 0, 0])) == pytest.approx(found[1:])
    np.testing.assert_allclose(np.diff(moved[1:], axis=1), np.diff(odds[1:], axis=1))


def test_a_calibration_is_a_logistic_regression():
    calibration = Calibration(10.0, 0.5, {"kept": Term(1.0, 2.0, 3.0)})
    told = calibration.correlation({"kept": np.array([1.0, 3.0]), "other": np.array([9.0, 9.0])})
    assert told == pytest.approx([1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(-3.5))])


def test_the_programs_calibration_knows_the_features():
    calibration = read_calibration()
    known = features(local_powers(evidence(*scene((48, 48, 48)))), TILT, calibration.window / CELL)
    assert set(calibration.terms) == set(known)
    # what more of it must mean, whatever the scenes
    assert all(calibration.terms[name].weight > 0 for name in ("filled", "kept", "strength"))


def test_cells_are_interpolated_between_their_centres():
    cells = np.zeros((1, 1, 3), np.float32)
    cells[0, 0] = 0.0, 0.5, 1.0
    plane = next(Confidence(cells, (8, 8, 24)).planes())
    assert plane.shape == (8, 24)
    assert plane[0, [0, 3, 23]] == pytest.approx([0, 0, 1]) and plane[0, 11:13].mean() == pytest.approx(0.5)
    inside = np.zeros((8, 8, 24), bool)
    inside[:, :, 20:] = True
    assert Confidence(cells, (8, 8, 24)).mean(inside) == pytest.approx(1.0)
