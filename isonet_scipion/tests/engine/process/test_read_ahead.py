import threading
import time
import weakref

import numpy as np
import pytest

from isonet_scipion.engine.process.read_ahead import one_ahead
from isonet_scipion.engine.process.workers import Turns


@pytest.mark.parametrize("ahead", [True, False])
def test_one_is_made_while_the_one_before_is_used(ahead):
    begun = {number: threading.Event() for number in range(5)}

    def make(number):
        begun[number].set()
        return number

    for number in one_ahead(make, range(4), (lambda: True) if ahead else None):
        if ahead and number < 3:
            assert begun[number + 1].wait(20)
        assert not begun[number + (2 if ahead else 1)].is_set() if number < 3 else True


def test_nothing_is_kept_that_the_caller_has_dropped():
    made = []

    def make(_):
        array = np.zeros(10)
        made.append(weakref.ref(array))
        return array

    numbers = iter(range(3))  # `enumerate` would keep the last array
    for array in one_ahead(make, range(3)):
        number = next(numbers)
        assert made[number]() is array
        del array
        until = time.monotonic() + 20
        while made[number]() is not None:  # the thread that made it may be on its way out of the call
            assert time.monotonic() < until
            time.sleep(0.001)


def test_an_error_comes_when_its_turn_has_come():
    results = one_ahead(lambda number: 1 / (2 - number), range(4))
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize(("count", "processes", "most"), [(4, 4, 1), (8, 8, 1), (2, 2, 1), (12, 4, 2), (3, 1, 2)])
def test_none_is_taken_ahead_that_another_process_could_begin(count, processes, most):
    turns, items, taken = Turns(processes), range(count), []

    def take(number):
        taken.append(number)
        return number

    held, running = [], []
    for _ in range(processes):
        running.append(one_ahead(take, turns.of(items), lambda: turns.suffice(items)))
        before = count - turns.left(items)
        next(running[-1])
        held.append(count - turns.left(items) - before)
    assert max(held) == most and min(held) >= 1
    for results in running:
        list(results)
    assert sorted(taken) == list(items)


def test_none_is_taken_ahead_before_the_present_one_is_made():
    asked = []
    results = one_ahead(lambda number: time.sleep(0.2) or asked.append("made"), [1], lambda: asked.append("asked"))
    next(results)
    assert asked == ["made", "asked"]
