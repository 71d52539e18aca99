"""Which iteration of a training is preferred."""

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.measure.history import EpochRecord, best_end, iterations_without_gain, require_convergence


def ends(*wedges, chance=0.01):
    return [
        EpochRecord(number, 1, 0.1, 0.2 - 0.01 * number, 0, 1, wedge, None if wedge is None else chance)
        for number, wedge in enumerate(wedges, 1)
    ]


def test_the_last_within_chance_of_the_highest_is_preferred():
    assert best_end(ends(0.5, 0.6, 0.595, 0.58)).iteration == 3
    assert best_end(ends(0.5, 0.6, 0.58)).iteration == 2
    assert best_end(ends(None, None)).iteration == 2  # the smallest validation loss


def test_a_gain_is_more_than_chance():
    assert iterations_without_gain(ends(0.5, 0.6, 0.605, 0.609)) == 2
    assert iterations_without_gain(ends(0.5, 0.6, 0.605, 0.62)) == 0


def test_a_loss_that_grows_tenfold_has_diverged():
    history = ends(None)
    require_convergence(EpochRecord(2, 1, 0.99, 0.1, 0, 1), history, 4e-4)
    for loss in (1.01, float("nan")):
        with pytest.raises(EngineError, match=r"Lower learning_rate to 0\.0001"):
            require_convergence(EpochRecord(2, 1, loss, 0.1, 0, 1), history, 4e-4)
