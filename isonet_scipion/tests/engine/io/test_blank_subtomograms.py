"""Subtomograms of other programs that reach into a border."""

import re

import numpy as np
import pytest

from isonet_scipion.engine.conventions import Normalisation
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.star import Star
from isonet_scipion.engine.io.subtomograms import read_subtomograms

SIDE = 24


def cube(seed=0):
    return np.random.default_rng(seed).normal(1000, 50, (SIDE,) * 3).astype(np.float32)


def table(folder, *cubes):
    rows = []
    for number, voxels in enumerate(cubes):
        write_volume(folder / f"{number}.mrc", voxels, 10.0)
        rows.append({"rlnImageName": str(folder / f"{number}.mrc")})
    return Star(["rlnImageName"], rows, "subtomo.star")


@pytest.mark.parametrize("normalisation", Normalisation)
def test_the_grey_scale_is_that_of_what_is_no_border(tmp_path, normalisation, caplog):
    whole, cut = cube(), cube()
    cut[:, :, 16:] = 0
    plain, bordered = read_subtomograms(table(tmp_path, whole, cut), normalisation, (None, None))
    # with the border the scale would be ten times as large
    assert bordered.grey_scale.scale == pytest.approx(plain.grey_scale.scale, rel=0.05)
    shown = bordered.normalised()
    np.testing.assert_allclose(shown[:, :, :16], plain.normalised()[:, :, :16], atol=0.1)
    np.testing.assert_array_equal(shown[:, :, 16:], shown[:, :, 7:15][:, :, ::-1])
    assert caplog.text.count("a border without data") == 1 and "1.mrc" in caplog.text


def test_blank_ones_are_left_out_with_their_rows(tmp_path, caplog):
    nearly = np.zeros((SIDE,) * 3, np.float32)
    nearly[:8] = cube()[:8]
    given = table(tmp_path, cube(), np.zeros((SIDE,) * 3, np.float32), nearly, cube(1))
    found = read_subtomograms(given, Normalisation.PERCENTILES, (None, None))
    assert [one.name for one in found] == ["0", "3"]
    assert [row["rlnImageName"] for row in given.rows] == [one.path for one in found]
    assert re.search(r"left out, as blank: \S*1.mrc, \S*2.mrc\n", caplog.text)


def test_nothing_but_blank_ones_is_refused(tmp_path):
    with pytest.raises(EngineError, match=r"all its subtomograms are blank \(2\)"):
        read_subtomograms(
            table(tmp_path, *[np.ones((SIDE,) * 3, np.float32)] * 2), Normalisation.PERCENTILES, (None, None)
        )
