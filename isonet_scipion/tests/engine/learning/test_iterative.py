"""The iterative method: its estimates and its pairs."""

from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.process.device import Devices, choose_devices

choose_devices("-1")

from isonet_scipion.engine.conventions import Normalisation  # noqa: E402
from isonet_scipion.engine.io.mrc import open_volume, write_volume  # noqa: E402
from isonet_scipion.engine.io.star import Star  # noqa: E402
from isonet_scipion.engine.io.subtomograms import read_subtomograms  # noqa: E402
from isonet_scipion.engine.learning.iterative import Iterative  # noqa: E402
from isonet_scipion.engine.learning.pairs import filled_target, first_estimate, prepare  # noqa: E402
from isonet_scipion.engine.learning.state import RunState  # noqa: E402
from isonet_scipion.engine.learning.withheld_test import withhold_from_subtomogram  # noqa: E402
from isonet_scipion.engine.settings.training import IterativeSettings  # noqa: E402

SIZE, CUBE = 12, 8


def method(folder, count=2, columns=(), **given):
    table = Star([])
    for number in range(count):
        data = np.random.default_rng(number).normal(50, 5, size=(SIZE,) * 3).astype(np.float32)
        write_volume(folder / f"s{number}.mrc", data, 10.0)
        row = {}
        table.rows.append(row)
        for label, value in {"rlnImageName": folder / f"s{number}.mrc", **dict(columns)}.items():
            table.set(row, label, value)
    subtomograms = read_subtomograms(table, Normalisation.MOMENTS, (None, None))
    values = {
        "result_dir": str(folder),
        "seed": 1,
        "batch_size": 2,
        "steps_per_epoch": 1,
        "normalize_percentile": False,
    }
    settings = IterativeSettings.given({**values, **given})
    box = withhold_from_subtomogram(subtomograms[0])[1]
    return Iterative(subtomograms, CUBE, settings, Devices("tensorflow", (), "float32"), [box])


def test_it_says_what_it_learns_from(tmp_path):
    one = method(tmp_path, 3)
    assert one.describe() == "3 subtomograms of 12^3" and one.tested() == "subtomogram s0"
    found = one.identity()
    assert (found["number of subtomograms"], found["tilt range"], found["size"]) == (
        3,
        "-60..60 degrees",
        "12 x 12 x 12",
    )
    assert (one.cube_size, one.crop_size) == (CUBE, SIZE)
    least = 3 * SIZE**3 * 4
    assert least <= one.bytes_needed(10) / 10 < 1.5 * least
    assert method(tmp_path, 3, remove_intermediate=True).bytes_needed(10) == one.bytes_needed(1)


def test_pairs_are_those_of_the_first_estimates_which_are_kept(tmp_path):
    one = method(tmp_path)
    pairs = one.start_iteration(RunState(1), 0.0, None)
    inputs, targets = pairs.batch(np.array([3, 24]), (0,))
    for place, (number, rotation) in enumerate(((0, 3), (1, 4))):
        subtomogram = one.subtomograms[number]
        voxels, tilt = subtomogram.normalised(), subtomogram.tilt
        estimate = first_estimate(voxels, tilt, Normalisation.MOMENTS)
        expected = prepare(filled_target(voxels, estimate, tilt, Normalisation.MOMENTS), tilt, CUBE).pair(rotation)
        np.testing.assert_allclose(inputs[place, ..., 0], expected[0], atol=1e-5)
        np.testing.assert_allclose(targets[place, ..., 0], expected[1], atol=1e-5)
        written = open_volume(tmp_path / f"s{number}_iter00.mrc")
        np.testing.assert_allclose(written.data, -estimate, atol=1e-5)
        assert written.voxel_size == pytest.approx(10)


def test_noise_comes_with_its_level_and_estimates_may_be_left_out(tmp_path):
    one = method(tmp_path, remove_intermediate=True)
    pairs = [one.start_iteration(RunState(1), level, None) for level in (0.0, 0.3, 0.3)]
    plain, noisy, again = (source.batch(np.arange(40), (0,))[0] for source in pairs)
    assert (noisy - plain).std() == pytest.approx(0.3, rel=0.1)
    np.testing.assert_array_equal(noisy, again)
    assert not list(Path(tmp_path).glob("s*_iter*.mrc"))


def test_estimates_get_the_tables_voxel_size(tmp_path):
    one = method(tmp_path, columns={"rlnPixelSize": 12.5})
    one.start_iteration(RunState(1), 0.0, None)
    assert open_volume(tmp_path / "s1_iter00.mrc").voxel_size == 12.5
