"""refine_iterNN.json: what comes back of it, and what a stranger may not write into it."""

import json

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.refine_json import (
    chosen_model,
    iteration_of,
    model_name,
    read_refine_json,
    write_refine_json,
)

OPTIONS = {
    "method": "iterative",
    "epochs": 3,
    "noise_level": (0.05, 0.1),
    "kernel": (3, 3, 3),
    "result_dir": "elsewhere",
    "continue_from": "refine_iter01.json",
    "gpuID": "2,3",
}


def test_options_come_back_but_for_where_to_write_and_the_gpus_of_that_machine(tmp_path):
    write_refine_json(tmp_path, 7, OPTIONS, {"losses": [0.1]})
    stored = read_refine_json(str(tmp_path / "refine_iter07.json"))
    assert stored.iteration == 7
    assert stored.options == {name: OPTIONS[name] for name in ("method", "epochs", "noise_level", "kernel")}
    assert stored.gpus == "2,3"
    for other in (None, 2, "of\nmine"):
        write_refine_json(tmp_path, 7, {**OPTIONS, "gpuID": other}, {})
        assert read_refine_json(str(tmp_path / "refine_iter07.json")).gpus is None


def test_the_model_lies_beside_it_ours_before_that_of_isonet(tmp_path):
    write_refine_json(tmp_path, 7, OPTIONS, {})
    stored = read_refine_json(str(tmp_path / "refine_iter07.json"))
    with pytest.raises(EngineError, match="model_iter07 is not beside it"):
        stored.model()
    for suffix in ("h5", "keras"):
        (tmp_path / f"{model_name(7)}.{suffix}").touch()
        assert stored.model() == tmp_path / f"model_iter07.{suffix}"


def test_the_chosen_model_is_what_the_last_record_says_else_the_last(tmp_path):
    assert chosen_model(tmp_path) is None
    for number in (0, 9, 10, 100):
        (tmp_path / f"{model_name(number)}.keras").touch()
    assert chosen_model(tmp_path).name == "model_iter100.keras"  # as of IsoNet 0.2, whose record says nothing
    write_refine_json(tmp_path, 9, OPTIONS, {"chosen_iteration": 0})
    write_refine_json(tmp_path, 10, OPTIONS, {"chosen_iteration": 9})
    # the last model's record is not written yet
    assert chosen_model(tmp_path).name == "model_iter09.keras"
    for told in (7, "9", None, True, 9.0):  # no such model, or no number
        write_refine_json(tmp_path, 100, OPTIONS, {"chosen_iteration": told})
        assert chosen_model(tmp_path).name == "model_iter100.keras"
    (tmp_path / "refine_iter100.json").write_text("[" * 100000)
    assert chosen_model(tmp_path).name == "model_iter100.keras"
    (tmp_path / "model_iter09.h5").touch()
    write_refine_json(tmp_path, 100, OPTIONS, {"chosen_iteration": 9})
    assert chosen_model(tmp_path).name == "model_iter09.keras"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"iter_count": -1}, "its iter_count is -1"),
        ({"iter_count": "2"}, "its iter_count is '2'"),
        ({"learning_rate": "fast"}, "its learning_rate is 'fast'"),
        ({"epochs": True}, "its epochs is 'True'"),
        ({"noise_level": [0.1, "x"]}, "its noise_level is"),
        ({"noise_mode": "pink"}, "its noise_mode is 'pink'"),
        ({"seed": -1}, "its seed is -1"),
        ({"select_subtomo_number": 0}, "its select_subtomo_number is 0"),
        ({"preprocessing_ncpus": 10**6}, "its preprocessing_ncpus is 1000000"),
        ([1, 2], "it is not a refine_iterNN.json"),
    ],
)
def test_a_wrong_value_is_told_by_its_name(tmp_path, wrong, said):
    path = tmp_path / "refine_iter01.json"
    path.write_text(json.dumps(wrong))
    with pytest.raises(EngineError, match=said):
        read_refine_json(str(path))


def test_files_of_an_iteration_are_known_by_their_names():
    assert [iteration_of(name) for name in ("model_iter02.keras", "refine_iter12.json")] == [2, 12]
    assert {iteration_of(name) for name in ("model_iter2.keras", "estimate_iter02.png", "model_iter02.h5~")} == {None}


def test_the_noise_that_isonet_made_itself_is_no_noise_dir_of_the_users(tmp_path):
    path = tmp_path / "refine_iter03.json"
    stored = {"iter_count": 3, "result_dir": "old", "noise_dir": "old/training_noise", "noise_level": [0.1, 0.2]}
    path.write_text(json.dumps(stored))
    assert read_refine_json(str(path)).options == {"noise_level": (0.1, 0.2)}
    path.write_text(json.dumps({**stored, "noise_dir": "mine"}))
    assert read_refine_json(str(path)).options["noise_dir"] == "mine"
