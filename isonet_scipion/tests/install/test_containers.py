"""The recipes of containers: both do the same, with all that the package is built from."""

from __future__ import annotations

import re
import shlex

import pytest

from isonet_scipion.tests.install.wheel import CHECKOUT, copy_sources

RECIPES = CHECKOUT / "containers"


@pytest.fixture
def recipes() -> tuple[str, str]:
    """Texts of the Dockerfile and Apptainer's."""
    if not RECIPES.exists():
        pytest.skip(f"{CHECKOUT} is no checkout: it has no containers")
    return (RECIPES / "Dockerfile").read_text(), (RECIPES / "isonet.def").read_text()


def test_both_recipes_start_from_the_same_and_run_the_same(recipes):
    docker, apptainer = recipes
    assert re.search("^FROM (.*)", docker, re.MULTILINE)[1] == re.search("^From: (.*)", apptainer, re.MULTILINE)[1]
    section = re.search("%post\n(.*?)\n\n", apptainer, re.DOTALL)[1]
    assert re.findall("^RUN (.*)", docker, re.MULTILINE) == [line.strip() for line in section.splitlines()]


def test_apptainer_copies_what_the_package_is_built_from_and_nothing_else(recipes, tmp_path):
    # a checkout also holds .git and an environment of gigabytes, of which Apptainer knows no list
    section = re.search("%files\n(.*?)\n\n", recipes[1], re.DOTALL)[1]
    copied = {shlex.split(line)[0] for line in section.splitlines()}
    copy_sources(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} | {"run.py"} == copied
    assert all((CHECKOUT / name).exists() for name in copied)
