"""Tests; `engine` mirrors the engine's rooms. Scipion's own runner (`scipion3 tests`) runs those of the protocols."""

from __future__ import annotations

import re
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
NEEDS_PYTEST = re.compile("^(import|from) (pytest|hypothesis)", re.MULTILINE)
HOW = "these are run by pytest, in a checkout: python3 run.py test"


def load_tests(loader: unittest.TestLoader, _: unittest.TestSuite, pattern: str | None) -> unittest.TestSuite:
    """What unittest, which Scipion's runner is built on, asks a package for: the modules that do without pytest."""
    suite, others = unittest.TestSuite(), []
    for path in sorted(FOLDER.rglob(pattern or "test*.py")):
        name = ".".join([__name__, *path.relative_to(FOLDER).with_suffix("").parts])
        if "protocols" in name and not NEEDS_PYTEST.search(path.read_text(encoding="utf-8")):
            suite.addTest(loader.loadTestsFromName(name))
        else:
            others.append(name)
    _tell_of(others, [test.id() for test in _tests(suite)])
    return suite


def _tests(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _tests(test)
        else:
            yield test


def _tell_of(others: list[str], listed: list[str]) -> None:
    """Say where `--grep` of Scipion's runner picks tests that it can't run; with nothing else picked, stop."""
    if "--grep" not in sys.argv:
        return
    after = sys.argv[sys.argv.index("--grep") + 1 :]
    end = next((place for place, word in enumerate(after) if word.startswith("--")), len(after))
    words = [word.lower() for word in after[:end]]
    if not any("isonet" in word for word in words):
        return
    found = [name for name in others if all(word in f" {name.lower()}" for word in words)]
    if found:
        text = f"{len(found)} files match, such as {found[0]}: {HOW}"
        if "--run" in sys.argv and not any(all(word in f" {name.lower()}" for word in words) for name in listed):
            sys.exit(text)
        print(text, file=sys.stderr)
