"""Scratch space, and what is wrong with voxels."""

from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.arrays import Mean, fingerprint, release, require_contrast, scratch_array, upright_plane
from isonet_scipion.engine.errors import EngineError


def test_scratch_has_no_name_and_keeps_what_is_put_there(tmp_path):
    array = scratch_array((3, 4), np.float32, tmp_path / "new")
    array[:] = 7
    release(array)
    assert array.sum() == 84 and array.dtype == np.float32
    assert list((tmp_path / "new").iterdir()) == []
    release(np.zeros(3))  # no memory map: nothing happens


def test_fingerprints_are_of_the_values_not_of_their_type():
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    assert fingerprint(values) == fingerprint(values.astype(">f4")) == fingerprint(np.asfortranarray(values))
    assert fingerprint(values[::-1]) != fingerprint(values)


def test_scratch_beyond_the_disk_is_told(tmp_path):
    with pytest.raises(EngineError, match="MiB of scratch space"):
        scratch_array((1 << 20, 1 << 30), np.float32, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(
        EngineError, match=r"scratch space \(File exists\)\. Give another name, whose parts are folders"
    ):
        scratch_array((1,), np.float32, tmp_path / "file")


@pytest.mark.parametrize(
    ("ends", "why"),
    [
        ((1, 1), "equal"),
        ((0, np.inf), "NaN or infinite"),
        ((0, 1e30), "not grey"),
        ((0, 1e-30), "0 to 1e-30, too near"),
    ],
)
def test_voxels_without_contrast_are_refused(ends, why):
    require_contrast(0, 1)
    require_contrast(-1e-14, 0)
    with pytest.raises(EngineError, match=why):
        require_contrast(*ends)


@pytest.mark.parametrize("axis", [1, 2])
def test_upright_planes_of_a_file_leave_none_of_its_pages(tmp_path, axis):
    volume = np.random.default_rng(0).normal(size=(70, 64, 96))
    volume.tofile(tmp_path / "v")
    mapped = np.memmap(tmp_path / "v", volume.dtype, "r", shape=volume.shape)
    plane = upright_plane(mapped, axis, 33)
    assert plane.dtype == np.float32
    np.testing.assert_array_equal(plane, volume.take(33, axis).astype(np.float32))
    assert resident(tmp_path / "v") == 0
    assert mapped[0, 0, 0] == volume[0, 0, 0] and resident(tmp_path / "v") > 0


@pytest.mark.parametrize("kind", [np.float32, np.int16, np.float16])
def test_a_mean_is_that_of_any_part_and_leaves_no_pages_of_its_files(tmp_path, kind):
    rng = np.random.default_rng(0)
    volumes = [np.memmap(tmp_path / name, kind, "w+", shape=(9, 10, 11)) for name in "ab"]
    for volume in volumes:
        volume[:] = rng.normal(0, 50, volume.shape)
    mean, whole = Mean(volumes), (volumes[0].astype(np.float32) + volumes[1].astype(np.float32)) / 2
    assert mean.shape == whole.shape and mean.size == whole.size and len(mean) == len(whole)
    for place in (3, slice(2, 7, 2), (slice(None), 4, slice(8, 3, -1))):
        np.testing.assert_allclose(mean[place], whole[place], rtol=1e-6)
        assert mean[place].dtype == np.float32
    for axis in (1, 2):
        np.testing.assert_allclose(upright_plane(mean, axis, 5), whole.take(5, axis), rtol=1e-6)
    np.testing.assert_allclose(list(mean), whole, rtol=1e-6)
    assert resident(tmp_path / "a") > 0
    release(mean)
    assert resident(tmp_path / "a") == resident(tmp_path / "b") == 0


def resident(path):
    """KiB of a file that this process has in memory."""
    parts = Path("/proc/self/smaps").read_text().split(str(path))[1:]
    return sum(int(part.split("Rss:")[1].split()[0]) for part in parts)


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_voxels_beyond_all_grey_values_are_refused_on_either_side(value):
    with pytest.raises(EngineError, match="which are not grey values"):
        require_contrast(*sorted((0.0, value)))
