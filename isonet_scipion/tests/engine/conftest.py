"""What the engine's tests share."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from isonet_scipion.engine import cli

settings.register_profile("busy", deadline=None)  # a busy machine is no failure
settings.load_profile("busy")
SHARED = Path(__file__).parents[4] / "shared"


def shared_folder(name):
    """A folder that users do not have: the test is skipped where it is missing."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture
def reference():
    """Folder of the released program's outputs."""
    return shared_folder("reference")


@pytest.fixture(scope="session")
def released():
    """Arrays of reference/README.md: parts of the released program's outputs."""
    with np.load(Path(__file__).parent / "reference" / "released.npz") as stored:
        return {name: stored[name].astype(np.float32) if name != "mask" else stored[name] for name in stored}


@pytest.fixture
def real_data():
    """Folder of real tomograms."""
    return shared_folder("data")


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Run an isonet-engine command in an empty folder: returns its exit status and standard error."""
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments):
        capfd.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        return status, capfd.readouterr().err

    return run_command
