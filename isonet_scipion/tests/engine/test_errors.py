"""The one error of the engine."""

import errno

import pytest

from isonet_scipion.engine.errors import EngineError, one_line, printable, system_error


def test_an_error_is_one_line_that_a_terminal_shows():
    error = EngineError("a\nb.mrc", "it is\x1b[2J cut", "Copy it.")
    assert str(error) == "a b.mrc: it is\\x1b[2J cut. Copy it."
    assert len(one_line("x" * 10_000)) < 1000
    assert printable("a\tb") == "a\\tb"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "Free disk space"), (errno.EACCES, "permissions"), (errno.EFBIG, "size of a file")],
)
def test_what_the_system_says_gets_a_remedy(number, remedy):
    error = system_error(OSError(number, "no luck", "f.mrc"))
    assert error.what == "f.mrc" and "no luck" in error.why and remedy in error.remedy
    assert system_error(OSError(number, "no luck"), "g.mrc").what == "g.mrc"


def test_a_name_with_two_spaces_is_shown_with_two():
    assert str(EngineError("my  data/TS  1.mrc", "it is\n   an empty file\n", "Copy it.")) == (
        "my  data/TS  1.mrc: it is an empty file. Copy it."
    )
