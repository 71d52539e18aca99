"""Which noise level an iteration has, and whose noise a tomogram gets."""

import math

import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.learning.noise_schedule import noise_level, noise_sources
from isonet_scipion.engine.physics.wedge import TiltRange


@pytest.mark.parametrize(("iteration", "level"), [(1, 0.0), (10, 0.0), (11, 0.05), (15, 0.05), (16, 0.1), (99, 0.1)])
def test_a_level_holds_from_its_start_on(iteration, level):
    assert noise_level(iteration, (0.05, 0.1), (11, 16)) == level


@pytest.mark.parametrize(
    ("levels", "starts", "said"),
    [
        ((0.1, 0.2), (1,), "noise_level: it has 2 values, noise_start_iter 1"),
        ((0.1, 0.2), (5, 5), "noise_start_iter: 5,5 do not increase"),
        ((0.1, -0.2), (1, 5), "noise_level: one of 0.1,-0.2 is no fraction from 0 to 1"),
        ((5.0, 10.0), (1, 5), "noise_level: one of 5,10 is no fraction .*; 5 per cent is 0.05"),
        ((math.nan,), (1,), "noise_level: one of nan is no fraction"),
    ],
)
def test_what_is_wrong_with_the_lists_is_told(levels, starts, said):
    with pytest.raises(EngineError, match=said):
        noise_level(1, levels, starts)


def test_tomograms_of_one_tilt_range_share_their_noise():
    tilts = [TiltRange(), TiltRange(-50, 50), TiltRange()]
    sources = noise_sources(tilts, 8, "noFilter", None, np.random.default_rng(0))
    assert sources[0] is sources[2] and sources[0] is not sources[1]
