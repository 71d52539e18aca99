"""Mutations change what is there: an engine that was changed since would end mutations.py in its middle."""

from __future__ import annotations

from mutations import MUTATIONS, PACKAGE


def test_each_mutation_finds_its_text_and_its_tests():
    for one in MUTATIONS:
        assert one.old in (PACKAGE / "engine" / f"{one.module}.py").read_text(encoding="utf-8"), one.name
        assert (PACKAGE / "tests" / "engine" / one.tests).exists(), one.name
