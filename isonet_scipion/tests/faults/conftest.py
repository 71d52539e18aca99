"""What the fault tests share."""

import numpy as np
import pytest

from isonet_scipion.engine.model_file import save_model
from isonet_scipion.engine.network import NetworkSettings, build_unet
from isonet_scipion.engine.volume import write_volume
from isonet_scipion.tests.engine.conftest import run  # noqa: F401  (a fixture)

SHAPE = (24, 32, 36)
VOXEL_SIZE = 10.0
TINY = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)


def voxels(shape=SHAPE, seed=0):
    """Grey values with some structure."""
    rng = np.random.default_rng(seed)
    data = rng.normal(100, 5, shape).astype(np.float32)
    data[shape[0] // 3 : -shape[0] // 3, shape[1] // 3 : -shape[1] // 3] -= 20
    return data


def write_table(path, tomograms, **columns):
    """Write a table of tomograms by hand; each of `columns` is one value for all rows."""
    labels = ["rlnIndex", "rlnMicrographName", "rlnPixelSize", "rlnNumberSubtomo", *columns]
    rows = [
        " ".join(map(str, (index, f"'{tomogram}'", VOXEL_SIZE, 3, *columns.values())))
        for index, tomogram in enumerate(tomograms, 1)
    ]
    path.write_text("\n".join(["data_", "loop_", *(f"_{label}" for label in labels), *rows, ""]))


def contents(folder):
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Bytes of a model of ours with a very small network."""
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    save_model(path, build_unet(TINY), TINY, {})
    return path.read_bytes()


@pytest.fixture
def project(run, tmp_path, tiny_model):  # noqa: F811
    """The working folder, with one good tomogram, its table and a model."""
    write_volume(tmp_path / "good.mrc", voxels(), VOXEL_SIZE)
    write_table(tmp_path / "good.star", ["good.mrc"])
    (tmp_path / "tiny.keras").write_bytes(tiny_model)
    return tmp_path
