"""Scipion's environment for pytest; `python -m scipion tests` sets its own."""

import atexit
import os
import shutil
import tempfile

import numpy as np
import pytest

from isonet_scipion import scipion_home

HOME = tempfile.mkdtemp(prefix="isonet_scipion_tests_")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
scipion_home.prepare(HOME)

import pyworkflow  # noqa: E402  (reads the environment)

pyworkflow.Config.getDomain().getProtocols()

from isonet_scipion.tests.protocols.scene import IsoNetTest  # noqa: E402

IsoNetTest.isQuick = True


@pytest.fixture(scope="module", autouse=True)
def working_directory():
    """Scipion's projects change the working directory for good."""
    before = os.getcwd()
    yield
    os.chdir(before)


@pytest.fixture
def tomogram(tmp_path):
    """One with halves and an origin, in Scipion's words."""
    from pwem.objects import Transform
    from tomo.objects import Tomogram

    from isonet_scipion.tests.protocols.scene import write

    path = str(tmp_path / "volume.mrc")
    write(path, np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    tomogram = Tomogram(tsId="TS_01")
    tomogram.setObjId(7)
    tomogram.setSamplingRate(10.0)
    tomogram.setLocation(path)
    tomogram.setHalfMaps(["even.mrc", "odd.mrc"])
    tomogram.setOrigin(Transform())
    tomogram.setShiftsInOrigin(-5.0, -6.0, -7.0)
    return tomogram
