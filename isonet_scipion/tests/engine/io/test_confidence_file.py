"""The confidence volume on disk."""

from pathlib import Path

import numpy as np

from isonet_scipion.engine.io.confidence_file import confidence_path, read_calibration, write_confidence
from isonet_scipion.engine.io.marks import is_marked, mark_of
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.measure.confidence import Confidence
from isonet_scipion.engine.physics.borders import find_border


def test_its_name_is_the_corrected_tomograms():
    assert confidence_path("a/TS_1.b_corrected.mrc") == Path("a/TS_1.b_corrected_confidence.mrc")


def test_it_is_0_where_the_tomogram_holds_no_data_and_bears_its_mark(tmp_path):
    data = np.random.default_rng(0).normal(size=(24, 32, 40)).astype(np.float32)
    data[:, :, 30:] = 0
    data[:, 5:15, 5:15] = 0  # a hole in the data
    write_volume(tmp_path / "t.mrc", data, 7.5)
    corrected, border = open_volume(tmp_path / "t.mrc"), find_border(data)
    cells = np.full(tuple(-(-n // 8) for n in border.inner_shape), 0.5, np.float32)
    mark = mark_of("confidence", "t.star", "t.mrc", tmp_path)
    path = write_confidence(Confidence(cells, border.inner_shape), corrected, border, 7.5, mark)
    found = open_volume(path)
    assert (found.shape, found.voxel_size) == (data.shape, 7.5) and is_marked(path, mark)
    assert np.array_equal(found.data, np.where(border.data(), np.float32(0.5), 0))
    assert 0.4 < border.data().mean() < 0.8


def test_the_programs_calibration_can_be_read():
    assert read_calibration().window > 0
