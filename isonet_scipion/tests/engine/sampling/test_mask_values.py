import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.sampling.crops import fitting_count, random_centres
from isonet_scipion.engine.sampling.mask_values import Mask

SHAPE = (20, 24, 28)
INSIDE = np.zeros(SHAPE, bool)
INSIDE[5:14, 6:15, 7:22] = True
SOFT = gaussian_filter(INSIDE.astype(np.float32), 1)
LABELS = INSIDE * (1 + (np.indices(SHAPE)[2] > 12))


def many_labels():
    parts = INSIDE * (1 + np.indices(SHAPE)[2] // 3)
    parts[0, 0, :2] = 300  # and one more, of its own
    return parts


KINDS = {
    "0 and 1": (INSIDE.astype(np.int8), None),
    "0 and 1 as float": (INSIDE.astype(np.float32), None),
    "unsigned": (INSIDE.astype(np.uint8), None),
    "IMOD, signed bytes": ((INSIDE - 128).astype(np.int8), "-127 is taken as inside"),
    "IMOD, 0 and 255 as signed bytes": (np.where(INSIDE, 127, -128).astype(np.int8), "127 is taken"),
    "255": (INSIDE * np.uint8(255), "255 is taken"),
    "255 as signed bytes": ((INSIDE * np.uint8(255)).view(np.int8), "-1 is taken"),
    "255 as 16 bits": (INSIDE * np.uint16(255), "255 is taken"),
    "small floats": (INSIDE * np.float32(0.25), "0.25 is taken"),
    "1 and 2": ((1 + INSIDE).astype(np.int16), "2 is taken"),
    "-1 and 1": ((2 * INSIDE - 1.0).astype(np.float16), "1 is taken"),
    "labels": (LABELS.astype(np.int16), "3 labels from 0 to 2"),
    "labels as float": (LABELS.astype(np.float32), "3 labels"),
    "labels of IMOD": ((LABELS - 128).astype(np.int8), "all but -128"),
    "soft": (SOFT, "above 0.5"),
    "soft with ripples": ((1.2 * SOFT - 0.1).astype(np.float32), "above 0.5"),
    "soft as half floats": (SOFT.astype(np.float16), "above 0.5"),
    "soft in bytes": ((255 * SOFT).round().astype(np.uint8), "above 127.5"),
    "soft in signed bytes": ((255 * SOFT - 128).round().astype(np.int8), "above -0.5"),
    "soft up to 100": (100 * SOFT, "above 50"),
    "soft up to 1.5": (1.5 * SOFT, "above 0.7"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_inside_is_decided_and_told(kind):
    voxels, assumed = KINDS[kind]
    mask = Mask(voxels)
    wrong = np.stack([mask[z] for z in range(len(mask))]) != INSIDE
    assert wrong.mean() < (0.02 if "soft" in kind else 1e-9)
    assert mask.count() == pytest.approx(INSIDE.sum(), rel=0.15 if "soft" in kind else 0)
    assert mask.rule.assumed is None if assumed is None else assumed in mask.rule.assumed


def test_many_labels_are_all_inside():
    assert Mask(many_labels().astype(np.int32)).count() == INSIDE.sum() + 2


NOISE = np.random.default_rng(0).normal(size=SHAPE)


@pytest.mark.parametrize(
    ("voxels", "why"),
    [
        (NOISE.astype(np.float32), "grey values"),
        ((20 * NOISE).round().astype(np.int8), "grey values"),
        ((120 + 20 * NOISE).round().astype(np.uint8), "grey values"),
        (np.where(INSIDE, 1000 + NOISE, NOISE).astype(np.float32), "grey values"),
        (np.full(SHAPE, 7, np.int16), "may mean inside or outside"),
        (np.where(INSIDE, -128, 0).astype(np.int8), "either may mean outside"),
        ((LABELS + 1).astype(np.int16), "none is 0"),
        ((LABELS - 1).astype(np.int16), "none is 0"),
        (np.where(INSIDE, np.nan, 0).astype(np.float32), "NaN"),
    ],
)
def test_what_cannot_be_decided_is_refused(voxels, why):
    with pytest.raises(EngineError, match=why):
        Mask(voxels)


def test_constant_masks():
    assert Mask(np.zeros(SHAPE, np.int8)).count() == 0
    assert Mask(np.full(SHAPE, -128, np.int8)).count() == 0
    assert Mask(np.ones(SHAPE, np.float32)).share() == 1
    assert Mask(np.full(SHAPE, -127, np.int8)).share() == 1


@pytest.mark.parametrize("kind", ["IMOD, signed bytes", "255 as signed bytes", "labels of IMOD", "-1 and 1"])
def test_centres_and_room_are_those_of_the_plain_mask(kind):
    mask, plain = Mask(KINDS[kind][0]), Mask(INSIDE.astype(np.int8))
    found, expected = (random_centres(SHAPE, one, 6, 40, np.random.default_rng(3)) for one in (mask, plain))
    np.testing.assert_array_equal(found, expected)
    assert INSIDE[tuple(found.T)].all()
    assert fitting_count(SHAPE, mask, 6, 4) == fitting_count(SHAPE, plain, 6, 4) > 5
