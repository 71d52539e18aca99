"""Noise from volumes of the user's."""

from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.noise_folder import check_noise, read_noise


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def test_noise_is_drawn_from_all_parts_of_all_volumes_without_their_mean(tmp_path):
    for number, mean in enumerate((100, -5)):
        volume = noise((40, 30, 44), number) + mean
        volume[:, :, :22] *= 1 + number  # makes the places tell apart
        write_volume(tmp_path / f"n{number}.{'MRC' if number else 'mrc'}", volume, 10.0)
    source, rng = read_noise(tmp_path, 16), np.random.default_rng(1)
    cubes = [source.draw(16, rng) for _ in range(60)]
    assert all(abs(cube.mean()) < 1e-5 and cube.std() == pytest.approx(1, abs=1e-4) for cube in cubes)
    # halves of other strength side by side are those of cubes across the middle of the second volume
    across = [cube[:, :, :8].std() / cube[:, :, 8:].std() for cube in cubes]
    assert max(across) > 1.4 and sum(0.9 < ratio < 1.1 for ratio in across) > 10
    assert not np.allclose(cubes[0], cubes[1])


def test_noise_of_other_voxels_is_told_and_its_folder_looked_through_once(tmp_path, monkeypatch, caplog):
    for name, size in (("a", 10.0), ("b", 2.5), ("unset", 1.0)):
        write_volume(tmp_path / f"{name}.mrc", noise((20, 20, 20)), size)
    looks, iterdir, glob = [], Path.iterdir, Path.glob
    monkeypatch.setattr(Path, "iterdir", lambda path: looks.append(path) or iterdir(path))
    monkeypatch.setattr(Path, "glob", lambda path, pattern: looks.append(path) or glob(path, pattern))
    check_noise(tmp_path, 16, 10.0)
    assert looks == [tmp_path]
    assert "of other voxels than the tomograms' 10 A" in caplog.text
    assert "1 of 3 volumes of noise (the first: b.mrc, 2.5 A)" in caplog.text


def test_what_is_left_out_of_the_noise_is_told_once_in_a_training(tmp_path, caplog):
    for name, side in (("large", 20), ("small_1", 12), ("small_2", 12)):
        write_volume(tmp_path / f"{name}.mrc", noise((side, 20, 20)), 10.0)
    (tmp_path / "._large.mrc").write_bytes(b"of macOS")
    check_noise(tmp_path, 16, 10.0)
    told = f"{tmp_path}: left out, as cubes of 16 voxels have no room: small_1.mrc, small_2.mrc"
    assert [record.getMessage() for record in caplog.records] == [told]
    for _ in range(2):  # iterations
        read_noise(tmp_path, 16)
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("name", "why"), [("nowhere", "the folder does not exist"), ("t.star", "it is a file, not a folder")]
)
def test_a_folder_of_noise_that_is_not_there_is_told_as_such(tmp_path, name, why):
    (tmp_path / "t.star").write_text("data_")
    with pytest.raises(EngineError, match=f"{name}: {why}"):
        check_noise(str(tmp_path / name), 16, 10.0)


def test_padding_is_not_taken_for_noise(tmp_path):
    volume = noise((64, 64, 64))
    volume[:32, :, :32] = 0.5  # a corner
    volume[:, :8] = 0.5  # the first slices
    write_volume(tmp_path / "n.mrc", volume, 10.0)
    source, rng = read_noise(tmp_path, 24), np.random.default_rng(1)
    cubes = [source.draw(24, rng) for _ in range(50)]
    assert max(float(abs(cube).max()) for cube in cubes) < 7
    assert all((cube.std(axis=(0, 2)) > 0.8).all() and (cube.std(axis=1) > 0.3).all() for cube in cubes)


@pytest.mark.parametrize("padding", [np.s_[:, :6], np.s_[:, :, :6]])
def test_noise_on_a_level_far_from_its_padding_is_noise(tmp_path, padding):
    volume = noise((20, 40, 40)) + 100
    volume[padding] = 0
    write_volume(tmp_path / "n.mrc", volume, 10.0)
    source, rng = read_noise(tmp_path, 16), np.random.default_rng(1)
    assert max(float(abs(source.draw(16, rng)).max()) for _ in range(20)) < 7


@pytest.mark.parametrize("kind", ["equal", "padded", "small", "none"])
def test_what_has_no_noise_is_refused(tmp_path, kind):
    volume = noise((20, 20, 20))
    if kind == "equal":
        volume[:] = 3
    if kind == "padded":
        volume[10] = 0
    if kind != "none":
        write_volume(tmp_path / "n.mrc", volume[:12] if kind == "small" else volume, 10.0)
    with pytest.raises(EngineError, match="n.mrc" if kind in ("equal", "padded") else "at least 16 voxels"):
        read_noise(tmp_path, 16)
