"""Scipion as its official installer makes it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

import pytest

from isonet_scipion.tests.install.official import Scipion


@pytest.fixture(scope="session")
def scipion(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scipion]:
    """Scipion by its official installer; its folder is removed at the end."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n   {text}", end="", flush=True)

    folder = tmp_path_factory.mktemp("official")
    installation = Scipion(folder, say)
    result = installation.call(sys.executable, "-m", "scipioninstaller", "-venv", "-noAsk", installation.home)
    assert result.returncode == 0 and (installation.home / "scipion3").exists(), result.stdout
    yield installation
    shutil.rmtree(folder)
