"""The correlation of what a network restores of withheld tilts with what they measured."""

import numpy as np
import pytest

from isonet_scipion.engine.measure.withheld_agreement import WithheldAgreement
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.physics.withheld_tilts import withheld_part

TILT = TiltRange(-50, 64)
SHAPE = (32, 40, 48)


def volume(seed, shape=SHAPE):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def agreement(restored, truth, tilt=TILT):
    """Of a network that makes `restored` of a volume without the outermost tilts of `truth`."""
    test = WithheldAgreement()
    withheld = withheld_part(truth, tilt)
    test.add(truth - withheld, restored, withheld, tilt)
    return test.result()


def test_it_is_1_for_the_truth_0_for_what_was_left_alone_and_within_chance_for_invention():
    truth = volume(0)
    assert agreement(truth, truth).correlation == pytest.approx(1, abs=1e-5)
    assert agreement(3 * truth + 7, truth).correlation == pytest.approx(1, abs=1e-5)
    nothing, chance = agreement(truth - withheld_part(truth, TILT), truth)
    assert nothing == 0 and 0 < chance < 0.1
    for seed in range(1, 6):
        invented, chance = agreement(volume(seed), truth)
        assert abs(invented) < 4 * chance < 0.4


def test_chance_is_the_deviation_of_what_is_unrelated():
    found = [agreement(volume(seed), volume(seed + 100)) for seed in range(60)]
    assert np.std([one.correlation for one in found]) == pytest.approx(found[0].chance, rel=0.25)


def test_noise_in_what_is_restored_lowers_it_and_other_tilts_do_not_count():
    truth = volume(0)
    levels = [agreement(truth + level * volume(1), truth).correlation for level in (0.3, 1.0, 3.0)]
    assert levels == sorted(levels, reverse=True) and levels[1] == pytest.approx(0.5**0.5, abs=0.1)
    elsewhere = volume(2) - withheld_part(volume(2), TILT)
    assert agreement(truth + 10 * elsewhere, truth).correlation == pytest.approx(1, abs=1e-4)


def test_what_a_boxs_faces_smear_into_the_sectors_does_not_count():
    truth = volume(0, (48, 60, 64))
    withheld = withheld_part(truth, TILT)
    test, place = WithheldAgreement(), tuple(slice(side) for side in SHAPE)
    seen = (truth - withheld)[place]
    test.add(seen, seen, withheld[place], TILT)
    assert test.result().correlation == 0


def test_boxes_are_summed():
    test, truth = WithheldAgreement(), volume(0)
    withheld = withheld_part(truth, TILT)
    test.add(truth - withheld, truth, withheld, TILT)
    test.add(truth - withheld, truth - 2 * withheld, withheld, TILT)  # the opposite of it
    assert test.result().correlation == pytest.approx(0, abs=1e-5)


def test_each_shell_counts_as_much_whatever_its_power():
    radius = np.sqrt(sum(np.square(np.fft.fftfreq(n)).reshape([-1 if a == b else 1 for b in range(3)])
                         for a, n in enumerate(SHAPE)))  # fmt: skip
    strong = 1 + 100 * (radius < 0.1)

    def coloured(white):
        return np.fft.ifftn(np.fft.fftn(white) * strong).real.astype(np.float32)

    white = agreement(volume(0) + volume(1), volume(0)).correlation
    assert agreement(coloured(volume(0) + volume(1)), coloured(volume(0))).correlation == pytest.approx(white, abs=0.02)


@pytest.mark.parametrize("restored", [np.full((6, 6, 6), 1.0), np.full((32, 32, 32), np.nan)])
def test_of_too_little_and_of_no_numbers_nothing_is_told(restored):
    assert agreement(restored.astype(np.float32), volume(0, restored.shape)) is None
