import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.copick import stores_of_runs


def make_stores(folder, *paths):
    """Folders that are named like stores."""
    for path in paths:
        (folder / path).mkdir(parents=True)


def test_runs_of_copick(tmp_path):
    make_stores(tmp_path, *(f"ExperimentRuns/TS_{n}/VoxelSpacing10.000/wbp.zarr" for n in (1, 2)))
    (tmp_path / "ExperimentRuns" / "TS_1" / "Picks").mkdir()
    found = stores_of_runs(tmp_path, None)
    assert [name for name, _ in found] == ["TS_1", "TS_2"]
    assert found == stores_of_runs(tmp_path / "ExperimentRuns", None)


def test_runs_of_the_portal_now_and_before(tmp_path):
    make_stores(
        tmp_path,
        "TS_1/Reconstructions/VoxelSpacing10.012/Tomograms/100/TS_1.zarr",
        "TS_2/Tomograms/VoxelSpacing7.840/CanonicalTomogram/TS_2.zarr",
    )
    assert [store.name for _, store in stores_of_runs(tmp_path, None)] == ["TS_1.zarr", "TS_2.zarr"]


def test_which_of_several_is_asked_for_and_can_be_said(tmp_path):
    make_stores(tmp_path, *(f"TS_1/VoxelSpacing10.000/{name}.zarr" for name in ("wbp", "denoised")))
    with pytest.raises(EngineError, match=r"several tomograms: VoxelSpacing10\.000/denoised\.zarr, Vox.*FOLDER"):
        stores_of_runs(tmp_path, None)
    for wanted in ("VoxelSpacing10.000/wbp.zarr", "*/w*.zarr"):
        assert [store.name for _, store in stores_of_runs(tmp_path, wanted)] == ["wbp.zarr"]


def test_a_folder_without_runs_has_none(tmp_path, caplog):
    make_stores(tmp_path, "reconstruction/even")
    assert stores_of_runs(tmp_path, None) == [] and not caplog.records


def test_runs_without_the_tomogram_are_told(tmp_path, caplog):
    make_stores(
        tmp_path, *(f"TS_{n}/VoxelSpacing{size}.000/wbp.zarr" for n, size in ((1, 10), (10, 10), (2, 20))), "TS_3"
    )
    assert [name for name, _ in stores_of_runs(tmp_path, None)] == ["TS_1", "TS_10", "TS_2"]
    assert "left out, since they have no tomogram: TS_3" in caplog.text
    caplog.clear()
    assert len(stores_of_runs(tmp_path, "VoxelSpacing10.000/wbp.zarr")) == 2
    assert "left out, since they have no VoxelSpacing10.000/wbp.zarr: TS_2, TS_3" in caplog.text


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (".", "FOLDER: '.' is no path from a run's folder"),
        ("VoxelSpacing10/wbp.zarr", "none of its runs has VoxelSpacing10/wbp.zarr"),
    ],
)
def test_a_folder_that_is_no_tomogram_of_a_run_is_told(tmp_path, wanted, told):
    make_stores(tmp_path, "TS_1/VoxelSpacing10.000/wbp.zarr")
    with pytest.raises(EngineError, match=told):
        stores_of_runs(tmp_path, wanted)
