"""Scipion's environment for pytest; `python -m scipion tests` sets its own."""

import atexit
import os
import shutil
import tempfile

import pytest

from isonet_scipion import scipion_home

HOME = tempfile.mkdtemp(prefix="isonet_scipion_tests_")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
scipion_home.prepare(HOME)

import pyworkflow  # noqa: E402  (reads the environment)

pyworkflow.Config.getDomain().getProtocols()


@pytest.fixture(scope="module", autouse=True)
def working_directory():
    """Scipion's projects change the working directory for good."""
    before = os.getcwd()
    yield
    os.chdir(before)
