"""Tables that are about to be replaced: what of them is told."""

import time

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.earlier_table import (
    changes_in_words,
    comments_with,
    is_unusual,
    left_out_rows,
    require_known,
)
from isonet_scipion.engine.io.star import Star

LABELS = ["rlnIndex", "rlnMicrographName", "rlnDefocus"]


def table(*rows):
    return Star(LABELS, [dict(zip(LABELS, row)) for row in rows], path="t.star")


def test_rows_that_do_not_go_on_become_comments_once():
    earlier = table(("1", "a.mrc", "0"), ("2", "b.mrc", "30000"))
    left_out = left_out_rows(earlier, [earlier.rows[0], {}])
    assert left_out == [earlier.rows[1]]
    (comment,) = earlier.comments = comments_with(earlier, left_out)
    assert "rlnMicrographName b.mrc" in comment and comments_with(earlier, left_out) == [comment]


def test_tables_of_many_subtomograms_are_compared_at_once():
    """With each row compared with each: 5 s."""
    earlier = table(*((str(number), f"{number}.mrc", "0") for number in range(20000)))
    started = time.process_time()
    assert left_out_rows(earlier, earlier.rows[1:]) == earlier.rows[:1]
    assert time.process_time() - started < 3


def test_a_table_of_which_nothing_goes_on_is_refused():
    require_known(table(), [{}], "rlnMicrographName", "tomograms")
    kept = table(("1", "a.mrc", "0"), ("2", "b.mrc", "0"))
    require_known(kept, [{}, kept.rows[1]], "rlnMicrographName", "tomograms")
    with pytest.raises(EngineError, match=r"of other tomograms: a\.mrc"):
        require_known(table(("1", "a.mrc", "0")), [{}], "rlnMicrographName", "tomograms")


@pytest.mark.parametrize(("cell", "unusual"), [("0", False), ("0.0000", False), ("30000", True), ("None", False)])
def test_cells_of_the_usual_values_were_not_typed(cell, unusual):
    earlier = table(("1", "a.mrc", cell))
    assert is_unusual(earlier, earlier.rows[0], "rlnDefocus") == unusual


def test_changes_are_told_by_column_and_numbers_by_their_values():
    before = table(("7", "a.mrc", "1.50"), ("8", "b.mrc", "2"), ("9", "c.mrc", "3"))
    now = table(("1", "x/a.mrc", "1.5"), ("2", "x/b.mrc", "4"), ("3", "x/c.mrc", "5"))
    told = changes_in_words(before.rows, now, "rlnMicrographName")
    assert told == "rlnDefocus of b.mrc 4, before 2 (and 1 more)"
