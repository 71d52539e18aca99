"""How a training's settings come out of what was given."""

import pytest

from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.engine.settings.option import options
from isonet_scipion.engine.settings.training import IterativeSettings, OnePassSettings, training_options


def test_the_network_is_among_a_methods_options_with_its_own_defaults():
    assert options(IterativeSettings)["filter_base"].default == NetworkSettings().filter_base == 64
    assert options(OnePassSettings)["filter_base"].default == OnePassSettings().network.filter_base == 32


def test_from_a_model_other_defaults_hold_and_what_is_given_before_them():
    assert OnePassSettings.given({}) == OnePassSettings()
    from_model = OnePassSettings.given({"pretrained_model": "m.keras", "learning_rate": 0.5, "kernel": (1, 3, 3)})
    assert (from_model.iterations, from_model.learning_rate) == (3, 0.5)
    assert options(OnePassSettings)["iterations"].usual == "20, or 3 from a model"
    assert from_model.network.kernel == (1, 3, 3) and from_model.network.filter_base == 32
    shape = NetworkSettings(filter_base=7, stem=2)
    of_shape = IterativeSettings.given({"unet_depth": 1, "unknown": 5}, shape)
    assert (of_shape.network.filter_base, of_shape.network.stem, of_shape.network.unet_depth) == (7, 2, 1)


@pytest.mark.parametrize("kind", [IterativeSettings, OnePassSettings])
def test_numbers_that_no_training_comes_to_the_end_of_are_refused(kind):
    for name in ("iterations", "epochs", "steps_per_epoch", "batch_size"):
        assert options(kind)[name].allows(4096) and not options(kind)[name].allows(10**20)


def test_all_values_come_back_by_the_names_of_the_options():
    settings = OnePassSettings.given({"cube_size": 32, "seed": 5, "drop_out": 0.1})
    stored = settings.as_options()
    assert stored.pop("method") == "one-pass" and set(stored) == set(options(OnePassSettings))
    assert OnePassSettings.given(stored) == settings


@pytest.mark.parametrize("left_open", ["seed", "batch_size", "steps_per_epoch"])
def test_what_is_left_open_is_not_taken_for_decided(left_open):
    values = {"seed": 0, "batch_size": 2, "steps_per_epoch": 4}
    assert IterativeSettings.given(values).decided() == (0, 2, 4)
    with pytest.raises(ValueError, match="left open"):
        IterativeSettings.given({**values, left_open: None}).decided()


def test_the_help_of_both_methods_says_what_is_whose_and_where_defaults_differ():
    known = training_options()
    assert next(iter(known)) == "method" and set(known["method"].choices) == {"iterative", "one-pass"}
    assert known["filled_weight"].help.startswith("one-pass: ")
    assert known["select_subtomo_number"].help.startswith("iterative: ")
    assert known["iterations"].help.endswith("Default: 30. one-pass: 20, or 3 from a model.")
    assert "one-pass" not in known["gpuID"].help
