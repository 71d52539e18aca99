"""The quality report: Fourier correlations, the hidden-wedge test, and what the command writes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from isonet_scipion.engine.measure import quality as quality_module
from isonet_scipion.engine.measure.fourier_correlation import CERTAIN, Curve, FourierCorrelation
from isonet_scipion.engine.measure.hidden_wedge import UNSEEN_TURN, HiddenWedgeTest, hidden_region, turned
from isonet_scipion.engine.measure.quality import Evidence, Quality, affordable_boxes, calm_boxes, measure_quality
from isonet_scipion.engine.measure.verdict import Verdict
from isonet_scipion.engine.measure.wedge_power import xz_power
from isonet_scipion.engine.physics.fourier import filtered
from isonet_scipion.engine.physics.grey_scale import GreyScale, Shown
from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge, measured, measured_half_space
from isonet_scipion.engine.sampling.even_boxes import box_side, choose_boxes

SIZE = 32
TILT_RANGES = (TiltRange(), TiltRange(-30, 66), TiltRange(-50, 50))


def noise(seed, size=SIZE):
    return np.random.default_rng(seed).normal(size=(size,) * 3).astype(np.float32)


def curve_of(pairs, region=None):
    everything = np.ones((SIZE, SIZE, SIZE // 2 + 1), bool)
    sums = FourierCorrelation(SIZE, everything if region is None else region)
    for first, second in pairs:
        sums.add(first, second)
    return sums.curve()


@given(st.integers(0, 50), st.floats(0.1, 10), st.floats(-5, 5))
def test_a_volume_agrees_with_itself_whatever_its_grey_scale(seed, factor, offset):
    volume = noise(seed)
    curve = curve_of([(volume, factor * volume + np.float32(offset))])
    assert curve.mean == pytest.approx(1, abs=1e-3)
    assert curve_of([(volume, -volume)]).mean == pytest.approx(-1, abs=1e-3)


def test_chance_level_is_the_scatter_of_unrelated_volumes():
    region = hidden_region(SIZE, TiltRange(), UNSEEN_TURN)[1]
    pairs = [[(filtered(noise(2 * n), region), filtered(noise(2 * n + 1), region))] for n in range(60)]
    curves = [curve_of(pair, region) for pair in pairs]
    scatter, told = np.std([curve.mean for curve in curves]), curves[0].mean_chance
    assert 0.6 < scatter / told < 1.6
    assert abs(np.mean([curve.mean for curve in curves])) < CERTAIN * told / np.sqrt(60)


@pytest.mark.parametrize("tilt", TILT_RANGES)
@pytest.mark.parametrize("turn", [0, UNSEEN_TURN])
def test_hidden_components_were_measured_and_are_not_shown(tilt, turn):
    shown, hidden = hidden_region(SIZE, tilt, turn)
    assert not (shown & hidden).any() and hidden.sum() > 0.05 * hidden.size
    if not turn:  # a box that was measured in the tilt range, tipped, has all of its power in the two
        spectrum = np.abs(np.fft.rfftn(turned(apply_wedge(noise(1), tilt), turn))) ** 2
        assert spectrum[~(shown | hidden)].sum() < 1e-6 * spectrum.sum()
    # what is shown looks to the network like a tomogram of that tilt range
    assert not (shown & ~measured_half_space(SIZE, tilt)).any()


@pytest.mark.parametrize("tilt", TILT_RANGES)
@pytest.mark.parametrize("turn", [0, UNSEEN_TURN])
def test_only_what_is_right_counts_as_restored(tilt, turn):
    perfect, idle, inventive = (HiddenWedgeTest(SIZE, tilt, turn) for _ in range(3))
    for seed in range(4):
        box = apply_wedge(noise(seed), tilt)
        perfect.add(box[None], lambda shown, box=box: turned(box, turn)[None])
        idle.add(box[None], lambda shown: shown)
        inventive.add(box[None], lambda shown, seed=seed: shown + noise(100 + seed))
    assert perfect.curve().mean > 0.99
    assert idle.curve().mean == 0
    assert abs(inventive.curve().mean) < CERTAIN * inventive.curve().mean_chance


def test_noise_that_halves_show_lowers_the_ceiling():
    test = HiddenWedgeTest(SIZE, TiltRange(), UNSEEN_TURN)
    for seed in range(4):
        signal = noise(seed)
        test.add_halves(signal + noise(50 + seed), signal + noise(90 + seed))
    # halves of signal-to-noise ratio 1 agree to 1/2; their mean agrees with the signal to sqrt(2/3)
    assert test.ceiling().mean == pytest.approx(np.sqrt(2 / 3), abs=0.05)


@pytest.mark.parametrize("by_halves", [False, True])
@pytest.mark.parametrize("turn", [0, UNSEEN_TURN])
def test_the_network_is_tested_on_what_it_was_shown(by_halves, turn):
    signal, scatter = noise(1, 40), noise(2, 40)
    halves, scale = (signal + scatter, signal - scatter), GreyScale(0.0, 1.0)
    shown = []

    def network(box):
        shown.append(box)
        return box

    evidence = Evidence(
        Shown(signal, scale),
        signal,
        TiltRange(),
        10.0,
        None,
        tuple(Shown(half, scale) for half in halves),
        True,
        by_halves,
        turn=turn,
    )
    measure_quality(evidence, network, (8, 8, 8))
    passed = hidden_region(40, TiltRange(), turn)[0]
    tested = [-signal] if not by_halves else [-half for half in halves]
    assert len(shown) == len(tested) + 2
    for box, part in zip(shown, tested):
        np.testing.assert_allclose(box, filtered(turned(part, turn), passed), atol=1e-4)


@pytest.mark.parametrize("known", [False, True])
def test_noise_that_the_network_has_learned_is_not_allowed_for(known):
    signal, scatter = noise(1, 40), 0.3 * noise(2, 40)
    halves = tuple(Shown(half, GreyScale(0.0, 1.0)) for half in (signal + scatter, signal - scatter))
    evidence = Evidence(Shown(signal, GreyScale(0.0, 1.0)), signal, TiltRange(), 10.0, None, halves, noise_known=known)
    quality = measure_quality(evidence, lambda box: box, (8, 8, 8))
    assert (quality.ceiling is None) == known and quality.half_curves is not None
    assert quality.as_dict()["restored_wedge_allows_for_noise"] == (not known)


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_halves_that_do_not_tell_the_noise_are_told_and_not_counted(caplog, is_mirrored):
    signal = noise(1, 64)
    signal += 0.15 * signal[::-1]
    even, odd = signal + noise(2, 64), signal + noise(3, 64)
    whole = (even + odd) / 2
    halves = tuple(Shown(half, GreyScale(0.0, 1.0)) for half in (even[::-1] if is_mirrored else even, odd))
    evidence = Evidence(Shown(whole, GreyScale(0.0, 1.0)), whole, TiltRange(), 10.0, None, halves, turn=0.0)
    quality = measure_quality(evidence, lambda box: turned(-signal, 0.0), (8, 8, 8))  # all that is right
    assert quality.as_dict()["restored_wedge_allows_for_noise"] is not is_mirrored
    assert ("they do not tell the noise" in caplog.text) is is_mirrored
    expected = quality.restored.mean if is_mirrored else 1.0
    assert quality.restored_wedge[0] == pytest.approx(expected, abs=0.02) and quality.restored.mean < 0.9


@pytest.mark.parametrize(("shape", "boxes"), [((64, 128, 128), 4), ((64, 192, 192), 8), ((64, 1024, 1024), 16)])
def test_small_tomograms_are_tested_in_a_few_boxes_and_large_ones_in_more(shape, boxes):
    volume = np.broadcast_to(noise(1, 64)[:, :1, :1], shape)
    corners, remark = affordable_boxes(volume, 64, np.ones(shape, np.uint8), 1.5)
    assert (len(corners), remark) == (boxes, "")


def tilted(volume):
    kz, kx = np.fft.fftfreq(volume.shape[0])[:, None, None], np.fft.fftfreq(volume.shape[2])
    return np.fft.ifftn(np.fft.fftn(volume) * measured(kz, kx, TiltRange())).real.astype(np.float32)


def with_gold(volume, places):
    gold = volume.copy()
    for z, y, x in places:
        gold[z - 3 : z + 3, y - 3 : y + 3, x - 3 : x + 3] -= 60
    return gold


def report_on(tomogram):
    scale = GreyScale(0.0, 1.0)
    evidence = Evidence(Shown(tomogram, scale), tomogram, TiltRange(), 10.0, turn=0.0)
    # a network that writes what is strong only into the wedge: right about gold, and about nothing else
    return measure_quality(evidence, lambda box: box + np.where(abs(box) > 10, box, 0), (8, 8, 8))


def test_gold_beads_do_not_make_a_report_better(caplog):
    tomogram = tilted(np.random.default_rng(5).normal(size=(64, 192, 192)))
    plain = report_on(tomogram).restored_wedge[0]
    assert abs(plain) < 0.05 and not caplog.records
    some = [(20, 20, 20), (30, 40, 170)]
    found = report_on(tilted(with_gold(tomogram, some)))
    assert abs(found.restored_wedge[0]) < 0.05 and found.boxes == 6
    assert "2 of 8 boxes hold voxels far beyond all others, such as gold beads, and are left out." in caplog.text
    caplog.clear()
    everywhere = [(30, y, x) for y in range(20, 190, 32) for x in range(20, 190, 32)]
    found = report_on(tilted(with_gold(tomogram, everywhere)))
    assert abs(found.restored_wedge[0]) < 0.1 and found.boxes == 8
    assert "8 of 8 boxes hold voxels far beyond all others" in caplog.text and "replaced" in caplog.text


def test_the_darkest_of_a_result_counts_in_its_agreement_with_what_was_measured():
    before = tilted(noise(8, 64))
    after = before.copy()
    places = [(z, y, x) for z in (15, 45) for y in (15, 45) for x in (15, 45)]
    for z, y, x in places:
        after[z : z + 2, y : y + 2, x : x + 2] -= 40  # by far the darkest of the result, as particles without noise are
    evidence = Evidence(Shown(before, GreyScale(0.0, 1.0)), after, TiltRange(), 10.0, turn=0.0)
    seen = measured_half_space(64, TiltRange())
    expected = FourierCorrelation(64, seen)
    expected.add(filtered(before, seen), filtered(after, seen))
    found = measure_quality(evidence, lambda box: box, (8, 8, 8)).agreement.mean
    assert found == pytest.approx(expected.curve().mean, abs=1e-6) and found < 0.95


def test_what_a_result_has_lost_altogether_counts_in_its_agreement():
    before = tilted(noise(8, 64))
    after = gaussian_filter(before, 3)  # next to nothing is left of the finest shells
    evidence = Evidence(Shown(before, GreyScale(0.0, 1.0)), after, TiltRange(), 10.0, turn=0.0)
    assert np.isfinite(measure_quality(evidence, lambda box: box, (8, 8, 8)).agreement.values[3:]).all()


def test_spikes_of_an_input_are_left_out_of_all_that_is_compared():
    even, odd, result = (noise(seed) for seed in range(3))
    even[10, 10, 10], result[20, 20, 20] = -200, -200
    whole = (even + odd) / 2
    boxes = calm_boxes((whole, even, odd), (0, 0, 0), SIZE, result)
    for made, whole_box in zip(boxes, (whole, even, odd, result)):
        places = np.argwhere(made != whole_box)
        assert len(places) == 7 and (abs(places - 10).sum(axis=1) <= 1).all()
    assert boxes[-1][20, 20, 20] == -200


def test_resolution_is_where_the_curve_falls_below_the_threshold():
    region = np.ones((SIZE, SIZE, SIZE // 2 + 1), bool)
    k = np.fft.fftfreq(SIZE, 1 / SIZE)
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + np.fft.rfftfreq(SIZE, 1 / SIZE) ** 2)
    pairs = [(noise(n), filtered(noise(n), radius < 8) + filtered(noise(99 + n), radius >= 8)) for n in range(4)]
    assert curve_of(pairs, region).resolution(0.5, 10.0) == pytest.approx(SIZE * 10 / 8, rel=0.15)
    assert curve_of([(noise(1), noise(2))], region).resolution(0.5, 10.0) is None


def told(report):
    """Verdict, its class, and what the table says of the resolution."""
    names = ("correlation", "resolution_A", "above_chance_A", "known")
    verdict = Verdict(*(report[f"restored_wedge_{name}"] for name in names))
    assert report["verdict"] == verdict.words
    return verdict.words, verdict.kind, verdict.resolution


def report_of(values):
    """A report where the hidden-wedge test gave these correlations, with chance falling towards fine shells."""
    shells = np.arange(len(values))
    restored = Curve(np.asarray(values, float), 0.4 / np.maximum(shells, 1))
    return Quality(10.0, TiltRange(), 0.1, 0.2, 2 * (len(values) - 1), ((0, 0, 0),) * 8, restored).as_dict()


def test_the_verdict_follows_from_where_the_curve_falls_to_chance():
    shells = np.arange(33)  # shell i is at 640 / i A
    # a mean over all shells well above chance, of a curve that nowhere is
    invention = report_of(np.where(shells > 0, 0.9 * CERTAIN * 0.4 / np.maximum(shells, 1), 0))
    assert invention["restored_wedge_correlation"] > max(0.1, CERTAIN * invention["restored_wedge_chance"])
    assert invention["restored_wedge_above_chance_A"] is None and invention["restored_wedge_resolution_A"] is None
    words, kind, table = told(invention)
    assert kind == "poor" and "do not interpret" in words and table == ("none", "nowhere better than chance")
    # above chance in the coarse shells, nowhere half right
    weak = report_of(np.where(shells < 16, 0.45, 0.0))
    assert weak["restored_wedge_resolution_A"] is None
    assert weak["restored_wedge_above_chance_A"] == pytest.approx(640 / 16.5, rel=0.05)
    words, kind, table = told(weak)
    assert kind == "fair" and f"larger than {weak['restored_wedge_above_chance_A']:.0f} Å" in words
    assert table == ("none", "where correlation is 0.5; above chance to 39 Å")
    # half right, and better than chance beyond
    strong = report_of(np.where(shells < 8, 0.8, np.where(shells < 20, 0.3, 0.0)))
    half, above = strong["restored_wedge_resolution_A"], strong["restored_wedge_above_chance_A"]
    assert half == pytest.approx(640 / 7.5, rel=0.1) and above == pytest.approx(640 / 20.5, rel=0.05)
    words, kind, table = told(strong)
    assert kind == "fair" and f"larger than {half:.0f} Å" in words and f"finer than {above:.0f} Å is inv" in words
    assert table[0] == f"{half:.0f} Å"
    # what chance alone could make half right is not
    assert report_of(np.where(shells < 3, 0.9, 0.0))["restored_wedge_resolution_A"] is None


def test_a_single_small_box_does_not_tell_that_nothing_was_restored():
    volume = noise(1, 24)
    blurred = filtered(volume, np.ones((24, 24, 13), bool))
    evidence = Evidence(Shown(volume, GreyScale(0.0, 1.0)), blurred, TiltRange(), 10.0)
    report = measure_quality(evidence, lambda box: 0.1 * box**2, (8, 8, 8)).as_dict()
    assert report["boxes"] == 1 and report["restored_wedge_above_chance_A"] is None
    words, kind, (resolution, remark) = told(report)
    assert kind == "fair" and "too small to tell" in words and (resolution, remark) == ("?", "too small to tell")


@given(st.tuples(*[st.integers(10, 80)] * 3), st.integers(1, 9))
def test_boxes_lie_inside_and_apart(shape, most):
    side = box_side(shape, (8, 8, 8))
    if min(shape) < 16:
        assert side is None
        return
    corners = choose_boxes(np.broadcast_to(np.float32(0), shape), side, most)
    assert 1 <= len(corners) <= most
    assert all(0 <= c <= n - side for corner in corners for c, n in zip(corner, shape))
    apart = [max(abs(a - b) for a, b in zip(p, q)) for i, p in enumerate(corners) for q in corners[:i]]
    assert all(distance >= side for distance in apart)


def test_spectra_that_are_known_are_not_made_again(monkeypatch):
    before, after = noise(0), noise(1)
    spectra = xz_power(before), xz_power(after)
    made = []
    monkeypatch.setattr(quality_module, "xz_power", lambda volume: made.append(volume) or xz_power(volume))
    found = []
    for known in ((None, None), (None, spectra[1]), spectra):
        evidence = Evidence(Shown(before, GreyScale(0, 1)), after, TiltRange(), 10.0, spectra=known)
        quality = measure_quality(evidence, lambda box: box, (8, 8, 8))
        found.append((quality.power_before, quality.power_after, len(made)))
    assert [count for *_, count in found] == [2, 3, 3]
    assert found[0][:2] == found[1][:2] == found[2][:2]


def test_boxes_are_tested_along_the_axes_too_where_a_confidence_needs_it():
    volume = noise(3, 64)
    given = Evidence(Shown(volume, GreyScale(0.0, 1.0)), volume, TiltRange(), 10.0)

    def network(box):
        return np.roll(box, 1, axis=0) + 0.1 * box**2

    usual, both, along = (
        measure_quality(replace(given, **more), network, (8, 8, 8))
        for more in ({}, {"along_axes": True}, {"turn": 0.0, "along_axes": True})
    )
    assert usual.restored_along is None and along.restored_along is None
    np.testing.assert_array_equal(both.restored.values, usual.restored.values)
    np.testing.assert_array_equal(both.restored_along.values, along.restored.values)
    assert not np.allclose(both.restored.values[1:], both.restored_along.values[1:], atol=1e-3, equal_nan=True)
