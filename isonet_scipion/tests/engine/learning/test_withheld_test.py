"""What is withheld from a training, and the test of networks on it."""

import dataclasses

import numpy as np
import pytest

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.io.mrc import write_volume  # noqa: E402
from isonet_scipion.engine.io.subtomograms import Subtomogram  # noqa: E402
from isonet_scipion.engine.learning import withheld_test  # noqa: E402
from isonet_scipion.engine.learning.one_pass_batches import TomogramSource, withhold_from_tomogram  # noqa: E402
from isonet_scipion.engine.learning.withheld_test import (  # noqa: E402
    EACH,
    WithheldTest,
    affordable,
    spread,
    withhold_from_subtomogram,
)
from isonet_scipion.engine.physics.grey_scale import GreyScale  # noqa: E402
from isonet_scipion.engine.physics.wedge import TiltRange  # noqa: E402
from isonet_scipion.engine.physics.withheld_tilts import narrowed, withheld_part  # noqa: E402
from isonet_scipion.engine.settings.training import OnePassSettings  # noqa: E402
from isonet_scipion.engine.simulation.phantom import make_truth  # noqa: E402

TILT, SHAPE = TiltRange(-50.0, 62.0), (40, 56, 64)
DIVISOR = (8, 8, 8)


def tomogram(halves=1, inverted=False):
    """One with noise, and its truth, on grey scales of its own."""
    truth = make_truth(SHAPE, 10.0, 1)
    rng = np.random.default_rng(0)
    sign = 1 if inverted else -1
    volumes = tuple((20 + 4 * sign * (truth + rng.normal(0, 0.1, SHAPE))).astype(np.float32) for _ in range(halves))
    centres = np.stack([rng.integers(12, n - 12, 50) for n in SHAPE], axis=1)
    return TomogramSource("t", volumes, GreyScale(20.0 * sign, 4.0), centres, TILT, inverted=inverted), truth


@pytest.mark.parametrize("halves", [1, 2])
@pytest.mark.parametrize("inverted", [False, True])
def test_no_crop_of_a_tomogram_holds_what_is_withheld_and_the_test_has_it(tmp_path, halves, inverted):
    whole, _ = tomogram(halves, inverted)
    seen, box = withhold_from_tomogram(whole, 10**6, str(tmp_path))
    assert seen.tilt == narrowed(TILT) and box.tilt == TILT and box.what == "tomogram t"
    for volume in seen.volumes:
        assert np.abs(withheld_part(volume, TILT)).max() < 1e-3
    shown, withheld = box.shown(), box.withheld()
    np.testing.assert_allclose(shown + withheld, whole.mean((slice(None),) * 3), atol=1e-4)
    np.testing.assert_allclose(withheld, withheld_part(shown + withheld, TILT), atol=1e-4)
    assert withheld.std() > 0.01


def test_a_part_of_a_large_tomogram_is_tested_where_the_crops_are(tmp_path):
    whole, _ = tomogram()
    corner = dataclasses.replace(whole, centres=np.full((5, 3), 12))
    _, box = withhold_from_tomogram(corner, 16**3, str(tmp_path))
    assert box.what == "a part (z, y, x: 40 x 16 x 64 voxels) of tomogram t"
    part = (slice(0, 40), slice(4, 20), slice(0, 64))
    np.testing.assert_allclose(box.shown() + box.withheld(), whole.mean(part), atol=1e-4)
    assert withhold_from_tomogram(whole, 0, str(tmp_path))[1] is None


def test_what_a_network_removes_from_a_part_is_not_taken_for_what_it_restores(tmp_path):
    whole, _ = tomogram()
    for voxels in (10**6, 20 * 40 * 64):  # all, and 20 planes
        _, box = withhold_from_tomogram(whole, voxels, str(tmp_path))
        agreement = WithheldTest([box], DIVISOR).run(lambda volumes: 0.5 * volumes).agreement
        assert agreement.correlation == 0


def test_subtomograms_lack_what_is_withheld(tmp_path):
    data = np.random.default_rng(0).normal(size=(24, 24, 24)).astype(np.float32)
    write_volume(tmp_path / "s.mrc", data, 10.0)
    seen, box = withhold_from_subtomogram(Subtomogram("s", str(tmp_path / "s.mrc"), 24, TILT, GreyScale(0.0, 1.0)))
    assert seen.tilt == narrowed(TILT) and box.what == "subtomogram s"
    assert np.abs(withheld_part(seen.normalised(), TILT)).max() < 1e-5
    np.testing.assert_allclose(box.shown() + box.withheld(), -data, atol=1e-5)


def test_the_measure_rises_with_what_the_network_restores(tmp_path):
    whole, truth = tomogram()
    _, box = withhold_from_tomogram(whole, 10**6, str(tmp_path))
    test, rng = WithheldTest([box], DIVISOR), np.random.default_rng(1)

    def measured(share, noise=0.0):
        """Of a network that knows a share of the truth."""
        monkeypatch.setattr(
            WithheldTest,
            "_made",
            lambda self, shown, network: shown + share * (truth - shown) + rng.normal(0, noise, SHAPE).astype("f4"),
        )
        return test.run(None)

    with pytest.MonkeyPatch.context() as monkeypatch:
        right, noisy, invented = measured(1.0), measured(1.0, 0.2), measured(0.0, 1.0)
        nothing = measured(0.0)
    assert nothing.agreement.correlation == 0
    assert abs(invented.agreement.correlation) < 4 * invented.agreement.chance
    assert 3 * noisy.agreement.chance < noisy.agreement.correlation < right.agreement.correlation - 0.05
    np.testing.assert_array_equal(nothing.example, box.shown())


def test_the_network_sees_tiles_and_smaller_ones_where_the_memory_does_not_suffice(tmp_path, monkeypatch, caplog):
    _, box = withhold_from_tomogram(tomogram()[0], 10**6, str(tmp_path))
    monkeypatch.setattr(withheld_test, "TILE", 64**3)
    sizes = []

    def network(tiles):
        sizes.append(tiles[0].size)
        if tiles[0].size > 48 * 56 * 64:
            raise MemoryError
        assert not any(side % 8 for side in tiles.shape[1:])
        return 2 * tiles

    example = WithheldTest([box], DIVISOR).run(network).example
    np.testing.assert_allclose(example, 2 * box.shown(), atol=1e-4)
    assert sizes[0] > sizes[-1] and "tiles of half the size" in caplog.text


def test_the_test_costs_a_tenth_of_an_iteration_and_spreads_over_tomograms():
    usual = OnePassSettings(batch_size=2, seed=1, steps_per_epoch=OnePassSettings.STEPS)
    trained = 5 * 40 * 2 * 48**3
    assert 0.1 < withheld_test.LOAD * affordable(usual, 48) / trained < 0.35
    assert affordable(dataclasses.replace(usual, epochs=1, steps_per_epoch=1), 8) == 64**3
    small, large = (96, 192, 192), (400, 1000, 1000)
    assert spread([small], EACH) == [0] and spread([small] * 10, EACH) in ([4], [5])
    assert len(spread([small] * 3, 9 * EACH)) == 3
    places = spread([small] * 30, 4 * EACH)
    assert len(set(places)) == 4 and min(places) > 2 and max(places) < 28
    assert len(spread([small, large] * 5, 16 * 400 * 1000 * 2)) == 2
