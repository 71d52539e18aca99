"""Scratch space, and what is wrong with voxels."""

import numpy as np
import pytest

from isonet_scipion.engine.arrays import release, require_contrast, scratch_array
from isonet_scipion.engine.errors import EngineError


def test_scratch_has_no_name_and_keeps_what_is_put_there(tmp_path):
    array = scratch_array((3, 4), np.float32, tmp_path / "new")
    array[:] = 7
    release(array)
    assert array.sum() == 84 and array.dtype == np.float32
    assert list((tmp_path / "new").iterdir()) == []
    release(np.zeros(3))  # no memory map: nothing happens


def test_scratch_beyond_the_disk_is_told(tmp_path):
    with pytest.raises(EngineError, match="MiB of scratch space"):
        scratch_array((1 << 20, 1 << 30), np.float32, tmp_path)


@pytest.mark.parametrize(
    ("ends", "why"), [((1, 1), "equal"), ((0, np.inf), "NaN or infinite"), ((0, 1e30), "not grey")]
)
def test_voxels_without_contrast_are_refused(ends, why):
    require_contrast(0, 1)
    with pytest.raises(EngineError, match=why):
        require_contrast(*ends)
