"""What a model says about itself: every field by kind and range."""

import dataclasses

import pytest

from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.physics.ctf import POSSIBLE, CtfParameters
from isonet_scipion.engine.settings.network import NetworkSettings

KNOWN = ModelMetadata(
    NetworkSettings(filter_base=4),
    10.0,
    -60.0,
    54.0,
    False,
    True,
    48,
    3,
    True,
    True,
    48,
    True,
    300.0,
    2.7,
    True,
    "phase-flipped",
    300.0,
    -48.0,
    42.0,
)
WRONG = {
    "voxel_size": ("x", 0, -10.0, float("nan"), float("inf"), 10**400, True, [10.0]),
    "tilt_min": ("a", -91, 60.0, float("nan")),
    "tilt_max": ("b", 100, -70.0),
    "narrowest_min": ("a", -91, float("nan")),
    "narrowest_max": ("b", 100),
    "normalize_percentile": (1, "yes", 0.0),
    "deconvolved": ("no", 0),
    "cube_size": (48.0, 0, -1, "48", 10**9),
    "iteration": ("1", -1, 2.0, float("nan"), 10**60),
    "halves": (1, None, "yes"),
    "corrects_mean": (1, None, "yes"),
    "kept_beyond": ("x", 0, 48.5, float("nan"), 10**9),
    "ctf_aware": ("x", 1, None),
    "voltage": ("x", 0, float("nan"), -300.0, 10**7),
    "cs": ("x", -2.7, float("nan"), 1e9),
    "simulated": (1,),
    "ctf_state": ("corrected", "x", 1),
    "bfactor": ("x", -300.0, float("nan")),
    "filter_base": (0, "4", 4.0),
    "kernel": ("abc", (3, 3), (3, 3, "3")),
    "drop_out": (1.5, float("nan")),
}


def test_what_is_written_is_read_and_what_is_not_known_is_left_out():
    assert ModelMetadata.out_of({**KNOWN.as_dict(), "of_a_later_version": object()}) == KNOWN
    old = ModelMetadata.out_of({"filter_base": 4})
    assert old == ModelMetadata(NetworkSettings(filter_base=4))
    assert "voltage" not in old.as_dict()


@pytest.mark.parametrize(
    ("facts", "tilts", "is_known"),
    [
        ({}, (-10, 10), True),
        ({"tilt_min": -60.0, "tilt_max": 54.0}, (-58, 56), True),
        ({"tilt_min": -60.0, "tilt_max": 54.0}, (-54, 54), False),
        ({"tilt_min": -60.0, "tilt_max": 54.0, "narrowest_min": -48.0, "narrowest_max": 42.0}, (-54, 40), True),
        ({"tilt_min": -60.0, "tilt_max": 54.0, "narrowest_min": -48.0, "narrowest_max": 42.0}, (-44, 50), False),
        ({"tilt_min": -60.0, "tilt_max": 54.0, "narrowest_min": -48.0, "narrowest_max": 42.0}, (-60, 60), False),
    ],
)
def test_tilt_ranges_are_known_that_lie_between_those_of_the_training(facts, tilts, is_known):
    assert ModelMetadata(NetworkSettings(), **facts).knows_tilts(*tilts) is is_known


def test_the_copy_of_an_earlier_model_tells_the_one_range_that_it_knows():
    earlier = dataclasses.replace(KNOWN, narrowest_min=None, narrowest_max=None)
    new = dataclasses.replace(KNOWN, tilt_min=-40.0, tilt_max=40.0, narrowest_min=-40.0, narrowest_max=40.0)
    copy = dataclasses.replace(new, **earlier.learned_from)
    assert copy.tilts_in_words == "-60..54" and not copy.knows_tilts(-40, 40)
    assert dataclasses.replace(new, **KNOWN.learned_from).tilts_in_words == KNOWN.tilts_in_words


def test_tilt_ranges_in_words():
    assert KNOWN.tilts_in_words == "-60..54 to -48..42"
    same = dataclasses.replace(KNOWN, narrowest_min=-60.0, narrowest_max=54.0)
    assert same.tilts_in_words == "-60..54" == dataclasses.replace(same, narrowest_min=None).tilts_in_words
    assert dataclasses.replace(KNOWN, tilt_min=None).tilts_in_words == ""


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_kind_or_range_is_told_by_name(name):
    for value in WRONG[name]:
        with pytest.raises(ValueError, match=f"{name}|tilt range"):
            ModelMetadata.out_of({**KNOWN.as_dict(), name: value})


@pytest.mark.parametrize("name", ["voltage", "cs"])
def test_what_a_training_takes_of_the_optics_is_read_again(name):
    for value in POSSIBLE[name]:
        CtfParameters(**{name: value})
        told = dataclasses.replace(KNOWN, **{name: value})
        assert ModelMetadata.out_of(told.as_dict()) == told


def test_every_field_has_wrong_values_here():
    names = {field.name for field in dataclasses.fields(ModelMetadata)} - {"network"}
    assert names <= set(WRONG)


@pytest.mark.parametrize(("halves", "corrects_mean", "by_halves"), [(0, 0, 0), (1, 0, 1), (1, 1, 0), (0, 1, 0)])
def test_a_model_that_says_no_more_than_halves_corrects_each(halves, corrects_mean, by_halves):
    values = {"filter_base": 4, "halves": bool(halves), **({"corrects_mean": True} if corrects_mean else {})}
    assert ModelMetadata.out_of(values).by_halves == bool(by_halves)


def test_a_copy_of_the_model_that_a_training_started_from_says_so():
    words = [
        dataclasses.replace(KNOWN, iteration=iteration, simulated=simulated).untrained
        for iteration in (0, 1, None)
        for simulated in (True, False)
    ]
    assert words == ["a copy of the builtin model", "a copy of the model that its training started from", *[""] * 4]
