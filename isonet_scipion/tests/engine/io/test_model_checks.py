"""What is told of data that are not as a model's training data."""

import re

import pytest

from isonet_scipion.engine.io.model_checks import warn_of_other_data, warn_of_other_training
from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.io.star import Star
from isonet_scipion.engine.io.tomogram_entry import TomogramEntry
from isonet_scipion.engine.settings.network import NetworkSettings

SHAPE = NetworkSettings()


@pytest.mark.parametrize(("size", "is_told"), [(3.5, True), (6.5, False), (17.0, False), (28.0, True)])
def test_voxels_that_the_builtin_model_never_saw_are_told(caplog, size, is_told):
    row = {"rlnMicrographName": "t.mrc", "rlnPixelSize": f"{size}"}
    entry = TomogramEntry("t", row, Star(list(row), [row], "t.star"))
    warn_of_other_data(entry, ModelMetadata(SHAPE, simulated=True))
    assert ("learned from simulated tomograms of 6.5 to 17 A" in caplog.text) is is_told
    caplog.clear()
    warn_of_other_data(entry, ModelMetadata(SHAPE))
    assert not caplog.text


@pytest.mark.parametrize(("size", "is_told"), [(9.4, True), (9.6, False), (10.4, False), (10.6, True)])
def test_voxels_are_only_told_that_are_unlike_those_a_training_takes_together(caplog, size, is_told):
    row = {"rlnMicrographName": "t.mrc", "rlnPixelSize": str(size)}
    entry = TomogramEntry("t", row, Star(list(row), [row]))
    warn_of_other_data(entry, ModelMetadata(SHAPE, voxel_size=10.0))
    assert (f"t.mrc: {size:.2f} A per voxel, but the model was trained at 10.00 A" in caplog.text) is is_told


@pytest.mark.parametrize(
    ("start", "size", "tilts", "said"),
    [
        ({"tilt_min": -60, "tilt_max": 60}, 10.0, (-40, 40), r"on or with tilts -60..60 \(here -40..40\), which"),
        ({"tilt_min": -60, "tilt_max": 60}, 10.0, (-60, 58), ""),
        ({"simulated": True}, 25.0, (-60, 60), r"with simulated tomograms of 6.5 to 17 A per voxel \(here 25\), which"),
        ({"simulated": True}, 12.0, (-60, 60), ""),
        ({"halves": True}, 10.0, (-60, 60), r"with half tomograms, without their noise \(here whole ones\), which"),
    ],
)
def test_a_model_to_start_from_of_other_tilts_simulated_sizes_or_halves_is_told(caplog, start, size, tilts, said):
    ours = ModelMetadata(SHAPE, voxel_size=size, tilt_min=tilts[0], tilt_max=tilts[1])
    warn_of_other_training("m", ModelMetadata(SHAPE, **start), ours)
    assert re.search(said, caplog.text) if said else not caplog.text


def test_a_training_on_halves_goes_on_from_models_of_halves_and_of_whole_tomograms(caplog):
    ours = ModelMetadata(SHAPE, halves=True)
    for halves in (True, False):
        warn_of_other_training("m", ModelMetadata(SHAPE, halves=halves), ours)
    assert not caplog.text
