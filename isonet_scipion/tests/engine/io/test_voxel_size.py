import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume, write_mean
from isonet_scipion.engine.io.voxel_size import check_unit, require_same_grid, written_voxel_size
from isonet_scipion.tests.engine.io.odd_files import with_cell


@pytest.mark.parametrize(
    ("size", "cell"), [(1.0, 10), (10.0, 1.348), (13.48, 1.348), (1.348, 13.48), (1.0, 1), (0.8, 0)]
)
def test_a_voxel_size_in_nm_is_refused(tmp_path, size, cell, caplog):
    volume = open_volume(with_cell(tmp_path / "v.mrc", (10 * cell, 8 * cell, 6 * cell)))
    if (size, cell) == (10.0, 1.348):  # not ten times: told, and the table's is taken
        check_unit(size, volume, "t.star")
        assert "header's voxel size is 1.348 A" in caplog.text
        return
    with pytest.raises(EngineError, match=r"t\.star: the voxel size.*nm.*Give it in A"):
        check_unit(size, volume, "t.star")


@pytest.mark.parametrize(("size", "cell"), [(10.0, 10), (10.0, 1), (10.0, 0), (5.4, 5.4), (1.35, 1.35), (25.0, 24.0)])
def test_other_voxel_sizes_are_taken(tmp_path, size, cell, caplog):
    check_unit(size, open_volume(with_cell(tmp_path / "v.mrc", (10 * cell, 8 * cell, 6 * cell))), "t.star")
    assert ("unusually small" in caplog.text) == (size == 1.35)


@pytest.mark.parametrize(("told", "size", "written"), [(10.01, 10.0, 10.01), (25, 10, 10), (1, 10, 10), (0, 10, 10)])
def test_outputs_get_the_tables_voxel_size_in_the_headers_digits(tmp_path, told, size, written):
    halves = [open_volume(with_cell(tmp_path / f"{n}.mrc", (10 * told, 8 * told, 6 * told))) for n in (1, 2)]
    assert written_voxel_size(size, halves[0]) == pytest.approx(written, abs=1e-4)
    write_mean(tmp_path / "mean.mrc", halves, size)
    assert open_volume(tmp_path / "mean.mrc").voxel_size == pytest.approx(written, abs=1e-4)


@pytest.mark.parametrize(
    ("mask", "fits"), [(10, True), (25, True), (10.05, True), (0, True), (1, True), (12, False), (1.5, False)]
)
def test_a_mask_has_the_voxel_size_of_the_table_or_that_of_the_tomograms_wrong_header(tmp_path, mask, fits):
    one, tomogram = (
        open_volume(with_cell(tmp_path / f"{size}.mrc", (10 * size, 8 * size, 6 * size))) for size in (mask, 25.0)
    )
    if fits:
        require_same_grid(one, tomogram, 10.0)
        return
    with pytest.raises(EngineError, match=rf"its voxel size is {mask:.3f} A, the tomogram's 10\.000 A"):
        require_same_grid(one, tomogram, 10.0)
