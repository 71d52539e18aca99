"""A hidden wedge is as large as the missing one, in another place."""

import numpy as np
import pytest

from isonet_scipion.engine.measure.hidden_wedge import HiddenWedgeTest, hidden_region
from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge


@pytest.mark.parametrize("limit", [40, 60])
def test_more_is_hidden_where_more_is_missing(limit):
    shown, hidden = hidden_region(32, TiltRange(-limit, limit))
    # a wedge of 90 - limit degrees to each side, less what the box lacks itself
    inside = (shown | hidden).mean()
    assert 0.8 < hidden.mean() / inside / (1 - limit / 90) < 1.2


def test_what_comes_back_of_the_hidden_is_measured():
    tilt, rng = TiltRange(), np.random.default_rng(0)
    test = HiddenWedgeTest(24, tilt)
    for _ in range(4):
        box = apply_wedge(rng.normal(size=(24, 24, 24)).astype(np.float32), tilt)
        other = rng.normal(size=box.shape).astype(np.float32)

        def half_right(shown, box=box, other=other):
            from isonet_scipion.engine.measure.hidden_wedge import TIPPED

            return (TIPPED.apply(box) + other)[None]

        test.add(box[None], half_right)
    assert test.curve().mean == pytest.approx(np.sqrt(0.5), abs=0.05)
