"""How much of what a network fills in its tests support."""

import numpy as np
import pytest

from isonet_scipion.engine.measure import supported_strength as module
from isonet_scipion.engine.measure.hidden_wedge import UNSEEN_TURN, HiddenWedgeTest
from isonet_scipion.engine.measure.supported_strength import supported_strength
from isonet_scipion.engine.physics.grey_scale import GreyScale, Shown
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.physics.wedge_strength import WedgeStrength

DIVISOR = (2, 2, 2)


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_boxes_along_the_axes_and_along_the_diagonals_count_alike(monkeypatch):
    """The strength is the mean of that by the boxes that are not turned and that by those that are."""
    tested = []

    class Test(HiddenWedgeTest):
        def __init__(self, size, tilt, turn):
            super().__init__(size, tilt, turn)
            self.turn = turn

        def add(self, parts, network, number):
            tested.append((self.turn, number))

        def strength(self, kept, transfer):
            return WedgeStrength((0.0,), (1.0 if self.turn == 0 else 0.5,))

    monkeypatch.setattr(module, "HiddenWedgeTest", Test)
    shown = Shown(noise(32, 64, 64), GreyScale(0.0, 1.0), inverted=True)
    strength, _ = supported_strength(shown, (), lambda boxes: boxes, DIVISOR, TiltRange())
    assert strength.factors == (0.75,)
    assert len(tested) >= 4 and tested[:4] == [(0, 0), (UNSEEN_TURN, 0), (0, 1), (UNSEEN_TURN, 1)]


def test_nothing_tells_where_there_is_no_room_for_a_box():
    shown = Shown(noise(8, 64, 64), GreyScale(0.0, 1.0))
    assert supported_strength(shown, (), lambda boxes: boxes, DIVISOR, TiltRange()) == (None, "")


@pytest.mark.parametrize("inverted", [True, False])
def test_halves_of_another_grey_scale_are_shown_on_the_tomograms(monkeypatch, inverted):
    seen = []
    monkeypatch.setattr(module.SignalKept, "add", lambda _, halves, network: seen.append(halves))
    whole = noise(32, 64, 64)
    shown, theirs = Shown(whole, GreyScale(0.5, 2.0), inverted), GreyScale(500.0, 1000.0)
    halves = [theirs.undo(whole)] * 2
    supported_strength(shown, halves, lambda boxes: boxes, DIVISOR, TiltRange(), to_shown=theirs)
    own, seen = seen, []
    supported_strength(shown, [whole] * 2, lambda boxes: boxes, DIVISOR, TiltRange())
    assert own and len(own) == len(seen)
    np.testing.assert_allclose(own, seen, atol=1e-3)
