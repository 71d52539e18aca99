"""Which iteration of a training is taken, and when it is no longer worth going on."""

from dataclasses import replace

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.measure.history import (
    EpochRecord,
    chosen_iteration,
    is_above_chance,
    iterations_without_gain,
    require_convergence,
    stayed_at_chance,
)


def ends(*correlations, chance=0.01, first=1):
    return [
        EpochRecord(number, 1, 0.1, 0.2, 0, 1, value, None if value is None else chance)
        for number, value in enumerate(correlations, first)
    ]


def test_the_last_iteration_is_taken_unless_another_is_clearly_better():
    assert chosen_iteration(ends(0.5, 0.6, 0.55)) == 3
    assert chosen_iteration(ends(0.5, 0.6, 0.52)) == 2  # by more than 15 %
    assert chosen_iteration(ends(0.5, 0.6, 0.53)) == 3
    assert chosen_iteration(ends(0.05, 0.02, chance=0.04)) == 2  # chance may have parted them
    assert chosen_iteration(ends(0.05, -0.2)) == 1 and chosen_iteration(ends(-0.1)) == 1


def test_a_training_stays_at_chance_where_no_tested_iteration_is_better():
    assert stayed_at_chance(ends(0.01, 0.029)) and stayed_at_chance(ends(None, -0.2))
    assert not stayed_at_chance(ends(0.01, 0.031)) and not stayed_at_chance(ends(None, None))
    assert not stayed_at_chance([])
    assert [is_above_chance(record) for record in ends(0.03, 0.02, None)] == [True, False, None]


def test_a_network_without_its_denoiser_does_not_stand_against_one_with_it():
    first, second, *last = ends(0.5, 0.9, 0.6, 0.5)
    last = [replace(record, with_denoiser=1) for record in last]
    assert chosen_iteration([first, second, *last]) == 3
    assert chosen_iteration([first, second]) == 2


def test_the_model_it_started_from_stands_for_the_iteration_before():
    assert chosen_iteration(ends(0.5, 0.6), start=0.7) == 0
    # a training makes nothing worse: no margin
    assert chosen_iteration(ends(0.5, 0.6), start=0.605) == 0 and chosen_iteration(ends(0.5, 0.6), start=0.595) == 2
    assert chosen_iteration(ends(0.5, 0.6), start=0.6) == 0
    assert chosen_iteration(ends(0.5, 0.8, 0.6), start=0.7) == 2
    assert chosen_iteration(ends(0.5, 0.6, first=8), start=0.7) == 7


def test_where_the_last_was_not_tested_it_is_taken():
    assert chosen_iteration(ends(None, None, None)) == 3
    assert chosen_iteration(ends(0.5, None), start=0.7) == 2
    # a run that was begun by a version without the test
    assert chosen_iteration(ends(None, 0.2, 0.1)) == 2


def test_a_rise_within_chance_is_no_gain_but_a_slow_one_is_in_the_end():
    assert iterations_without_gain([]) == 0 and iterations_without_gain(ends(0.0)) == 0
    assert iterations_without_gain(ends(0.5, 0.6, 0.605, 0.609)) == 2
    assert iterations_without_gain(ends(0.5, 0.6, 0.605, 0.62)) == 0
    assert iterations_without_gain(ends(0.1, 0.3, 0.35, 0.2, chance=0.1)) == 2
    assert iterations_without_gain(ends(None, None, None)) == 0
    assert iterations_without_gain(ends(None, 0.3, 0.2)) == 1


def test_a_loss_that_grows_tenfold_has_diverged():
    history = ends(None)
    require_convergence(EpochRecord(2, 1, 0.99, 0.1, 0, 1), history, 4e-4)
    for loss in (1.01, float("nan")):
        with pytest.raises(EngineError, match=r"Lower learning_rate to 0\.0001"):
            require_convergence(EpochRecord(2, 1, loss, 0.1, 0, 1), history, 4e-4)


def test_losses_with_and_without_the_denoiser_are_not_compared():
    history = ends(None)
    require_convergence(EpochRecord(2, 1, 9.0, 9.0, 0, 1, with_denoiser=1), history, 4e-4)
    history += [EpochRecord(2, 1, 0.5, 0.5, 0, 1, with_denoiser=1)]
    with pytest.raises(EngineError, match=r"the loss went to 9, that of validation to 9 \(smallest before: 0\.5\)"):
        require_convergence(EpochRecord(3, 1, 9.0, 9.0, 0, 1, with_denoiser=1), history, 4e-4)
