"""Names and numbers in the words of a message."""

import pytest

from isonet_scipion.engine.wording import counted, names_in_words


@pytest.mark.parametrize(
    ("names", "words"), [(["a"], "a"), (["a", "b", "c"], "a, b, c"), (["a", "b", "c", "d"], "a, b, c and 1 more")]
)
def test_of_many_names_the_first_are_told(names, words):
    assert names_in_words(names) == words


def test_one_thing_is_singular():
    assert [counted(number, "cubes") for number in (0, 1, 2)] == ["0 cubes", "1 cube", "2 cubes"]
