import threading
import weakref

import numpy as np
import pytest

from isonet_scipion.engine.process.read_ahead import one_ahead


@pytest.mark.parametrize("ahead", [True, False])
def test_one_is_made_while_the_one_before_is_used(ahead):
    begun = {number: threading.Event() for number in range(5)}

    def make(number):
        begun[number].set()
        return number

    for number in one_ahead(make, range(4), ahead):
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
        assert made[number]() is None


def test_an_error_comes_when_its_turn_has_come():
    results = one_ahead(lambda number: 1 / (2 - number), range(4))
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
